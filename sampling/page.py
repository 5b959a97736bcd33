"""Tunes for people: a piano roll as a picture, and one page to listen to all (player.html with the tunes in it).

The page needs neither network nor other files: notes, ABC, MIDI and the engraved scores are inside it, and the browser
makes the sound.
"""
import base64
import gzip
import json
import os
import re

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection

from music.instruments import INSTRUMENTS
from music.metrics import HEADERS, STATISTICS
from music.notes import KEY_NAMES, UNITS, bar_starts
from plumbing.files import atomic_write

COLOURS = ['#b4532a', '#1f7a8c', '#8a6d1d', '#6a4c93', '#3a7d44', '#b23a6b', '#4662a8', '#7a5c44']
SCORE_WIDTHS = 1000, 360            # pixels that a score is engraved for: a desk, a phone


def voice_name(voice):
    return 'Drums' if voice.is_drum else INSTRUMENTS[voice.program]


def draw_roll(music, path):
    """PNG of the notes: time in quarters to the right, pitch upwards, a colour a voice."""
    starts = [start / UNITS for start in bar_starts(music)]
    figure, axes = plt.subplots(figsize=(min(16, max(6, 0.35 * len(starts))), 3.2), dpi=110, layout='constrained')
    for i, voice in enumerate(music.voices):
        lines = [((onset / UNITS, pitch), ((onset + duration) / UNITS - 0.05, pitch))
                 for onset, duration, pitch, v in music.notes if v == i]
        style = {'colors': COLOURS[i % 8], 'linewidths': 3, 'label': voice_name(voice), 'capstyle': 'butt'}
        axes.add_collection(LineCollection(lines, **style))
    axes.vlines(starts, 0, 127, color='0.9', linewidth=0.8, zorder=0)
    low, high = (music.notes[:, 2].min(), music.notes[:, 2].max()) if len(music.notes) else (60, 72)
    axes.set(xlim=(0, max(1, starts[-1])), ylim=(low - 2.5, high + 2.5))
    axes.set(title=music.title, xlabel='quarters', ylabel='MIDI pitch')
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper left', bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    with atomic_write(path) as f:
        figure.savefig(f, format='png')
    plt.close(figure)


def page(tunes, about, metrics):
    """HTML of the page. tunes: dicts of music, text (as the model wrote it), abc, midi (bytes or None), scores (SVG
    for each of SCORE_WIDTHS, as of music/engrave.py), statistics, prompt_bars (how many bars were given), file (name of
    the downloads, without ending). metrics: of metrics.json."""
    shown = {name: metrics.get(name) for name in ('ckpt', 'redrawn', 'comparison', 'headers', 'copying', 'caution')}
    data = {**shown, 'about': about, 'names': STATISTICS, 'headings': HEADERS,
            'tunes': [for_player(**tune) for tune in tunes]}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'player.html'), encoding='utf-8') as f:
        template = f.read()
    return template.replace('/*DATA*/', json.dumps(data, separators=(',', ':')).replace('</', '<\\/'))


def for_player(music, text, abc, midi, scores, statistics, prompt_bars, file):
    starts, (_, *meter), (_, *key) = bar_starts(music), music.meters[0], music.keys[0]
    return {'name': music.title, 'file': file, 'text': text, 'abc': abc, 'statistics': statistics,
            'midi': midi and base64.b64encode(midi).decode(), 'notes': music.notes.tolist(), 'bars': starts,
            'scores': [packed(svg) for svg in scores],
            'voices': [{'name': voice_name(v), 'program': v.program, 'drums': v.is_drum} for v in music.voices],
            'key': KEY_NAMES[tuple(key)].removesuffix('m') + ' ' + key[1], 'meter': '/'.join(map(str, meter)),
            'tempos': music.tempos, 'prompt_end': starts[min(prompt_bars, len(starts) - 1)] if prompt_bars else 0}


def packed(svg):
    """Size and content of a score; zipped it has a tenth of its characters."""
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    return {'width': width, 'height': height, 'gzip': base64.b64encode(gzip.compress(svg.encode(), mtime=0)).decode()}
