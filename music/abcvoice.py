"""One voice of an ABC tune while it is read: its notes, barlines, ties, overlays and signs, as bars
for unfold.py. abctune.py reads the text and tells it what comes.

    voice.add([('^c', length, False)], length)
    voice.barline(':|', '', tempo)
"""
from music.abcfields import ALTER, passes, scaled
from music.notation import SEMITONES
from music.unfold import LEAVING, AbcError, NotatedBar, Sign, sign_of


class VoiceReader:
    """One voice while it is read: what is in force, and the bars so far."""

    def __init__(self, tune):
        self.program, self.is_drum, self.shift = tune.program, tune.is_drum, tune.shift
        self.propagate, self.has_drum_clef = tune.propagate, tune.has_drum_clef
        self.drums, self.all_drums = {}, tune.drums
        self.unit, self.meter = tune.unit, tune.meter
        self.key, self.signature = tune.key, tune.signature
        self.bars, self.bar = [], NotatedBar(tune.meter, tune.key, tune.tempo)
        self.accidentals = {}       # what holds to the barline: letter (and octave) -> semitones
        self.tied = {}              # (layer, letter and octave) of what is tied on -> pitches
        self.tuplets = []           # [p, q, elements left]
        self.broken = (1, 1)        # what broken rhythm multiplies the next element with
        self.last = None            # the latest element
        self.ahead = []             # in an overlay: the bars still to go through, then a new one
        self.region = None          # index of the first bar of an overlay `(& ... & ... &)`

    def barline(self, mark, ending, tempo):
        """Close the bar at `mark`. An empty bar (two marks in a row, a mark at the start) only
        hands its marks on."""
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
            self.bar = NotatedBar(self.meter, self.key, tempo, self.bar.part)
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
        """Close the last bar. A sign after it is at its end."""
        while self.ahead:
            self.goes_on()
        self.barline('|', '', tempo)
        if self.bars:
            last = self.bars[-1]
            last.signs += tuple(sign._replace(at=last.length()) for sign in self.bar.signs)

    def overlay(self, mark, tempo):
        """Go back as many barlines as there are `&`, to a layer of its own there. Directly after
        a barline, `&` goes to the bar before; inside `(& ... &)` to the bar of the `(&`."""
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
            self.bar = NotatedBar(self.meter, self.key, tempo, self.bar.part)
        bars = self.bars[first:]
        self.layer = max(len(bar.layers) for bar in bars)
        self.ahead = bars + [self.ahead[-1] if self.ahead else self.bar]
        self.accidentals = {}
        self.goes_on()

    def goes_on(self):
        """Go to the next bar of an overlay, if there is one, else to the new bar after it. Layers
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
        sounding, size = [], scaled(length, times, parts)
        for text, duration, tie in notes:
            place = text.lstrip('^_=')
            if place not in 'xz':
                pitch = self.pitch(text, place, tied.get((layer, place), ()))
                ticks = size if duration == length else scaled(duration, times, parts)
                sounding.append([pitch, ticks, tie, place, None])
                if tie:
                    self.tied.setdefault((layer, place), []).append(pitch)
        self.last = [sounding, size, self.program, self.is_drum]
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
