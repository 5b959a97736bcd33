"""Accompany a tune: its voices stay as they are, others are written to them, bar by bar.

    score = find_score(music, ['33', 'drums'], reader)
    tunes = [accompaniment(tokenizer, (1, i), reader, score) for i in range(10)]
    generate(model, tokenizer, tunes)

All voices stand in the order that models know: by program, and drums last. Of one program the given ones come first,
but behind the new ones if they lie mostly below middle C: with `--programs=0,0,0` a melody for piano is the soprano, a
bass the bass.
"""
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from configurator import fail
from music.notation import MAX_VOICES, encode
from music.notes import Voice
from sampling.constrain import SILENCE
from sampling.given import Around, parse

MIDDLE_C = 60


class Score(NamedTuple):
    header: str
    bars: list              # given.Bar of each bar
    length: int             # units in the first one


def find_score(music, programs, reader):
    """Score of the given music and empty staves for `programs`, texts such as '33' and 'drums'. `reader`: at the start
    of a tune."""
    if len(music.voices) + len(programs) > MAX_VOICES:
        fail(f'{len(music.voices)} voices and {len(programs)} more: the notation has room for {MAX_VOICES}')
    if not len(music.notes):
        fail('the tune to accompany has no notes')
    voices = music.voices + [Voice(int(p.removeprefix('drums').lstrip('=') or 0), p.startswith('drums'))
                             for p in programs]
    onset, duration, pitch, voice = music.notes.T
    is_low = [np.median(pitch[voice == i].tolist() or [MIDDLE_C]) < MIDDLE_C for i in range(len(music.voices))]
    place = [2 * low for low in is_low] + [1] * len(programs)
    order = sorted(range(len(voices)), key=lambda i: (voices[i].is_drum, voices[i].program, place[i]))
    notes = np.stack([onset, duration, pitch, np.argsort(order)[voice]], 1)
    lines = encode(replace(music, notes=notes, voices=[voices[i] for i in order]), reader.beats).splitlines()
    header, bars = '\n'.join(lines[:4 + len(voices)]) + '\n', [parse(line) for line in lines[4 + len(voices):]]
    given = {order.index(voice) for voice in range(len(music.voices))}
    bars = [bar._replace(closed=sum(1 << voice for voice in given - set(bar.cells))) for bar in bars]
    if music.pickup:                                # a silent bar would be a full one
        bars[0] = bars[0]._replace(closed=bars[0].closed | SILENCE)
    return Score(header, bars, music.pickup or reader.feed(header).full)


def accompaniment(tokenizer, seed, reader, score):
    """The Tune to `generate`, which ends with the bars of the score."""
    return Around(tokenizer, seed, reader, score.header, score.bars, score.length, {})
