"""One ABC tune while it is read: its fields, directives and lines of music. tunebook.py finds the
tunes of a text and says what is followed.

    tune = TuneReader().read(lines)     # raises AbcError(reason)
    tune.voices['1'].bars               # as unfold.play wants them
"""
import re
from collections import Counter

from music.abcfields import (
    ALTER,
    WHOLE_TICKS,
    length_of,
    read_key,
    read_meter,
    read_tempo,
    shift_of,
)
from music.abcsplit import is_prose
from music.abcvoice import VoiceReader
from music.notation import SEMITONES
from music.notes import remark
from music.unfold import AbcError, NotatedBar

# (5, (7 and (9 are in the time of 2, in compound meters of 3.
TUPLET_TIME = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}

NOTE = r"(?P<note>(?:\^\^?|__?|=)?[A-Ga-gxz][,']*)(?P<length>[\d/]{0,9})"
TOKEN = re.compile(rf'''
    {NOTE}
  | [\s`\\)~.$*]
  | \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
  | (?P<bar>(?::*\[?\|[|\]:]*|::+|^:))(?:\s*\[?(?P<ending>\d[\d,.-]*))?
  | (?:\[|^)\s*(?P<lone_ending>\d[\d,.-]*)
  | "(?P<words>[^"]*)" | \{{(?P<grace>[^}}]*)\}}
  | !(?P<decoration>[\w.,<>()+'~:/]+|(?i:d\.\s?[cs]\.|da\scapo|dal\ssegno|to\scoda)[^!|]*)!
  | \+(?P<old_decoration>[A-Za-z.]+)\+
  | \((?P<p>[1-9])(?::(?P<q>[1-9]?))?(?::(?P<r>[1-9]\d?|))?
  | \[(?P<chord>[^\]]*)\](?P<chord_length>[\d/]{{0,9}})
  | (?P<bars>[ZX]\d{{0,3}})
  | (?P<broken>>{{1,9}}|<{{1,9}}) | (?P<tie>-) | (?P<overlay>\(&|&\)|&+)
  | [(!] | y[\d/]* | (?P<symbol>[H-Wh-w]) | =(?:20)?$         # last: quoted-printable left-overs
''', re.X)
MEMBER = re.compile(rf'''{NOTE}\s*(?P<tie>-?)
  | "[^"]*" | ![^!]*! | [\s().~H-Wh-w]''', re.X)

FIELD = re.compile('[A-Za-z+]:')


class TuneReader:
    """One tune while it is read: its attributes are the header's fields, which each new voice takes
    over."""

    def __init__(self):
        self.program, self.is_drum, self.shift, self.propagate = 0, False, 0, 'pitch'
        self.drums, self.has_drum_clef = {}, False      # drums: pitch as written -> MIDI pitch
        self.unit, self.meter, self.tempo, self.order = None, (4, 4), 120, ''
        self.key, self.signature = (0, 'major'), {}
        self.symbols = {'S': 'segno', 'O': 'coda'}      # decorations of one letter
        self.voices, self.staves, self.in_body = {}, {}, False
        self.line = None            # the voice that the body is at
        self.declared = None        # the voice that the header is at
        self.remarks = Counter()

    def read(self, lines):
        for i, line in enumerate(lines):
            if not line and self.in_body:               # an empty line ends the tune
                self.check_rest(lines[i:])
                break
            line = re.sub(r'(?<!\\)%.*', '', re.sub('^%%', 'I:', line)).strip()
            if FIELD.match(line) and not (self.in_body and re.match('[A-Ga-gz]:[|:]', line)):
                self.field(line[0], line[2:].strip())
            elif self.in_body and is_prose(line, self.symbols):
                remark(self.remarks, 'skipped', 'lines of words')
            elif self.in_body:
                self.scan(line)
        if not self.in_body:
            raise AbcError('no K: line, which ends the header')
        for line in self.voices.values():
            line.finish(self.tempo)
            remark(self.remarks, 'guessed', 'pitches on a percussion clef',
                   line.has_drum_clef and not line.is_drum)
        return self

    def check_rest(self, lines):
        """Name music after an empty line: there it is no part of the tune, as ABC 2.1 says."""
        music = [line for line in lines if '|' in line and not re.match('[A-Za-z+]:|%', line)
                 and not is_prose(line, self.symbols)]
        if music and not any(line.bars or line.bar.layers[0] for line in self.voices.values()):
            raise AbcError('an empty line after K:, where the music should begin')
        remark(self.remarks, 'skipped', 'lines of music after an empty line', len(music))

    def directive(self, words):
        """%%MIDI, %%score and propagate-accidentals; nearly everything else is layout."""
        here, words = self.line or self.declared or self, words + ['', '']
        if words[0] in ('score', 'staves'):
            for staff in re.findall(r'\(([^()]*)\)', ' '.join(words)):
                names = staff.split()
                self.staves.update(dict.fromkeys(names, names[0]) if names else {})
        elif words[0] == 'propagate-accidentals':
            for line in (self, *self.voices.values()) if self.line is None else (self.line,):
                line.propagate = words[1]
        elif words[0] == 'MIDI' and words[1] == 'program':
            numbers = [word for word in words if re.fullmatch(r'\d{1,3}', word)]
            here.program = min(127, int(numbers[-1])) if numbers else 0
        elif words[0] == 'MIDI' and words[1] == 'channel':
            here.is_drum = words[2] == '10'
        elif words[:2] == ['MIDI', 'drummap'] or words[0] == 'percmap':
            self.map_drum(here, words[words[0] == 'MIDI':])
        elif words[:2] == ['MIDI', 'drumon']:
            remark(self.remarks, 'skipped', 'drum patterns')
        elif words[0] == 'MIDI' and words[1] in ('transpose', 'rtranspose'):
            raise AbcError('%%MIDI transpose')
        elif words[0].startswith('begin'):
            remark(self.remarks, 'skipped', 'blocks of text')

    def map_drum(self, here, words):
        """%%MIDI drummap ^g, 42, or %%percmap ^g, 42 and what follows: which drum a note is."""
        place = words[1].lstrip('^_=')
        mark = words[1].removesuffix(place)
        keys = [int(word) for word in words[2:] if re.fullmatch(r'\d{1,3}', word)]
        if not re.fullmatch("[A-Ga-g][,']*", place) or mark not in ('', *ALTER) or \
                not keys or keys[-1] > 127:
            return remark(self.remarks, 'skipped', 'drum maps')
        octave = (place[0] >= 'a') + place.count("'") - place.count(',')
        written = 60 + SEMITONES[place[0].upper()] + ALTER.get(mark, 0) + 12 * octave
        here.drums[written] = keys[-1]
        self.drums.setdefault(written, keys[-1])
        self.check_clef(here, '')

    def check_clef(self, here, text):
        """A voice is of drums where it has a percussion clef and there is a drum map."""
        here.has_drum_clef |= bool(re.search(r'\bperc\b', text))
        here.is_drum |= here.has_drum_clef and bool(self.drums)

    def field(self, letter, value):
        """A header field, a body field or an inline field; fields without influence on what sounds
        are passed over."""
        here = self.line or self
        if letter == 'K':
            here.key, here.signature = read_key(value, here)
            here.shift = shift_of(value, here.shift)
            self.check_clef(here, value)
            if not self.in_body:
                self.begin_body()
        elif letter == 'L':
            if not re.fullmatch(r'\d{1,4}(/\d{1,4})?', value.replace(' ', '')):
                raise AbcError('L: not understood')
            here.unit = length_of(value.replace(' ', ''), WHOLE_TICKS)
        elif letter == 'M':
            here.meter = read_meter(value)
        elif letter == 'Q' and value:
            tempo = read_tempo(value, here.unit or WHOLE_TICKS // 8)
            self.tempo = tempo or self.tempo
            remark(self.remarks, 'guessed', 'tempo', tempo is None)
        elif letter == 'P' and self.in_body:
            for line in list(self.voices.values()) or [self.voice('1')]:
                line.barline('||', '', self.tempo)
                line.bar.part = value.strip()
        elif letter == 'P':
            self.order = value
        elif letter == 'V':
            self.voice(value)
        elif letter == 'I':
            self.directive(re.sub(r'^MIDI\s*=', 'MIDI ', value).split())
        elif letter == 'm':
            remark(self.remarks, 'skipped', 'macros')
        elif letter == 'U':
            symbol, _, decoration = value.partition('=')
            self.symbols[symbol.strip()] = decoration.strip()

        # Directly after a barline, a change holds for the bar that begins there.
        if letter in 'KMQ' and self.line and not any(self.line.bar.layers):
            bar = self.line.bar
            bar.meter, bar.key, bar.tempo = self.line.meter, self.line.key, self.tempo

    def begin_body(self):
        """What the header says holds for the voices that were declared in it."""
        self.in_body = True
        if self.unit is None:
            is_short = self.meter and 4 * self.meter[0] < 3 * self.meter[1]
            self.unit = WHOLE_TICKS // (16 if is_short else 8)
        for line in self.voices.values():
            line.unit, line.meter = self.unit, self.meter
            line.key, line.signature = self.key, self.signature
            line.bar = NotatedBar(line.meter, line.key, self.tempo)

    def voice(self, value):
        """Go to the voice that a V: field names, a new one if need be; return it."""
        name, _, properties = value.strip().partition(' ')
        if name not in self.voices:
            self.voices[name] = VoiceReader(self)
        line = self.voices[name]
        line.shift = shift_of(properties, line.shift)
        self.check_clef(line, properties)
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
            at, kind = token.end(), token.lastgroup         # the last group that took part
            if kind == 'length':
                length = length_of(token['length'], line.unit)
                line.add([(token['note'], length, False)], length)
            elif kind is None:
                continue
            elif kind == 'value':
                self.field(token['field'], token['value'].strip())
                line = self.line
            elif kind in ('bar', 'ending', 'lone_ending'):
                ending = token['ending'] or token['lone_ending']
                line.barline(token['bar'] or '|', ending, self.tempo)
            elif kind == 'chord_length':
                self.chord(token['chord'], length_of(token['chord_length'], line.unit))
            elif kind == 'bars':
                self.rest(token['bars'], text[at:])
            elif kind in 'pqr':
                # Compound here is 6/4 too, as abc2midi has it; in notes.beat_length it is not.
                is_compound = line.meter and line.meter[0] % 3 == 0 and line.meter[0] > 3
                p = int(token['p'])
                q = int(token['q'] or TUPLET_TIME.get(p, 3 if is_compound else 2))
                line.tuplets.append([p, q, int(token['r'] or p)])
            elif kind == 'broken':
                line.stretch(token['broken'])
            elif kind == 'tie':
                line.tie()
            elif kind == 'overlay':
                line.overlay(token['overlay'], self.tempo)
            elif kind == 'words':
                line.sign(token['words'], sure=False)
            elif kind in ('decoration', 'old_decoration'):
                line.sign(token[kind], sure=True)
            elif kind == 'symbol' and token['symbol'] in self.symbols:
                line.sign(self.symbols[token['symbol']], sure=True)
            elif kind == 'grace':
                count = len(re.findall('[A-Ga-g]', token['grace']))
                remark(self.remarks, 'skipped', 'grace notes', count)

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
        if line.bar.layers[-1] or re.match(r'\s*[^\s|:\[]', rest_of_line):
            return line.add([], line.unit * count)
        if not line.meter:
            raise AbcError('rest of whole bars in free meter')
        for i in range(count):
            if i:
                line.barline('|', '', self.tempo)
            line.tuplets, line.broken = [], (1, 1)
            line.add([], WHOLE_TICKS * line.meter[0] // line.meter[1])
