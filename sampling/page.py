"""Tunes for people: a piano roll as a picture, and one page to listen to all of them (player.html with the tunes in it).

The page needs neither network nor other files: notes, ABC and MIDI are inside it, and the browser makes the sound.
"""
import base64
import json
import os

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection

from music.metrics import STATISTICS
from music.notes import KEY_NAMES, UNITS, bar_starts

PROGRAMS = (                # General MIDI, programs 0 to 127
    'Grand piano,Bright piano,Electric grand,Honky-tonk piano,Electric piano 1,Electric piano 2,Harpsichord,'
    'Clavinet,Celesta,Glockenspiel,Music box,Vibraphone,Marimba,Xylophone,Tubular bells,Dulcimer,Drawbar organ,'
    'Percussive organ,Rock organ,Church organ,Reed organ,Accordion,Harmonica,Bandoneon,Nylon guitar,Steel guitar,'
    'Jazz guitar,Clean guitar,Muted guitar,Overdriven guitar,Distortion guitar,Guitar harmonics,Acoustic bass,'
    'Fingered bass,Picked bass,Fretless bass,Slap bass 1,Slap bass 2,Synth bass 1,Synth bass 2,Violin,Viola,Cello,'
    'Contrabass,Tremolo strings,Pizzicato strings,Harp,Timpani,String ensemble 1,String ensemble 2,Synth strings 1,'
    'Synth strings 2,Choir,Voice,Synth voice,Orchestra hit,Trumpet,Trombone,Tuba,Muted trumpet,French horn,'
    'Brass section,Synth brass 1,Synth brass 2,Soprano sax,Alto sax,Tenor sax,Baritone sax,Oboe,English horn,'
    'Bassoon,Clarinet,Piccolo,Flute,Recorder,Pan flute,Bottle,Shakuhachi,Whistle,Ocarina,Square lead,Saw lead,'
    'Calliope,Chiff,Charang,Voice lead,Fifths lead,Bass and lead,New age pad,Warm pad,Polysynth,Choir pad,'
    'Bowed pad,Metallic pad,Halo pad,Sweep pad,Rain,Soundtrack,Crystal,Atmosphere,Brightness,Goblins,Echoes,'
    'Sci-fi,Sitar,Banjo,Shamisen,Koto,Kalimba,Bagpipe,Fiddle,Shanai,Tinkle bell,Agogo,Steel drums,Woodblock,Taiko,'
    'Melodic tom,Synth drum,Reverse cymbal,Fret noise,Breath,Seashore,Bird,Telephone,Helicopter,Applause,Gunshot').split(',')
COLOURS = ['#b4532a', '#1f7a8c', '#8a6d1d', '#6a4c93', '#3a7d44', '#b23a6b', '#4662a8', '#7a5c44']


def voice_name(voice):
    return 'Drums' if voice.is_drum else PROGRAMS[voice.program]


def draw_roll(music, path):
    """PNG of the notes: time in quarters to the right, pitch upwards, a colour a voice."""
    starts = [start / UNITS for start in bar_starts(music)]
    figure, axes = plt.subplots(figsize=(min(16, max(6, 0.35 * len(starts))), 3.2), dpi=110, layout='constrained')
    for i, voice in enumerate(music.voices):
        notes = music.notes[music.notes[:, 3] == i]
        lines = [((onset / UNITS, pitch), ((onset + duration) / UNITS - 0.05, pitch)) for onset, duration, pitch, _ in notes]
        axes.add_collection(LineCollection(lines, colors=COLOURS[i % 8], linewidths=3, label=voice_name(voice), capstyle='butt'))
    axes.vlines(starts, 0, 127, color='0.9', linewidth=0.8, zorder=0)
    low, high = (int(f(music.notes[:, 2])) for f in (min, max)) if len(music.notes) else (60, 72)
    axes.set(xlim=(0, max(1, starts[-1])), ylim=(low - 2.5, high + 2.5), title=music.title)
    axes.set(xlabel='quarters', ylabel='MIDI pitch')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper left', bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    figure.savefig(path + '.tmp', format='png')
    os.replace(path + '.tmp', path)
    plt.close(figure)


def page(tunes, title, about, footer, comparison=None, copying=None, caution=None):
    """HTML of the page. tunes: dicts of music, text (in the notation), abc, midi (bytes or None), statistics, prompt_bars (how many
    bars were given), file (name of the downloads, without ending)."""
    data = {'title': title, 'about': about, 'footer': footer, 'names': STATISTICS, 'comparison': comparison, 'copying': copying,
            'caution': caution, 'tunes': [for_player(**tune) for tune in tunes]}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'player.html'), encoding='utf-8') as f:
        template = f.read()
    return template.replace('/*DATA*/', json.dumps(data, separators=(',', ':')).replace('</', '<\\/'))


def for_player(music, text, abc, midi, statistics, prompt_bars, file):
    starts = bar_starts(music)
    return {'name': music.title, 'file': file, 'text': text, 'abc': abc, 'midi': midi and base64.b64encode(midi).decode(),
            'statistics': statistics, 'notes': music.notes.tolist(), 'tempos': music.tempos, 'bars': starts,
            'voices': [{'name': voice_name(v), 'program': v.program, 'drums': v.is_drum} for v in music.voices],
            'key': KEY_NAMES[music.keys[0][1:]].removesuffix('m') + ' ' + music.keys[0][2],
            'meter': '%d/%d' % music.meters[0][1:], 'prompt_end': starts[min(prompt_bars, len(starts) - 1)] if prompt_bars else 0}
