"""MIDI file <-> notes: read, repair, quantise, write.

(work in progress: the interface below is settled)

    music, report = read_midi(path_or_bytes)        # -> Music on a grid of 24 units per quarter; raises MidiError(reason)
    write_midi(music, path)                         # -> standard MIDI file (mido), 480 ticks per quarter
"""
from dataclasses import dataclass, field

import numpy as np

UNITS = 24          # grid units per quarter note: the straight grid is 3 units (8 per quarter), the triplet grid 4 (6 per quarter)


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


class MidiError(ValueError):
    """A file that is not music we can read; str(e) is the named reason under which it is counted."""


def bar_starts(music, end=None):
    """Onsets of all barlines from 0 up to and including the first one at or after `end` (default: the last note's end)."""
    if end is None:
        end = int((music.notes[:, 0] + music.notes[:, 1]).max()) if len(music.notes) else 0
    starts, changes, i = [0], list(music.meters), 0
    while starts[-1] < end:
        at = starts[-1]
        while i + 1 < len(changes) and changes[i + 1][0] <= at:
            i += 1
        starts.append(at + (music.pickup if at == 0 and music.pickup else bar_length(*changes[i][1:])))
    return starts


def bar_length(numerator, denominator):
    """Units in a full bar: 96 to a whole note."""
    return 4 * UNITS * numerator // denominator
