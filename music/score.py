"""Scores: MusicXML as notation programs write it -> notes. (The way back is musicxml.py.)

    music, report = read_score(data)            # bytes of a .musicxml, .xml or .mxl; raises MidiError(reason)

What is played is what counts, as in tunebook.py: repeats, endings, D.C., D.S. and codas are played out, ties joined,
transposing instruments sound. The staves of a part are one voice. Grace notes and cues are passed over. Barlines stay
where the score has them, and the halves of a bar that is cut at the end of a phrase ("8" and "8a") are one. Times off
the grid of 24 units a quarter are rounded to it; nothing else is quantised, and there is nothing to report: None.
"""
import io
import re
import zipfile
import zlib
from dataclasses import replace
from xml.etree import ElementTree

from music.notation import SEMITONES
from music.notes import UNITS, bar_length, is_meter
from music.quantise import MidiError
from music.tunebook import passes
from music.unfold import TICKS, AbcError, Bar, expand, play

WORDS = {'dacapo': r'd\.?\s?c\b|da capo', 'dalsegno': r'd\.?\s?s\b|dal segno', 'fine': r'fine\b', 'tocoda': 'to coda'}
SIGNS = {*WORDS, 'segno', 'coda'}               # that say where to go on
DOUBLE = {'light-light', 'light-heavy', 'heavy-light', 'heavy-heavy'}
MINOR = {'minor', 'dorian', 'phrygian', 'aeolian', 'locrian'}
BEATS = {'breve': 8, 'whole': 4, 'half': 2, 'quarter': 1, 'eighth': 1 / 2, '16th': 1 / 4}     # in quarters


def read_score(data):
    """(Music, None) of a score."""
    try:
        root = ElementTree.fromstring(unpacked(data))
    except (ElementTree.ParseError, zipfile.BadZipFile, zlib.error, StopIteration, LookupError, ValueError) as e:
        raise MidiError('no MusicXML') from e
    if root.tag != 'score-partwise' or root.find('part/measure') is None:
        raise MidiError('no MusicXML with parts')
    title = (root.findtext('movement-title') or root.findtext('work/work-title') or '').strip()
    try:
        score = Score(root)
        return play(score.voices(), score.order(), {}, title), None
    except AbcError as e:
        raise MidiError(str(e)) from e
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:       # something is missing, or no number
        raise MidiError('damaged MusicXML') from e


def unpacked(data):
    """The XML of a file, which may be zipped."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(name for name in archive.namelist()
                                 if name.endswith(('.xml', '.musicxml')) and not name.startswith('META-INF/')))


class Score:
    """A score while it is read: its bars, which are those of all parts."""

    def __init__(self, root):
        parts = root.findall('part')
        n = max(len(part.findall('measure')) for part in parts)
        self.bars, self.signs = [Bar(None, None, None) for _ in range(n)], [set() for _ in range(n)]
        self.says = {}                          # (bar, 'meter', 'key' or 'tempo') -> what holds from there
        heads = {head.get('id'): head for head in root.iter('score-part')}
        self.parts = [Part(self, part, heads.get(part.get('id'))) for part in parts]

    def voices(self):
        """Number of a part -> its Bars, all as long as those with notes: a part that rests may have a whole rest in any
        bar. Where nothing stands, a bar is a full one."""
        voices, meter, key, tempo = {number: [] for number in range(len(self.parts))}, (4, 4), (0, 'major'), 120
        for i, bar in enumerate(self.bars):
            meter, key, tempo = (self.says.get((i, kind), former)
                                 for kind, former in (('meter', meter), ('key', key), ('tempo', tempo)))
            _, length = max((bool(part.layers[i]), part.lengths[i]) for part in self.parts)
            length = length or bar_length(*meter or (4, 4)) * TICKS
            for number, part in enumerate(self.parts):
                layers = [[[[], length, 0, False]], *part.layers[i]]
                voices[number].append(replace(bar, meter=meter, key=key, tempo=tempo, layers=layers))
        return voices

    def order(self):
        """Indices of the bars as they are played: repeats first, then from D.C. or D.S. once more without them."""
        plan, places = expand(self.bars), {sign: [i for i, s in enumerate(self.signs) if sign in s] for sign in SIGNS}
        jump = min(places['dacapo'] + places['dalsegno'], default=None)
        if jump is None:
            return plan
        start = next(iter(places['segno'] if jump in places['dalsegno'] else []), 0)
        plain = without_repeats(self.bars)
        way = plan[:len(plan) - plan[::-1].index(jump)]
        codas = places['coda']
        leave = next((i for i in places['tocoda'] or codas[:-1] if i >= start), None)
        if leave is not None and codas and codas[-1] > leave:
            return way + [i for i in plain if start <= i <= leave] + [i for i in plain if i >= codas[-1]]
        fine = next((i for i in places['fine'] if i >= start), len(plain))
        return way + [i for i in plain if start <= i <= fine]


def without_repeats(bars):
    """Indices of all bars but those of endings that are not the last."""
    plain, k = [], 0
    while k < len(bars):
        stop = k
        while bars[k].ending and not bars[stop].ends_section and stop + 1 < len(bars) and not bars[stop + 1].ending:
            stop += 1
        if not (bars[k].ending and stop + 1 < len(bars) and bars[stop + 1].ending):
            plain += range(k, stop + 1)
        k = stop + 1
    return plain


class Part:
    """A part while it is read: `layers` of each of its bars, as unfold.py has them, one a note, and `lengths`."""

    def __init__(self, score, part, head):
        self.score, self.layers, self.lengths = score, [[] for _ in score.bars], [0] * len(score.bars)
        self.sounds, self.any_sound = {}, (0, False, None)      # id of an instrument -> (program, drum?, its pitch)
        for sound in () if head is None else head.findall('midi-instrument'):
            key = sound.findtext('midi-unpitched')
            is_drum = bool(key) or sound.findtext('midi-channel') == '10'
            self.sounds[sound.get('id')] = int(sound.findtext('midi-program') or 1) - 1, is_drum, key and int(key) - 1
        self.any_sound = next(iter(self.sounds.values()), self.any_sound)
        self.divisions, self.shift, self.sharps = 1, 0, 0       # the latter two: of an instrument that transposes
        read = {'note': self.note, 'attributes': self.attributes, 'barline': self.barline,
                'direction': self.direction, 'sound': self.direction}
        for self.i, measure in enumerate(part.findall('measure')):
            self.at = self.onset = 0                            # now, and where the last note began, in ticks
            if measure.get('implicit') == 'yes' or re.fullmatch(r'\d+[a-z]|X\d+', measure.get('number') or ''):
                score.bars[self.i].strong = True                # the other half of the bar before, as after a repeat
            for element in measure:
                if element.tag == 'backup':
                    self.at = max(0, self.at - self.duration(element))
                elif element.tag == 'forward':
                    self.go(self.duration(element))
                elif element.tag in read:
                    read[element.tag](element)

    def duration(self, element):
        return round(float(element.findtext('duration')) * UNITS * TICKS / self.divisions)

    def go(self, duration):
        self.at += duration
        self.lengths[self.i] = max(self.lengths[self.i], on_grid(self.at))

    def say(self, kind, value):
        """Something that begins here, in the middle of a bar at the next. The first part to say so counts."""
        self.score.says.setdefault((self.i + (self.at > 0), kind), value)

    def note(self, note):
        rest, unpitched = note.find('rest'), note.find('unpitched')
        if note.find('grace') is not None:
            return
        duration = self.duration(note)
        if rest is not None and rest.get('measure') == 'yes':   # may be written longer than the bar is
            self.at += duration
        elif note.find('chord') is None:
            self.onset = self.at
            self.go(duration)
        if rest is not None or note.find('cue') is not None:
            return
        instrument = note.find('instrument')
        program, is_drum, pitch = self.sounds.get(instrument is not None and instrument.get('id'), self.any_sound)
        if unpitched is None or pitch is None:
            place = note.find('pitch') if unpitched is None else unpitched
            step, octave = (place.findtext(name) or place.findtext('display-' + name) for name in ('step', 'octave'))
            pitch = 12 * int(octave) + 12 + SEMITONES[step] + round(float(place.findtext('alter') or 0)) + self.shift
        if not 0 <= pitch <= 127:
            raise AbcError('pitch out of range')
        tied = any(tie.get('type') == 'start' for tie in (*note.findall('tie'), *note.findall('notations/tied')))
        start = on_grid(self.onset)
        length = max(TICKS, on_grid(self.onset + duration) - start)
        self.layers[self.i].append([[[], start, 0, False], [[[pitch, length, tied, '']], length, program,
                                                            is_drum or unpitched is not None]])

    def attributes(self, element):
        self.divisions = float(element.findtext('divisions') or self.divisions)
        transpose, key, meter = (element.find(tag) for tag in ('transpose', 'key', 'time'))
        if transpose is not None:
            chromatic, diatonic, octaves = (int(float(transpose.findtext(tag) or 0))
                                            for tag in ('chromatic', 'diatonic', 'octave-change'))
            self.shift, self.sharps = chromatic + 12 * octaves, 7 * chromatic - 12 * diatonic
        if key is not None and key.findtext('fifths'):
            sharps = int(key.findtext('fifths')) + self.sharps
            sharps -= 12 * (sharps > 7) - 12 * (sharps < -7)
            if abs(sharps) > 7:
                raise AbcError('key of more than seven accidentals')
            self.say('key', (sharps, 'minor' if key.findtext('mode') in MINOR else 'major'))
        if meter is not None:
            kinds = [int(kind.text) for kind in meter.findall('beat-type')]
            beats = [sum(map(int, beat.text.split('+'))) for beat in meter.findall('beats')]
            total = sum(beat * max(kinds) // kind for beat, kind in zip(beats, kinds))
            self.say('meter', (total, max(kinds)) if kinds and is_meter(total, max(kinds)) else None)

    def barline(self, barline):
        bars, i = self.score.bars, self.i
        repeat, ending, left = barline.find('repeat'), barline.find('ending'), barline.get('location') == 'left'
        marked = barline.findtext('bar-style') in DOUBLE or repeat is not None or ending is not None
        if marked and left:
            bars[i].strong = True
        elif marked and i + 1 < len(bars):
            bars[i + 1].strong = True
        if repeat is not None and repeat.get('direction') == 'forward':
            bars[min(i + (not left), len(bars) - 1)].starts_repeat = True
        elif repeat is not None:
            bars[i].ends_repeat, bars[i].ends_section = max(1, int(repeat.get('times') or 2) - 1), True
        if ending is not None and ending.get('type') == 'start':
            bars[i].ending = passes(ending.get('number') or '')
        elif ending is not None:
            bars[i].ends_section = True

    def direction(self, direction):
        """Signs of the way, and the tempo, in quarters a minute."""
        signs, tempo = self.score.signs[self.i], None
        for element in direction.iter():
            if element.tag == 'words':
                signs |= {sign for sign, words in WORDS.items() if re.match(words, (element.text or '').strip(), re.I)}
            elif element.tag == 'sound':
                signs |= SIGNS & set(element.keys())
                tempo = element.get('tempo') or tempo
            elif element.tag in SIGNS:
                signs.add(element.tag)
            elif element.tag == 'metronome' and re.fullmatch(r'\d+(\.\d+)?', element.findtext('per-minute') or ''):
                beat = BEATS[element.findtext('beat-unit')] * (2 - 0.5 ** len(element.findall('beat-unit-dot')))
                tempo = tempo or float(element.findtext('per-minute')) * beat
        if tempo and float(tempo) > 0:
            self.say('tempo', max(1, min(9999, round(float(tempo)))))


def on_grid(ticks):
    return round(ticks / TICKS) * TICKS
