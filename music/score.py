"""Scores: MusicXML as notation programs write it -> notes. (The way back is musicxml.py.)

    music, report = read_score(data)        # bytes of a .musicxml, .xml or .mxl; raises MidiError

What is played is what counts, as in tunebook.py: repeats, endings, D.C., D.S. and codas are played
out, ties joined, transposing instruments sound. The staves of a part are one voice, which a change
of instrument divides. Grace notes and cues are passed over; Music.remarks counts them, and what
else is skipped, guessed or repaired. Barlines stay where the score has them, and the halves of a
bar that is cut at the end of a phrase ("8" and "8a") are one. Times off the grid of 24 units a
quarter are rounded to it; nothing else is quantised, and there is nothing to report: None.
"""
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

from music.abcfields import passes
from music.notation import SEMITONES
from music.notes import UNITS, bar_length, is_meter, remark
from music.quantise import MidiError
from music.unfold import (
    SIGN_WORDS,
    TICKS,
    AbcError,
    NotatedBar,
    Sign,
    as_tempo,
    play,
    read_per_minute,
    sign_of,
)

MAX_BYTES = 256 << 20               # a larger score in an archive is a bomb
DOUBLE = {'light-light', 'light-heavy', 'heavy-light', 'heavy-heavy'}
MINOR = {'minor', 'dorian', 'phrygian', 'aeolian', 'locrian'}
LENGTHS = ('maxima long breve whole half quarter eighth 16th 32nd 64th 128th 256th 512th '
           '1024th').split()
QUARTERS = {name: Fraction(32, 2 ** i) for i, name in enumerate(LENGTHS)}
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
                  ValueError, LookupError)


def read_score(data):
    """(Music, None) of a score."""
    remarks = Counter()
    root = partwise(parsed(unpacked(data), remarks))
    if root.tag != 'score-partwise' or root.find('part/measure') is None:
        raise MidiError('no MusicXML with parts')
    title = (root.findtext('movement-title') or root.findtext('work/work-title') or '').strip()
    try:
        return play(ScoreReader(root, remarks).voices(), '', {}, title, remarks), None
    except AbcError as e:
        raise MidiError(str(e)) from e
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        # An element is missing, or is no number.
        raise MidiError('damaged MusicXML') from e


# ---- The file

def unpacked(data):
    """The XML of a file, which may be zipped. Raises MidiError."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            name = score_name(archive)
            if name is None:
                raise MidiError('no MusicXML in the archive')
            if archive.getinfo(name).file_size > MAX_BYTES:
                raise MidiError('larger than 256 MB')
            return archive.read(name)
    except MidiError:
        raise
    except ARCHIVE_ERRORS as e:
        raise MidiError('damaged archive') from e


def score_name(archive):
    """Which file of an archive is the score: as META-INF/container.xml says, else the first .xml or
    .musicxml; None if there is none. Upper and lower case are the same."""
    names = {name.lower(): name for name in archive.namelist()}
    container, paths = names.get('meta-inf/container.xml'), []
    if container:
        try:
            root = ElementTree.fromstring(archive.read(container))
            paths = [element.get('full-path', '').lower().lstrip('./') for element in root.iter()
                     if element.tag.rpartition('}')[2] == 'rootfile']
        except ElementTree.ParseError:
            pass
    paths += [name for name in names
              if name.endswith(('.xml', '.musicxml')) and not name.startswith('meta-inf/')]
    return next((names[path] for path in paths if path in names), None)


def parsed(data, remarks):
    """Root element, without namespaces. Raises MidiError. What claims to be UTF-8 and is not, is
    read as Latin-1."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as e:
        text = re.sub(r'^\s*<\?xml.*?\?>', '', data.decode('latin-1'), count=1, flags=re.S)
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError:
            kind = 'damaged XML' if b'<score-' in data else 'no MusicXML'
            raise MidiError(kind) from e
        remark(remarks, 'repaired', 'encoding')
    if root.tag.startswith('{'):
        for element in root.iter():
            element.tag = element.tag.rpartition('}')[2]
    return root


def partwise(root):
    """The root of a score whose measures are in parts, also where its parts are in measures."""
    if root.tag != 'score-timewise':
        return root
    measures = root.findall('measure')
    names = dict.fromkeys(part.get('id', '') for part in root.findall('measure/part'))
    root.tag = 'score-partwise'
    for name in names:
        new = ElementTree.SubElement(root, 'part', {'id': name})
        for measure in measures:
            here = ElementTree.SubElement(new, 'measure', measure.attrib)
            for part in measure.findall('part'):
                if part.get('id', '') == name:
                    here.extend(part)
    return root


# ---- The music

class ScoreReader:
    """A score while it is read: its bars, which are those of all parts."""

    def __init__(self, root, remarks):
        parts = root.findall('part')
        n = max(len(part.findall('measure')) for part in parts)
        self.bars, self.remarks = [NotatedBar(None, None, None) for _ in range(n)], remarks
        self.says = {}              # (bar, 'meter', 'key' or 'tempo') -> what holds from there
        heads = {head.get('id'): head for head in root.iter('score-part')}
        self.parts = [PartReader(self, part, heads.get(part.get('id'))) for part in parts]

    def voices(self):
        """Number of a part -> its bars, all as long as those with notes: a part that rests may have
        a whole rest in any bar. Where no part has anything, a bar is a full one."""
        voices = {number: [] for number in range(len(self.parts))}
        meter, key, tempo = (4, 4), (0, 'major'), 120
        for i, bar in enumerate(self.bars):
            meter, key, tempo = (self.says.get((i, kind), former) for kind, former in
                                 (('meter', meter), ('key', key), ('tempo', tempo)))
            _, length = max((bool(part.layers[i]), part.lengths[i]) for part in self.parts)
            length = length or bar_length(*meter or (4, 4)) * TICKS
            for number, part in enumerate(self.parts):
                layers = [[[[], length, 0, False]], *part.layers[i]]
                voices[number].append(replace(bar, meter=meter, key=key, tempo=tempo,
                                              layers=layers))
        return voices

    def tempo(self, bar):
        """Quarters/min in force at a bar, as far as the score is read."""
        marks = [(i, tempo) for (i, kind), tempo in self.says.items() if kind == 'tempo'
                 and i <= bar]
        return max(marks)[1] if marks else 120


class PartReader:
    """A part while it is read: `layers` of each of its bars, as unfold.py has them, one a note, and
    `lengths`."""

    def __init__(self, score, part, head):
        self.score, self.remarks = score, score.remarks
        self.layers, self.lengths = [[] for _ in score.bars], [0] * len(score.bars)
        self.sounds = {}            # id of an instrument -> (program, drum?, its pitch)
        for sound in () if head is None else head.findall('midi-instrument'):
            self.set_sound(sound)
        self.default = next(iter(self.sounds), None)        # id, for notes that name none
        self.divisions = 1
        self.shift, self.sharps = 0, 0                      # of an instrument that transposes
        self.repeated = 0           # bars in the pattern that a sign such as % repeats, or 0
        read = {'note': self.note, 'attributes': self.attributes, 'barline': self.barline,
                'direction': self.direction, 'sound': self.direction}
        for self.i, measure in enumerate(part.findall('measure')):
            self.at = self.onset = 0                        # now, and of the last note, in ticks
            number = measure.get('number') or ''
            if measure.get('implicit') == 'yes' or re.fullmatch(r'\d+[a-z]|X\d+', number):
                score.bars[self.i].strong = True            # the other half of the bar before
            for element in measure:
                if element.tag == 'backup':
                    self.at = max(0, self.at - self.duration(element))
                elif element.tag == 'forward':
                    self.go(self.duration(element))
                elif element.tag in read:
                    read[element.tag](element)
            if 0 < self.repeated <= self.i and not self.layers[self.i]:
                self.layers[self.i] = self.layers[self.i - self.repeated]
                self.lengths[self.i] = self.lengths[self.i - self.repeated]

    def duration(self, element):
        """In ticks. ValueError if it is negative."""
        ticks = round(float(element.findtext('duration')) * UNITS * TICKS / self.divisions)
        if ticks < 0:
            raise ValueError(ticks)
        return ticks

    def go(self, duration):
        self.at += duration
        self.lengths[self.i] = max(self.lengths[self.i], on_grid(self.at))

    def say(self, kind, value):
        """Something that begins here, in the middle of a bar at the next. The first part to say so
        counts."""
        self.score.says.setdefault((self.i + (self.at > 0), kind), value)

    def set_sound(self, sound):
        """Keep what a <midi-instrument> says, of an instrument that is new or changes."""
        program, is_drum, pitch = self.sounds.get(sound.get('id'), (0, False, None))
        key, channel = sound.findtext('midi-unpitched'), sound.findtext('midi-channel')
        if sound.findtext('midi-program'):
            program = min(127, max(0, int(sound.findtext('midi-program')) - 1))
        if key or channel:
            is_drum, pitch = bool(key) or channel == '10', int(key) - 1 if key else pitch
        self.sounds[sound.get('id')] = program, is_drum, pitch

    def note(self, note):
        rest, unpitched = note.find('rest'), note.find('unpitched')
        if note.find('grace') is not None:
            return remark(self.remarks, 'skipped', 'grace notes')
        duration = self.duration(note)
        if rest is not None and rest.get('measure') == 'yes':   # may be longer than the bar is
            self.at += duration
        elif note.find('chord') is None:
            self.onset = self.at
            self.go(duration)
        if rest is not None:
            return
        if note.find('cue') is not None:
            return remark(self.remarks, 'skipped', 'cue notes')

        # Which instrument, and which pitch. A drum without a key of its own has that of its place.
        instrument = note.find('instrument')
        name = None if instrument is None else instrument.get('id')
        name = name if name in self.sounds else self.default
        program, is_drum, pitch = self.sounds.get(name, (0, False, None))
        if unpitched is None or pitch is None:
            place = note.find('pitch') if unpitched is None else unpitched
            step, octave = (place.findtext(name) or place.findtext('display-' + name)
                            for name in ('step', 'octave'))
            alter = float(place.findtext('alter') or 0)
            pitch = 12 * int(octave) + 12 + SEMITONES[step] + round(alter) + self.shift
            if unpitched is not None:
                remark(self.remarks, 'guessed', 'drums')
            if alter % 1:
                remark(self.remarks, 'guessed', 'pitches between two semitones')
        if not 0 <= pitch <= 127:
            raise AbcError('pitch out of range')

        ties = [tie.get('type') for tie in (*note.findall('tie'), *note.findall('notations/tied'))]
        tied = 'start' in ties or 'continue' in ties
        from_before = 'stop' in ties or 'continue' in ties
        start = on_grid(self.onset)
        length = max(TICKS, on_grid(self.onset + duration) - start)
        sounding = [pitch, length, tied, '', from_before]
        is_drum = is_drum or unpitched is not None
        silence = [[], start, 0, False]
        self.layers[self.i].append([silence, [[sounding], length, program, is_drum]])

    def attributes(self, element):
        self.divisions = float(element.findtext('divisions') or self.divisions)
        transpose, key, meter = (element.find(tag) for tag in ('transpose', 'key', 'time'))
        if transpose is not None:
            chromatic, diatonic, octaves = (int(float(transpose.findtext(tag) or 0)) for tag in
                                            ('chromatic', 'diatonic', 'octave-change'))
            self.shift = chromatic + 12 * octaves
            self.sharps = 7 * chromatic - 12 * diatonic
        if key is not None and key.findtext('fifths'):
            sharps = int(key.findtext('fifths')) + self.sharps
            sharps -= 12 * (sharps > 7) - 12 * (sharps < -7)
            if abs(sharps) > 7:
                raise AbcError('key of more than seven accidentals')
            self.say('key', (sharps, 'minor' if key.findtext('mode') in MINOR else 'major'))
        elif key is not None:
            remark(self.remarks, 'skipped', 'signatures of no key')
        if meter is not None:
            kinds = [int(kind.text) for kind in meter.findall('beat-type')]
            beats = [sum(map(int, beat.text.split('+'))) for beat in meter.findall('beats')]
            total = sum(beat * max(kinds) // kind for beat, kind in zip(beats, kinds))
            is_known = kinds and is_meter(total, max(kinds))
            self.say('meter', (total, max(kinds)) if is_known else None)
            remark(self.remarks, 'guessed', 'meters', bool(kinds and not is_known))
        for repeat in element.findall('measure-style/measure-repeat'):
            starts = repeat.get('type') == 'start'
            self.repeated = int(repeat.text or 1) if starts else 0
        for repeat in element.findall('measure-style/beat-repeat'):
            remark(self.remarks, 'skipped', 'repeated beats', repeat.get('type') == 'start')

    def barline(self, barline):
        bars, i = self.score.bars, self.i
        repeat, ending = barline.find('repeat'), barline.find('ending')
        left = barline.get('location') == 'left'
        is_double = barline.findtext('bar-style') in DOUBLE
        marked = is_double or repeat is not None or ending is not None
        if marked and left:
            bars[i].strong = True
        elif marked and i + 1 < len(bars):
            bars[i + 1].strong = True
        if repeat is not None and repeat.get('direction') == 'forward':
            bars[min(i + (not left), len(bars) - 1)].starts_repeat = True
        elif repeat is not None:
            bars[i].ends_repeat = max(1, int(repeat.get('times') or 2) - 1)
            bars[i].ends_section = True
        if ending is not None and ending.get('type') == 'start':
            bars[i].ending = passes(ending.get('number') or '')
        elif ending is not None:
            bars[i].ends_section = True

    def direction(self, direction):
        """Signs that say where to go on, changes of instruments, and the tempo."""
        tempo, is_marked = None, False
        for element in direction.iter():
            if element.tag == 'words':
                self.sign(sign_of(element.text or ''))
            elif element.tag in ('segno', 'coda'):
                self.sign(element.tag)
            elif element.tag == 'metronome':
                is_marked = True
                tempo = tempo or self.metronome(element)
            elif element.tag == 'sound':
                self.sound(element)
                if element.get('tempo'):
                    is_marked = True
                    tempo = read_per_minute(element.get('tempo')) or tempo
        if tempo:
            self.say('tempo', as_tempo(tempo))
        elif is_marked:
            remark(self.remarks, 'guessed', 'tempo')

    def sign(self, name):
        if name:
            self.score.bars[self.i].signs += (Sign(name, on_grid(self.at), True),)

    def sound(self, sound):
        """What a <sound> says of the way and the instruments. An attribute may be "no"."""
        for name in SIGN_WORDS:
            if sound.get(name, 'no') != 'no':
                self.sign(name)
        if sound.get('forward-repeat') == 'yes':
            self.score.bars[self.i].starts_repeat = True
        instruments = sound.findall('midi-instrument')
        for instrument in instruments:
            if instrument.get('id') not in self.sounds:
                self.default = instrument.get('id')
            self.set_sound(instrument)
        if not any(instrument.findtext('midi-program') for instrument in instruments):
            count = len(sound.findall('instrument-change'))
            remark(self.remarks, 'skipped', 'changes of instrument', count)

    def metronome(self, mark):
        """Quarters/min of a <metronome>, or None: a note and a number, or two notes, of which the
        second lasts as long as the first did before."""
        lengths, last, is_tied = [], 0, False
        for element in mark.iter():
            if element.tag == 'beat-unit':
                last = QUARTERS.get((element.text or '').strip())
                if last is None:
                    return None
                lengths += [] if is_tied else [0]
                lengths[-1] += last
            elif element.tag == 'beat-unit-dot' and lengths:
                last /= 2
                lengths[-1] += last
            is_tied = element.tag == 'beat-unit-tied'
        number = mark.findtext('per-minute')
        if number and len(lengths) == 1:
            return lengths[0] * (read_per_minute(number) or 0)
        if len(lengths) == 2:
            return self.score.tempo(self.i) * lengths[1] / lengths[0]
        return None


def on_grid(ticks):
    return round(ticks / TICKS) * TICKS
