r"""An incremental reader of the compact notation (notation.py): which texts can still become a tune?

    reader = Reader()                                     # where a tune starts
    reader = reader.feed('L:1/8\nM:3/4\nQ:1/4=12')        # a Reader again, or None if no tune goes on so
    reader.can_end                                        # is the text so far a whole tune?

Sampling feeds it the text of a candidate token and drops the candidate if the answer is None. A Reader never changes, so
many candidates can be tried on one. Its language lies between two others: everything that notation.encode writes is in it,
and notation.decode reads all of it. Hence it is stricter than decode where decode is lenient: a tie finds its note, a note
never starts while its voice sounds that pitch already, every cell sounds, no rest follows a rest.

How it works: the text is cut into words (`M:3/4` and its line end, `[V:2]`, the name of a note, a length, a tie). Where the
reader stands decides which words may follow, always a finite set, kept as a table of its prefixes (for names of notes with
the pitches that a prefix can become, a mask of 128 bits). A word that can be longer (`C`, `C,`; `3`, `3/2`) ends where the
next character does not go on with it. Every word that is let through leaves a tune within reach: there is no dead end.
"""
from functools import cache

from music.notation import LENGTH, MAX_VOICES, UNITS_OF, pitches
from music.notes import KEYS, MAX_BAR, UNITS, bar_length
from music.quantise import STRAIGHT, TRIPLET

METERS = {f'{n}/{d}': bar_length(n, d)                                          # text -> units
          for d in (1, 2, 4, 8, 16, 32) for n in range(1, 1 + d * MAX_BAR // bar_length(1, 1))}
TEMPOS = [str(q) for q in range(1, 10000)]
VOICES = [f'program={p}' for p in range(128)] + ['drums'] + [f'drums={p}' for p in range(1, 128)]

# The tables. `alphabet` holds the characters that can be written at all, None for any: a vocabulary may lack some.

@cache
def length_words(longest, room, phase, alphabet):
    """(prefixes, whole words) of the lengths of at most `longest` units. `phase`: where in its beat the note starts, if its end
    has to be on the grid, else None; the end of the bar, `room` units away, is always good."""
    words = [LENGTH[units] for units in range(1, longest + 1) if phase is None or units == room or on_grid(phase, units)]
    words = [word for word in words if alphabet is None or alphabet.issuperset(word)]
    return prefixes(words, None), frozenset(words)


def on_grid(phase, units):
    """Is the time `units` after `phase` (units into a beat) on the straight or the triplet grid, within the beat on the same one?"""
    end = phase + units
    straight, triplet = end % STRAIGHT == 0, end % TRIPLET == 0
    if end < UNITS:
        return straight and phase % STRAIGHT == 0 or triplet and phase % TRIPLET == 0
    return straight or triplet


@cache
def note_table(sharps, alphabet):
    """Prefix of a note's name in this key -> mask of the pitches that it can become."""
    table = {}
    for name, pitch in pitches(sharps).items():
        if alphabet is None or alphabet.issuperset(name):
            for i in range(1, len(name) + 1):
                table[name[:i]] = table.get(name[:i], 0) | 1 << pitch
    return table


def prefixes(words, alphabet):
    return frozenset(word[:i] for word in words if alphabet is None or alphabet.issuperset(word) for i in range(1, len(word) + 1))


@cache
def header_words(field, asked, alphabet):
    """Prefixes of a header line; `asked`: the only value that may stand, or None."""
    values = {'L': ['1/8'], 'M': METERS, 'Q': TEMPOS, 'K': KEYS}[field] if asked is None else [asked]
    return prefixes((f'{field}:{"1/4=" if field == "Q" else ""}{value}\n' for value in values), alphabet)


@cache
def voice_words(n_voices, asked, alphabet):
    """Prefixes of what may stand after `n_voices` voice lines: another one, or the first bar. `asked`: all that must stand."""
    values = VOICES if asked is None else asked[n_voices:n_voices + 1]
    lines = prefixes((f'V:{n_voices + 1} {value}\n' for value in values), alphabet) if n_voices < MAX_VOICES else frozenset()
    return lines | bar_words(0, 1, n_voices, True, False, alphabet) if n_voices and (asked is None or not values) else lines


@cache
def bar_words(changes, low, high, rest, newline, alphabet):
    """Prefixes of what may stand outside of cells: as many of the fields M, Q, K as `changes` says (counted from the end),
    a cell of a voice from `low` to `high`, the bar's rest `Z|`, the line's end."""
    fields = [[f'[K:{k}]' for k in KEYS], [f'[Q:1/4={q}]' for q in TEMPOS], [f'[M:{m}]' for m in METERS]]
    words = [word for field in fields[:changes] for word in field] + [f'[V:{v}]' for v in range(low, high + 1)]
    return prefixes(words + ['Z|'] * rest + ['\n'] * newline, alphabet)


class Reader:
    """Where a text stands. Times are units of 1/24 quarter from the start of the bar."""

    def __init__(self, meter=None, tempo=None, key=None, voices=None, alphabet=None):
        """The start of a tune. What is asked for must stand in its header: '3/4', '96', 'Em', ('program=0', 'drums').
        `alphabet`: the characters that can be written, None for any."""
        self.grid = False                       # may be set: from here on notes begin and end on the grids of quantise.py
        self.alphabet = alphabet if alphabet is None else frozenset(alphabet)
        self.asked = {'M': meter, 'Q': tempo, 'K': key}
        self.voices = tuple(voices) if voices else None
        self.slot, self.partial = 'L', ''       # which kind of word is being read, and how much of it has been
        self.words = header_words('L', None, self.alphabet)     # prefixes of that word; None where a rule decides (`is_alive`)
        self.drums = ()                         # is_drum of each voice in the header
        self.bars = 0                           # whole bars so far
        self.silent = True                      # is the last bar empty? A tune ends with its last note
        self.full = 0                           # units in a bar of this meter
        self.length = 0                         # of this bar; 0 while the first cell of the first bar may become a pickup
        self.sharps = 0
        self.changes = 0                        # how many of the fields M, Q, K may still stand in this bar
        self.voice = -1                         # of the present cell, or of the last one in this bar
        self.due = {}                           # voice -> pitches (mask) tied into this bar, of voices still to come
        self.ties = {}                          # voice -> pitches (mask) tied into the next bar

    @property
    def can_end(self):
        return self.changes == 3 and not (self.silent or self.due or self.partial)

    @property
    def ends_line(self):
        """Can nothing but the end of the line come next?"""
        return self.words == {'\n'} and not self.partial

    def feed(self, text):
        """The Reader after `text`, or None if no tune goes on so."""
        new = object.__new__(Reader)
        new.__dict__.update(self.__dict__)
        partial = self.partial
        for char in text:
            while not (partial + char in new.words if new.words is not None else new.is_alive(partial + char)):
                if new.words is not None or not new.ends_word(partial):      # words of a table end in one of the three below
                    return None
                partial = ''
            partial += char
            if char in '\n]|':
                new.end_line(partial) if new.words is not None else new.ends_word(partial)
                partial = ''
        new.partial = partial
        return new

    # Words outside of cells. They are whole here, and allowed.

    def end_line(self, word):
        if self.slot == 'bar':
            return self.end_bar_word(word)
        value = word[2:-1]
        if self.slot == 'L':
            self.slot = 'M'
        elif self.slot == 'M':
            self.slot, self.full = 'Q', METERS[value]
        elif self.slot == 'Q':
            self.slot = 'K'
        elif self.slot == 'K':
            self.slot, self.sharps = 'V', KEYS[value][0]
        elif word[0] == 'V':
            self.drums += ('drums' in value,)
        else:
            self.slot = 'bar'
            return self.end_bar_word(word)
        self.words = (voice_words(len(self.drums), self.voices, self.alphabet) if self.slot == 'V' else
                      header_words(self.slot, self.asked[self.slot], self.alphabet))

    def end_bar_word(self, word):
        if word == '\n':
            self.bars += 1
            self.silent = self.voice < 0
            self.due, self.ties, self.voice, self.changes = self.ties, {}, -1, 3
            self.length = self.full
        elif word == 'Z|':
            self.changes = 0
            self.words = bar_words(0, 1, 0, False, True, self.alphabet)
            return
        elif word[1] == 'M':
            self.full = self.length = METERS[word[3:-1]]
            self.changes = 2
        elif word[1] == 'Q':
            self.changes = 1
        elif word[1] == 'K':
            self.sharps, self.changes = KEYS[word[3:-1]][0], 0
        else:
            return self.start_cell(int(word[3:-1]) - 1)
        self.words = bar_words(self.changes, 1, self.last_voice(), not self.due, False, self.alphabet)

    def last_voice(self):
        """Number of the last voice that may come next: one into which a tie leads is not passed over."""
        return min(self.due) + 1 if self.due else len(self.drums)

    def start_cell(self, voice):
        self.voice, self.changes = voice, 0
        self.must = self.due.get(voice, 0)                  # pitches that the first event has to take up
        if self.must:
            self.due = {v: mask for v, mask in self.due.items() if v != voice}
        self.slot, self.words = 'event', None
        self.key = 0 if self.drums[voice] else self.sharps
        self.table = note_table(self.key, self.alphabet)
        self.position = 0
        self.reached = 0                                    # the latest end of a note
        self.sounding = ()                                  # (end, mask) of notes that last beyond `position`
        self.sounds = self.rested = False                   # has a note been? was the last event a rest?

    def end_cell(self):
        self.length = self.length or self.position
        self.slot = 'bar'
        self.words = bar_words(0, self.voice + 2, self.last_voice(), False, not self.due, self.alphabet)

    # Words in a cell. A chord is read member by member.

    def room(self):
        return (self.length or self.full) - self.position

    def free(self):
        """Mask of the pitches that do not sound."""
        mask = (1 << 128) - 1
        for _, sounding in self.sounding:
            mask &= ~sounding
        return mask

    def reaches_barline(self):
        """May the note just read be tied? In a first bar whose length is open, a tie would settle it."""
        end = self.position + self.units
        return end == self.length or not self.length and end >= max(self.reached, self.chord_reach)

    def is_alive(self, t):
        """Is `t` the beginning of a word that may stand here?"""
        if self.slot == 'event':
            room = self.room()
            if t == '|':
                return self.sounds and (room == 0 if self.length else self.position >= self.reached)
            if room == 0:
                return False
            if t == 'z':
                return not (self.rested or self.must) and bool(self.lengths(rest=True)[1])
            if t == '[':
                return True
            wanted = self.free() if not self.must else self.must if not self.must & self.must - 1 else 0
            return self.table.get(t, 0) & wanted > 0
        if self.slot == 'member':
            if t == ']':
                return len(self.chord) > 1 and not self.must & ~self.taken
            if t == 'z':
                return not self.chord
            return self.table.get(t, 0) & self.member_mask() > 0
        if self.slot == 'length':
            if self.alike and self.in_chord and self.chord and '' not in self.lengths()[1]:
                return False                                # the members before have none, so would last an eighth
            return t in self.lengths(self.name == 'z' and not self.in_chord)[0]
        return t == '-' and self.name != 'z' and self.reaches_barline() and (
            not self.in_chord or not self.alike or '' in self.lengths()[1])

    def member_mask(self):
        """Pitches that may come next in a chord: upwards after the first one, and none that is due is passed over."""
        mask = self.free() & ~self.taken & -1 << self.highest + 1
        missing = self.must & ~self.taken
        return mask & ((missing & -missing) << 1) - 1 if missing and self.chord else mask

    def lengths(self, rest=False):
        """(prefixes, whole words) of the lengths that may stand here. A cell of rests only is none."""
        room = self.room()
        return length_words(room - (rest and not self.sounds), room, self.position % UNITS if self.grid else None, self.alphabet)

    def ends_word(self, word):
        """Take the word as whole and move on; False if it is none that may stand here."""
        if self.slot == 'event':
            return self.end_event_word(word)
        if self.slot == 'member':
            return self.end_member_word(word)
        if self.slot == 'length':
            return self.end_length(word)
        return self.end_tie(word == '-')

    def end_event_word(self, word):
        if word == '|':
            self.end_cell()
            return True
        self.chord_reach, self.chord, self.taken, self.tied, self.alike = 0, (), 0, 0, True
        self.in_chord = word == '['
        if self.in_chord:
            self.slot, self.highest = 'member', -1
            return True
        return self.name_note(word) and (self.name == 'z' or self.pitch & (self.must or self.free()) > 0)

    def name_note(self, word):
        """A rest or a note has been named; its length is next."""
        pitch = pitches(self.key).get(word)
        if pitch is None and word != 'z':
            return False
        self.name, self.slot = word, 'length'
        self.pitch = 0 if word == 'z' else 1 << pitch
        return True

    def end_member_word(self, word):
        if word == ']':
            self.in_chord = False
            if self.alike:
                self.name, self.pitch, self.slot, self.chord_reach = ']', self.taken, 'length', 0
            else:
                self.end_event(self.chord[0][0])
            return True
        mask = self.member_mask()
        if not self.name_note(word) or self.pitch & ~mask:
            return False
        if word == 'z':
            self.alike = False
        elif self.chord:
            self.highest = self.pitch.bit_length() - 1
        return True

    def end_length(self, word):
        self.units = UNITS_OF.get(word, 0)
        if self.in_chord and self.alike and not word:
            self.slot = 'tie'                               # the length may follow the chord
            return True
        if word not in self.lengths(self.name == 'z' and not self.in_chord)[1]:
            return False
        self.alike = self.alike and not self.in_chord
        self.slot = 'tie'
        return True

    def end_tie(self, tied):
        if tied:
            self.tied |= self.pitch
            self.length = self.length or self.position + self.units
        if not self.in_chord:
            self.chord = ((self.units, self.pitch),)
            self.end_event(self.units)
            return True
        self.alike = self.alike and not tied
        self.chord += ((self.units, self.pitch),)
        self.chord_reach = max(self.chord_reach, self.position + self.units)
        self.taken |= self.pitch
        self.slot = 'member'
        return True

    def end_event(self, advance):
        """The note, rest or chord is whole: move on by `advance`."""
        start, self.position = self.position, self.position + advance
        lasting = [(start + units, mask) for units, mask in self.chord if units > advance]
        self.sounding = tuple(note for note in (*self.sounding, *lasting) if note[0] > self.position)
        self.rested = self.chord == ((advance, 0),)
        if not self.rested:
            self.sounds = True
            self.reached = max(self.reached, start + max(units for units, mask in self.chord if mask))
        if self.tied:
            self.ties = {**self.ties, self.voice: self.ties.get(self.voice, 0) | self.tied}
        self.must, self.slot = 0, 'event'
