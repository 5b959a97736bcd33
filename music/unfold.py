"""Notated bars (of tunebook.py and score.py) -> Music: repeats, endings, jumps and part orders are
played out, ties joined, meters made to fit.

    order = flatten(sections(bars))     # |: A |1 B :|2 C | -> indices of A B A C
    music = play({'1': bars}, 'AAB', {}, title, remarks)

Barlines stay where the book has them. Incomplete bars that meet over a repeat or a double bar and
together fill the meter become one bar. A bar of several meters' length is cut into full bars. A
short first bar is the pickup. Any other irregular bar is a change of meter.
"""
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np

from music.notation import without_overlaps
from music.notes import Music, Voice, bar_length, fitting_meter, in_force, remark

TICKS = 2 ** 8 * 3 ** 2 * 5 * 7     # in a unit of notes.py: tuplets and short notes are exact
MAX_PLAYED = 20_000                 # bars of one tune; beyond, the repeats are nonsense

# Signs that say where to go on, and words for them.
SIGN_WORDS = {
    'dacapo': r'd\.?\s?c\b|da\s?capo',
    'dalsegno': r'd\.?\s?s\b|dal\s?segno',
    'fine': r'fine\b|end\W*$',
    'tocoda': r'to\s?coda|da\s?coda',
    'segno': r'(?:segno|sign|s)\W*$|[\U0001D10B\uE047]',
    'coda': r'coda\b|[\U0001D10C\uE048]',
}
JUMPS = {'dacapo', 'dalsegno'}
LEAVING = {*JUMPS, 'fine', 'tocoda'}        # they hold at the end of their bar


class AbcError(ValueError):
    """A tune that is not read; str(e) is the named reason under which it is counted."""


class Sign(NamedTuple):
    name: str                       # a key of SIGN_WORDS
    at: int                         # ticks since the barline
    sure: bool                      # False for a word above the notes of a tune book


@dataclass(slots=True)
class NotatedBar:
    """One notated bar of one voice. All times are in ticks.

    A layer is a list of elements [notes, length, program, is_drum], a note a list of
        pitch, duration, tied to the next note?, text, tied to the note before?
    The last is None where the source does not say, as in ABC."""
    meter: tuple                    # (numerator, denominator), or None for free meter
    key: tuple                      # (sharps, 'major' or 'minor')
    tempo: int
    part: str = ''                  # label of the last P: before it
    layers: list = field(default_factory=lambda: [[]])      # overlays
    strong: bool = False            # more than a plain barline comes before it
    starts_repeat: bool = False
    ends_repeat: int = 0            # number of colons after it
    ends_section: bool = False      # more than a plain barline comes after it
    ending: frozenset = frozenset()     # of the turns on which it, and what follows, is played
    signs: tuple = ()               # of Sign

    def length(self):
        return max(sum(element[1] for element in layer) for layer in self.layers)


def play(voices, order, staves, title, remarks):
    """Music of `voices`, a dict of name -> list of NotatedBar. Raises AbcError. order: text of
    the header's P:, or ''. staves: name -> first voice on its staff. remarks: those of the reader,
    which are added to. The voices of a staff become one if they have one program and no note in
    common."""
    voices = {name: bars for name, bars in voices.items() if bars}
    if not voices:
        raise AbcError('no music')
    lead = max(voices.values(), key=len)
    plan = playing_order(lead, order, signs_of(voices.values()), remarks)
    straight = plan == list(range(len(lead)))
    if not straight and any(len(bars) != len(lead) for bars in voices.values()):
        raise AbcError('voices differ in their number of bars')

    at, former, played, spans = 0, -1, [], []
    for i in plan:
        full = lead[i].length()
        played.append((full, lead[i], lead[i].strong or i != former + 1))
        for name, bars in voices.items():
            if i >= len(bars):
                continue
            if bars[i] is not lead[i] and bars[i].length() != full:
                raise AbcError('voices differ in the length of a bar')
            for layer in bars[i].layers:
                onset = at
                for notes, duration, program, is_drum in layer:
                    kind = name, program, is_drum
                    for pitch, length, tied, _, from_before in notes:
                        spans.append([onset, onset + length, pitch, kind, tied, from_before])
                    onset += duration
        at, former = at + full, i
    if not spans:
        raise AbcError('no notes')

    music = timeline(played, title)
    music.remarks = remarks
    music.notes, music.voices = gather(join_ties(spans, remarks), list(voices), staves)

    # Silence is cut off at both ends: an empty pickup (a pickup is known by its notes), and changes
    # after the last note.
    silence = music.pickup if music.notes[0, 0] >= music.pickup else 0
    music.pickup -= silence
    music.notes[:, 0] -= silence
    end = (music.notes[:, 0] + music.notes[:, 1]).max()
    music.meters, music.tempos, music.keys = (
        in_force([(max(0, at - silence), *event) for at, *event in events], end)
        for events in (music.meters, music.tempos, music.keys))
    return music


def gather(spans, names, staves):
    """(notes, voices) of [onset, end, pitch, (name, program, is_drum), ...], times in ticks. Voices
    are in the order of `names`."""
    kinds = sorted(dict.fromkeys(span[3] for span in spans), key=lambda kind: names.index(kind[0]))
    on_staves = [(staves.get(name, name), program, is_drum) for name, program, is_drum in kinds]
    onset, end, pitch = np.array([span[:3] for span in spans]).T
    start, stop = (onset + TICKS // 2) // TICKS, (end + TICKS // 2) // TICKS        # nearest
    stop = np.maximum(start + 1, stop)
    for lines in (on_staves, kinds):
        voices = list(dict.fromkeys(lines))
        index = {kind: voices.index(line) for kind, line in zip(kinds, lines)}
        voice = [index[span[3]] for span in spans]
        notes = without_overlaps(np.stack([start, stop, pitch, voice], 1))
        if notes[:, 1].sum() == (stop - start).sum():
            break                   # no voice had to give way to another one on its staff
    return notes, [Voice(program, is_drum) for _, program, is_drum in voices]


# ---- The order in which bars are played

def playing_order(bars, order, signs, remarks):
    """Indices of the bars in the order in which they are played. signs: see signs_of."""
    labels, parts = [label for label, _ in groupby(bar.part for bar in bars)], part_labels(order)
    if any(labels) and parts:
        plan = parts_in_order(bars, labels, parts)
    else:
        if order:
            remark(remarks, 'guessed', 'order of the parts (P:)')
        plan = with_jump(bars, flatten(sections(bars)), signs, remarks)
    remark(remarks, 'skipped', 'bars that are never reached', len(bars) - len(set(plan)))
    return plan


def parts_in_order(bars, labels, parts):
    """Indices of the bars of an introduction, if there is music before the first P:, and of
    `parts`. labels: of the bars, without repetition. A body that says all parts in their order is
    played as it is."""
    if not set(parts) <= set(labels):
        raise AbcError('P: names a part that is not there')
    if labels == parts or labels == ['', *parts]:
        return flatten(sections(bars))
    intro = [''] if labels[0] == '' else []
    where = {label: [i for i, bar in enumerate(bars) if bar.part == label] for label in labels}
    once = {label: flatten(sections([bars[i] for i in where[label]])) for label in labels}
    return [where[label][i] for label in intro + parts for i in once[label]]


def part_labels(order):
    """'(AB)2C.A3' -> list of labels; none if the text is something else."""
    text, nested = re.sub(r'[\s.,;]', '', order), True
    while nested and len(text) < MAX_PLAYED:
        text, nested = re.subn(r'\(([A-Z\d]*)\)(\d{0,2})', lambda m: m[1] * int(m[2] or 1), text)
    text = re.sub(r'([A-Z])(\d{1,2})', lambda m: m[1] * int(m[2]), text)
    return list(text) if re.fullmatch('[A-Z]+', text) and len(text) < MAX_PLAYED else []


class Section(NamedTuple):
    """Bars that are played `turns` times: each time the body, then the endings of that turn."""
    body: range
    endings: list                   # (numbers of turns, range of bars)
    turns: int

    def turn(self, number):
        """Indices of the bars of one turn."""
        chosen = [bars for numbers, bars in self.endings if number in numbers]
        return [i for bars in (self.body, *chosen) for i in bars]


def sections(bars):
    """The bars as a list of Sections, in order; none is lost. A section begins with `|:`, or after
    the latest double bar or end of a repeat, as ABC 2.1 says of a `:|` without `|:`."""
    found, start = [], 0
    while start < len(bars):
        explicit, endings, colons, k = bars[start].starts_repeat, [], 0, start
        while k < len(bars) and not (bars[k].starts_repeat and k > start):
            bar, k = bars[k], k + 1
            if bar.ending:
                endings.append((bar.ending, k - 1))
            colons = max(colons, bar.ends_repeat)
            ends = bar.ends_repeat or bar.ends_section and (endings or not explicit)
            if ends and not (k < len(bars) and bars[k].ending):         # else one more ending
                break

        # An ending goes on to the next one, the last one to the end of the section. Where nothing
        # goes back, a lone ending is a body.
        firsts = [first for _, first in endings] + [k]
        ranges = [(numbers, range(first, stop))
                  for (numbers, _), first, stop in zip(endings, firsts, firsts[1:])]
        turns = 1 + colons
        if endings and (colons or len(endings) > 1):
            turns = max(2, *(max(numbers) for numbers, _ in endings))
        found.append(Section(range(start, firsts[0]), ranges, turns))
        start = k
    return found


def flatten(sections, repeats=True):
    """Indices of the bars as they are played, all turns or only the last one of each section."""
    plan = []
    for section in sections:
        for number in range(1 if repeats else section.turns, section.turns + 1):
            plan += section.turn(number)
            if len(plan) > MAX_PLAYED:
                raise AbcError('too many bars')
    return plan


# ---- Jumps

@lru_cache(maxsize=10_000)
def sign_of(words):
    """Name of the sign that words or a decoration mean, such as '_D.C. al Fine', or None."""
    words = words.strip('^_<>@!+( \t\n')
    return next((name for name, pattern in SIGN_WORDS.items()
                 if re.match(pattern, words, re.I)), None)


def signs_of(voices):
    """{name of a sign: sorted list of (bar, bar that begins there, is it sure?)}, of all voices.

    What begins at a segno or coda in the second half of a bar is the next bar. (So it is with one
    in the middle of a pickup.)"""
    found = {}
    for bars in voices:
        for i, bar in enumerate(bars):
            for name, at, sure in bar.signs:
                begins = i + 1 if at and 2 * at >= bar.length() else i
                found.setdefault(name, set()).add((i, begins, sure))
    return {name: sorted(places) for name, places in found.items()}


def with_jump(bars, plan, signs, remarks):
    """The plan up to the first jump that can be followed, and from there on: from the beginning or
    the sign, without repeats, to a Fine, over to the coda, or to the end. signs: see signs_of."""
    if not signs:
        return plan
    once = flatten(sections(bars), repeats=False)
    jumps = sorted((i, name, sure) for name in JUMPS for i, _, sure in signs.get(name, ()))
    is_only_jump = len({i for i, *_ in jumps}) == 1
    fines = [i for i, *_ in signs.get('fine', ())]
    codas = signs.get('coda', [])
    for jump, name, sure in jumps:
        start = 0
        if name == 'dalsegno':
            start = max((begins for _, begins, _ in signs.get('segno', ()) if begins < jump),
                        default=None)
        if start is None or jump not in plan:
            continue

        # The way to a coda leaves at its first sign, or at "to coda"; the coda begins at its last.
        leaves = [i for i, *_ in signs.get('tocoda', codas[:-1]) if i >= start]
        to_coda = bool(leaves and codas and codas[-1][1] > leaves[0])
        fine = next((i for i in fines if i >= start), None)

        # Words above the notes are clear only if they are the only ones, and those of a D.C. only
        # if there is a place where the repetition ends.
        has_end = name == 'dalsegno' or to_coda or fine is not None
        if not sure and not (is_only_jump and has_end):
            continue
        again = [i for i in once if i >= start]
        if to_coda:
            again = [i for i in again if i <= leaves[0] or i >= codas[-1][1]]
        elif fine is not None:
            again = [i for i in again if i <= fine]
        last = len(plan) - plan[::-1].index(jump)
        remark(remarks, 'skipped', 'jumps (D.C., D.S., Fine, coda)', len(jumps) - 1)
        return plan[:last] + again

    # None is followed. (A Fine at the end says nothing.)
    idle = [i for name, places in signs.items() for i, *_ in places
            if name != 'fine' or i < len(bars) - 1]
    remark(remarks, 'skipped', 'jumps (D.C., D.S., Fine, coda)', len(idle))
    return plan


# ---- Ties and time

def join_ties(spans, remarks):
    """[onset, end, pitch, voice, tied, tied from before] of all notes -> the same, tied notes made
    one. A tie to nothing just ends. Of two notes that follow each other, a source that marks both
    ends of a tie has to mark the second one too."""
    spans.sort(key=lambda span: span[0])
    joined, waiting, loose = [], {}, 0
    for span in spans:
        onset, end, pitch, voice, tied, from_before = span
        former = None
        if waiting and from_before is not False:
            former = waiting.pop((onset, pitch, voice[0]), None)
        if former:
            former[1] = end
        else:
            loose += from_before is True
            joined.append(former := span)
        if tied:
            waiting[end, pitch, voice[0]] = former
    remark(remarks, 'repaired', 'dangling ties', loose + len(waiting))
    return joined


def timeline(played, title):
    """Music without notes: meters, tempos, keys and pickup of [(length, NotatedBar, after a
    strong barline?)], as played."""
    bars = join_bars([(length, bar.meter, strong) for length, bar, strong in played])
    meters, pickup, starts = [], 0, [0]
    for i, (length, meter) in enumerate(bars):
        full = full_bar(meter)
        short = meter and length < full and len(bars) > 1
        if short and i == 0:
            pickup = whole(length)
        elif length != full and not (short and i == len(bars) - 1):     # nothing follows it there
            meter = fitting_meter(whole(length), meter[1] if meter else 4)
            if not meter:
                raise AbcError('bar length that no meter has')
        meters.append((whole(starts[-1]), *meter))
        starts.append(starts[-1] + length)
    keys, tempos, at = [], [], 0
    for length, bar, _ in played:
        start = whole(starts[bisect_left(starts, at)])      # from within a joined bar, the next one
        keys.append((start, *bar.key))
        tempos.append((start, bar.tempo))
        at += length
    return Music(None, [], meters, tempos, keys, pickup, title)


def join_bars(bars):
    """[(length, meter, strong)] -> [(length, meter)]: see the module's docstring."""
    joined, i = [], 0
    while i < len(bars):
        length, meter, _ = bars[i]
        full, total, j = full_bar(meter), length, i + 1
        while meter and total < full and j < len(bars) and bars[j][2]:
            total += bars[j][0]
            j += 1
        if j > i + 1 and total == full:
            joined.append((full, meter))
            i = j
        else:
            pieces = length // full if meter and length % full == 0 else 1
            if len(joined) + pieces > MAX_PLAYED:
                raise AbcError('too many bars')
            joined += [(length // pieces, meter)] * pieces
            i += 1
    return joined


def read_per_minute(text):
    """Beats a minute of '120', 'c. 66', '92.5' or '66-72' (the mean), as a Fraction; None if it is
    no number or zero."""
    number = r'(\d{1,6}(?:[.,]\d{1,6})?)'
    match = re.fullmatch(rf'[^\d]*{number}(?:\s*(?:-|–|to)\s*{number})?(?![.,]?\d)[^\d]*', text)
    if not match:
        return None
    low, high = match[1], match[2] or match[1]
    return (Fraction(low.replace(',', '.')) + Fraction(high.replace(',', '.'))) / 2 or None


def as_tempo(quarters):
    """What Music.tempos can hold, of any number of quarters a minute."""
    return max(1, min(9999, round(quarters)))


def full_bar(meter):
    return bar_length(*meter) * TICKS if meter else None


def whole(ticks):
    if ticks % TICKS:
        raise AbcError('bar off the grid')
    return ticks // TICKS
