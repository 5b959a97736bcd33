"""Notes <-> compact ABC text, the notation that the models read and write. It loses nothing, both ways.

    text = encode(music)                 # Music (music.py) -> text
    music = decode(text)                 # text -> Music; raises NotationError with line and reason

    L:1/8                                length 1 is an eighth note; always this line
    M:4/4                                meter
    Q:1/4=120                            quarters per minute
    K:Em                                 one of 15 major and 15 minor keys
    V:1 program=0                        a voice: one instrument line (General MIDI program)
    V:2 program=33
    V:3 drums                            channel 10; `drums=8` for another kit than 0
    [V:1]G2A/2B/2c[EGB]4|[V:2]E,4z4|     a line is a bar, a cell is a voice that sounds in it; others are left out
    Z|                                   a bar in which nothing sounds
    [M:3/4][Q:1/4=90][K:G][V:1]F6-|      changes stand at the start of a bar, in the order M, Q, K
    [V:1]F2z4|                           `-` ties a note that reaches the barline to the same pitch in the next bar

A first bar whose cells are all shorter than the meter is a pickup. This is ABC 2.1 (with L:1/8 and
`I:propagate-accidentals not`: an accidental holds for its own note only, and is written if and only if it differs from the
key signature; drum voices are spelled in C). Two freedoms make polyphony short: any length `n/d` in units of 1/12
eighth may stand (a triplet eighth is `C2/3`), and the members of a chord may have lengths of their own. As ABC 2.1 says, a
chord then advances by its *first* member, which may be a rest: `[zG4C8]` sounds G for a half note and C for a whole one, and
the next event comes an eighth later. Where all members last alike, the length follows the bracket: `[CEG]4`. tunebook.py makes
conventional ABC files of this, for other programs to read.

One canonical text for one piece of music:
  lengths    '' = 12 units, '2', '3/2', '/2' = 6 units, '2/3' = 8 units; reduced, 1 is not written before `/` nor `/1` after
  chords     the first member is the lowest note whose length is the distance to the voice's next event (or to the end of the bar);
             failing that, if all notes end before it, the longest one (lowest if several), and a rest follows;
             failing that, a rest of that distance. The other members follow in ascending pitch.
  cells      fill their bar exactly, with rests `z`; voices in the order of the header

The reader asks for all of this except the order within chords, and is lenient in three points where sampled text may stray: a
tie that finds no note ends at the barline, of two overlapping notes of one pitch and voice the earlier one ends where the
later one starts (of two at one onset the longer one stays), and a cell may hold rests only.
"""
import re
from fractions import Fraction
from functools import cache

import numpy as np

from music.notes import KEY_NAMES, KEYS, MAX_BAR, Music, Voice, bar_length, bar_starts

EIGHTH = 12                 # units of 1/24 quarter in the note length L:1/8
MAX_VOICES = 256


class NotationError(ValueError):
    """Text that is not in the notation; the message says where and why."""


def length_text(units):
    """Text of a duration, as a reduced fraction of an eighth: 12 -> '', 24 -> '2', 6 -> '/2', 18 -> '3/2'."""
    n, d = Fraction(units, EIGHTH).as_integer_ratio()
    return ('' if n == 1 else str(n)) + (f'/{d}' if d > 1 else '')


LENGTH = [None] + [length_text(u) for u in range(1, MAX_BAR + 1)]           # units -> text
UNITS_OF = {text: units for units, text in enumerate(LENGTH) if units}      # text -> units

FIFTHS = 'FCGDAEB'                                                           # letters along the line of fifths; C is 0


@cache
def spelling(sharps):
    """List of 128: MIDI pitch -> note text in a key of `sharps` (-7..7), such as '^F,'.

    The twelve spellings are the neighbours of the tonic on the line of fifths, from minor third to augmented fifth
    (in C: Eb Bb F C G D A E B F# C# G#), respelled where that would need a double accidental.
    """
    texts = [None] * 128
    for fifth in range(sharps - 3, sharps + 9):
        fifth += 12 * ((fifth < -8) - (fifth > 12))                          # Fb is -8, B# is 12
        alter, i = divmod(fifth + 1, 7)                                      # F is -1
        letter = FIFTHS[i]
        in_key = (sharps + 6 - i) // 7                                       # what the key signature does to this letter
        natural = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}[letter]
        for pitch in range((natural + alter) % 12, 128, 12):
            octave = (pitch - alter) // 12                                   # 5 is the octave of middle C, written C
            mark = '' if alter == in_key else {-1: '_', 0: '=', 1: '^'}[alter]
            texts[pitch] = mark + (letter + ',' * (5 - octave) if octave < 6 else letter.lower() + "'" * (octave - 6))
    return texts


@cache
def pitches(sharps):
    """The inverse of `spelling`: note text -> MIDI pitch."""
    return {text: pitch for pitch, text in enumerate(spelling(sharps))}


def encode(music):
    """Canonical text of `music`: header, then one line a bar, each ending in a newline. Raises ValueError if an event is off the barlines."""
    starts = bar_starts(music)
    lines = ['L:1/8', 'M:%d/%d' % music.meters[0][1:], 'Q:1/4=%d' % music.tempos[0][1], 'K:' + KEY_NAMES[music.keys[0][1:]]]
    for i, voice in enumerate(music.voices, 1):
        kind = f'drums={voice.program}' if voice.is_drum and voice.program else 'drums' if voice.is_drum else f'program={voice.program}'
        lines.append(f'V:{i} {kind}')
    bars = [[] for _ in starts[:-1]]
    index = {onset: i for i, onset in enumerate(starts[:-1])}
    for events, text in ((music.meters, lambda m: '[M:%d/%d]' % m), (music.tempos, lambda q: '[Q:1/4=%d]' % q),
                         (music.keys, lambda k: f'[K:{KEY_NAMES[k]}]')):
        for onset, *event in events[1:]:
            if onset not in index:
                raise ValueError(f'an event at {onset} is not on a barline')
            bars[index[onset]].append(text(tuple(event)))
    write_cells(music, starts, bars)
    lines += [''.join(bar) if bar and bar[-1][-1] == '|' else ''.join(bar) + 'Z|' for bar in bars]
    return '\n'.join(lines) + '\n'


def write_cells(music, starts, bars):
    """Append the text of each sounding voice of each bar to bars[bar]. Arrays end in their index: segments (_S) or events (_E)."""
    if not len(music.notes):
        return
    starts = np.asarray(starts)
    onset, duration, pitch, voice = music.notes.T.astype(np.int64)

    # Notes are cut at the barlines into segments.
    end = onset + duration
    first_bar = np.searchsorted(starts, onset, 'right') - 1
    n_bars = np.searchsorted(starts, end, 'left') - first_bar
    note_S = np.repeat(np.arange(len(onset)), n_bars)
    bar_S = first_bar[note_S] + np.arange(len(note_S)) - np.repeat(np.cumsum(n_bars) - n_bars, n_bars)
    start_S = np.maximum(onset[note_S], starts[bar_S])
    stop_S = np.minimum(end[note_S], starts[bar_S + 1])
    tied_S = end[note_S] > stop_S
    length_S, pitch_S, voice_S = stop_S - start_S, pitch[note_S], voice[note_S]

    # Segments of one onset, bar and voice are an event: a note or a chord. It lasts to the next event of its cell.
    at_S = (bar_S * len(music.voices) + voice_S) * (MAX_BAR + 1) + start_S - starts[bar_S]
    order = np.argsort(at_S * 128 + pitch_S)
    at_S, bar_S, voice_S, start_S, length_S, pitch_S, tied_S = (
        x[order] for x in (at_S, bar_S, voice_S, start_S, length_S, pitch_S, tied_S))
    i_S = np.arange(len(at_S))
    low_E = np.flatnonzero(np.diff(at_S, prepend=-1))                         # first segment of each event
    event_S = np.repeat(np.arange(len(low_E)), np.diff(low_E, append=len(at_S)))
    cell_E, position_E = np.divmod(at_S[low_E], MAX_BAR + 1)
    last_in_cell_E = np.diff(cell_E, append=-1) != 0
    first_in_cell_E = np.roll(last_in_cell_E, 1)
    bar_length_E = (starts[1:] - starts[:-1])[bar_S[low_E]]
    distance_E = np.where(last_in_cell_E, bar_length_E, np.roll(position_E, -1)) - position_E

    # The leading member of each chord: see the module's docstring.
    longest_E = np.maximum.reduceat(length_S, low_E)
    shortest_E = np.minimum.reduceat(length_S, low_E)
    wanted_E = np.minimum(distance_E, longest_E)
    lead_E = np.minimum.reduceat(np.where(length_S == wanted_E[event_S], i_S, len(i_S)), low_E)
    rest_leads_E = lead_E == len(i_S)
    order = np.argsort(event_S * 2 + (i_S != lead_E[event_S]), kind='stable')
    alike_E = ((longest_E == shortest_E) & ~rest_leads_E
               & (np.minimum.reduceat(tied_S, low_E) == np.maximum.reduceat(tied_S, low_E)))
    advance_E = np.where(rest_leads_E, distance_E, wanted_E)

    key_of_bar = np.searchsorted([onset for onset, *_ in music.keys], starts, 'right') - 1
    tables = [spelling(sharps) for _, sharps, _ in music.keys] + [spelling(0)]
    is_drum = np.array([v.is_drum for v in music.voices])
    table_S = np.where(is_drum[voice_S], len(tables) - 1, key_of_bar[bar_S])
    names = [name for table in tables for name in table]
    name_S = [names[i] for i in (table_S * 128 + pitch_S)[order].tolist()]
    full_S = [name + LENGTH[n] + '-' if tie else name + LENGTH[n]
              for name, n, tie in zip(name_S, length_S[order].tolist(), tied_S[order].tolist())]

    columns = zip(low_E.tolist(), np.append(low_E[1:], len(i_S)).tolist(), bar_S[low_E].tolist(), voice_S[low_E].tolist(),
                  position_E.tolist(), first_in_cell_E.tolist(), last_in_cell_E.tolist(), alike_E.tolist(),
                  rest_leads_E.tolist(), distance_E.tolist(), advance_E.tolist(), tied_S[low_E].tolist())
    for i, j, bar, voice, position, first, last, alike, rest_leads, distance, advance, tied in columns:
        if first:
            cell = [f'[V:{voice + 1}]', 'z' + LENGTH[position]] if position else [f'[V:{voice + 1}]']
        if j == i + 1 and not rest_leads:
            cell.append(full_S[i])
        elif alike:
            cell.append('[' + ''.join(name_S[i:j]) + ']' + LENGTH[advance] + ('-' if tied else ''))
        else:
            cell.append(('[z' + LENGTH[distance] if rest_leads else '[') + ''.join(full_S[i:j]) + ']')
        if advance < distance:
            cell.append('z' + LENGTH[distance - advance])
        if last:
            cell.append('|')
            bars[bar].append(''.join(cell))


NOTE = r"(z|[_=^]?[A-Ga-g](?:,+|'+)?)(\d*(?:/\d+)?)(-?)"
note_pattern = re.compile(NOTE)
event_pattern = re.compile(rf"\[((?:{NOTE.replace('(', '(?:')})+)\](\d*(?:/\d+)?)(-?)|{NOTE}".replace('(?:?:', '(?:'))
line_pattern = re.compile(r'(?:\[M:(\d+)/(\d+)\])?(?:\[Q:1/4=(\d+)\])?(?:\[K:([A-G][b#]?m?)\])?(Z\||(?:\[V:\d+\][^|]+\|)+)')
cell_pattern = re.compile(r'\[V:(\d+)\]([^|]+)\|')
header_pattern = re.compile(r'L:1/8\nM:(\d+)/(\d+)\nQ:1/4=(\d+)\nK:([A-G][b#]?m?)\n((?:V:\d+ (?:program=\d+|drums(?:=\d+)?)\n)*)')
voice_pattern = re.compile(r'V:(\d+) (program|drums)(?:=(\d+))?\n')


def meter_of(numerator, denominator):
    """(numerator, denominator) of digits, checked."""
    n, d = int(numerator), int(denominator)
    if d not in (1, 2, 4, 8, 16, 32) or not 1 <= bar_length(n, d) <= MAX_BAR:
        raise NotationError(f'impossible meter {numerator}/{denominator}')
    return n, d


def tempo_of(digits):
    """Quarters per minute of digits, checked."""
    if not 1 <= int(digits) <= 9999:
        raise NotationError(f'impossible tempo {digits}')
    return int(digits)


def key_of(name):
    """(sharps, mode) of a key's name, checked."""
    if name not in KEYS:
        raise NotationError(f'no such key {name!r}')
    return KEYS[name]


def decode(text):
    """Music of a text in the notation. Raises NotationError with the line and the reason."""
    header = header_pattern.match(text)
    if not header:
        raise NotationError('line 1: the header is not L:1/8, M:, Q:, K:, V: in this order')
    voices = []
    for i, (number, kind, program) in enumerate(voice_pattern.findall(header[5]), 1):
        if int(number) != i or int(program or 0) > 127 or i > MAX_VOICES:
            raise NotationError(f'line {4 + i}: bad voice V:{number} {kind}={program}')
        voices.append(Voice(int(program or 0), kind == 'drums'))
    try:
        meter, key = meter_of(header[1], header[2]), key_of(header[4])
        music = Music(None, voices, [(0, *meter)], [(0, tempo_of(header[3]))], [(0, *key)])
    except NotationError as e:
        raise NotationError(f'header: {e}') from None
    open_notes, finished, at = {}, [], 0         # open_notes: (voice, pitch) -> onset of a note tied into the present bar
    for number, line in enumerate(text[header.end():].splitlines(), 5 + len(voices)):
        try:
            at, open_notes = read_bar(line, at, music, open_notes, finished)
        except NotationError as e:
            raise NotationError(f'line {number}: {e}') from None
    finished += [(onset, at, pitch, voice) for (voice, pitch), onset in open_notes.items()]
    music.notes = without_overlaps(finished)
    return music


def read_bar(line, at, music, open_notes, finished):
    """Read one line at time `at`; append (onset, end, pitch, voice) to `finished`. Returns (time after the bar, open notes)."""
    match = line_pattern.fullmatch(line)
    if not match:
        raise NotationError(f'not a bar: {line[:60]!r}')
    numerator, denominator, tempo, key, body = match.groups()
    if at == 0 and (numerator or tempo or key):
        raise NotationError('a change in the first bar belongs into the header')
    if numerator:
        music.meters.append((at, *meter_of(numerator, denominator)))
    if tempo:
        music.tempos.append((at, tempo_of(tempo)))
    if key:
        music.keys.append((at, *key_of(key)))
    full = length = bar_length(*music.meters[-1][1:])
    ties, former = {}, 0
    for label, cell in cell_pattern.findall(body) if body != 'Z|' else ():
        voice = int(label) - 1
        if not former <= voice < len(music.voices):
            raise NotationError(f'voice {label} is not in the header or out of order')
        is_first, former = former == 0, voice + 1
        names = pitches(0 if music.voices[voice].is_drum else music.keys[-1][1])
        position, reached = 0, 0
        for name, onset, units, tied in cell_events(cell):
            if name is None:
                position = onset                             # the cell has been read
                break
            reached = max(reached, onset + units)
            if name == 'z':
                continue
            if name not in names:
                raise NotationError(f'{name!r} is not how this key spells a note')
            begin = open_notes.pop((voice, names[name]), at) if onset == 0 else at + onset
            if tied:
                ties[voice, names[name]] = (begin, onset + units)
            else:
                finished.append((begin, at + onset + units, names[name], voice))
        if at == 0 and is_first and position < full:
            length = music.pickup = position
        if position != length or reached > length:
            raise NotationError(f'voice {label} fills {max(position, reached)} of {length} units of its bar')
        if any(end != length for (v, _), (_, end) in ties.items() if v == voice):
            raise NotationError(f'voice {label} ties a note that does not reach the barline')
    finished += [(onset, at, pitch, voice) for (voice, pitch), onset in open_notes.items()]
    return at + length, {key: onset for key, (onset, _) in ties.items()}


def cell_events(cell):
    """Yield (name, position, units, tied) for each note and rest of a cell, and (None, length of the cell, 0, False) last."""
    at = position = 0
    while at < len(cell):
        match = event_pattern.match(cell, at)
        if not match:
            raise NotationError(f'cannot read {cell[at:at + 20]!r}')
        at = match.end()
        members, length, tie, name, single, single_tie = match.groups()
        if members is None:
            units = units_of(single)
            yield name, position, units, bool(single_tie)
            position += units
            continue
        advance = None
        for name, own, own_tie in note_pattern.findall(members):
            if own and length:
                raise NotationError(f'lengths inside and after the chord [{members}]{length}')
            units = units_of(own or length)
            advance = advance or units
            yield name, position, units, bool(own_tie or tie)
        position += advance
    yield None, position, 0, False


def units_of(text):
    if text not in UNITS_OF:
        raise NotationError(f'bad length {text!r}')
    return UNITS_OF[text]


def without_overlaps(spans):
    """Notes array of (onset, end, pitch, voice): per voice and pitch a note ends where the next begins; of equal onsets the longest stays."""
    latest = {}
    for onset, end, pitch, voice in sorted(spans):
        former = latest.setdefault((voice, pitch), [])
        if former and former[-1][0] == onset:
            former.pop()
        elif former and former[-1][1] > onset:
            former[-1] = (former[-1][0], onset)
        former.append((onset, end))
    notes = [(onset, end - onset, pitch, voice) for (voice, pitch), line in latest.items() for onset, end in line]
    notes = np.array(notes, np.int32).reshape(-1, 4)
    return notes[np.lexsort((notes[:, 2], notes[:, 3], notes[:, 0]))]
