"""Tune books: ABC 2.1 files as other people write them -> notes. (abcfile.py is the other direction, the file that we give away.)

    for title, music, reason in read_abc(open('book.abc').read()):
        ...                                         # music is None where reason (a short name to count under) is not

Every `X:` tune is read exactly or rejected. What is played is what counts: repeats, endings and `P:` orders are expanded;
tuplets, broken rhythm, chords, ties, overlays `&`, voices, inline fields and %%MIDI program/channel are followed; grace notes,
slurs, decorations, chord symbols, annotations and lyrics are skipped (so is a "D.C." that is only an annotation). An accidental holds
to the barline in all octaves unless `propagate-accidentals` says `not` or `octave`. Where a voice has notes off the grid of midi.py
(quintuplets, 64ths), they are quantised as a MIDI file's are.

Bars: the book's barlines stay. Incomplete bars that meet over a repeat or a double bar and together fill the meter become one bar, a bar
of several meters' length is cut into full bars, a short first bar is the pickup, and any other irregular bar becomes a change of meter.
Modes become the key signature that they are written with: major for the modes with a major third, else minor.

Text without `X:` that starts with `L:1/8` is our own compact notation (notation.py), one tune a paragraph.
"""
import re
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

import notation
from midi import UNITS, Music, Voice, bar_length

WHOLE = 4 * UNITS                   # units of a whole note
MAX_BARS = 20_000                   # played bars of one tune; beyond, the repeats are nonsense
MODES = {'': 0, 'ion': 0, 'maj': 0, 'mix': 1, 'dor': 2, 'aeo': 3, 'min': 3, 'm': 3, 'phr': 4, 'loc': 5, 'lyd': -1}
MINOR = {'dor', 'aeo', 'min', 'm', 'phr', 'loc'}
FIFTHS = 'FCGDAEB'                  # letters in the order in which a signature sharpens them

TOKEN = re.compile(r'''
    \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
  | (?P<bar>\.?(?::*\[?\|[|\]:]*|::+|^:))(?:\s*\[?(?P<ending>\d[\d,.-]*))?
  | (?:\[|^)\s*(?P<lone_ending>\d[\d,.-]*)
  | "[^"]*" | \{[^}]*\} | ![\w.,<>()+'~:/]+! | \+[a-z]+\+
  | \((?P<p>\d)(?::(?P<q>\d*))?(?::(?P<r>\d*))?
  | \[(?P<chord>[^\]]*)\](?P<chord_length>[\d/]*)
  | (?P<note>(?:\^\^?|__?|=)?[A-Ga-gxz][,']*)(?P<length>[\d/]*)
  | (?P<bars>[ZX]\d*)
  | (?P<broken>>+|<+) | (?P<tie>-) | (?P<overlay>&)
  | y[\d/]* | [\s`\\()~.$*!] | [H-Wh-w] | =(?:20)?$          # the last: quoted-printable left-overs
''', re.X)
MEMBER = re.compile(r'''(?P<note>(?:\^\^?|__?|=)?[A-Ga-gxz][,']*)(?P<length>[\d/]*)\s*(?P<tie>-?) | "[^"]*" | ![^!]*! | [\s().~H-Wh-w]''', re.X)


class AbcError(ValueError):
    """A tune that is not read; str(e) is the named reason under which it is counted."""


@dataclass
class Element:
    """A note, chord or rest. `notes`: [pitch, duration, tied to the next]; times are exact, in units. `length`: until the next element."""
    notes: list
    length: Fraction


@dataclass
class Bar:
    """One notated bar of one voice. Every layer starts at the barline; there are several where overlays are."""
    meter: tuple                    # (numerator, denominator), or None for free meter
    key: tuple                      # (sharps, 'major' or 'minor')
    tempo: int
    part: str = ''                  # label of the last P: in the body
    layers: list = field(default_factory=lambda: [[]])      # lists of (Element, voice key)
    strong: bool = False            # what stands before it is more than a plain barline
    starts_repeat: bool = False
    ends_repeat: int = 0            # number of colons after it
    ends_section: bool = False      # a double bar stands after it
    ending: frozenset = frozenset()     # passes on which it, and what follows, is played

    def length(self):
        return max(sum((e.length for e, _ in layer), Fraction(0)) for layer in self.layers)


def read_abc(text):
    """Yield (title, Music, None) or (title, None, reason) for each tune of the text, in order; see the module's docstring."""
    text = text.lstrip('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    if not re.search(r'^X:', text, re.M) and text.startswith('L:1/8\n'):
        for paragraph in re.split(r'\n\s*\n', text.strip()):
            try:
                yield '', notation.decode(paragraph + '\n'), None
            except notation.NotationError:
                yield '', None, 'not our compact notation'
        return
    head, *tunes = re.split(r'^(?=X:)', text, flags=re.M)
    if not tunes and re.search(r'^K:', head, re.M):
        head, tunes = '', [head]
    for tune in tunes:
        lines = [line.strip() for line in tune.split('\n')]
        title = next((line[2:].strip() for line in lines if line.startswith('T:')), '')
        try:
            yield title, Tune().read(lines).music(title), None
        except AbcError as e:
            yield title, None, str(e)


class Line:
    """One voice while it is read: what is in force, and the bars so far."""

    def __init__(self, name, tune):
        self.name, self.program, self.is_drum, self.shift, self.propagate = name, tune.program, tune.is_drum, tune.shift, tune.propagate
        self.unit, self.meter, self.key, self.signature = tune.unit, tune.meter, tune.key, tune.signature
        self.bars, self.bar = [], Bar(tune.meter, tune.key, tune.tempo)
        self.accidentals = {}           # what holds to the barline: letter (or letter and octave) -> semitones
        self.tied = {}                  # (layer, letter and octave) of notes tied to the next -> pitch
        self.tuplets = []               # [factor, elements left]
        self.factor = Fraction(1)       # broken rhythm: what the next element is to be multiplied with
        self.last = None                # Element

    def barline(self, mark, ending, tempo):
        """Close the bar at `mark`; an empty bar (two marks in a row, a mark at the start) only hands its marks on."""
        mark = mark.lstrip('.').replace('[|]', '|' if ':' not in mark else '')      # an invisible barline
        both = mark.strip(':') == '' or mark == '|:|'                               # ::
        ends = len(mark) // 2 if both else len(mark) - len(mark.lstrip(':'))
        starts = both or mark.endswith(':')
        section = bool(ends or starts or mark != '|')
        if any(self.bar.layers):
            self.bars.append(self.bar)
            self.bar = Bar(self.meter, self.key, tempo, self.bar.part)
            self.accidentals = {}
        if self.bars:
            self.bars[-1].ends_repeat = max(ends, self.bars[-1].ends_repeat)
            self.bars[-1].ends_section |= section
        self.bar.strong |= section or bool(ending)
        self.bar.starts_repeat |= starts
        self.bar.ending |= passes(ending) if ending else frozenset()

    def add(self, notes, length, name=None):
        """Append an element; `notes` are (text, duration, tied), durations and length in units before tuplets and broken rhythm."""
        layer = len(self.bar.layers) - 1
        factor = self.factor
        for tuplet in self.tuplets:
            factor *= tuplet[0]
            tuplet[1] -= 1
        self.tuplets = [t for t in self.tuplets if t[1]]
        self.factor = Fraction(1)
        tied = {key: pitch for key, pitch in self.tied.items() if key[0] != layer}
        sounding = []
        for text, duration, tie in notes:
            if text[-1] in 'xz':
                continue
            place = text.lstrip('^_=')
            pitch = self.pitch(text, place, self.tied.get((layer, place)))
            sounding.append([pitch, duration * factor, tie, place])
            if tie:
                tied[layer, place] = pitch
        self.tied = tied
        self.last = Element(sounding, length * factor)
        self.bar.layers[-1].append((self.last, (self.name, self.program, self.is_drum)))

    def pitch(self, text, place, carried):
        """MIDI pitch of a note's text; an accidental carried over the barline by a tie holds for this note only."""
        letter = place[0].upper()
        memory = letter if self.propagate == 'pitch' else place
        mark = text[:len(text) - len(place)]
        if mark:
            alter = {'^': 1, '^^': 2, '_': -1, '__': -2, '=': 0}[mark]
            if self.propagate != 'not':
                self.accidentals[memory] = alter
        elif carried is not None and memory not in self.accidentals:
            return carried
        else:
            alter = self.accidentals.get(memory, self.signature.get(letter, 0))
        octave = (place[0] >= 'a') + place.count("'") - place.count(',')
        pitch = 60 + 'C D EF G A B'.index(letter) + alter + 12 * octave + self.shift
        if not 0 <= pitch <= 127:
            raise AbcError('pitch out of range')
        return pitch

    def stretch(self, text):
        """Broken rhythm: `>` dots the last element and halves the next, `>>` double-dots it and quarters the next."""
        short = Fraction(1, 2 ** len(text))
        before, after = (2 - short, short) if text[0] == '>' else (short, 2 - short)
        if self.last is None:
            raise AbcError('broken rhythm without a note before it')
        self.last.length *= before
        for note in self.last.notes:
            note[1] *= before
        self.factor = after

    def tie(self):
        for note in self.last.notes if self.last else ():
            note[2] = True
            self.tied[len(self.bar.layers) - 1, note[3]] = note[0]


class Tune:
    """One tune while it is read: its attributes are the header's fields, which each new voice takes over."""

    def __init__(self):
        self.program, self.is_drum, self.shift, self.propagate = 0, False, 0, 'pitch'
        self.unit, self.meter, self.tempo, self.order = None, (4, 4), 120, ''
        self.key, self.signature = (0, 'major'), {}
        self.voices, self.line, self.in_body = {}, None, False

    def read(self, lines):
        for line in lines:
            if not line and self.in_body:
                break                               # an empty line ends the tune
            if line.startswith(('%%', 'I:')):
                self.directive(line[2:].split('%')[0].lower().split() + ['', ''])
                continue
            line = re.sub(r'(?<!\\)%.*', '', line).strip()
            if re.match('[A-Za-z+]:', line) and not (self.in_body and re.match('[A-Ga-gz]:[|:]', line)):
                self.field(line[0], line[2:].strip())
            elif self.in_body:
                self.scan(line)
        for line in self.voices.values():
            line.barline('|', '', self.tempo)
        return self

    def directive(self, words):
        """%%MIDI and propagate-accidentals; everything else is layout."""
        here = self.line or self
        if words[0] == 'propagate-accidentals':
            here.propagate = words[1]
        elif words[:2] == ['midi', 'program']:
            here.program = max(0, min(127, int(next((w for w in reversed(words) if w.isdigit()), 0))))
        elif words[:2] == ['midi', 'channel']:
            here.is_drum = words[2] == '10'
        elif words[0] == 'midi' and words[1] in ('transpose', 'rtranspose'):
            raise AbcError('%%MIDI transpose')

    def field(self, letter, value):
        """A header field, a body field or an inline field; fields without influence on what sounds are passed over."""
        here = self.line or self
        if letter == 'K':
            here.key, here.signature = key_of(value, here)
            if not self.in_body:
                self.in_body = True
                if self.unit is None:
                    self.unit = Fraction(WHOLE, 16 if self.meter and Fraction(*self.meter) < Fraction(3, 4) else 8)
                for name in self.voices:                # declared before K:
                    self.voices[name].__init__(name, self)
        elif letter == 'L':
            if not re.fullmatch(r'0*[1-9]\d*\s*(/\s*0*[1-9]\d*)?', value):
                raise AbcError('L: not understood')
            here.unit = WHOLE * Fraction(re.sub(r'\s', '', value))
        elif letter == 'M':
            here.meter = meter_of(value)
        elif letter == 'Q':
            self.tempo = tempo_of(value, here.unit or Fraction(UNITS, 2), self.tempo)
        elif letter == 'P' and self.in_body:
            for line in self.voices.values() or [self.voice('1')]:
                line.barline('||', '', self.tempo)
                line.bar.part = value.strip()
        elif letter == 'P':
            self.order = value
        elif letter == 'V':
            self.voice(value)
        if letter in 'KMQ' and self.line and not any(self.line.bar.layers):      # right behind a barline
            self.line.bar.meter, self.line.bar.key, self.line.bar.tempo = self.line.meter, self.line.key, self.tempo

    def voice(self, value):
        """Go to the voice that a V: field names, a new one if need be; return it."""
        name, _, properties = value.strip().partition(' ')
        line = self.voices.setdefault(name, Line(name, self))
        for what, number in re.findall(r'\b(octave|transpose)\s*=\s*(-?\d+)', properties):
            line.shift = int(number) * (12 if what == 'octave' else 1)
        if self.in_body:
            self.line = line
        return line

    def scan(self, text):
        """A line of music."""
        line = self.line or self.voice('1')
        at = 0
        while at < len(text):
            token = TOKEN.match(text, at)
            if not token:
                raise AbcError(f'sign {text[at]!r} not understood')
            at = token.end()
            kind = token.lastgroup
            if token['field']:
                self.field(token['field'], token['value'].strip())
                line = self.line
            elif token['bar']:
                line.barline(token['bar'], token['ending'], self.tempo)
            elif token['lone_ending']:
                line.barline('||' if any(line.bar.layers) else '|', token['lone_ending'], self.tempo)
            elif token['note']:
                length = line.unit * length_of(token['length'])
                line.add([(token['note'], length, False)], length)
            elif token['chord'] is not None:
                self.chord(token['chord'], line.unit * length_of(token['chord_length']))
            elif token['bars']:
                self.rest(token['bars'], text[at:])
            elif token['p']:
                p, compound = int(token['p']), line.meter and line.meter[0] % 3 == 0 and line.meter[0] > 3
                q = int(token['q'] or {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(p, 3 if compound else 2))
                if not p or not q:
                    raise AbcError('tuplet of no notes')
                line.tuplets.append([Fraction(q, p), int(token['r'] or p)])
            elif kind == 'broken':
                line.stretch(token['broken'])
            elif kind == 'tie':
                line.tie()
            elif kind == 'overlay':
                line.bar.layers.append([])
                line.tuplets = []

    def chord(self, text, unit):
        """The first member decides when the next element comes."""
        members, at = [], 0
        while at < len(text):
            member = MEMBER.match(text, at)
            if not member:
                raise AbcError('chord not understood')
            if member['note']:
                members.append((member['note'], unit * length_of(member['length']), member['tie'] == '-'))
            at = member.end()
        if members:
            self.line.add(members, members[0][1])

    def rest(self, text, rest_of_line):
        """Z4 rests four bars; beside notes in its bar, Z can only be meant as z."""
        line, count = self.line, int(text[1:] or 1)
        if any(line.bar.layers) or re.match(r'\s*[^\s|:\[]', rest_of_line):
            return line.add([], line.unit * count)
        if not line.meter or count > MAX_BARS:
            raise AbcError('rest of whole bars in free meter')
        for i in range(count):
            if i:
                line.barline('|', '', self.tempo)
            line.tuplets, line.factor = [], Fraction(1)
            line.add([], Fraction(WHOLE * line.meter[0], line.meter[1]))

    def music(self, title):
        """Play the bars: Music."""
        lines = [line for line in self.voices.values() if line.bars]
        if not lines:
            raise AbcError('no music')
        lead = max(lines, key=lambda line: len(line.bars))
        plan = self.plan(lead.bars)
        if plan != list(range(len(lead.bars))) and any(len(line.bars) != len(lead.bars) for line in lines):
            raise AbcError('voices differ in the number of bars')
        at, former, played, spans = Fraction(0), -1, [], []
        for i in plan:
            bars = [line.bars[i] for line in lines if i < len(line.bars)]
            lengths = {bar.length() for bar in bars}
            if len(lengths) > 1:
                raise AbcError('voices differ in the length of a bar')
            bar = lead.bars[i]
            played.append((bar.length(), bar, bar.strong or i != former + 1))
            for bar in bars:
                for layer in bar.layers:
                    onset = at
                    for element, voice in layer:
                        spans += [[onset, onset + duration, pitch, voice, tied] for pitch, duration, tied, _ in element.notes]
                        onset += element.length
            at, former = at + played[-1][0], i
        if not spans:
            raise AbcError('no notes')
        return timeline(played, join_ties(spans), title)

    def plan(self, bars):
        """Indices of the bars in the order in which they are played."""
        labels = {bar.part for bar in bars} - {''}
        order = self.parts(self.order)
        if not labels or not order:
            return expand(bars)
        if not set(order) <= labels:
            raise AbcError('P: names a part that is not there')
        where = {label: [i for i, bar in enumerate(bars) if bar.part == label] for label in order}
        return [where[label][i] for label in order for i in expand([bars[j] for j in where[label]])]

    @staticmethod
    def parts(order):
        """'(AB)2C.A' -> list of labels."""
        text = re.sub(r'[\s.]', '', order)
        while '(' in text and re.search(r'\(([A-Z0-9]*)\)(\d*)', text):
            text = re.sub(r'\(([A-Z0-9]*)\)(\d*)', lambda m: m[1] * int(m[2] or 1), text)
        text = re.sub(r'([A-Z])(\d+)', lambda m: m[1] * int(m[2]), text)
        return list(text) if re.fullmatch('[A-Z]+', text) else []


def expand(bars):
    """Indices of the bars in the order in which they are played, with repeats and endings. A `:|` without `|:` goes back to the
    latest double bar or end of a repeat, as ABC 2.1 says."""
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
        if len(played) > MAX_BARS:
            raise AbcError('too many bars')
        numbers = endings(bars, start)
        turns = max(numbers | {1 + bar.ends_repeat if not numbers else 2})
        if turn < turns and (bar.ends_repeat or inside and turn + 1 in after):
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
    """[onset, end, pitch, voice, tied] of all notes -> the same, tied notes made one."""
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


def timeline(played, spans, title):
    """Music of the played bars [(length, Bar, whether more than a plain barline stands before)] and the notes."""
    bars = join_bars([(length, bar.meter, strong) for length, bar, strong in played])
    starts = {Fraction(0)}
    at, meters, pickup = Fraction(0), [], 0
    for i, (length, meter) in enumerate(bars):
        full = nominal(meter)
        if length != full and i and i == len(bars) - 1 and full and length < full:
            pass                                        # the last bar may be short: nothing follows
        elif length != full and not i and len(bars) > 1 and full and length < full:
            pickup = whole(length)
        elif length != full:
            meter = meter_of_length(whole(length), meter[1] if meter else 4)
        if not meters or meters[-1][1:] != meter:
            meters.append((whole(at), *meter))
        at += length
        starts.add(at)
    keys, tempos, at = [], [], Fraction(0)
    last = sorted(starts)
    for length, bar, _ in played:
        onset = next(s for s in last if s >= at)
        for events, event in ((keys, bar.key), (tempos, (bar.tempo,))):
            if events and events[-1][0] == onset:
                events.pop()
            if not events or events[-1][1:] != event:
                events.append((whole(onset), *event))
        at += length
    kinds = list(dict.fromkeys(span[3] for span in spans))
    rows = [(onset, end, pitch, kinds.index(voice)) for onset, end, pitch, voice, _ in spans]
    notes = notation.without_overlaps(on_grid(rows, last))
    return Music(notes, [Voice(program, is_drum) for _, program, is_drum in kinds], meters, tempos, keys, pickup, title)


def on_grid(rows, starts):
    """Times of (onset, end, pitch, voice) as integers: as they are if whole, else rounded."""
    return [(round(onset), max(round(onset) + 1, round(end)), pitch, voice) for onset, end, pitch, voice in rows]


def join_bars(bars):
    """[(length, meter, strong)] -> [(length, meter)]: incomplete bars that meet over strong barlines and fill the meter become one,
    and bars of several meters' length are cut."""
    joined, i = [], 0
    while i < len(bars):
        length, meter, _ = bars[i]
        full, total, j = nominal(meter), length, i + 1
        while full and total < full and j < len(bars) and bars[j][2]:
            total += bars[j][0]
            j += 1
        if j > i + 1 and total == full:
            joined.append((full, meter))
            i = j
        else:
            pieces = int(length / full) if full and length % full == 0 else 1
            joined += [(length / pieces, meter)] * pieces
            i += 1
    return joined


def nominal(meter):
    return Fraction(bar_length(*meter)) if meter else None


def whole(time):
    if time.denominator != 1:
        raise AbcError('bar off the grid')
    return int(time)


def meter_of_length(length, denominator):
    """(numerator, denominator) of a bar of `length` units, in the given denominator if possible."""
    while length * denominator % WHOLE and denominator < 32:
        denominator *= 2
    if length * denominator % WHOLE or not 0 < length <= notation.MAX_BAR:
        raise AbcError('bar length that no meter has')
    return length * denominator // WHOLE, denominator


def passes(text):
    """'1,3-4.' -> {1, 3, 4}"""
    numbers = set()
    for first, last in re.findall(r'(\d+)(?:-(\d+))?', text):
        numbers |= set(range(int(first), min(int(last or first), int(first) + 99) + 1))
    return frozenset(numbers)


def length_of(text):
    """'3/2' -> Fraction(3, 2); '/' halves, '//' quarters."""
    match = re.fullmatch(r'(\d*)(/*)(\d*)', text)
    if not match or match[3] and len(match[2]) > 1:
        raise AbcError('note length not understood')
    below = int(match[3]) if match[3] else 2 ** len(match[2])
    if not below or match[1] and not int(match[1]):
        raise AbcError('note of no length')
    return Fraction(int(match[1] or 1), below)


def meter_of(text):
    """M: field -> (numerator, denominator), or None for free meter."""
    text = re.sub(r'["\s()]', '', text)
    if text in ('none', 'None', ''):
        return None
    if text in ('C', 'c', 'C|', 'c|'):
        return (4, 4) if len(text) == 1 else (2, 2)
    match = re.fullmatch(r'(\d+(?:\+\d+)*)/(\d+)', text)
    if not match:
        raise AbcError('M: not understood')
    try:
        return notation.meter_of(sum(map(int, match[1].split('+'))), match[2])
    except notation.NotationError:
        raise AbcError('impossible meter') from None


def tempo_of(text, unit, former):
    """Q: field -> quarters a minute. '1/4=120', '"Slow" 3/8=60', 'C3=80' and '120' (unit lengths a minute); words alone change nothing."""
    text = re.sub(r'"[^"]*"', '', text).replace(' ', '')
    match = re.fullmatch(r'(?:(\d+(?:/\d+)(?:\+\d+/\d+)*)=|(C\d*)=)?(\d+)', text.replace('1/4.', '3/8'))
    if not match:
        return former
    if match[1]:
        beat = WHOLE * sum(Fraction(f) for f in match[1].split('+'))
    else:
        beat = unit * int((match[2] or 'C')[1:] or 1)
    return max(1, min(9999, round(beat * int(match[3]) / UNITS)))


def key_of(text, here):
    """K: field -> ((sharps, mode), {letter: semitones}); a field without a tonic, such as 'clef=bass', keeps the key."""
    match = re.match(r'(H[Pp]|none|[A-G](?![a-z]*=))([#b]?)\s*([A-Za-z]*)(?!\s*=)', text)
    if not match:
        if text and not re.search(r'=|treble|bass|alto|tenor|perc', text):
            raise AbcError('K: not understood')
        return here.key, here.signature
    if match[1] in ('HP', 'Hp', 'none'):
        sharps, mode = (0 if match[1] == 'none' else 2), 'major'
    else:
        name = match[3].lower()
        name = 'm' if name == 'm' else name[:3]
        if name not in MODES:
            name = '' if name in ('exp', 'cle', 'tre', 'bas', 'alt', 'ten', 'per', 'oct') else name
        if name not in MODES:
            raise AbcError('K: not understood')
        sharps = FIFTHS.index(match[1]) - 1 + 7 * {'#': 1, 'b': -1, '': 0}[match[2]] - MODES[name]
        mode = 'minor' if name in MINOR else 'major'
    if abs(sharps) > 7:
        raise AbcError('key of more than seven accidentals')
    signature = {letter: 1 for letter in FIFTHS[:max(sharps, 0)]} | {letter: -1 for letter in FIFTHS[7 + min(sharps, 0):]}
    for mark, letter in re.findall(r'(\^\^?|__?|=)([A-Ga-g])', text[match.end():]):
        signature[letter.upper()] = {'^': 1, '^^': 2, '_': -1, '__': -2, '=': 0}[mark]
    return (sharps, mode), signature
