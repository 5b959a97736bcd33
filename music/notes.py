"""Notes, the truth in the middle: what a MIDI file, ABC text and the models' notation all turn into and are made from."""
from dataclasses import dataclass, field

import numpy as np

UNITS = 24                  # grid units per quarter note: the straight grid is 3 units, the triplet grid 4
MAX_BAR = 768               # units in the longest bar: 8 whole notes

MAJORS = 'Cb Gb Db Ab Eb Bb F C G D A E B F# C#'.split()                     # tonics of -7 .. 7 sharps
MINORS = 'Abm Ebm Bbm Fm Cm Gm Dm Am Em Bm F#m C#m G#m D#m A#m'.split()
KEYS = {name: (i - 7, mode) for names, mode in ((MAJORS, 'major'), (MINORS, 'minor')) for i, name in enumerate(names)}
KEY_NAMES = {key: name for name, key in KEYS.items()}


@dataclass
class Voice:
    program: int = 0            # General MIDI program 0-127 (for drums: the kit)
    is_drum: bool = False


@dataclass
class Music:
    """Quantised music. All times are integers in units of 1/24 quarter.

    notes: int32 (n, 4): onset, duration >= 1, pitch 0-127, voice (index into `voices`); sorted by onset, voice, pitch.
    Within one voice and pitch, notes never overlap. Events lie on barlines; each list starts at onset 0.
    """
    notes: np.ndarray
    voices: list = field(default_factory=list)          # Voice
    meters: list = field(default_factory=lambda: [(0, 4, 4)])        # (onset, numerator, denominator in 1, 2, 4, 8, 16, 32)
    tempos: list = field(default_factory=lambda: [(0, 120)])         # (onset, quarters per minute, an int)
    keys: list = field(default_factory=lambda: [(0, 0, 'major')])    # (onset, sharps -7..7 (flats negative), 'major' or 'minor')
    pickup: int = 0             # length of the first bar if it is shorter than its meter, else 0
    title: str = ''             # for people; never part of the notation a model sees


def bar_length(numerator, denominator):
    """Units in a full bar: 96 to a whole note."""
    return 4 * UNITS * numerator // denominator


def bar_starts(music, end=None):
    """Onsets of all barlines from 0 up to and including the first one at or after `end` (default: the last note's end)."""
    if end is None:
        end = int((music.notes[:, 0] + music.notes[:, 1]).max()) if len(music.notes) else 0
    starts = [0]
    for i, (_, numerator, denominator) in enumerate(music.meters):
        until = min(end, music.meters[i + 1][0]) if i + 1 < len(music.meters) else end
        if music.pickup and starts == [0] and until > 0:
            starts.append(music.pickup)
        length = bar_length(numerator, denominator)
        starts += range(starts[-1] + length, until + length, length)
    return starts
