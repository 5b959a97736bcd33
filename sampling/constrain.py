r"""An incremental reader of the compact notation (notation.py): which texts can still become a tune?

    reader = Reader()                                     # where a tune starts
    reader = reader.feed('L:1/8\nM:3/4\nQ:1/4=12')        # a Reader again, or None if no tune goes on so
    reader.can_end                                        # is the text so far a whole tune?

Sampling feeds it the text of a candidate token and drops it if the answer is None. A Reader never changes, so many
candidates can be tried on one. It lets through all that notation.encode writes, and nothing that notation.decode cannot
read. It is stricter where decode is lenient: a tie finds its note, a note never starts while its voice sounds that
pitch already, every cell sounds, no rest follows a rest.

How it works: the text is a row of words (`M:3/4` and its line end, `[V:2]`, a note's name, a length, a tie), each in a
slot. A slot has a table of all its words, and a mask of those that may stand there now. What can come next and whether
a word is whole are looked up in that one table. A word that can be longer (`C`, `C,`; `3`, `3/2`) ends where the next
character does not go on with it. Every word that is let through leaves a tune within reach: there is no dead end.
"""
from functools import cache, reduce
from operator import or_

from music.notation import EIGHTH, LENGTH, MAX_VOICES, beat_of, spelling
from music.notes import KEYS, MAX_BAR, UNITS, bar_length
from music.quantise import STRAIGHT, TRIPLET
from music.repeats import MARKS, PHRASE, PHRASE_END

METERS = {f'{n}/{d}': bar_length(n, d)                                          # text -> units
          for d in (1, 2, 4, 8, 16, 32) for n in range(1, 1 + d * MAX_BAR // bar_length(1, 1))}
VALUES = {'L': ['1/8'], 'M': list(METERS), 'Q': [f'1/4={q}' for q in range(1, 10000)], 'K': list(KEYS)}     # of fields
VOICES = [f'program={p}' for p in range(128)] + ['drums'] + [f'drums={p}' for p in range(1, 128)]

# Each word has a bit, but words that are always let through together share one.
END = '\0'
ANY = -1
SILENCE, NEWLINE, METER, TEMPO, KEY, *SIGNS = (1 << MAX_VOICES + i for i in range(8))       # [V:1] has bit 0
REPEAT_SIGN, ENDING_SIGN, AGAIN_SIGN = SIGNS                                     # of MARKS, in their order
ALL_FIELDS = METER | TEMPO | KEY
OUTSIDE, REPEAT_EMPTY, IN_REPEAT, ENDING_EMPTY, IN_ENDING = range(5)             # where a line stands in a repeat
PITCHES = (1 << 128) - 1
REST, CHORD, CHORD_END, CELL_END = (1 << 128 + i for i in range(4))              # a note has the bit of its pitch
UNTIED, TIED, EIGHTH_NOTE = 1, 2, 1 << EIGHTH                                    # a length has the bit of its units


@cache
def table(alphabet, slot, *which):
    """{how a word may begin: mask of the words that begin so} of the words of a slot; `word + END` is the whole word.
    `alphabet`: the characters that can be written at all, None for any, for a vocabulary may lack some."""
    if slot == 'V':                             # another voice after n of them, or the first bar
        n, asked, repeats = which               # asked: all values that must stand, or None
        values = VOICES if asked is None else asked[n:n + 1]
        words = {f'V:{n + 1} {value}\n': 1 for value in values if n < MAX_VOICES}
        if n and (asked is None or not values):
            words |= {'Z|': SILENCE} | {f'[V:{i + 1}]': 1 << i for i in range(n)}
            words |= {f'{MARKS[0]}\n': REPEAT_SIGN} if repeats else {}
    elif slot in VALUES:
        words = {f'{slot}:{value}\n': 1 for value in ([which[1]] if which[1] else VALUES[slot])}
    elif slot == 'bar':                         # what stands outside of cells, and what opens one
        words = {'Z|': SILENCE, which[0]: NEWLINE} | {f'[V:{i + 1}]': 1 << i for i in range(MAX_VOICES)}
        words |= {f'{mark}\n': bit for mark, bit in zip(MARKS, SIGNS)}
        for field, bit in (('M', METER), ('Q', TEMPO), ('K', KEY)):
            words |= {f'[{field}:{value}]': bit for value in VALUES[field]}
    elif slot == 'cell':                        # events and members of chords, in a key; with a space on a beat
        sharps, space = which
        words = {name: 1 << pitch for pitch, name in enumerate(spelling(sharps))} | {'z': REST, '[': CHORD}
        words = {space + word: bit for word, bit in words.items()} | {']': CHORD_END, '|': CELL_END}
    elif slot == 'length':
        words = {LENGTH[units]: 1 << units for units in range(1, MAX_BAR + 1)}
    else:
        words = {'': UNTIED, '-': TIED}
    beginnings = {'': 0}
    for word, bit in words.items():
        if alphabet is None or alphabet.issuperset(word):
            for i in range(len(word) + 1):
                beginnings[word[:i]] = beginnings.get(word[:i], 0) | bit
            beginnings[word + END] = bit
    return beginnings


@cache
def grid_lengths(phase):
    """Mask of the lengths from `phase` (units into a beat) to one of the two grids, and within a beat to the same."""
    ends = [end for end in range(phase + 1, phase + MAX_BAR + 1) for step in (STRAIGHT, TRIPLET)
            if end % step == 0 and (end >= UNITS or phase % step == 0)]
    return sum(1 << end - phase for end in set(ends))


def pitches_of(notes):
    """Mask of the pitches of (time, mask) pairs."""
    return reduce(or_, (pitch for _, pitch in notes), 0)


class Reader:
    """Where a text stands. Times are units of 1/24 quarter from the start of the bar."""

    def __init__(self, meter=None, tempo=None, key=None, voices=None, alphabet=None, beats=False, repeats=False,
                 phrases=False):
        """The start of a tune. What is asked for must stand in its header: '3/4', '96', 'Em', ('program=0', 'drums').
        `alphabet`: the characters that can be written, None for any. beats, repeats, phrases: are they marked?"""
        self.beats, self.repeats, self.phrases = beats, repeats, phrases
        self.n_bars = self.n_before_ending = 0  # whole ones so far, as repeats.phrased counts them
        self.alphabet = alphabet if alphabet is None else frozenset(alphabet)
        self.asked = {'L': None, 'M': meter, 'Q': tempo and f'1/4={tempo}', 'K': key, 'V': tuple(voices or ()) or None}
        self.grid = False                       # must notes begin and end on the grids of quantise.py?
        self.drums = ()                         # is_drum of each voice in the header
        self.silent = True                      # is the last bar empty? A tune ends with its last note
        self.full = self.sharps = 0             # units in a bar of this meter; the key
        self.length = 0                         # of this bar; 0 while the first bar's first cell may become a pickup
        self.beat = 0                           # units between two spaces, or 0
        self.repeat, self.body_silent = OUTSIDE, False
        self.fields = 0                         # mask of the fields that may still stand in this bar
        self.closed = 0                         # mask of the cells (and Z|) that may not stand in this bar
        self.owed, self.owes = None, None       # pitches to tie over: voice -> mask, and of the cell; None: as it likes
        self.voice = -1                         # of the present cell, or of the last one in this bar
        self.due = {}                           # voice -> pitches (mask) tied into this bar, of voices still to come
        self.ties = {}                          # voice -> pitches (mask) tied into the next bar
        self.signature, self.length_table = 0, table(self.alphabet, 'length')        # of the present cell
        self.must = 0                           # pitches (mask) that the first event has to take up
        self.position = self.reached = 0        # of the next event in its cell; the latest end of a note
        self.room = self.lengths = self.free = 0            # see `look_ahead`
        self.sounding = ()                      # (end, pitch) of notes that last beyond `position`
        self.pitch = self.units = 0             # of the note, rest or member just read; a mask too, 0 for a rest
        self.tied = 0                           # pitches tied in this event
        self.in_chord, self.chord = False, ()   # (units, pitch) of the event's members so far; one if it is no chord
        self.slot, self.words, self.allowed, self.partial = 'L', {}, 0, ''      # the word, and what has been read of it
        self.go('L')

    @property
    def can_end(self):
        return self.fields == ALL_FIELDS and not (self.silent or self.due or self.partial)

    @property
    def line_end(self):
        return PHRASE_END * (self.phrases and self.n_bars % PHRASE == PHRASE - 1) + '\n'

    @property
    def ends_line(self):
        """Can nothing but the end of the line come next?"""
        return self.slot == 'bar' and self.allowed == NEWLINE and self.partial in ('', PHRASE_END)

    def feed(self, text):
        """The Reader after `text`, or None if no tune goes on so."""
        new = object.__new__(Reader)
        new.__dict__.update(self.__dict__)
        partial = self.partial
        for char in text:
            while not new.words.get(partial + char, 0) & new.allowed:
                if not new.end_word(partial):
                    return None
                partial = ''
            partial += char
            if char in '\n]|' and new.end_word(partial):        # no word goes on after these, but for `|:`
                partial = ''
        new.partial = partial
        return new

    def on_grid(self):
        """The Reader that from here on lets notes begin and end on the grids of quantise.py alone."""
        return self.but(grid=True)

    def but(self, **changes):
        """The Reader with other values of these attributes. `slot='bar'` opens the first bar; `fields=0` lets no field,
        mark or end of the tune stand here; a voice with a mask in `due`, also 0, has a cell in this bar; what `owed`
        asks for, and no more, is tied over its end (where it is a chord, a bar may have to be begun anew)."""
        new = self.feed('')
        new.__dict__.update(changes)
        new.look_ahead()
        new.go(new.slot)
        return new

    def go(self, slot):
        """Look up what may stand in the slot that comes next."""
        self.slot = slot
        self.words, allowed = SLOTS[slot][0](self)
        self.allowed = allowed & self.words['']

    def end_word(self, word):
        """Take the word as whole and move on; False if it is none that may stand here."""
        bit = self.words.get(word + END, 0) & self.allowed
        if bit:
            SLOTS[self.slot][1](self, word, bit)
        return bit > 0

    # The slots: X_words gives (table, mask of what may stand there), end_X does what the word says and goes on.

    def header_words(self):
        return table(self.alphabet, self.slot, len(self.drums), self.asked[self.slot], self.repeats), ANY

    def end_header(self, word, bit):
        if word[0] in '[Z|':
            return self.end_bar(word, bit)
        if word[0] == 'M':
            self.set_meter(word[2:-1])
        elif word[0] == 'K':
            self.sharps = KEYS[word[2:-1]][0]
        elif word[0] == 'V':
            self.drums += ('drums' in word,)
        self.go({'L': 'M', 'M': 'Q', 'Q': 'K', 'K': 'V', 'V': 'V'}[word[0]])

    def bar_words(self):
        """A voice into which a tie leads is not passed over."""
        last = min(self.due) + 1 if self.due else len(self.drums)
        allowed = self.fields | (1 << last) - (1 << self.voice + 1)
        if not self.due:
            allowed |= SILENCE if self.voice < 0 else NEWLINE
            if self.repeats and self.voice < 0 and (self.repeat or self.fields == ALL_FIELDS):      # a line begins
                allowed |= {OUTSIDE: REPEAT_SIGN, IN_REPEAT: ENDING_SIGN | AGAIN_SIGN,
                            IN_ENDING: AGAIN_SIGN}.get(self.repeat, 0)
        return table(self.alphabet, 'bar', self.line_end), allowed & ~self.closed

    def end_bar(self, word, bit):
        self.fields = {METER: TEMPO | KEY, TEMPO: KEY, NEWLINE: ALL_FIELDS}.get(bit, 0)
        if bit in SIGNS:
            if bit == ENDING_SIGN:
                self.body_silent, self.n_before_ending = self.silent, self.n_bars
            elif self.repeat == IN_ENDING:      # the bar played last is the one before the ending
                self.silent, self.n_bars = self.body_silent, self.n_before_ending
            self.repeat = dict(zip(SIGNS, (REPEAT_EMPTY, ENDING_EMPTY, OUTSIDE)))[bit]
            self.length = self.full             # also of a first bar, which now is no pickup
            self.fields = 0 if self.repeat else ALL_FIELDS
        elif bit == NEWLINE:
            self.n_bars += self.length in (0, self.full)        # no pickup
            self.due, self.ties, self.voice, self.length = self.ties, {}, -1, self.full
            self.closed, self.owed = 0, None
            if self.repeat:                     # in which nothing changes
                self.fields = 0
                self.repeat = {REPEAT_EMPTY: IN_REPEAT, ENDING_EMPTY: IN_ENDING}.get(self.repeat, self.repeat)
        elif bit == SILENCE:
            self.silent, self.voice = True, len(self.drums) - 1
        elif bit == METER:
            self.set_meter(word[3:-1])
            self.length = self.full
        elif bit == KEY:
            self.sharps = KEYS[word[3:-1]][0]
        elif bit != TEMPO:                      # a cell opens
            self.silent, self.voice = False, bit.bit_length() - 1
            self.signature = 0 if self.drums[self.voice] else self.sharps
            self.must = self.due.get(self.voice, 0)
            self.owes = None if self.owed is None else self.owed.get(self.voice, 0)
            self.tied = 0
            self.due = {voice: mask for voice, mask in self.due.items() if voice != self.voice}
            self.look_ahead()
            return self.go('event')
        self.go('bar')

    def set_meter(self, meter):
        self.full = METERS[meter]
        self.beat = beat_of(*map(int, meter.split('/'))) if self.beats else 0

    def event_words(self):
        """The cell's end, a chord, a rest, a note. Several pitches tied into the bar are taken up by a chord only."""
        allowed = 0
        if self.reached and not self.lacking() and (
                self.room == 0 if self.length else self.position >= self.reached):
            allowed = CELL_END
        if self.room > 0:
            allowed |= CHORD
            if not self.must & self.must - 1:
                allowed |= self.must or self.free
            if allowed & self.must and self.is_last():
                allowed &= ~CHORD
            rested = self.chord and not self.chord[-1][1]
            if not (rested or self.must) and self.rests():
                allowed |= REST
        space = ' ' if self.beat and self.position and self.position % self.beat == 0 else ''
        return table(self.alphabet, 'cell', self.signature, space), allowed

    def end_event(self, word, bit):
        if bit == CELL_END:
            self.length = self.length or self.position
            self.position, self.reached, self.sounding, self.chord = 0, 0, (), ()
            return self.go('bar')
        self.in_chord, self.pitch, self.chord, self.tied = bit == CHORD, bit if bit < REST else 0, (), 0
        self.go('member' if self.in_chord else 'length')

    def member_words(self):
        """Members of a chord go upwards after the first one, and none that is due is passed over."""
        taken = pitches_of(self.chord)
        missing = self.must & ~taken
        if self.chord and self.position + self.chord[0][0] == self.length:
            missing |= self.lacking() & ~taken
        allowed = self.free & ~taken & -1 << pitches_of(self.chord[1:]).bit_length()
        if self.is_last() and self.lacking():
            allowed &= missing
        elif not self.chord:
            allowed |= REST
        if self.chord and missing:
            allowed &= ((missing & -missing) << 1) - 1
        elif len(self.chord) > 1:
            allowed |= CHORD_END
        return table(self.alphabet, 'cell', self.signature, ''), allowed

    def end_member(self, word, bit):
        if bit == CHORD_END:
            self.in_chord = False
            if not self.alike():
                return self.move_on(self.chord[0][0])
            self.pitch, self.chord = pitches_of(self.chord), ()
        else:
            self.pitch = bit if bit < REST else 0
        self.go('length')

    def length_words(self):
        """In a chord, a member has none if one may follow the bracket. If none follows, all members last an eighth."""
        allowed = self.lengths if self.pitch or self.in_chord else self.rests()
        if self.owes is not None and not self.in_chord and (
                self.lacking() & ~self.pitch or self.pitch & self.owes not in (0, self.pitch)):
            allowed &= ~(1 << self.room)        # the cell goes on
        elif self.chord and self.in_chord and self.chord[0][0] == self.room and self.pitch & self.lacking():
            allowed &= 1 << self.room
        if self.in_chord and self.pitch and self.alike():
            allowed = EIGHTH_NOTE if self.chord and not allowed & EIGHTH_NOTE else allowed | EIGHTH_NOTE
        return self.length_table, allowed

    def end_length(self, word, bit):
        self.units = bit.bit_length() - 1
        return self.go('tie') if self.may_tie() else self.end_tie('', UNTIED)

    def may_tie(self):
        """What reaches the barline may be tied. In a first bar whose length is open, a tie settles it, and in a chord
        it settles that no length follows the bracket."""
        end = self.position + self.units
        if not self.pitch or (end != self.length if self.length else end < self.reached):
            return False
        return not self.in_chord or ((self.units != EIGHTH or not self.alike() or self.lengths & EIGHTH_NOTE)
                                     and (self.length or self.units >= max((n for n, _ in self.chord), default=0)))

    def tie_words(self):
        """Where a length may follow a chord, so may a tie."""
        if self.owes is None:
            return table(None, 'tie'), ANY
        if self.pitch & self.owes != self.pitch:
            return table(None, 'tie'), UNTIED
        return table(None, 'tie'), TIED | UNTIED * (self.in_chord and self.units == EIGHTH and self.alike())

    def end_tie(self, word, bit):
        if bit == TIED:
            self.tied |= self.pitch
            self.length = self.length or self.position + self.units
            self.look_ahead()
        self.chord += ((self.units, self.pitch),)
        return self.go('member') if self.in_chord else self.move_on(self.units)

    def move_on(self, advance):
        """The note, rest or chord is whole: the next event comes after `advance`."""
        start, self.position = self.position, self.position + advance
        notes = [(start + units, pitch) for units, pitch in self.chord if pitch]
        if self.sounding or len(self.chord) > 1:
            self.sounding = tuple(note for note in (*self.sounding, *notes) if note[0] > self.position)
        if notes:
            self.reached = max(self.reached, max(notes)[0])
        if self.tied:
            self.ties = {**self.ties, self.voice: self.ties.get(self.voice, 0) | self.tied}
        self.must = 0
        self.look_ahead()
        self.go('event')

    # What the slots in a cell ask.

    def alike(self):
        """May one length follow the chord? So it is as long as its members are notes without length and tie."""
        return not self.tied and all(units == EIGHTH and pitch for units, pitch in self.chord)

    def look_ahead(self):
        """How far is it from `position` to the bar's end, which is on any grid? Which lengths and pitches are free?"""
        self.room = (self.length or self.full) - self.position
        ends = ANY if not self.grid else grid_lengths(self.position % UNITS) | 1 << self.room
        self.lengths = ends & (2 << self.room) - 2 & self.length_table['']
        self.free = PITCHES & ~pitches_of(self.sounding) if self.sounding else PITCHES
        if self.is_last():
            self.must |= self.lacking()

    def rests(self):
        """Mask of the lengths that a rest may have: a cell of rests only is none."""
        return self.lengths if self.reached and not self.lacking() else self.lengths & ~(1 << self.room)

    def is_last(self):
        """Has the cell to end with this event, because the grid is no finer?"""
        return self.lengths == 1 << self.room

    def lacking(self):
        """Mask of the pitches that this cell still has to tie over."""
        return (self.owes or 0) & ~(self.tied | self.ties.get(self.voice, 0))


SLOTS = dict.fromkeys('LMQKV', (Reader.header_words, Reader.end_header)) | {
    'bar': (Reader.bar_words, Reader.end_bar), 'event': (Reader.event_words, Reader.end_event),
    'member': (Reader.member_words, Reader.end_member), 'length': (Reader.length_words, Reader.end_length),
    'tie': (Reader.tie_words, Reader.end_tie)}
