"""Notes, the truth in the middle: what MIDI, ABC and the models' notation all turn into and are
made from.
"""
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

UNITS = 24  # grid units per quarter note: the straight grid is 3 units, the triplet grid 4
WHOLE = 4 * UNITS           # units in a whole note
MAX_BAR = 768               # units in the longest bar: 8 whole notes

MAJORS = 'Cb Gb Db Ab Eb Bb F C G D A E B F# C#'.split()  # tonics of -7 .. 7 sharps
MINORS = 'Abm Ebm Bbm Fm Cm Gm Dm Am Em Bm F#m C#m G#m D#m A#m'.split()
KEYS = {name: (i - 7, mode) for names, mode in ((MAJORS, 'major'), (MINORS, 'minor'))
        for i, name in enumerate(names)}
KEY_NAMES = {key: name for name, key in KEYS.items()}


@dataclass
class Voice:
    program: int = 0            # General MIDI program 0-127 (for drums: the kit)
    is_drum: bool = False


@dataclass
class Music:
    """Quantised music. All times are integers in units of 1/24 quarter.

    notes: int32 (n, 4): onset, duration >= 1, pitch 0-127, voice (index into `voices`); sorted by
    onset, voice, pitch. Within one voice and pitch, notes never overlap. Events lie on barlines;
    each list starts at onset 0.
    """
    notes: np.ndarray
    voices: list = field(default_factory=list)          # Voice
    # (onset, numerator, denominator), see is_meter
    meters: list = field(default_factory=lambda: [(0, 4, 4)])
    tempos: list = field(default_factory=lambda: [(0, 120)])  # (onset, quarters per minute, an int)
    # (onset, sharps -7..7, 'major' or 'minor')
    keys: list = field(default_factory=lambda: [(0, 0, 'major')])
    pickup: int = 0             # length of the first bar if it is shorter than its meter, else 0
    title: str = ''             # for people; never part of the notation a model sees
    # what a reader repaired, skipped or guessed: see `remark`
    remarks: Counter = field(default_factory=Counter)


REMARKS = 'repaired', 'skipped', 'guessed'


def remark(remarks, kind, what, count=1):
    """Count in `remarks` what the source held and the music does not have as it was there.

    kind is one of REMARKS; what names it in a few plain words, such as 'notes without an end' or
    'text blocks'.
    """
    assert kind in REMARKS, kind
    if count:
        remarks[f'{kind}: {what}'] += count


def remarks_line(music):
    """What a reader could not keep as it was, in a line for people; '' if there is nothing to say.

    'repaired: notes without an end (2), lengths of tracks (1); skipped: text blocks (3)'
    """
    parts = []
    for kind in REMARKS:
        whats = [f"{key.removeprefix(kind + ': ')} ({count:,})"
                 for key, count in sorted(music.remarks.items()) if key.startswith(kind + ': ')]
        if whats:
            parts.append(f'{kind}: ' + ', '.join(whats))
    return '; '.join(parts)


def bar_length(numerator, denominator):
    """Units in a full bar: 96 to a whole note."""
    return WHOLE * numerator // denominator


def is_meter(numerator, denominator):
    """Can the grid hold this meter?"""
    return denominator in (1, 2, 4, 8, 16, 32) and 0 < bar_length(numerator, denominator) <= MAX_BAR


def fitting_meter(length, denominator=4):
    """Meter of a bar of `length` units, in this denominator or the next larger one that will do;
    None if none does.
    """
    while length * denominator % WHOLE and denominator < 32:
        denominator *= 2
    meter = length * denominator // WHOLE, denominator
    return meter if is_meter(*meter) and bar_length(*meter) == length else None


def beat_length(numerator, denominator):
    """Units in a beat: what the denominator says, or three of it in a compound meter such as 6/8
    or 12/16.
    """
    compound = denominator >= 8 and numerator % 3 == 0 and numerator > 3
    return bar_length(3 if compound else 1, denominator)


def bar_starts(music, end=None):
    """Onsets of all barlines from 0 to the first one at or after `end` (default: the end of the
    last note).
    """
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


def in_force(events, end=np.inf):
    """Events (time, ...) before `end`, without those that another one at their time replaces or
    that change nothing.
    """
    out = []
    for time, *event in events:
        if out and out[-1][0] == time:
            out.pop()
        if time < end and (not out or out[-1][1:] != tuple(event)):
            out.append((time, *event))
    return out


def begins(values):
    """Mask of the values of an array that differ from the one before them."""
    mask = np.ones(len(values), bool)
    mask[1:] = values[1:] != values[:-1]
    return mask
