"""Notes -> a conventional stand-alone ABC 2.1 file, for people and other programs (abc2midi, abcjs,
abcm2ps, music21).

    text = write_abc(music, title='Untitled')       # read_abc of tunebook.py reads the same music

The compact notation that models read (notation.py) is bent for polyphony; this one is not. A bar
holds every voice, silent ones rest. What a voice cannot say in one line of chords (notes that
overlap without starting and ending together) goes to further voices of the same instrument, on the
same staff. Lengths have power-of-two denominators; whatever does not is inside a tuplet `(3:2:r`,
which starts and ends on the 32nd grid. An accidental holds to the barline, and one is written
wherever readers could disagree about whether it holds in other octaves.
"""
import re
from collections import Counter, defaultdict
from fractions import Fraction
from functools import lru_cache

import numpy as np

from music.instruments import INSTRUMENTS
from music.notation import MARKS, SEMITONES, fields_of, length_text, signature, spelling
from music.notes import UNITS, Voice, bar_length, bar_starts, beat_length
from music.quantise import STRAIGHT

BARS_PER_LINE, LINE_WIDTH = 4, 100  # at most, bars and characters
MAX_LINES = 30                      # voices that abc2midi can hold
# Lengths in 64ths that one note can have, with up to two dots.
DRAWABLE = {n << k for n in (1, 3, 7) for k in range(8) if n << k <= 128}


def write_abc(music, title=''):
    """Text of the file, ending in a newline."""
    # A pickup alone is followed by a full bar, and music without notes is one bar of silence.
    starts = bar_starts(music)
    if music.pickup and len(starts) == 2 or len(starts) == 1:
        starts.append(starts[-1] + bar_length(*music.meters[0][1:]))
    bars = list(zip(starts, starts[1:]))

    # Drums come last.
    voices = music.voices or [Voice()]
    lines = sorted(layers(music), key=lambda line: voices[line[0]].is_drum) or [(0, [])]
    only_drums = voices[lines[0][0]].is_drum

    # Without `chordattack 0`, abc2midi plays the notes of a chord one after another.
    title = re.sub(r'\s+', ' ', title or music.title or 'Untitled').replace('%', r'\%')
    meter, tempo, key = fields_of(music.meters, music.tempos, music.keys)[0]
    header = ['X:1', f'T:{title}', meter, 'L:1/8', tempo, score(lines), key, '%%MIDI chordattack 0']

    # Notes are beamed by the beat, but never in less than quarters, and a bar of 3/8 as one.
    beats = {onset: bar_length(3, 8) if meter == [3, 8] else max(UNITS, beat_length(*meter))
             for onset, *meter in music.meters}

    # Each line of chords is a voice of the file. The first one has the tempos. Drums are in C,
    # unless there is nothing but drums: then the header's key holds.
    channels = channels_of(voices)
    columns = []
    for n, (v, notes) in enumerate(lines):
        voice = voices[v]
        name = 'Drums' if voice.is_drum else INSTRUMENTS[voice.program]
        header.append(f'V:{n + 1} name="{name}"')
        header.append(f'%%MIDI channel {channels[v]}')
        header.append(f'%%MIDI program {voice.program}')
        in_c = voice.is_drum and not only_drums
        keys = [(0, 0, 'major')] if in_c else music.keys
        fields = fields_of(music.meters, music.tempos if n == 0 else [], keys)
        fields[0] = ['K:C'] if in_c else []
        sharps = {onset: sharps for onset, sharps, _ in keys}
        columns.append(column(notes, bars, fields, beats, sharps))

    body = []
    for first, last in systems(columns):
        end = '|]' if last == len(bars) else '|'
        for n, cells in enumerate(columns):
            body.append(f'[V:{n + 1}]' + '|'.join(cells[first:last]) + end)
    return '\n'.join(header + body) + '\n'


def systems(columns):
    """Yield (first bar, bar after the last) of each line of music: a few bars, as many as fit in
    the fullest voice."""
    first, width = 0, 0
    for bar, cells in enumerate(zip(*columns)):
        size = max(map(len, cells))
        if bar > first and (width + size > LINE_WIDTH or bar - first == BARS_PER_LINE):
            yield first, bar
            first, width = bar, 0
        width += size
    yield first, len(columns[0])


def layers(music):
    """[(voice, [(onset, end, pitches, pitches tied to the next)])]: each voice as lines of chords
    in a row. While they are more than abc2midi holds, two of a voice are folded; failing that, the
    voices of one instrument share theirs."""
    lines = [(v, line) for v in range(len(music.voices))
             for line in packed(music.notes[music.notes[:, 3] == v])]
    while len(lines) > MAX_LINES:
        count = Counter(v for v, _ in lines)
        several = [line for line in lines if count[line[0]] > 1]
        if not several:
            firsts = np.array([music.voices.index(voice) for voice in music.voices])
            return [(v, line) for v in dict.fromkeys(firsts.tolist())
                    for line in packed(music.notes[firsts[music.notes[:, 3]] == v])]

        # The line with the fewest chords goes into the next shortest one of its voice.
        one, *others = sorted(several, key=lambda line: len(line[1]))
        other = next(line for line in others if line[0] == one[0])
        folded = one[0], fold(one[1], other[1])
        lines = [folded if line is other else line for line in lines if line is not one]
    return lines


def packed(notes):
    """Lines of (onset, end, pitches, no ties) that hold the notes; each chord goes to the first
    line that is free."""
    # Notes of one onset and duration are a chord; the second of two unisons goes to a second chord.
    chords, unisons = defaultdict(list), Counter()
    for onset, duration, pitch, _ in notes.tolist():
        unisons[onset, duration, pitch] += 1
        chords[onset, -duration, unisons[onset, duration, pitch]].append(pitch)

    # By onset, the longest chord first.
    lines = []
    for (onset, minus, _), pitches in sorted(chords.items()):
        line = next((line for line in lines if line[-1][1] <= onset), None)
        if line is None:
            lines.append(line := [])
        line.append((onset, onset - minus, tuple(sorted(pitches)), ()))
    return lines


def fold(one, other):
    """Two lines as one, whose chords change wherever a note of either starts or ends; what sounds
    on is tied."""
    times = sorted({time for onset, end, *_ in one + other for time in (onset, end)})
    folded, k = [], [0, 0]
    for start, end in zip(times, times[1:]):
        pitches, tied = (), ()
        for i, line in enumerate((one, other)):
            if k[i] < len(line) and line[k[i]][1] <= start:
                k[i] += 1
            if k[i] < len(line) and line[k[i]][0] <= start:
                _, stop, sounding, ends = line[k[i]]
                pitches += sounding
                tied += sounding if stop > end else ends
        if pitches:
            folded.append((start, end, tuple(sorted(pitches)), tuple(sorted(tied))))
    return folded


def score(lines):
    """%%score: the lines of one instrument share a staff."""
    staves = defaultdict(list)
    for n, (v, _) in enumerate(lines, 1):
        staves[v].append(str(n))
    texts = [f'({" ".join(staff)})' if len(staff) > 1 else staff[0] for staff in staves.values()]
    return '%%score ' + ' '.join(texts)


def channels_of(voices):
    """MIDI channel (1-16) of each voice: voices of one program share one of the sixteen; drums are
    on 10."""
    free = [c for c in range(1, 17) if c != 10]
    taken = {}                                  # program -> channel
    return [10 if v.is_drum else taken.setdefault(v.program, free[len(taken) % 15]) for v in voices]


def column(notes, bars, fields, beats, keys):
    """Texts of all bars of one line of chords. `fields`, `beats` (units) and `keys` (sharps) are
    dicts by onset."""
    cells, k, beat, sharps = [], 0, UNITS, 0
    held = None                 # what is left of a chord that lasts beyond the bar
    carried = ()                # (place, pitch) of what is tied into the bar
    for start, end in bars:
        # What sounds in the bar, cut at its end.
        beat, sharps = beats.get(start, beat), keys.get(start, sharps)
        spans = []
        while held or k < len(notes) and notes[k][0] < end:
            onset, stop, pitches, tied = held or notes[k]
            if held is None:
                k += 1
            held = (end, stop, pitches, tied) if stop > end else None
            tied = pitches if held else tied
            spans.append((onset - start, min(stop, end) - start, pitches, tied))
            if held:
                break

        # `courtesy`: where the key of this bar spells what is tied into it in another way.
        courtesy = tuple(place for place, pitch in carried if spelling(sharps)[pitch] != place)
        changes = ''.join(f'[{field}]' for field in fields.get(start, ()))
        cells.append(changes + bar_text(tuple(spans), end - start, sharps, beat, courtesy))
        tied = spans[-1][3] if spans and spans[-1][1] == end - start else ()
        carried = [(spelling(sharps)[pitch].lstrip('^_='), pitch) for pitch in tied]
    return cells


@lru_cache(maxsize=100_000)
def bar_text(spans, length, sharps, beat, courtesy):
    """Text of a bar of one line, with a space at each `beat`. `spans`: (start, end, pitches,
    pitches tied to the next), times from the barline. `courtesy`: places (letter and octave, as in
    "c'") where a tie brings in another pitch than the key signature says. The first note there gets
    its accidental in any case."""
    # Chords and the rests between them, in pieces.
    pieces, at = [], 0
    for start, end, pitches, tied in spans + ((length, length, (), ()),):
        pieces += cut(at, start, (), ()) + cut(start, end, pitches, tied)
        at = end

    # A tuplet goes on until a piece ends on the 32nd grid.
    text, held, i = '', dict.fromkeys(courtesy), 0
    while i < len(pieces):
        j = i + 1
        while pieces[j - 1][1] % STRAIGHT and j < len(pieces):
            j += 1
        tuplet = j > i + 1 or pieces[i][1] % STRAIGHT
        elements = [element for piece in pieces[i:j] for element in drawable(*piece, tuplet)]
        text += ' ' if i and pieces[i][0] % beat == 0 else ''
        text += f'(3:2:{len(elements)}' if tuplet else ''
        text += ''.join(element_text(*element, sharps, held) for element in elements)
        i = j
    return text


def element_text(size, pitches, tied, sharps, held):
    """Text of a note, chord or rest; a tie of all its notes follows the chord."""
    each = 0 < len(tied) < len(pitches)         # only some are tied, each with a sign of its own
    notes = [spelled(pitch, sharps, held) + ('-' if each and pitch in tied else '')
             for pitch in pitches] or ['z']
    text = f'[{"".join(notes)}]' if len(notes) > 1 else notes[0]
    return text + length_text(size) + ('-' if tied and not each else '')


def cut(start, end, pitches, tied):
    """Pieces of a note or rest: one that is off the 32nd grid at an end is cut so that its tuplet
    stays in the beat."""
    points = {start, end}
    for point, way in (start, 1), (end, -1):
        if point % STRAIGHT:
            beat, half_beat = (point + way * (-way * point % size) for size in (UNITS, UNITS // 2))
            points.add(beat if pitches and abs(beat - point) in DRAWABLE else half_beat)
    points = sorted(p for p in points if start <= p <= end)
    return [(a, b, pitches, tied if b == end else pitches) for a, b in zip(points, points[1:])]


def drawable(start, end, pitches, tied, tuplet):
    """Elements (length in units as written, pitches, tied) of a piece, in lengths that one note
    with dots can have."""
    # In 64ths: one is 1.5 units, or 1 unit in a tuplet.
    left = end - start if tuplet else (end - start) * 2 // 3
    elements = []
    while left:
        size = max(d for d in DRAWABLE if d <= left)
        left -= size
        elements.append((Fraction(3 * size, 2), pitches, pitches if left else tied))
    return elements


def spelled(pitch, sharps, held):
    """Note text. `held`: accidentals since the barline, by letter and by place; both must agree for
    leaving one out."""
    place = spelling(sharps)[pitch].lstrip('^_=')
    letter = place[0].upper()
    alter = (pitch - SEMITONES[letter] + 6) % 12 - 6
    in_key = signature(sharps)[letter]
    silent = held.get((letter, 'all'), in_key) == alter == held.get(place, in_key)
    held[letter, 'all'] = held[place] = alter
    return place if silent else MARKS[alter] + place
