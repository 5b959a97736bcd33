"""Notes -> MusicXML, the sheet music that notation programs read. (The way back is score.py.)

    text = musicxml(music, 'Untitled')

A voice is a part with its General MIDI program; staff.py says how its notes are written. Drums are
unpitched notes on a percussion clef, each with the instrument whose MIDI pitch it is; where one is
tied on, nothing is drawn. All that is on the grid can be written. Octaves stand where they are,
down to MIDI pitch 0 in octave -1, with as many ledger lines as that takes.
"""
import re
from xml.sax.saxutils import escape

from music.abcfile import spelled
from music.instruments import INSTRUMENTS
from music.notation import SEMITONES, spelling
from music.notes import UNITS, Voice, bar_length, bar_starts, beat_length
from music.staff import LAYERS, beams, pieces_of, spans_of, staves_of

TYPES = {128: 'breve', 64: 'whole', 32: 'half', 16: 'quarter', 8: 'eighth', 4: '16th', 2: '32nd',
         1: '64th'}                 # by the number of 64ths
SHOWN = {-1: 'flat', 0: 'natural', 1: 'sharp'}
LETTERS = 'CDEFGAB'
# MIDI pitch of a drum -> where it is drawn and its head, as in many drum kits' parts; others by
# their number.
DRUMS = {35: 'E4', 36: 'F4', 37: 'C5x', 38: 'C5', 39: 'D5x', 40: 'C5', 41: 'G4', 42: 'G5x',
         43: 'A4', 44: 'D4x', 45: 'B4', 46: 'G5o', 47: 'D5', 48: 'E5', 49: 'A5x', 50: 'F5',
         51: 'F5x', 52: 'B5x', 53: 'F5d', 54: 'E5x', 55: 'B5d', 56: 'E5t', 57: 'A5d', 59: 'F5x'}
HEADS = {'x': 'x', 'o': 'circle-x', 'd': 'diamond', 't': 'triangle'}
TOP = ('<?xml version="1.0" encoding="UTF-8"?>\n'
       '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
       '"http://www.musicxml.org/dtds/partwise.dtd">\n'
       '<score-partwise version="4.0">\n')
TEMPO = ('<direction placement="above"><direction-type><metronome><beat-unit>quarter</beat-unit>'
         '<per-minute>{0}</per-minute></metronome></direction-type><sound tempo="{0}"/>'
         '</direction>\n')
RATIO = ('<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>'
         '</time-modification>')
FINAL_BARLINE = '<barline location="right"><bar-style>light-heavy</bar-style></barline>\n'


def musicxml(music, title=''):
    """Text of a MusicXML 4.0 file. Row i of music.notes has the ids row-<i> and, where it is tied
    on, row-<i>-1, row-<i>-2, ..."""
    # A pickup alone is followed by a full bar, and music without notes is one bar of silence.
    starts = bar_starts(music)
    if music.pickup and len(starts) == 2 or len(starts) == 1:
        starts.append(starts[-1] + bar_length(*music.meters[0][1:]))
    bars = list(zip(starts, starts[1:]))

    parts = [Part(music, v, bars) for v in range(max(1, len(music.voices)))]
    title = escape(re.sub(r'\s+', ' ', title or music.title or 'Untitled'))
    texts = [TOP, f'<movement-title>{title}</movement-title>\n', '<part-list>\n']
    texts += [part.heading(len(parts) == 1) for part in parts]
    texts.append('</part-list>\n')

    # The first part has the tempos, which hold for all.
    meters, keys, tempos = ({onset: event for onset, *event in events}
                            for events in (music.meters, music.keys, music.tempos))
    for part in parts:
        texts.append(f'<part id="{part.name}">\n')
        meter = key = None
        for number, (start, stop) in enumerate(bars, 0 if music.pickup else 1):
            meter, key = meters.get(start, meter), keys.get(start, key)
            implicit = ' implicit="yes"' if number == 0 else ''
            texts.append(f'<measure number="{number}"{implicit}>\n')
            texts.append(part.attributes(start, meters.get(start), keys.get(start)))
            if part is parts[0] and start in tempos:
                texts.append(TEMPO.format(*tempos[start]))
            texts.append(part.bar(start, stop, meter, key[0]))
            if stop == starts[-1]:
                texts.append(FINAL_BARLINE)
            texts.append('</measure>\n')
        texts.append('</part>\n')
    return ''.join(texts) + '</score-partwise>\n'


class Part:
    """A voice of `music` on its staves. Ask for its bars in order: a tie is known by the piece that
    it comes from."""

    def __init__(self, music, v, bars):
        self.name, self.voice = f'P{v + 1}', music.voices[v] if music.voices else Voice()
        self.channel = 10 if self.voice.is_drum else [c for c in range(1, 17) if c != 10][v % 15]
        rows = (music.notes[:, 3] == v).nonzero()[0]
        notes = music.notes[rows]
        self.rows = {(onset, pitch): row            # of music.notes
                     for row, (onset, _, pitch, _) in zip(rows.tolist(), notes.tolist())}
        staves = staves_of(notes, self.voice)
        self.clefs = [clef for clef, _ in staves]
        self.lines = [[spans_of(line, bars) for line in lines or [[]]] for _, lines in staves]
        self.open = {}          # (staff, layer, pitch) that is tied on -> (row, pieces so far)

    def heading(self, alone):
        """Text of <score-part>. Drums have an instrument for each pitch. `alone`: there is no other
        part, so that one name will do."""
        name = 'Drums' if self.voice.is_drum else INSTRUMENTS[self.voice.program]
        pitches = sorted({pitch for _, pitch in self.rows}) if self.voice.is_drum else []
        ids = [f'{self.name}-I{pitch}' for pitch in pitches] or [f'{self.name}-I']
        text = f'<score-part id="{self.name}"><part-name>{name}</part-name>'
        if not alone:
            text += f'<part-abbreviation>{short_name(name)}</part-abbreviation>'

        # Only drums are named: music21 takes the program from a name, and not from <midi-program>.
        for i, pitch in zip(ids, pitches or [None]):
            called = '' if pitch is None else f'{name} {pitch}'
            text += (f'<score-instrument id="{i}"><instrument-name>{called}</instrument-name>'
                     '</score-instrument>')
        for i, pitch in zip(ids, pitches or [None]):
            text += (f'<midi-instrument id="{i}"><midi-channel>{self.channel}</midi-channel>'
                     f'<midi-program>{self.voice.program + 1}</midi-program>')
            text += f'<midi-unpitched>{pitch + 1}</midi-unpitched>' if pitch is not None else ''
            text += '</midi-instrument>'
        return text + '</score-part>\n'

    def attributes(self, start, meter, key):
        """Text of <attributes> of the bar at `start`, with the meter and key that begin there.
        Drums show no key."""
        text = f'<divisions>{UNITS}</divisions>' if start == 0 else ''
        if key:
            hidden = ' print-object="no"' if self.voice.is_drum else ''
            text += f'<key{hidden}><fifths>{key[0]}</fifths><mode>{key[1]}</mode></key>'
        if meter:
            text += f'<time><beats>{meter[0]}</beats><beat-type>{meter[1]}</beat-type></time>'
        if start == 0:
            text += f'<staves>{len(self.clefs)}</staves>' if len(self.clefs) > 1 else ''
            for n, (sign, line, octaves, *_) in enumerate(self.clefs, 1):
                text += f'<clef number="{n}"><sign>{sign}</sign><line>{line}</line>'
                if octaves:
                    text += f'<clef-octave-change>{octaves}</clef-octave-change>'
                text += '</clef>'
        return f'<attributes>{text}</attributes>\n' if text else ''

    def bar(self, start, stop, meter, sharps):
        """Text of all layers of a bar, in units of the tune. A pickup is the end of a bar."""
        beat = bar_length(3, 8) if meter == [3, 8] else max(UNITS, beat_length(*meter))
        first = bar_length(*meter) - (stop - start) if start == 0 else 0
        texts, duration = [], f'<duration>{stop - start}</duration>'
        for staff, lines in enumerate(self.lines):
            # The pieces of each layer. A silent bar has none: its first layer is one rest, a second
            # one is left out. (A silent pickup has rests, for it is no whole bar.)
            layers = []
            for line in lines:
                spans = [(a - start + first, b - start + first, *what)
                         for a, b, *what in next(line)]
                if not spans and (not first or layers):
                    layers.append([])
                else:
                    layers.append(pieces_of(spans, first, first + stop - start, beat))

            # The heads of all layers by time, because accidentals hold across layers.
            heads, held = {}, {}
            for at, layer, i in sorted((piece.at, layer, i) for layer, pieces in enumerate(layers)
                                       for i, piece in enumerate(pieces)):
                piece, onset = layers[layer][i], at - first + start
                heads[layer, i] = self.heads(staff, layer, piece, onset, sharps, held)

            place = f'<staff>{staff + 1}</staff>' if len(self.lines) > 1 else ''
            for layer, pieces in enumerate(layers):
                voice = f'<voice>{1 + layer + LAYERS * staff}</voice>'
                beamed = beams(pieces, beat)
                if pieces:
                    elements = [element(pieces, i, heads[layer, i], beamed.get(i, ''), layer > 0,
                                        voice, place) for i in range(len(pieces))]
                    texts.append(''.join(elements))
                elif layer == 0:
                    texts.append(f'<note><rest measure="yes"/>{duration}{voice}{place}</note>\n')
        return f'<backup>{duration}</backup>\n'.join(texts)

    def heads(self, staff, layer, piece, onset, sharps, held):
        """[(id, text of the pitch, of the instrument, of the accidental, of the head, [kinds of
        ties])], one per pitch. `held`: accidentals since the barline, as abcfile.spelled keeps
        them."""
        out = []
        for pitch in piece.pitches:
            row, number = self.open.pop((staff, layer, pitch), (None, 0))
            new = row is None
            row = self.rows[onset, pitch] if new else row
            ties = [] if new else ['stop']
            if pitch in piece.tied:
                ties.append('start')
                self.open[staff, layer, pitch] = row, number + 1
            name = f'row-{row}-{number}' if number else f'row-{row}'
            texts = self.drum(pitch) if self.voice.is_drum else pitched(pitch, sharps, held, new)
            out.append((name, *texts, ties))
        return out

    def drum(self, pitch):
        """Texts as of `pitched`."""
        other = f'{LETTERS[pitch % 7]}5{"t" if pitch % 2 else "d"}'
        step, octave, *kind = DRUMS.get(pitch, other)
        place = f'<display-step>{step}</display-step><display-octave>{octave}</display-octave>'
        head = f'<notehead>{HEADS[kind[0]]}</notehead>' if kind else ''
        instrument = f'<instrument id="{self.name}-I{pitch}"/>'
        return f'<unpitched>{place}</unpitched>', instrument, '', head


def short_name(name):
    """Of an instrument, for the margin: 'Acoustic Grand Piano' -> 'A. G. Piano',
    'Lead 2 (sawtooth)' -> 'Lead 2'."""
    *words, last = re.sub(r' \(.*', '', name).split(' ')
    number = ' ' + last if last.isdigit() else ''
    if number:
        *words, last = words
    return ' '.join([word[0] + '.' for word in words] + [last]) + number


def pitched(pitch, sharps, held, new):
    """Texts of pitch, instrument (none), accidental and head (none). A note that is tied on shows
    no accidental; the next one in its place does."""
    place = spelling(sharps)[pitch].lstrip('^_=')
    step = place[0].upper()
    alter = (pitch - SEMITONES[step] + 6) % 12 - 6
    accidental = ''
    if new and spelled(pitch, sharps, held)[0] in '^_=':
        accidental = f'<accidental>{SHOWN[alter]}</accidental>'
    elif not new:
        held.setdefault((step, 'all')), held.setdefault(place)
    text = f'<step>{step}</step>' + (f'<alter>{alter}</alter>' if alter else '')
    return f'<pitch>{text}<octave>{(pitch - alter) // 12 - 1}</octave></pitch>', '', accidental, ''


def element(pieces, i, heads, beam, hide_rest, voice, staff):
    """Text of the <note>s of a piece."""
    piece = pieces[i]
    base = next(size for size in TYPES if size <= piece.written)
    n_dots = [base, base * 3 // 2, base * 7 // 4].index(piece.written)
    kind = f'<type>{TYPES[base]}</type>' + '<dot/>' * n_dots
    tuplet, ratio = '', ''
    if piece.triplet:
        ratio = RATIO
        if i == 0 or pieces[i - 1].triplet != piece.triplet:
            tuplet += '<tuplet type="start"/>'
        if i + 1 == len(pieces) or pieces[i + 1].triplet != piece.triplet:
            tuplet += '<tuplet type="stop"/>'

    text = ''
    for n, (name, pitch, instrument, accidental, head, ties) in enumerate(
            heads or [('', '<rest/>', '', '', '', [])]):
        # Only drums have an instrument. One that sounds on is no other stroke, and no tie is drawn.
        is_drum_tied_on = bool(instrument) and 'stop' in ties
        is_hidden = is_drum_tied_on or hide_rest and not heads
        about = f' id="{name}"' if name else ''
        about += ' print-object="no"' if is_hidden else ''
        tie = ''.join(f'<tie type="{end}"/>' for end in ties)
        tied = '' if instrument else tie.replace('<tie ', '<tied ')

        # What belongs to a whole chord is at its first note; the order is that of the standard.
        chord = '<chord/>' if n else ''
        marks = tied if n else tuplet + tied
        notations = f'<notations>{marks}</notations>' if marks else ''
        text += (f'<note{about}>{chord}{pitch}<duration>{piece.units}</duration>{tie}{instrument}'
                 f'{voice}{kind}{accidental}{ratio}{head}{staff}{"" if n else beam}{notations}'
                 '</note>\n')
    return text
