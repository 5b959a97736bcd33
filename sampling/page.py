"""One page to listen to all tunes: player.html with its style, its scripts and the tunes in it.

The page needs neither network nor other files: notes, ABC, MIDI, MusicXML and the engraved scores
are inside it, and the browser makes the sound.
"""
import base64
import gzip
import json
import os
import re

import numpy as np

from music.instruments import INSTRUMENTS
from music.metrics import HEADERS, STATISTICS
from music.notes import KEY_NAMES, bar_starts

SCORE_WIDTHS = 1000, 360            # pixels that a score is engraved for: a desk, a phone


def page(tunes, about, metrics):
    """HTML of the page.

    tunes: dicts of music, text (as the model wrote it), abc, midi (bytes or None), musicxml, scores
    (SVG for each of SCORE_WIDTHS, as of music/engrave.py), statistics, prompt_bars (how many bars
    were given), file (name of the downloads, without suffix). metrics: of metrics.json."""
    names = 'ckpt', 'redrawn', 'comparison', 'headers', 'copying', 'caution'
    data = {name: metrics.get(name) for name in names}
    data |= {'about': about, 'names': STATISTICS, 'headings': HEADERS}
    data['tunes'] = [for_player(**tune) for tune in tunes]
    return fill_in(data)


def listening_page(tunes, seed):
    """HTML of a blind listening test: each tune beside another one, in random order, and a choice.

    tunes: pairs of (name, Music). The page gives the choices as JSON, with the names."""
    rng = np.random.default_rng(seed)
    sides = []
    for pair in tunes:
        for side, n in zip('AB', rng.permutation(2)):
            name, music = pair[n]
            sides.append({**for_sound(music), 'name': side, 'source': name, 'scores': []})
    return fill_in({'blind': True, 'tunes': sides})


def fill_in(data):
    """The page with its style, its scripts and `data`."""
    html = part('player.html')
    html = html.replace('/*STYLE*/', part('player.css'))
    html = html.replace('/*SOUND*/', part('sound.js')).replace('/*PLAYER*/', part('player.js'))
    text = json.dumps(data, separators=(',', ':')).replace('</', '<\\/')
    return html.replace('/*DATA*/', text)


def part(name):
    """Text of one of the files that the page is made of."""
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, name), encoding='utf-8') as f:
        return f.read()


def for_player(music, text, abc, midi, musicxml, scores, statistics, prompt_bars, file):
    """What the page knows of a tune."""
    starts = bar_starts(music)
    _, *meter = music.meters[0]
    _, sharps, mode = music.keys[0]
    return {**for_sound(music), 'name': music.title, 'file': file, 'text': text, 'abc': abc,
            'midi': midi and base64.b64encode(midi).decode(), 'musicxml': zipped(musicxml),
            'scores': [score_for_page(svg) for svg in scores], 'statistics': statistics,
            'key': f'{KEY_NAMES[sharps, mode].removesuffix("m")} {mode}',
            'meter': '/'.join(map(str, meter)),
            'prompt_end': starts[min(prompt_bars, len(starts) - 1)] if prompt_bars else 0}


def for_sound(music):
    """What is needed to play a tune."""
    voices = [{'name': 'Drums' if v.is_drum else INSTRUMENTS[v.program], 'program': v.program,
               'drums': v.is_drum} for v in music.voices]
    return {'notes': music.notes.tolist(), 'bars': bar_starts(music), 'voices': voices,
            'tempos': music.tempos}


def score_for_page(svg):
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    return {'width': width, 'height': height, 'gzip': zipped(svg)}


def zipped(text):
    """XML has a tenth of its characters then; the browser unpacks it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
