"""Tune books: ABC 2.1 files as other people write them -> notes. (The way back is abcfile.py.)

    for title, music, reason in read_abc(decoded(open('book.abc', 'rb').read())):
        ...                                         # music is None where there is a reason

Every tune is read or rejected; a reason is a short name to count under. What is played is what
counts: repeats, endings, jumps (D.C., D.S., Fine, coda) and `P:` orders are played out (unfold.py).
Tuplets, broken rhythm, chords, ties, overlays `&` and `&&`, voices, inline fields and %%MIDI
program/channel/drummap are followed. Slurs, decorations, chord symbols, annotations and lyrics are
skipped. Music.remarks counts what else is: grace notes, blocks and lines of words, "D.C." above the
notes where no Fine makes it clear, a tempo in words.

A tune begins at its `X:`. Text without any, such as what is pasted into a chat, is searched for
headers; a line of ``` ends a tune like an empty line. Text without `X:` that starts with `L:1/8` may
be our own compact notation (notation.py), one tune a paragraph.

An accidental holds to the barline in all octaves unless `propagate-accidentals` says `not` or
`octave`. Times are exact until the end, when notes off the grid of 24 units a quarter (quintuplets,
64ths) are rounded to it. Modes become the key signature that they are written with, called major if
their third is.
"""
import re
from collections import Counter

from music import notation
from music.abcfields import (
    ALTER,
    length_of,
    passes,
    read_key,
    read_meter,
    read_tempo,
    scaled,
    shift_of,
)
from music.abcsplit import is_prose, split_tunes
from music.notation import SEMITONES
from music.notes import WHOLE, remark
from music.unfold import (
    LEAVING,
    TICKS,
    AbcError,
    Bar,
    Sign,
    play,
    sign_of,
)

WHOLE_TICKS = WHOLE * TICKS
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
  | !(?P<decoration>[\w.,<>()+'~:/]+|(?i:d\.\s?[cs]\.|da\scapo|dal\ssegno|to\scoda)[^!|]*)! | \+[a-z]+\+
  | \((?P<p>[1-9])(?::(?P<q>[1-9]?))?(?::(?P<r>[1-9]\d?|))?
  | \[(?P<chord>[^\]]*)\](?P<chord_length>[\d/]{{0,9}})
  | (?P<bars>[ZX]\d{{0,3}})
  | (?P<broken>>{{1,9}}|<{{1,9}}) | (?P<tie>-) | (?P<overlay>&+)
  | [(!] | y[\d/]* | (?P<symbol>[H-Wh-w]) | =(?:20)?$         # last: quoted-printable left-overs
''', re.X)
MEMBER = re.compile(rf'''{NOTE}\s*(?P<tie>-?)
  | "[^"]*" | ![^!]*! | [\s().~H-Wh-w]''', re.X)

FIELD = re.compile('[A-Za-z+]:')
def read_abc(text):
    """Yield (title, Music, None) or (title, None, reason) for each tune of the text, in order."""
    text = text.lstrip('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    has_numbers = re.search(r'^[ \t]*X:', text, re.M)
    if not has_numbers and text.startswith('L:1/8\n') and re.search(r'^V:\d+ (program=|drums)', text, re.M):
        for paragraph in re.split(r'\n\s*\n', text.strip()):
            try:
                yield '', notation.decode(paragraph + '\n'), None
            except notation.NotationError:
                yield '', None, 'not our compact notation'
        return
    defaults, tunes = split_tunes(text)
    for lines in tunes:
        title = next((line[2:].strip().replace(r'\%', '%') for line in lines if line[:2] == 'T:'), '')
        try:
            tune = Tune().read(defaults + lines)
            voices = {name: line.bars for name, line in tune.voices.items()}
            yield title, play(voices, tune.order, tune.staves, title, tune.remarks), None
        except AbcError as e:
            yield title, None, str(e)
    if not tunes:
        yield '', None, 'no tune: neither an X: nor a K: line'


class Line:
    """One voice while it is read: what is in force, and the bars so far."""

    def __init__(self, tune):
        self.program, self.is_drum, self.shift = tune.program, tune.is_drum, tune.shift
        self.propagate, self.has_drum_clef = tune.propagate, tune.has_drum_clef
        self.drums, self.all_drums = {}, tune.drums
        self.unit, self.meter = tune.unit, tune.meter
        self.key, self.signature = tune.key, tune.signature
        self.bars, self.bar = [], Bar(tune.meter, tune.key, tune.tempo)
        self.accidentals = {}       # what holds to the barline: letter (and octave) -> semitones
        self.tied = {}              # (layer, letter and octave) of notes tied to the next -> pitches
        self.tuplets = []           # [p, q, elements left]
        self.broken = (1, 1)        # what broken rhythm multiplies the next element with
        self.last = None            # the latest element
        self.ahead = []             # in an overlay: the bars still to go through, then a new one
        self.region = None          # index of the first bar of an overlay `(& ... & ... &)`

    def barline(self, mark, ending, tempo):
        """Close the bar at `mark`. An empty bar (two marks in a row, a mark at the start) only hands
        its marks on; so does the last bar of an overlay."""
        if self.ahead:
            self.accidentals = {}
            if self.goes_on():
                return
        mark = mark.replace('[|]', '|' if ':' not in mark else '')      # an invisible barline
        both = mark.strip(':') == '' or mark == '|:|'       # :: and what some books write for it
        ends = len(mark) // 2 if both else len(mark) - len(mark.lstrip(':'))
        starts = both or mark.endswith(':')
        section = bool(ends or starts or mark != '|')
        if any(self.bar.layers):
            self.bars.append(self.bar)
            self.bar = Bar(self.meter, self.key, tempo, self.bar.part)
            self.accidentals = {}
        elif self.bars and self.bar.signs:
            signs = self.bar.signs
            self.bars[-1].signs += tuple(sign for sign in signs if sign.name in LEAVING)
            self.bar.signs = tuple(sign for sign in signs if sign.name not in LEAVING)
        if self.bars:
            self.bars[-1].ends_repeat = max(ends, self.bars[-1].ends_repeat)
            self.bars[-1].ends_section |= section
        self.bar.strong |= section or bool(ending)
        self.bar.starts_repeat |= starts
        self.bar.ending |= passes(ending) if ending else frozenset()

    def finish(self, tempo):
        """Close the last bar. A sign behind it stands at its end."""
        while self.ahead:
            self.goes_on()
        self.barline('|', '', tempo)
        if self.bars:
            last = self.bars[-1]
            last.signs += tuple(sign._replace(at=last.length()) for sign in self.bar.signs)

    def overlay(self, mark, tempo):
        """Go back as many barlines as there are `&`, to a layer of its own there. From behind a
        barline, `&` goes to the bar before; `& ...` inside `(& ... &)` to the bar of the `(&`."""
        if mark == '(&':
            self.region = len(self.bars)
            return
        if mark == '&)':
            self.region = None
            return
        here = len(self.bars) - len(self.ahead)                 # index of this bar
        written = self.bar.layers[-1] if self.ahead else any(self.bar.layers)
        first = max(0, here - len(mark) + bool(written)) if self.region is None else self.region
        self.tuplets = []
        if first == here:
            self.bar.layers.append([])
            return

        if written and not self.ahead:
            self.bars.append(self.bar)
            self.bar = Bar(self.meter, self.key, tempo, self.bar.part)
        bars = self.bars[first:]
        self.layer = max(len(bar.layers) for bar in bars)
        self.ahead = bars + [self.ahead[-1] if self.ahead else self.bar]
        self.accidentals = {}
        self.goes_on()

    def goes_on(self):
        """Go to the next bar of an overlay, if there is one, else to the new bar behind it. Layers
        keep their number from bar to bar, for ties."""
        self.bar, *self.ahead = self.ahead
        if self.ahead:
            self.bar.layers += [[] for _ in range(self.layer + 1 - len(self.bar.layers))]
        else:
            self.bar.meter, self.bar.key = self.meter, self.key
        return bool(self.ahead)

    def sign(self, words, sure):
        """Put down a sign that says where to go on, if the words are one."""
        name = sign_of(words)
        if name:
            at = sum(element[1] for element in self.bar.layers[-1])
            self.bar.signs += (Sign(name, at, sure),)

    def add(self, notes, length):
        """Append an element. `notes`: (text, duration, tied); times in ticks, before tuplets and
        broken rhythm."""
        layer, (times, parts) = len(self.bar.layers) - 1, self.broken
        for tuplet in self.tuplets:
            times, parts = times * tuplet[1], parts * tuplet[0]
            tuplet[2] -= 1
        if self.tuplets:
            self.tuplets = [tuplet for tuplet in self.tuplets if tuplet[2]]
        self.broken = (1, 1)
        tied, self.tied = self.tied, {}
        if tied:
            self.tied = {key: pitches for key, pitches in tied.items() if key[0] != layer}
        sounding = []
        for text, duration, tie in notes:
            place = text.lstrip('^_=')
            if place not in 'xz':
                pitch = self.pitch(text, place, tied.get((layer, place), ()))
                sounding.append([pitch, scaled(duration, times, parts), tie, place, None])
                if tie:
                    self.tied.setdefault((layer, place), []).append(pitch)
        self.last = [sounding, scaled(length, times, parts), self.program, self.is_drum]
        self.bar.layers[-1].append(self.last)

    def pitch(self, text, place, carried):
        """MIDI pitch of a note's text. One of `carried`, the pitches tied to it, sounds on without
        its accidental."""
        letter = place[0].upper()
        memory = letter if self.propagate == 'pitch' else place
        mark = text.removesuffix(place)
        in_key = self.signature.get(letter, 0)
        alter = ALTER[mark] if mark else self.accidentals.get(memory, in_key)
        if mark and self.propagate != 'not':
            self.accidentals[memory] = alter
        octave = (place[0] >= 'a') + place.count("'") - place.count(',')
        pitch = 60 + SEMITONES[letter] + alter + 12 * octave
        pitch = self.drum_key(pitch) if self.is_drum else pitch + self.shift
        if carried and pitch not in carried and not mark and memory not in self.accidentals:
            return carried[0]
        if not 0 <= pitch <= 127:
            raise AbcError('pitch out of range')
        return pitch

    def drum_key(self, pitch):
        """What %%MIDI drummap makes of a pitch: of this voice, else of any."""
        for drums in (self.drums, self.all_drums):
            if pitch in drums:
                return drums[pitch]
        return pitch + self.shift

    def stretch(self, text):
        """Broken rhythm: `>` dots the last element and halves the next, `>>` double-dots it and
        quarters the next."""
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
        return self

    def check_rest(self, lines):
        """Look for music behind an empty line; it is not read, as ABC says."""
        music = [line for line in lines if '|' in line and not re.match('[A-Za-z+]:|%', line)
                 and not is_prose(line, self.symbols)]
        if music and not any(line.bars or line.bar.layers[0] for line in self.voices.values()):
            raise AbcError('an empty line behind K:, where the music should begin')
        remark(self.remarks, 'skipped', 'lines of music behind an empty line', len(music))

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
            self.directive(value.split())
        elif letter == 'U':
            symbol, _, decoration = value.partition('=')
            self.symbols[symbol.strip()] = decoration.strip()

        # Directly behind a barline, a change holds for the bar that begins there.
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
            line.bar = Bar(line.meter, line.key, self.tempo)

    def voice(self, value):
        """Go to the voice that a V: field names, a new one if need be; return it."""
        name, _, properties = value.strip().partition(' ')
        if name not in self.voices:
            self.voices[name] = Line(self)
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
            elif kind == 'decoration':
                line.sign(token['decoration'], sure=True)
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
