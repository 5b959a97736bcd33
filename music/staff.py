"""Layout of a score: staves and clefs, layers, lengths that one note can have, triplets, beams.

Every note of the grid can be written: its length is cut into notes with up to two dots, tied. What
is off the 32nd grid goes into a triplet of 6, 12, 24, 48 or 96 units that cuts no note, the
smallest one; failing that, into a triplet of a quarter, which cuts. A written 64th is 1.5 units, or
1 unit in a triplet.

A voice whose notes are far from any one clef takes two staves, divided at middle C. Notes that
overlap without starting and ending together go to a second layer of the staff. Where two do not
suffice, the chords of the second one change wherever a note starts or ends, and what sounds on is
tied.
"""
from collections import namedtuple

from music.abcfile import DRAWABLE, fold, packed
from music.notes import UNITS
from music.quantise import STRAIGHT

LAYERS = 2                          # on a staff
FLAGGED = 16                        # 64ths in a quarter: shorter notes have flags
MIDDLE_C = 60
# Sign, line, octaves up, and the lowest and highest MIDI pitch without ledger lines; the first ones
# are preferred.
CLEFS = [('G', 2, 0, 62, 79), ('F', 4, 0, 41, 59), ('G', 2, 1, 74, 91), ('F', 4, -1, 29, 47),
         ('G', 2, 2, 86, 103)]
PERCUSSION = ('percussion', 2, 0, 0, 127)
RARE = 2        # semitones per note: how much worse the first two clefs may be than another one

# A note, chord or rest (no pitches). `at`: units from where the bar would start if it were full;
# `written`: 64ths; `tied`: the pitches that are tied to the next piece; `triplet`: (start, end) or
# None, in units as `at`.
Piece = namedtuple('Piece', 'at units written pitches tied triplet')


# ---- Pieces of a bar

def triplets(spans, first, last):
    """[(start, end)] that hold all that is off the 32nd grid in a bar.

    spans: (start, end, pitches, tied) of each note or chord.
    """
    points = sorted({first, last, *(point for start, end, *_ in spans for point in (start, end))})
    found, at = [], first
    for point in points:
        if point % STRAIGHT == 0 or point <= at and found:
            continue
        for size in (6, 12, 24, 48, 96):
            below = point - point % size
            start, end = max(below, at), min(below + size, last)
            regular = all(p * 6 % size == 0 for p in points if start < p < end)
            if regular and not any(a < edge < b for edge in (start, end) for a, b, *_ in spans):
                break
        else:
            below = point - point % UNITS
            start, end = max(below, at), min(below + UNITS, last)
        found.append((start, end))
        at = end
    return found


def pieces_of(spans, first, last, beat):
    """Pieces that fill a bar from `first` to `last`: spans in a row, with rests between them."""
    groups = triplets(spans, first, last)
    edges = [edge for group in groups for edge in group]
    straight = [4 * beat, 2 * beat, beat, beat // 3] if beat % 9 == 0 else [96, 48, 24, 12]
    pieces, at = [], first
    for start, end, pitches, tied in [*spans, (last, last, (), ())]:
        for a, b, sounding in ((at, start, ()), (start, end, pitches)):
            points = sorted({a, b, *(edge for edge in edges if a < edge < b)})
            for x, y in zip(points, points[1:]):
                group = next((group for group in groups if group[0] <= x < group[1]), None)
                if group:
                    zero, scale, sizes = group[0], 1, [32, 16, 8, 4, 2, 1]
                else:
                    zero, scale, sizes = 0, 2 / 3, [*straight, 6, 3]
                for u, v in (cut if sounding else rests)(x - zero, y - zero, sizes, scale):
                    ends = tied if zero + v == end else pitches
                    pieces.append(Piece(at=zero + u, units=v - u, written=round((v - u) * scale),
                                        pitches=sounding, tied=ends if sounding else (),
                                        triplet=group))
        at = end
    return pieces


def cut(start, end, sizes, scale):
    """Yield (start, end) of notes with up to two dots, cut where the meter is strongest."""
    if round((end - start) * scale) in DRAWABLE:
        yield start, end
        return
    point = next(point for size in sizes if (point := (end - 1) // size * size) > start)
    yield from cut(start, point, sizes, scale)
    yield from cut(point, end, sizes, scale)


def rests(start, end, sizes, scale):
    """Yield (start, end) of rests, each on a multiple of its own length."""
    while start < end:
        fitting = (size for size in sizes if start % size == 0 and start + size <= end)
        size = next(fitting, end - start)
        yield start, start + size
        start += size


def beams(pieces, beat):
    """{number of a piece: its <beam> elements}: notes with flags in one beat and in one triplet."""
    groups, key = [], None
    for i, piece in enumerate(pieces):
        flagged = piece.pitches and piece.written < FLAGGED
        former, key = key, (piece.at // beat, piece.triplet) if flagged else None
        if key and key == former:
            groups[-1].append(i)
        elif key:
            groups.append([i])
    out = {}
    for group in groups:
        count = [next(k for k in range(1, 5) if pieces[i].written >= FLAGGED >> k) for i in group]
        for j, i in enumerate(group if len(group) > 1 else ()):
            text = ''
            for level in range(1, count[j] + 1):
                left = j > 0 and count[j - 1] >= level
                right = j + 1 < len(group) and count[j + 1] >= level
                hook = 'backward hook' if j else 'forward hook'
                kinds = {(1, 1): 'continue', (0, 1): 'begin', (1, 0): 'end'}
                text += f'<beam number="{level}">{kinds.get((left, right), hook)}</beam>'
            out[i] = text
    return out


# ---- Staves

def clef_and_cost(notes):
    """(clef with the fewest ledger lines, semitones outside of its staff per note)."""
    pitches, costs = notes[:, 2], []
    for i, (*_, low, high) in enumerate(CLEFS):
        outside = (low - pitches).clip(0) + (pitches - high).clip(0)
        costs.append((outside.mean() if len(pitches) else 0) + (RARE if i > 1 else 0))
    return CLEFS[costs.index(min(costs))], min(costs)


def staves_of(notes, voice):
    """[(clef, lines)] of a voice: one staff or two. A line is as of abcfile.packed."""
    if voice.is_drum:
        return [(PERCUSSION, layered(notes))]
    clef, cost = clef_and_cost(notes)
    halves = notes[notes[:, 2] >= MIDDLE_C], notes[notes[:, 2] < MIDDLE_C]
    if cost > RARE and all(len(half) * 8 > len(notes) for half in halves):
        return [(clef_and_cost(half)[0], layered(half)) for half in halves]
    return [(clef, layered(notes))]


def layered(notes):
    lines = packed(notes)
    while len(lines) > LAYERS:
        lines[-2:] = [fold(*lines[-2:])]
    return lines


def spans_of(line, bars):
    """Yield for each bar of a line a list of (start, end, pitches, pitches tied to the next), in
    units."""
    k, held = 0, None
    for _, stop in bars:
        spans = []
        while held or k < len(line) and line[k][0] < stop:
            onset, end, pitches, tied = held or line[k]
            k += held is None
            held = (stop, end, pitches, tied) if end > stop else None
            spans.append((onset, min(end, stop), pitches, pitches if held else tied))
            if held:
                break
        yield spans
