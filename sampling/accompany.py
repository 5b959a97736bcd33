"""Accompany a tune: its voices stay as they are, others are written to them, bar by bar.

    score = find_score(music, ['33', 'drums'], reader)
    tunes = [Around(tokenizer, (1, i), reader, score) for i in range(10)]
    generate(model, tokenizer, tunes)

All voices stand in the order that models know: by program, and drums last. Of one program the given
ones come first, but after the new ones if they lie mostly below middle C: with `--programs=0,0,0` a
melody for piano is the soprano, a bass the bass.
"""
from dataclasses import replace

import numpy as np

from configurator import fail
from music.notation import MAX_VOICES, encode
from music.notes import Voice
from sampling.given import Given, parse
from sampling.words import SILENCE

MIDDLE_C = 60
GIVEN, NEW, GIVEN_LOW = range(3)        # the order of voices of one program


def find_score(music, programs, reader):
    """What is Given of a tune with the voices of `music` and empty staves for `programs`, texts
    such as '33' and 'drums'. `reader`: at the start of a tune."""
    n_given = len(music.voices)
    if n_given + len(programs) > MAX_VOICES:
        fail(f'{n_given} voices and {len(programs)} more: '
             f'the notation has room for {MAX_VOICES}')
    if not len(music.notes):
        fail('the tune to accompany has no notes')

    # All voices in their order.
    voices, place = list(music.voices), []
    onset, duration, pitch, voice = music.notes.T
    for i in range(n_given):
        pitches = pitch[voice == i].tolist() or [MIDDLE_C]
        place.append(GIVEN_LOW if np.median(pitches) < MIDDLE_C else GIVEN)
    for text in programs:
        number = text.removeprefix('drums').lstrip('=') or 0
        voices.append(Voice(int(number), is_drum=text.startswith('drums')))
        place.append(NEW)
    order = sorted(range(len(voices)),
                   key=lambda i: (voices[i].is_drum, voices[i].program, place[i]))
    new_number = np.argsort(order)              # of each voice
    notes = np.stack([onset, duration, pitch, new_number[voice]], 1)
    music = replace(music, notes=notes, voices=[voices[i] for i in order])

    # Its header and bars. A given voice rests where it has no cell.
    lines = encode(music, reader.options.beats).splitlines()
    n_header = 4 + len(voices)
    header = '\n'.join(lines[:n_header]) + '\n'
    bars = [parse(line) for line in lines[n_header:]]
    given = {int(number) for number in new_number[:n_given]}
    bars = [bar._replace(forbidden=sum(1 << i for i in given - set(bar.cells))) for bar in bars]
    if music.pickup:                            # a silent bar would be a full one
        bars[0] = bars[0]._replace(forbidden=bars[0].forbidden | SILENCE)
    return Given(header, bars, music.pickup)
