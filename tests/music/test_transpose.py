"""music/transpose.py: the transposed text is the text of the transposed music."""
import itertools
import random

import numpy as np
from test_dedupe import tune

from music import notation
from music.notes import Music, Voice
from music.transpose import transposed


def shifted(music, semitones):
    """The naive way: notes and keys."""
    pitched = ~np.array([v.is_drum for v in music.voices])[music.notes[:, 3]]
    notes = music.notes.copy()
    notes[pitched, 2] += semitones
    keys = [(at, next(s for s in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6) if (s - sharps - 7 * semitones) % 12 == 0), mode)
            for at, sharps, mode in music.keys]
    return Music(notes, music.voices, music.meters, music.tempos, keys, music.pickup)


def test_transposed_text_is_the_text_of_the_transposed_music():
    for seed in range(30):
        draw = random.Random(seed)
        music = tune(seed, voices=2, notes=40)
        music.notes = np.concatenate([music.notes, [(0, 24, 72, 0), (96, 300, 50, 1)]]).astype(np.int32)
        music.notes = music.notes[np.lexsort((music.notes[:, 2], music.notes[:, 3], music.notes[:, 0]))]
        music.keys = [(0, draw.randint(-7, 7), 'minor'), (168, draw.randint(-7, 7), 'major')]
        music.meters, music.tempos = [(0, 4, 4), (96, 3, 4)], [(0, 120), (96, 90)]
        music = notation.decode(notation.encode(music))
        moved = {semitones: shifted(music, semitones) for semitones in range(-6, 7)}
        for marks in itertools.product((False, True), repeat=3):            # beats, repeats, phrases
            text = notation.encode(music, *marks)
            for semitones in moved:
                assert transposed(text, semitones) == notation.encode(moved[semitones], *marks)


def test_a_copy_that_leaves_the_range_of_midi_is_none():
    music = Music(np.array([(0, 96, 125, 0)], np.int32), [Voice()])
    assert transposed(notation.encode(music), 2) is not None and transposed(notation.encode(music), 3) is None
