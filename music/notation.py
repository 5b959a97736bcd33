"""Notes <-> compact ABC text, the notation that models read and write. Lossless in both directions.

    text = encode(music)                 # Music (notes.py) -> text
    music = decode(text)                 # text -> Music; raises NotationError with line and reason

    L:1/8                                length 1 is an eighth note; always this line
    M:4/4                                meter
    Q:1/4=120                            quarters per minute
    K:Em                                 one of 15 major and 15 minor keys
    V:1 program=0                        a voice: one instrument line (General MIDI program)
    V:2 program=33
    V:3 drums                            channel 10; `drums=8` for another kit than 0
    [V:1]G2A/2B/2c[EGB]4|[V:2]E,4z4|     a line is a bar, a cell is a voice that sounds in it;
                                         voices that rest are left out
    Z|                                   a bar in which nothing sounds
    [M:3/4][Q:1/4=90][K:G][V:1]F6-|      changes come at the start of a bar, in the order M, Q, K
    [V:1]F2z4|                           `-` ties a note that reaches the barline to the same pitch
                                         in the next bar

Three optional marks add nothing to the music; they help a model to count and to remember:
    [V:1]FAd dcd|                        beats: a space before what starts on a beat
                                         (notes.beat_length), except at the start of the cell
    |:                                   repeats: from here to `:|` all is played twice
    [1                                   from here to `:|` only the first time
    :|                                   these marks are lines of their own
    [V:1]cee e2A|$                       phrases: `$` ends every fourth bar; a pickup does not count
                                         (repeats.phrased)

A first bar whose cells are all shorter than the meter is a pickup. This is ABC 2.1 with L:1/8 and
`I:propagate-accidentals not`: an accidental holds for its own note only. It is written if and only
if it differs from the key signature; drum voices are spelled in C.

Two freedoms make polyphony short. Any length `n/d` in units of 1/12 eighth is allowed: a triplet
eighth is `C2/3`. And the members of a chord may have lengths of their own. As ABC 2.1 says, a chord
then advances by its *first* member, which may be a rest: `[zG4C8]` sounds G for a half note and C
for a whole one, and the next event comes an eighth later. Where all members have one length, it
follows the bracket: `[CEG]4`. abcfile.py makes conventional ABC files of this, for other programs.

One canonical text for one piece of music:
  lengths    '' = 12 units, '2', '3/2', '/2' = 6 units, '2/3' = 8 units; reduced; no 1 before `/`,
             no `/1`
  chords     the first member is the lowest note whose length is the distance to the voice's next
             event (or to the end of the bar); failing that, if all notes end before it, the longest
             one (lowest if several), and a rest follows; failing that, a rest of that distance. The
             other members follow in ascending pitch.
  cells      fill their bar exactly, with rests `z`; voices in the order of the header

The reader asks for all of this except marks, spelling and the order within chords. It is lenient in
three points where sampled text may stray: a tie that finds no note ends at the barline; of two
overlapping notes of one pitch and voice the earlier one ends where the later one starts (of two at
one onset the longer one stays); and a cell may hold rests only.
"""
import collections
import re
from fractions import Fraction
from functools import cache

import numpy as np

from music import notes
from music.notes import (
    KEY_NAMES,
    KEYS,
    MAX_BAR,
    UNITS,
    Music,
    Voice,
    bar_length,
    bar_starts,
    begins,
    is_meter,
)
from music.repeats import folded, phrased, unfolded

EIGHTH = 12                 # units of 1/24 quarter in the note length L:1/8
MAX_VOICES = 256


class NotationError(ValueError):
    """Text that is not in the notation; the message says where and why."""


def length_text(units):
    """Text of a duration, as a reduced fraction of an eighth: 12 -> '', 24 -> '2', 6 -> '/2',
    18 -> '3/2'."""
    n, d = Fraction(units, EIGHTH).as_integer_ratio()
    return ('' if n == 1 else str(n)) + (f'/{d}' if d > 1 else '')


LENGTH = [None] + [length_text(u) for u in range(1, MAX_BAR + 1)]           # units -> text
REST = [''] + ['z' + text for text in LENGTH[1:]]                       # units of a rest -> text
UNITS_OF = {text: units for units, text in enumerate(LENGTH) if units}  # text -> units

FIFTHS = 'FCGDAEB'                  # letters along the line of fifths; C is 0
SEMITONES = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}
MARKS = {-1: '_', 0: '=', 1: '^'}   # semitones -> accidental


@cache
def signature(sharps):
    """What a key of `sharps` (-7..7) does to each letter: {'F': 1, 'C': 0, ...}, semitones."""
    return {letter: (sharps + 6 - i) // 7 for i, letter in enumerate(FIFTHS)}


@cache
def spelling(sharps):
    """List of 128: MIDI pitch -> note text in a key of `sharps` (-7..7), such as '^F,'.

    The twelve spellings are the neighbours of the tonic on the line of fifths, from minor third to
    augmented fifth (in C: Eb Bb F C G D A E B F# C# G#), respelled where that would need a double
    accidental.
    """
    texts = [None] * 128
    for fifth in range(sharps - 3, sharps + 9):
        fifth += 12 * ((fifth < -8) - (fifth > 12))                          # Fb is -8, B# is 12
        alter, i = divmod(fifth + 1, 7)                                      # F is -1
        letter = FIFTHS[i]
        mark = '' if alter == signature(sharps)[letter] else MARKS[alter]
        for pitch in range((SEMITONES[letter] + alter) % 12, 128, 12):
            texts[pitch] = mark + in_octave(letter, (pitch - alter) // 12)
    return texts


def in_octave(letter, octave):
    """5 is the octave of middle C, written C."""
    return letter + ',' * (5 - octave) if octave < 6 else letter.lower() + "'" * (octave - 6)


@cache
def pitches(sharps):
    """Note text -> MIDI pitch: as `spelling` has it, and any other way, such as '^c' in a key that
    has '_d'."""
    read = {}
    for letter, semitones in SEMITONES.items():
        alters = {'': signature(sharps)[letter]} | {mark: alter for alter, mark in MARKS.items()}
        for mark, alter in alters.items():
            for octave in range(-1, 12):
                read[mark + in_octave(letter, octave)] = 12 * octave + semitones + alter
    return {text: pitch for text, pitch in read.items() if 0 <= pitch < 128}


def encode(music, beats=False, repeats=False, phrases=False):
    """Canonical text of `music`: header, then a line per bar. ValueError if a change of meter,
    tempo or key is off the barlines."""
    starts = bar_starts(music)
    fields = fields_of(music.meters, music.tempos, music.keys)

    # The header: the meter, tempo and key of onset 0, which leave the dict, and the voices.
    lines = ['L:1/8', *fields.pop(0)]
    for i, voice in enumerate(music.voices, 1):
        program = f'={voice.program}' if voice.program or not voice.is_drum else ''
        lines.append(f'V:{i} {"drums" if voice.is_drum else "program"}{program}')

    # Bars begin with their changes of meter, tempo and key ...
    bars = [''] * (len(starts) - 1)
    bar_at = {onset: i for i, onset in enumerate(starts[:-1])}
    for onset, changed in fields.items():
        if onset not in bar_at:
            raise ValueError(f'a change of meter, tempo or key at {onset} is not on a barline')
        bars[bar_at[onset]] = ''.join(f'[{field}]' for field in changed)

    # ... and then come the cells. Without `beats` a beat lasts MAX_BAR: only position 0 is on one,
    # where `cells` strips the space.
    if len(music.notes):
        starts = np.array(starts)
        segments = cut_at_barlines(music, starts)
        meter_times = [onset for onset, *_ in music.meters]
        meter_of_bar = np.searchsorted(meter_times, starts[:-1], 'right') - 1
        beat_of_meter = [beat_of(*meter) if beats else MAX_BAR for _, *meter in music.meters]

        # Each voice has a cell in each bar, as long as the bar (the empty ones are not written).
        cell_lengths = np.repeat(np.diff(starts), len(music.voices))
        cell_beats = np.repeat(np.array(beat_of_meter)[meter_of_bar], len(music.voices))
        order, events = chords(segments, cell_lengths, cell_beats)
        for bar, cell in cells(segments[:, order], events, music, starts):
            bars[bar] += cell

    # A bar that ends with `|` has cells; one with changes only, or nothing, is silent.
    bars = [bar if bar[-1:] == '|' else bar + 'Z|' for bar in bars]
    if repeats:
        bars = folded(bars)
    if phrases:
        bars = phrased(bars, bool(music.pickup))
    return '\n'.join([*lines, *bars]) + '\n'


def beat_of(numerator, denominator):
    """Units between two spaces: a beat of a compound meter (9, 18 or 36 units), else a quarter."""
    beat = notes.beat_length(numerator, denominator)
    return beat if beat % 9 == 0 else UNITS


def fields_of(meters, tempos, keys):
    """{onset: list such as ['M:3/4', 'K:G']} of all events."""
    fields = collections.defaultdict(list)
    for onset, numerator, denominator in meters:
        fields[onset].append(f'M:{numerator}/{denominator}')
    for onset, tempo in tempos:
        fields[onset].append(f'Q:1/4={tempo}')
    for onset, *key in keys:
        fields[onset].append(f'K:{KEY_NAMES[tuple(key)]}')
    return fields


# Notes -> cells. A segment (_S) is what one cell holds of a note. The segments that start together
# in a cell are an event (_E): a note or a chord, which lasts until the next event of the cell or
# the barline. The arrays, and what is in them for the bar [V:1]z2[C2E4]Dz[CE]2-|
#
#   cell_S            0  0  0  0  0   bar * number of voices + voice
#   position_S       24 24 48 72 72   start, in units from the barline
#   pitch_S          60 64 62 60 64   MIDI pitch
#   length_S         24 48 12 24 24   units in this bar
#   tied_S            0  0  0  1  1   does the note sound on in the next bar?
#   event_S           0  0  1  2  2   its event
#
#   first_E           0  2  3         its first segment
#   opens_cell_E      1  0  0         is it the first event of its cell?
#   leading_rest_E    0  0  0         units of the rest that is the first member of the chord, or 0
#   trailing_rest_E   0 12  0         units of the rest after the event, or 0
#   uniform_E         0  1  1         have all members one length and all or none a tie, which then
#                                     follow the bracket?
#   on_beat_E         1  1  1         does it start on a beat (only asked for with `beats`)?
#   rest_on_beat_E    1  0  1         does the rest after it, or if there is none what follows?


def cut_at_barlines(music, starts):
    """Segments, sorted: an array of five rows, cell_S, position_S, pitch_S, length_S and tied_S."""
    onset, duration, pitch, voice = music.notes.T.astype(np.int64)
    end = onset + duration
    first_bar = np.searchsorted(starts, onset, 'right') - 1
    n_bars = np.searchsorted(starts, end, 'left') - first_bar
    note_S = np.repeat(np.arange(len(onset)), n_bars)
    former_S = np.repeat(np.cumsum(n_bars) - n_bars, n_bars)    # segments of the notes before
    bar_S = first_bar[note_S] + np.arange(len(note_S)) - former_S
    barline_S, end_S, pitch_S = starts[bar_S], end[note_S], pitch[note_S]
    start_S = np.maximum(onset[note_S], barline_S)
    stop_S = np.minimum(end_S, starts[bar_S + 1])
    cell_S = bar_S * len(music.voices) + voice[note_S]
    position_S = start_S - barline_S
    order = np.argsort((cell_S * MAX_BAR + position_S) * 128 + pitch_S)
    return np.array([cell_S, position_S, pitch_S, stop_S - start_S, end_S > stop_S])[:, order]


def chords(segments, cell_lengths, cell_beats):
    """(order of the segments in which a chord's leading member comes first, rows first_E to
    rest_on_beat_E of the table). The module's docstring says which member leads."""
    # Events, and how far each is from the next one of its cell, or from the barline.
    cell_S, position_S, _, length_S, tied_S = segments
    i_S = np.arange(len(cell_S))
    opens_S = begins(cell_S * MAX_BAR + position_S)
    first_E, event_S = np.flatnonzero(opens_S), np.cumsum(opens_S) - 1
    cell_E, position_E = cell_S[first_E], position_S[first_E]
    opens_cell_E, following_E = begins(cell_E), cell_lengths[cell_E]
    following_E[:-1] = np.where(opens_cell_E[1:], following_E[:-1], position_E[1:])
    distance_E = following_E - position_E

    # The leading member: the first that lasts until the next event, else the longest one; a rest
    # leads (lead_E is the number of segments) where all members sound on after the next event.
    kind_S = 2 * length_S + tied_S
    largest_E = np.maximum.reduceat(kind_S, first_E)
    smallest_E = np.minimum.reduceat(kind_S, first_E)
    wanted_E = np.minimum(distance_E, largest_E // 2)
    candidate_S = np.where(length_S == wanted_E[event_S], i_S, len(i_S))
    lead_E = np.minimum.reduceat(candidate_S, first_E)
    rest_leads_E = lead_E == len(i_S)
    order = np.argsort(2 * event_S + (i_S != lead_E[event_S]), kind='stable')

    leading_rest_E = np.where(rest_leads_E, distance_E, 0)
    trailing_rest_E = np.where(rest_leads_E, 0, distance_E - wanted_E)
    uniform_E = (largest_E == smallest_E) & ~rest_leads_E
    beat_E = cell_beats[cell_E]
    on_beat_E = position_E % beat_E == 0
    rest_on_beat_E = (following_E - trailing_rest_E) % beat_E == 0
    return order, np.array([first_E, opens_cell_E, leading_rest_E, trailing_rest_E, uniform_E,
                            on_beat_E, rest_on_beat_E])


def cells(segments, events, music, starts):
    """Yield (bar, text of a cell), by bar and voice, of segments and events in the order of
    `chords`."""
    # Name and length of each segment. Each key has a table of 128 names; drums are in C, the last.
    cell_S, position_S, pitch_S, *_ = segments
    bar_S, voice_S = np.divmod(cell_S, len(music.voices))
    spellings = [spelling(sharps) for _, sharps, _ in music.keys] + [spelling(0)]
    key_of_bar = np.searchsorted([onset for onset, *_ in music.keys], starts, 'right') - 1
    is_drum = np.array([voice.is_drum for voice in music.voices])
    table_S = np.where(is_drum[voice_S], len(spellings) - 1, key_of_bar[bar_S])
    spelled = [name for table in spellings for name in table]
    names = [spelled[i] for i in (128 * table_S + pitch_S).tolist()]
    lengths = [LENGTH[units] + '-' if tied else LENGTH[units]
               for units, tied in zip(*segments[3:].tolist())]

    # Text of each event, with the rest after it.
    texts, (first, _, *columns) = [], events.tolist()
    space = ('', ' ')
    for i, j, leading_rest, trailing_rest, uniform, on_beat, rest_on_beat in zip(
            first, first[1:] + [len(names)], *columns):
        if uniform:
            text = (f'[{"".join(names[i:j])}]' if j > i + 1 else names[i]) + lengths[i]
        else:
            text = f'[{REST[leading_rest]}{"".join(map(str.__add__, names[i:j], lengths[i:j]))}]'
        rest = space[rest_on_beat] + REST[trailing_rest] if trailing_rest else ''
        texts.append(space[on_beat] + text + rest)

    # The events of a cell, after the rest that it begins with.
    opens = np.flatnonzero(events[1]).tolist()
    i_S = events[0][opens]
    places = bar_S[i_S].tolist(), voice_S[i_S].tolist(), position_S[i_S].tolist()
    for i, j, bar, voice, position in zip(opens, opens[1:] + [len(texts)], *places):
        yield bar, f'[V:{voice + 1}]{(REST[position] + "".join(texts[i:j])).lstrip()}|'


PITCH = r"[_=^]?[A-Ga-g](?:,+|'+)?"
SIZE = r'\d*(?:/\d+)?'
note_pattern = re.compile(rf'(z|{PITCH})({SIZE})(-?)')
event_pattern = re.compile(rf'\[((?:(?:z|{PITCH}){SIZE}-?)+)\]({SIZE})(-?)|{note_pattern.pattern}')
change_pattern = r'(?:\[M:(\d+)/(\d+)\])?(?:\[Q:1/4=(\d+)\])?(?:\[K:([A-G][b#]?m?)\])?'
line_pattern = re.compile(change_pattern + r'(Z\||(?:\[V:\d+\][^|]+\|)+)')
cell_pattern = re.compile(r'\[V:(\d+)\]([^|]+)\|')
voice_pattern = re.compile(r'V:(\d+) (program|drums)(?:=(\d+))?\n')
header_pattern = re.compile(r'L:1/8\nM:(\d+)/(\d+)\nQ:1/4=(\d+)\nK:([A-G][b#]?m?)\n'
                            r'((?:V:\d+ (?:program=\d+|drums(?:=\d+)?)\n)*)')


def decode(text):
    """Music of a text in the notation. Raises NotationError with the line and the reason."""
    header = header_pattern.match(text)
    if not header:
        raise NotationError('line 1: the header is not L:1/8, M:, Q:, K:, V: in this order')
    try:
        bars = unfolded(text[header.end():].splitlines(), header[0].count('\n') + 1)
    except ValueError as e:
        raise NotationError(str(e)) from None
    music = Music(None, [], [], [], [])
    open_notes, finished, at = {}, [], 0    # (voice, pitch) -> onset of a note tied into this bar
    where = 'header'
    try:
        add_events(music, 0, *header.groups()[:4])
        for i, (number, kind, program) in enumerate(voice_pattern.findall(header[5]), 1):
            where = f'line {4 + i}'
            if int(number) != i or int(program or 0) > 127 or i > MAX_VOICES:
                raise NotationError(f'bad voice V:{number} {kind}={program}')
            music.voices.append(Voice(int(program or 0), kind == 'drums'))
        for number, line in bars:
            where = f'line {number}'
            at, open_notes = read_bar(line, at, music, open_notes, finished)
    except NotationError as e:
        raise NotationError(f'{where}: {e}') from None
    finished += [(onset, at, pitch, voice) for (voice, pitch), onset in open_notes.items()]
    music.notes = without_overlaps(finished)
    return music


def add_events(music, at, numerator, denominator, tempo, key):
    """Append the meter, tempo and key that begin at time `at`: texts, or None."""
    if numerator:
        if not is_meter(int(numerator), int(denominator)):
            raise NotationError(f'impossible meter {numerator}/{denominator}')
        music.meters.append((at, int(numerator), int(denominator)))
    if tempo:
        if not 1 <= int(tempo) <= 9999:
            raise NotationError(f'impossible tempo {tempo}')
        music.tempos.append((at, int(tempo)))
    if key:
        if key not in KEYS:
            raise NotationError(f'no such key {key!r}')
        music.keys.append((at, *KEYS[key]))


def read_bar(line, at, music, open_notes, finished):
    """Read a line at time `at` and append (onset, end, pitch, voice) to `finished`.

    Returns (time after the bar, open notes).
    """
    match = line_pattern.fullmatch(line.replace(' ', ''))
    if not match:
        raise NotationError(f'not a bar: {line[:60]!r}')
    numerator, denominator, tempo, key, body = match.groups()
    if at == 0 and (numerator or tempo or key):
        raise NotationError('a change in the first bar belongs into the header')
    add_events(music, at, numerator, denominator, tempo, key)
    full = length = bar_length(*music.meters[-1][1:])
    ties, former = {}, 0
    for label, cell in cell_pattern.findall(body) if body != 'Z|' else ():
        voice = int(label) - 1
        if not former <= voice < len(music.voices):
            raise NotationError(f'voice {label} is not in the header or out of order')
        is_first, former = former == 0, voice + 1
        names = pitches(0 if music.voices[voice].is_drum else music.keys[-1][1])
        events, position = read_cell(cell)
        reached = max(onset + units for _, onset, units, _ in events)
        for name, onset, units, tied in events:
            if name == 'z':
                continue
            if name not in names:
                raise NotationError(f'{name!r} is no MIDI pitch')
            begin = open_notes.pop((voice, names[name]), at) if onset == 0 else at + onset
            if tied:
                ties[voice, names[name]] = (begin, onset + units)
            else:
                finished.append((begin, at + onset + units, names[name], voice))
        if at == 0 and is_first and position < full:
            length = music.pickup = position
        if position != length or reached > length:
            raise NotationError(f'voice {label} fills {max(position, reached)} of {length} units '
                                'of its bar')
        if any(end != length for (v, _), (_, end) in ties.items() if v == voice):
            raise NotationError(f'voice {label} ties a note that does not reach the barline')
    finished += [(onset, at, pitch, voice) for (voice, pitch), onset in open_notes.items()]
    return at + length, {key: onset for key, (onset, _) in ties.items()}


def read_cell(cell):
    """([(name, position, units, tied) of each note and rest], length of the cell in units)."""
    events, at, position = [], 0, 0
    while at < len(cell):
        match = event_pattern.match(cell, at)
        if not match:
            raise NotationError(f'cannot read {cell[at:at + 20]!r}')
        members, length, tie, *single = match.groups('')
        at, advance = match.end(), 0
        for name, own, own_tie in note_pattern.findall(members) if members else (single,):
            if own and length:
                raise NotationError(f'lengths inside and after the chord [{members}]{length}')
            units = UNITS_OF.get(own or length)
            if not units:
                raise NotationError(f'bad length {own or length!r}')
            advance = advance or units
            events.append((name, position, units, bool(own_tie or tie)))
        position += advance
    return events, position


def without_overlaps(spans):
    """Notes array of (onset, end, pitch, voice). Per voice and pitch, a note ends where the next
    one begins; of those with one onset the longest stays."""
    spans = np.array(spans, np.int32).reshape(-1, 4)
    by_voice_pitch_onset_end = np.lexsort(spans.T[[1, 0, 2, 3]])
    onset, end, pitch, voice = spans[by_voice_pitch_onset_end].T
    is_last = begins(voice * 128 + pitch)[1:]                       # of its voice and pitch
    end[:-1] = np.where(is_last, end[:-1], np.minimum(end[:-1], onset[1:]))
    notes = np.stack([onset, end - onset, pitch, voice], 1)[end > onset]
    return notes[np.lexsort((notes[:, 2], notes[:, 3], notes[:, 0]))]
