"""Notated bars (of tunebook.py) -> Music: repeats, endings and part orders played out, ties joined, meters made to fit.

Barlines stay where the book has them. Incomplete bars that meet over a repeat or a double bar and together fill the
meter become one bar. A bar of several meters' length is cut into full bars. A short first bar is the pickup. Any other
irregular bar is a change of meter.
"""
import re
from bisect import bisect_left
from dataclasses import dataclass, field

from music.notation import without_overlaps
from music.notes import Music, Voice, bar_length, fitting_meter, in_force

TICKS = 2 ** 8 * 3 ** 2 * 5 * 7     # in a unit of notes.py: tuplets and short notes are read exactly
MAX_PLAYED = 20_000                 # bars of one tune; beyond, the repeats are nonsense


class AbcError(ValueError):
    """A tune that is not read; str(e) is the named reason under which it is counted."""


@dataclass(slots=True)
class Bar:
    """One notated bar of one voice."""
    meter: tuple                    # (numerator, denominator), or None for free meter
    key: tuple                      # (sharps, 'major' or 'minor')
    tempo: int
    part: str = ''                  # label of the last P: before it
    layers: list = field(default_factory=lambda: [[]])      # overlays: elements [notes, length, program, is_drum] ...
    strong: bool = False            # what stands before it is more than a plain barline
    starts_repeat: bool = False
    ends_repeat: int = 0            # number of colons after it
    ends_section: bool = False      # what stands after it is more than a plain barline
    ending: frozenset = frozenset()     # of the passes on which it, and what follows, is played

    def length(self):               # ... notes [pitch, duration, tied to the next, note text]; all times in ticks
        return max(sum(element[1] for element in layer) for layer in self.layers)


def play(voices, order, staves, title=''):
    """Music of `voices`, a dict of name -> list of Bar. Raises AbcError. order: text of the header's P:, or indices of
    the bars. staves: name -> first voice on its staff. The voices of a staff become one if they have one program and no
    note in common."""
    voices = {name: bars for name, bars in voices.items() if bars}
    if not voices:
        raise AbcError('no music')
    lead = max(voices.values(), key=len)
    plan = playing_order(lead, order) if isinstance(order, str) else order
    if plan != list(range(len(lead))) and any(len(bars) != len(lead) for bars in voices.values()):
        raise AbcError('voices differ in their number of bars')
    at, former, played, spans = 0, -1, [], []
    for i in plan:
        length = lead[i].length()
        played.append((length, lead[i], lead[i].strong or i != former + 1))
        for name, bars in voices.items():
            if i >= len(bars):
                continue
            if bars[i] is not lead[i] and bars[i].length() != length:
                raise AbcError('voices differ in the length of a bar')
            for layer in bars[i].layers:
                onset = at
                for notes, duration, program, is_drum in layer:
                    spans += [[onset, onset + note[1], note[0], (name, program, is_drum), note[2]] for note in notes]
                    onset += duration
        at, former = at + length, i
    if not spans:
        raise AbcError('no notes')
    music = timeline(played, title)
    music.notes, music.voices = gather(join_ties(spans), list(voices), staves)
    return music


def gather(spans, names, staves):
    """(notes, voices) of [onset, end, pitch, (name, program, is_drum), tied], with voices in the order of `names`."""
    kinds = sorted(dict.fromkeys(span[3] for span in spans), key=lambda kind: names.index(kind[0]))
    nearest = lambda ticks: (ticks + TICKS // 2) // TICKS
    on_staves = [(staves.get(name, name), program, is_drum) for name, program, is_drum in kinds]
    for lines in (on_staves, kinds):
        voices = list(dict.fromkeys(lines))
        index = {kind: voices.index(line) for kind, line in zip(kinds, lines)}
        rows = [(nearest(onset), max(nearest(onset) + 1, nearest(end)), pitch, index[kind])
                for onset, end, pitch, kind, _ in spans]
        notes = without_overlaps(rows)
        if notes[:, 1].sum() == sum(end - onset for onset, end, _, _ in rows):
            break                                       # no voice had to give way to another one on its staff
    return notes, [Voice(program, is_drum) for _, program, is_drum in voices]


def playing_order(bars, order):
    """Indices of the bars in the order in which they are played."""
    labels, parts = {bar.part for bar in bars} - {''}, part_labels(order)
    if not labels or not parts:
        return expand(bars)
    if not set(parts) <= labels:
        raise AbcError('P: names a part that is not there')
    where = {label: [i for i, bar in enumerate(bars) if bar.part == label] for label in parts}
    return [where[label][i] for label in parts for i in expand([bars[j] for j in where[label]])]


def part_labels(order):
    """'(AB)2C.A3' -> list of labels; none if the text is something else."""
    text, nested = re.sub(r'[\s.]', '', order), True
    while nested and len(text) < MAX_PLAYED:
        text, nested = re.subn(r'\(([A-Z\d]*)\)(\d{0,2})', lambda m: m[1] * int(m[2] or 1), text)
    text = re.sub(r'([A-Z])(\d{1,2})', lambda m: m[1] * int(m[2]), text)
    return list(text) if re.fullmatch('[A-Z]+', text) and len(text) < MAX_PLAYED else []


def expand(bars):
    """Indices of the bars in the order in which they are played, with repeats and endings. A `:|` without `|:` goes
    back to the latest double bar or end of a repeat, as ABC 2.1 says."""
    played, k, start, explicit, turn, inside = [], 0, 0, False, 1, False        # inside: in an ending of this turn
    while k < len(bars):
        bar, after = bars[k], bars[k + 1].ending if k + 1 < len(bars) else frozenset()
        if bar.starts_repeat and not (k == start and explicit):
            start, explicit, turn, inside = k, True, 1, False
        if bar.ending:
            inside = turn in bar.ending
            if not inside:
                while not bars[k].ends_section and k + 1 < len(bars) and not bars[k + 1].ending:
                    k += 1
                k += 1
                continue
        played.append(k)
        if len(played) > MAX_PLAYED:
            raise AbcError('too many bars')
        if bar.ends_repeat or inside and after:
            numbers = endings(bars, start)
            turns = max(2, *numbers) if numbers else 1 + bar.ends_repeat
            if turn < turns and (bar.ends_repeat or turn + 1 in after):
                turn, k, inside = turn + 1, start, False
                continue
        k += 1
        if turn in after and turn > 1:
            continue
        if bar.ends_repeat or bar.ends_section and (inside or not explicit):
            start, explicit, turn, inside = k, False, 1, False
    return played


def endings(bars, start):
    """Numbers of the endings of the repeat that starts at bars[start]."""
    numbers, inside = set(), False
    for k in range(start, len(bars)):
        bar, after = bars[k], bars[k + 1].ending if k + 1 < len(bars) else frozenset()
        if k > start and bar.starts_repeat or numbers & bar.ending:
            break
        numbers |= bar.ending
        inside = inside or bool(bar.ending)
        if not after and (bar.ends_repeat or inside and bar.ends_section):
            break
    return numbers


def join_ties(spans):
    """[onset, end, pitch, voice, tied] of all notes -> the same, tied notes made one. A tie to nothing just ends."""
    spans.sort(key=lambda span: span[0])
    joined, waiting = [], {}
    for span in spans:
        onset, end, pitch, voice, tied = span
        former = waiting.pop((onset, pitch, voice[0]), None)
        if former:
            former[1] = end
        else:
            joined.append(former := span)
        if tied:
            waiting[end, pitch, voice[0]] = former
    return joined


def timeline(played, title):
    """Music without notes: meters, tempos, keys and pickup of [(length, Bar, behind a strong barline?)], as played."""
    bars = join_bars([(length, bar.meter, strong) for length, bar, strong in played])
    meters, pickup, starts = [], 0, [0]
    for i, (length, meter) in enumerate(bars):
        full = full_bar(meter)
        short = meter and length < full and len(bars) > 1
        if short and i == 0:
            pickup = whole(length)
        elif length != full and not (short and i == len(bars) - 1):        # nothing follows a short last bar
            meter = fitting_meter(whole(length), meter[1] if meter else 4)
            if not meter:
                raise AbcError('bar length that no meter has')
        meters.append((whole(starts[-1]), *meter))
        starts.append(starts[-1] + length)
    keys, tempos, at = [], [], 0
    for length, bar, _ in played:
        start = whole(starts[bisect_left(starts, at)])          # from within a joined bar, the next barline
        keys.append((start, *bar.key))
        tempos.append((start, bar.tempo))
        at += length
    return Music(None, [], in_force(meters), in_force(tempos), in_force(keys), pickup, title)


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
            joined += [(length // pieces, meter)] * pieces
            i += 1
    return joined


def full_bar(meter):
    return bar_length(*meter) * TICKS if meter else None


def whole(ticks):
    if ticks % TICKS:
        raise AbcError('bar off the grid')
    return ticks // TICKS
