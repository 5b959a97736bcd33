"""Tune books: ABC 2.1 files as other people write them -> notes. (The way back is abcfile.py.)

    for title, music, reason in read_abc(open('book.abc').read()):
        ...                                         # music is None where reason (a short name to count under) is not

Every `X:` tune is read exactly or rejected. What is played is what counts: repeats, endings and `P:` orders are
expanded (unfold.py). Tuplets, broken rhythm, chords, ties, overlays `&`, voices, inline fields and %%MIDI
program/channel are followed. Grace notes, slurs, decorations, chord symbols, annotations and lyrics are skipped (so is
a "D.C." that is only an annotation). An accidental holds to the barline in all octaves unless `propagate-accidentals`
says `not` or `octave`. Times are exact until the end, when notes off the grid of 24 units a quarter (quintuplets,
64ths) are rounded to it. Modes become the key signature that they are written with, called major if their third is.
Text without `X:` that starts with `L:1/8` is our own compact notation (notation.py), one tune a paragraph.
"""
import codecs
import re
from functools import lru_cache

from music import notation
from music.notation import FIFTHS, MARKS, SEMITONES, signature
from music.notes import UNITS, WHOLE, is_meter
from music.unfold import TICKS, AbcError, Bar, play

WHOLE_TICKS = WHOLE * TICKS
# Modes by their first three letters -> sharps that they have less than major.
MODES = {'lyd': -1, '': 0, 'ion': 0, 'maj': 0, 'mix': 1, 'dor': 2, 'aeo': 3, 'min': 3, 'm': 3, 'phr': 4, 'loc': 5}
ALTER = {mark: semitones for semitones, mark in MARKS.items()} | {'^^': 2, '__': -2}
TUPLET_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}            # (5, (7 and (9: in the time of 2, in compound meters of 3

TOKEN = re.compile(r'''
    (?P<note>(?:\^\^?|__?|=)?[A-Ga-gxz][,']*)(?P<length>[\d/]{0,9})
  | [\s`\\)~.$*]
  | \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
  | (?P<bar>(?::*\[?\|[|\]:]*|::+|^:))(?:\s*\[?(?P<ending>\d[\d,.-]*))?
  | (?:\[|^)\s*(?P<lone_ending>\d[\d,.-]*)
  | "[^"]*" | \{[^}]*\} | ![\w.,<>()+'~:/]+! | \+[a-z]+\+
  | \((?P<p>[1-9])(?::(?P<q>[1-9]?))?(?::(?P<r>[1-9]\d?|))?
  | \[(?P<chord>[^\]]*)\](?P<chord_length>[\d/]{0,9})
  | (?P<bars>[ZX]\d{0,3})
  | (?P<broken>>{1,9}|<{1,9}) | (?P<tie>-) | (?P<overlay>&)
  | [(!] | y[\d/]* | [H-Wh-w] | =(?:20)?$                     # the last: quoted-printable left-overs
''', re.X)
MEMBER = re.compile(r'''(?P<note>(?:\^\^?|__?|=)?[A-Ga-gxz][,']*)(?P<length>[\d/]{0,9})\s*(?P<tie>-?)
  | "[^"]*" | ![^!]*! | [\s().~H-Wh-w]''', re.X)


def decoded(data):
    """Text of the bytes of an ABC file: UTF-8, UTF-16 where a byte-order mark says so, else Latin-1."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode('utf-16', 'replace')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:
        return data.decode('latin-1')


def read_abc(text):
    """Yield (title, Music, None) or (title, None, reason) for each tune of the text, in order."""
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
    defaults = re.findall(r'^(?:%%|[ILMQ]:).*', head, re.M)          # a file header holds for all tunes
    for tune in tunes:
        lines = defaults + [line.strip() for line in tune.split('\n')]
        title = next((line[2:].strip().replace(r'\%', '%') for line in lines if line.startswith('T:')), '')
        try:
            tune = Tune().read(lines)
            voices = {name: line.bars for name, line in tune.voices.items()}
            yield title, play(voices, tune.order, tune.staves, title), None
        except AbcError as e:
            yield title, None, str(e)


class Line:
    """One voice while it is read: what is in force, and the bars so far."""

    def __init__(self, tune):
        self.program, self.is_drum, self.shift, self.propagate = tune.program, tune.is_drum, tune.shift, tune.propagate
        self.unit, self.meter, self.key, self.signature = tune.unit, tune.meter, tune.key, tune.signature
        self.bars, self.bar = [], Bar(tune.meter, tune.key, tune.tempo)
        self.accidentals = {}           # what holds to the barline: letter (or letter and octave) -> semitones
        self.tied = {}                  # (layer, letter and octave) of notes tied to the next -> pitches
        self.tuplets = []               # [p, q, elements left]
        self.broken = (1, 1)            # what broken rhythm multiplies the next element with
        self.last = None                # the latest element

    def barline(self, mark, ending, tempo):
        """Close the bar at `mark`; an empty bar (two marks in a row, a mark at the start) only hands its marks on."""
        mark = mark.replace('[|]', '|' if ':' not in mark else '')      # an invisible barline
        both = mark.strip(':') == '' or mark == '|:|'                   # :: and what some books write for it
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

    def add(self, notes, length):
        """Append an element. `notes`: (text, duration, tied); times in ticks, before tuplets and broken rhythm."""
        layer, (times, parts) = len(self.bar.layers) - 1, self.broken
        for tuplet in self.tuplets:
            times, parts = times * tuplet[1], parts * tuplet[0]
            tuplet[2] -= 1
        self.tuplets = [tuplet for tuplet in self.tuplets if tuplet[2]]
        self.broken = (1, 1)
        tied, self.tied = self.tied, {key: pitches for key, pitches in self.tied.items() if key[0] != layer}
        sounding = []
        for text, duration, tie in notes:
            place = text.lstrip('^_=')
            if place not in 'xz':
                pitch = self.pitch(text, place, tied.get((layer, place), ()))
                sounding.append([pitch, scaled(duration, times, parts), tie, place])
                if tie:
                    self.tied.setdefault((layer, place), []).append(pitch)
        self.last = [sounding, scaled(length, times, parts), self.program, self.is_drum]
        self.bar.layers[-1].append(self.last)

    def pitch(self, text, place, carried):
        """MIDI pitch of a note's text. One of `carried`, the pitches tied to it, sounds on without its accidental."""
        letter = place[0].upper()
        memory = letter if self.propagate == 'pitch' else place
        mark = text.removesuffix(place)
        alter = ALTER[mark] if mark else self.accidentals.get(memory, self.signature.get(letter, 0))
        if mark and self.propagate != 'not':
            self.accidentals[memory] = alter
        octave = (place[0] >= 'a') + place.count("'") - place.count(',')
        pitch = 60 + SEMITONES[letter] + alter + 12 * octave + self.shift
        if carried and pitch not in carried and not mark and memory not in self.accidentals:
            return carried[0]
        if not 0 <= pitch <= 127:
            raise AbcError('pitch out of range')
        return pitch

    def stretch(self, text):
        """Broken rhythm: `>` dots the last element and halves the next, `>>` double-dots it and quarters the next."""
        if self.last is None:
            raise AbcError('broken rhythm without a note before it')
        parts = 2 ** len(text)
        before, after = (2 * parts - 1, 1) if text[0] == '>' else (1, 2 * parts - 1)
        self.last[1] = scaled(self.last[1], before, parts)
        for note in self.last[0]:
            note[1] = scaled(note[1], before, parts)
        self.broken = (after, parts)

    def tie(self):
        for note in self.last[0] if self.last else ():
            note[2] = True
            self.tied.setdefault((len(self.bar.layers) - 1, note[3]), []).append(note[0])


class Tune:
    """One tune while it is read: its attributes are the header's fields, which each new voice takes over."""

    def __init__(self):
        self.program, self.is_drum, self.shift, self.propagate = 0, False, 0, 'pitch'
        self.unit, self.meter, self.tempo, self.order = None, (4, 4), 120, ''
        self.key, self.signature = (0, 'major'), {}
        self.voices, self.staves, self.in_body = {}, {}, False
        self.line = None                # the voice that the body is at
        self.declared = None            # the voice that the header is at

    def read(self, lines):
        for line in lines:
            if not line and self.in_body:
                break                               # an empty line ends the tune
            line = re.sub(r'(?<!\\)%.*', '', re.sub('^%%', 'I:', line)).strip()
            if re.match('[A-Za-z+]:', line) and not (self.in_body and re.match('[A-Ga-gz]:[|:]', line)):
                self.field(line[0], line[2:].strip())
            elif self.in_body:
                self.scan(line)
        for line in self.voices.values():
            line.barline('|', '', self.tempo)
        return self

    def directive(self, words):
        """%%MIDI, %%score and propagate-accidentals; everything else is layout."""
        here, words = self.line or self.declared or self, words + ['', '']
        if words[0] in ('score', 'staves'):
            for staff in re.findall(r'\(([^()]*)\)', ' '.join(words)):
                self.staves.update(dict.fromkeys(staff.split(), staff.split()[0]) if staff.split() else {})
        elif words[0] == 'propagate-accidentals':
            for line in (self, *self.voices.values()) if self.line is None else (self.line,):
                line.propagate = words[1]
        elif words[0] == 'MIDI' and words[1] == 'program':
            here.program = min(127, int(next((w for w in reversed(words) if re.fullmatch(r'\d{1,3}', w)), 0)))
        elif words[0] == 'MIDI' and words[1] == 'channel':
            here.is_drum = words[2] == '10'
        elif words[0] == 'MIDI' and words[1] in ('transpose', 'rtranspose'):
            raise AbcError('%%MIDI transpose')

    def field(self, letter, value):
        """A header field, a body field or an inline field; fields without influence on what sounds are passed over."""
        here = self.line or self
        if letter == 'K':
            here.key, here.signature = read_key(value, here)
            here.shift = shift_of(value, here.shift)
            if not self.in_body:
                self.in_body = True
                if self.unit is None:
                    self.unit = WHOLE_TICKS // (16 if self.meter and 4 * self.meter[0] < 3 * self.meter[1] else 8)
                for line in self.voices.values():       # declared before K:
                    line.unit, line.meter, line.key, line.signature = self.unit, self.meter, self.key, self.signature
                    line.bar = Bar(line.meter, line.key, self.tempo)
        elif letter == 'L':
            if not re.fullmatch(r'\d{1,4}(/\d{1,4})?', value.replace(' ', '')):
                raise AbcError('L: not understood')
            here.unit = length_of(value.replace(' ', ''), WHOLE_TICKS)
        elif letter == 'M':
            here.meter = read_meter(value)
        elif letter == 'Q':
            self.tempo = read_tempo(value, here.unit or WHOLE_TICKS // 8, self.tempo)
        elif letter == 'P' and self.in_body:
            for line in list(self.voices.values()) or [self.voice('1')]:
                line.barline('||', '', self.tempo)
                line.bar.part = value.strip()
        elif letter == 'P':
            self.order = value
        elif letter == 'V':
            self.voice(value)
        elif letter == 'I':
            self.directive(value.split())
        if letter in 'KMQ' and self.line and not any(self.line.bar.layers):      # right behind a barline
            self.line.bar.meter, self.line.bar.key, self.line.bar.tempo = self.line.meter, self.line.key, self.tempo

    def voice(self, value):
        """Go to the voice that a V: field names, a new one if need be; return it."""
        name, _, properties = value.strip().partition(' ')
        if name not in self.voices:
            self.voices[name] = Line(self)
        line = self.voices[name]
        line.shift = shift_of(properties, line.shift)
        if self.in_body:
            self.line = line
        else:
            self.declared = line
        return line

    def scan(self, text):
        """A line of music."""
        line = self.line or self.voice(next(iter(self.voices), '1'))
        at = 0
        while at < len(text):
            token = TOKEN.match(text, at)
            if not token:
                raise AbcError(f'sign {text[at]!r} not understood')
            at, kind = token.end(), token.lastgroup             # kind: the last group that took part in the match
            if kind == 'length':
                length = length_of(token['length'], line.unit)
                line.add([(token['note'], length, False)], length)
            elif kind is None:
                continue
            elif kind == 'value':
                self.field(token['field'], token['value'].strip())
                line = self.line
            elif kind in ('bar', 'ending', 'lone_ending'):
                line.barline(token['bar'] or '|', token['ending'] or token['lone_ending'], self.tempo)
            elif kind == 'chord_length':
                self.chord(token['chord'], length_of(token['chord_length'], line.unit))
            elif kind == 'bars':
                self.rest(token['bars'], text[at:])
            elif kind in 'pqr':
                # Compound here is 6/4 too, as abc2midi has it; in notes.beat_length it is not.
                p, compound = int(token['p']), line.meter and line.meter[0] % 3 == 0 and line.meter[0] > 3
                q = int(token['q'] or TUPLET_TIME.get(p, 3 if compound else 2))
                line.tuplets.append([p, q, int(token['r'] or p)])
            elif kind == 'broken':
                line.stretch(token['broken'])
            elif kind == 'tie':
                line.tie()
            elif kind == 'overlay':
                line.bar.layers.append([])
                line.tuplets = []

    def chord(self, text, unit):
        """The first member decides when the next element comes."""
        if MEMBER.sub('', text):
            raise AbcError('chord not understood')
        members = [(member['note'], length_of(member['length'], unit), member['tie'] == '-')
                   for member in MEMBER.finditer(text) if member['note']]
        if members:
            self.line.add(members, members[0][1])

    def rest(self, text, rest_of_line):
        """Z4 rests four bars; beside notes in its bar, Z can only be meant as z."""
        line, count = self.line, int(text[1:] or 1)
        if any(line.bar.layers) or re.match(r'\s*[^\s|:\[]', rest_of_line):
            return line.add([], line.unit * count)
        if not line.meter:
            raise AbcError('rest of whole bars in free meter')
        for i in range(count):
            if i:
                line.barline('|', '', self.tempo)
            line.tuplets, line.broken = [], (1, 1)
            line.add([], WHOLE_TICKS * line.meter[0] // line.meter[1])


def passes(text):
    """'1,3-4.' -> {1, 3, 4}: on which turns an ending is played."""
    numbers = set()
    for first, last in re.findall(r'(\d{1,3})(?:-(\d{1,3}))?', text):
        numbers |= set(range(int(first), min(int(last or first), int(first) + 99) + 1))
    return frozenset(numbers)


@lru_cache(maxsize=10_000)
def length_of(text, unit):
    """Ticks of a length in units: '3/2'; '/' halves, '//' quarters."""
    match = re.fullmatch(r'(\d*)(/*)(\d*)', text)
    if not match or match[3] and len(match[2]) != 1:
        raise AbcError('note length not understood')
    times, parts = int(match[1] or 1), int(match[3] or 2 ** len(match[2]))
    if not times or not parts:
        raise AbcError('note of no length')
    return scaled(unit, times, parts)


def scaled(ticks, times, parts):
    ticks, rest = divmod(ticks * times, parts)
    if rest or not ticks:
        raise AbcError('note too short')
    return ticks


def shift_of(text, shift):
    """Semitones by which octave=, transpose= and a clef such as treble-8 move a voice; `shift` if there are none."""
    found = [12 * int(n) for n in re.findall(r'\boctave\s*=\s*(-?\d{1,2})\b', text)]
    found += [int(n) for n in re.findall(r'\btranspose\s*=\s*(-?\d{1,2})\b', text)]
    found += [int(sign + '12') for sign in re.findall(r'\b(?:treble|bass|alto|tenor)\d?([+-])8', text)]
    return sum(found) if found else shift


def read_meter(text):
    """M: field -> (numerator, denominator), or None for free meter."""
    text = re.sub(r'["\s()]', '', text)
    if text in ('none', 'None', ''):
        return None
    text = {'C': '4/4', 'C|': '2/2'}.get(text.upper(), text)
    match = re.fullmatch(r'(\d{1,3}(?:\+\d{1,3})*)/(\d{1,3})', text)
    if not match:
        raise AbcError('M: not understood')
    meter = sum(map(int, match[1].split('+'))), int(match[2])
    if not is_meter(*meter):
        raise AbcError('impossible meter')
    return meter


def read_tempo(text, unit, former):
    """Q: field -> quarters a minute: '1/4=120', '"Slow" 3/8=60', 'C3=80', '120' (in L:). Words alone change nothing."""
    text = re.sub(r'"[^"]*"', '', text).replace(' ', '').replace('1/4.', '3/8')
    match = re.fullmatch(r'(?:(\d{1,4}/\d{1,4}(?:\+\d{1,4}/\d{1,4})*)=|(C\d{0,4})=)?(\d{1,5})', text)
    if not match:
        return former
    lengths = match[1].split('+') if match[1] else [(match[2] or 'C')[1:]]
    beat = sum(length_of(length, WHOLE_TICKS if match[1] else unit) for length in lengths)
    return max(1, min(9999, round(beat * int(match[3]) / (UNITS * TICKS))))


def read_key(text, here):
    """K: field -> ((sharps, mode), {letter: semitones}); a field of only a clef and the like keeps the key."""
    text = re.sub(r'\b(clef|octave|transpose|middle|stafflines|name|[mts])\s*=\s*\S+', '', text)
    text = re.sub(r'\b(treble|alto|tenor|bass|perc)\S*', '', text)
    if not text.strip():
        return here.key, here.signature
    match = re.fullmatch(r'(HP|Hp|none|[A-G])([#b]?)\s*([A-Za-z]*)((?:\s*(?:\^\^?|__?|=)[A-Ga-g])*)\s*', text)
    name = match and match[3].lower()[:3]
    if not match or name not in MODES and name != 'exp':
        raise AbcError('K: not understood')
    given = [(letter.upper(), ALTER[mark]) for mark, letter in re.findall(r'(\^\^?|__?|=)([A-Ga-g])', match[4])]
    if match[1] in ('HP', 'Hp'):
        sharps = 2
    elif match[1] == 'none' or name == 'exp':
        sharps = max(-7, min(7, sum(alter for _, alter in given)))
    else:
        sharps = FIFTHS.index(match[1]) - 1 + 7 * {'#': 1, 'b': -1, '': 0}[match[2]] - MODES[name]
    if abs(sharps) > 7:
        raise AbcError('key of more than seven accidentals')
    mode = 'minor' if MODES.get(name, 0) >= 2 else 'major'
    return (sharps, mode), ({} if name == 'exp' else signature(sharps)) | dict(given)
