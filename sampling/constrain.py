"""An incremental reader of the compact notation (notation.py): which texts can still become a tune?

    reader = Reader()                                     # where a tune starts
    reader = reader.feed('L:1/8\\nM:3/4\\nQ:1/4=12')      # a Reader, or None if no tune goes on so
    reader.can_end                                        # is the text so far a whole tune?

Sampling feeds it the text of a candidate token and rejects the token if the answer is None. A
Reader never changes, so many candidates can be tried on one. It lets through all that
notation.encode writes, and nothing that notation.decode cannot read. It is stricter where decode is
lenient: a tie finds its note, a note never starts while its voice sounds that pitch already, every
cell sounds, no rest follows a rest.

How it works: the text is a row of words, each in a slot (words.py). A slot has a table of all its
words, and a mask of those that may stand there now. What can come next and whether a word is whole
are looked up in that one table. A word that can be longer (`C`, `C,`; `3`, `3/2`) ends where the
next character does not go on with it. Every word that is let through leaves a tune within reach:
there is no dead end.

For each slot one function says what may stand there, and another does what the word says and names
the slot that follows. Those of header and bar lines are here, those of cells in cells.py.
"""
from dataclasses import dataclass, field

from music.notation import beat_of
from music.notes import KEYS
from music.repeats import PHRASE, PHRASE_END
from sampling import cells
from sampling.words import (
    AGAIN_SIGN,
    ALL_FIELDS,
    ANY,
    END,
    ENDING_SIGN,
    KEY,
    METER,
    METERS,
    NEWLINE,
    REPEAT_SIGN,
    SILENCE,
    TEMPO,
    Slot,
    bits,
    table,
)

# Position of a line in a repeat.
OUTSIDE, REPEAT_EMPTY, IN_REPEAT, ENDING_EMPTY, IN_ENDING = range(5)


@dataclass(frozen=True)
class Options:
    """What holds for the whole tune."""
    alphabet: frozenset | None          # characters that can be written, None for any
    asked: dict                         # field -> value that must stand in the header, None for any
    beats: bool                         # are these marked?
    repeats: bool
    phrases: bool


@dataclass
class Header(cells.Part):
    """What the header says, and changes of it."""
    drums: tuple = ()                   # is_drum of each voice
    full: int = 0                       # units in a bar of this meter
    beat: int = 0                       # units between two spaces, or 0
    sharps: int = 0                     # of the key


@dataclass
class Form(cells.Part):
    """The whole bars so far. A tune ends with its last note."""
    n_bars: int = 0                     # as repeats.phrased counts them
    n_before_ending: int = 0
    silent: bool = True                 # is the bar that is played last empty?
    body_silent: bool = False           # was it so before the ending?
    repeat: int = OUTSIDE


@dataclass
class Bar(cells.Part):
    """The bar that is being read. Times are units of 1/24 quarter from its start."""
    length: int | None = None           # None while the first cell of a tune may become a pickup
    voice: int = -1                     # of the present cell, or of the last one
    # Voices that must still have a cell -> mask of the pitches that are tied into it, perhaps none.
    ties_in: dict = field(default_factory=dict)
    # Voice -> mask of the pitches that are tied into the next bar so far, and of those that must
    # be (None: any may).
    ties_out: dict = field(default_factory=dict)
    required_ties: dict | None = None
    fields: int = 0                     # mask of the fields that may still stand in it
    forbidden: int = 0                  # mask of the cells (and Z|) that may not stand in it


@dataclass
class Word(cells.Part):
    """The word that is being read."""
    slot: str = 'L'
    table: dict = field(default_factory=dict)
    allowed: int = 0                    # mask of the words that may stand here
    partial: str = ''                   # what has been read of it


class Reader:
    """Where a text stands."""

    def __init__(self, meter=None, tempo=None, key=None, voices=None, alphabet=None, beats=False,
                 repeats=False, phrases=False):
        """The start of a tune. What is asked for must stand in its header: '3/4', '96', 'Em',
        ('program=0', 'drums'). `alphabet`: the characters that can be written, None for any. beats,
        repeats, phrases: are they marked?"""
        asked = {'L': None, 'M': meter, 'Q': tempo and f'1/4={tempo}', 'K': key,
                 'V': tuple(voices or ()) or None}
        alphabet = None if alphabet is None else frozenset(alphabet)
        self.options = Options(alphabet, asked, beats, repeats, phrases)
        self.header, self.form, self.bar = Header(), Form(), Bar()
        self.cell, self.event, self.word = cells.Cell(), cells.Event(), Word()
        self.grid = False               # must notes begin and end on the grids of quantise.py?
        self.go('L')

    def copy(self):
        new = object.__new__(Reader)
        new.options, new.grid = self.options, self.grid
        new.header, new.form, new.bar = self.header.copy(), self.form.copy(), self.bar.copy()
        new.cell, new.event, new.word = self.cell.copy(), self.event.copy(), self.word.copy()
        return new

    # ---- what sampling asks

    def feed(self, text):
        """The Reader after `text`, or None if no tune goes on so."""
        new = self.copy()
        partial = self.word.partial
        for char in text:
            # As long as the character does not go on with the word, the word ends before it.
            while not new.word.table.get(partial + char, 0) & new.word.allowed:
                if not new.end_word(partial):
                    return None
                partial = ''
            partial += char
            # No word goes on after these characters, but for `|:`.
            if char in '\n]|' and new.end_word(partial):
                partial = ''
        new.word.partial = partial
        return new

    @property
    def can_end(self):
        """Is the text so far a whole tune?"""
        if self.word.partial or self.bar.fields != ALL_FIELDS:
            return False
        return not (self.form.silent or self.bar.ties_in)

    @property
    def line_end(self):
        ends_phrase = self.options.phrases and self.form.n_bars % PHRASE == PHRASE - 1
        return PHRASE_END + '\n' if ends_phrase else '\n'

    @property
    def ends_line(self):
        """Can nothing but the end of the line come next?"""
        word = self.word
        return word.slot == 'bar' and word.allowed == NEWLINE and word.partial in ('', PHRASE_END)

    def on_grid(self, grid=True):
        """The Reader that from here on lets notes begin and end on the grids of quantise.py alone,
        or anywhere."""
        new = self.copy()
        new.grid = grid
        new.look_up()
        return new

    def feed_given(self, text):
        """The Reader after a text that is given, and so may be off the grid."""
        return self.on_grid(False).feed(text).on_grid()

    def open_bar(self, pickup, voices, forbidden, required_ties):
        """The Reader in a bar in which no field, mark or end of the tune may stand. `pickup`: its
        length if it is the first one and not full, else 0. Each of `voices` has a cell in it, none
        of the mask `forbidden` has one. What `required_ties` asks for, and no more, is tied over
        its end (where that is a chord, a bar may have to be begun again)."""
        new = self.copy()
        bar = new.bar
        bar.length = bar.length or pickup or new.header.full
        bar.ties_in = dict.fromkeys(voices, 0) | bar.ties_in
        bar.fields, bar.forbidden, bar.required_ties = 0, forbidden, required_ties
        new.word.slot = 'bar'
        new.look_up()
        return new

    # ---- how it moves on

    def look_up(self):
        """Look up again what may come next, after what it depends on was changed."""
        cells.look_ahead(self)
        self.go(self.word.slot)

    def go(self, slot):
        """Look up what may stand in the slot that comes next."""
        word = self.word
        word.slot = slot
        word.table, allowed = SLOTS[slot].words(self)
        word.allowed = allowed & word.table['']

    def end_word(self, word):
        """Take the word as whole and go on to the next slot; False if it may not stand here."""
        bit = self.word.table.get(word + END, 0) & self.word.allowed
        if not bit:
            return False
        SLOTS[self.word.slot].end(self, word, bit)
        return True


# ---- The slots of the header

def header_words(reader):
    slot, options = reader.word.slot, reader.options
    if slot == 'V':
        which = len(reader.header.drums), options.asked['V'], options.repeats
    else:
        which = (options.asked[slot],)
    return table(options.alphabet, slot, *which), ANY


def end_header(reader, word, bit):
    header = reader.header
    if word[0] in '[Z|':                        # [V:1], Z| or |: is a word of the first bar
        return end_bar(reader, word, bit)
    if word[0] == 'M':
        set_meter(reader, word[2:-1])
    elif word[0] == 'K':
        header.sharps = KEYS[word[2:-1]][0]
    elif word[0] == 'V':
        header.drums += ('drums' in word,)
    reader.go({'L': 'M', 'M': 'Q', 'Q': 'K', 'K': 'V', 'V': 'V'}[word[0]])


def set_meter(reader, meter):
    header = reader.header
    header.full = METERS[meter]
    header.beat = beat_of(*map(int, meter.split('/'))) if reader.options.beats else 0


# ---- The slot between the cells of a bar

def bar_words(reader):
    """A voice into which a tie leads is not passed over."""
    options, bar, form = reader.options, reader.bar, reader.form
    last = min(bar.ties_in) + 1 if bar.ties_in else len(reader.header.drums)
    allowed = bar.fields | bits(bar.voice + 1, last)
    begins = bar.voice < 0
    if not bar.ties_in:
        allowed |= SILENCE if begins else NEWLINE
    if not bar.ties_in and begins and options.repeats:
        if form.repeat == OUTSIDE and bar.fields == ALL_FIELDS:
            allowed |= REPEAT_SIGN
        elif form.repeat == IN_REPEAT:
            allowed |= ENDING_SIGN | AGAIN_SIGN
        elif form.repeat == IN_ENDING:
            allowed |= AGAIN_SIGN
    return table(options.alphabet, 'bar', reader.line_end), allowed & ~bar.forbidden


def end_bar(reader, word, bit):
    """What stands between cells: a mark of repeats, the line's end, silence, a field, or
    `[V:n]`."""
    header, form, bar = reader.header, reader.form, reader.bar
    bar.fields = {METER: TEMPO | KEY, TEMPO: KEY, NEWLINE: ALL_FIELDS}.get(bit, 0)
    if bit in (REPEAT_SIGN, ENDING_SIGN, AGAIN_SIGN):
        end_repeat_sign(reader, bit)
    elif bit == NEWLINE:
        is_pickup = bar.length not in (None, header.full)
        form.n_bars += 0 if is_pickup else 1
        bar.ties_in, bar.ties_out, bar.voice, bar.length = bar.ties_out, {}, -1, header.full
        bar.forbidden, bar.required_ties = 0, None
        if form.repeat != OUTSIDE:              # in which nothing changes
            bar.fields = 0
        if form.repeat == REPEAT_EMPTY:
            form.repeat = IN_REPEAT
        elif form.repeat == ENDING_EMPTY:
            form.repeat = IN_ENDING
    elif bit == SILENCE:
        form.silent, bar.voice = True, len(header.drums) - 1
    elif bit == METER:
        set_meter(reader, word[3:-1])
        bar.length = header.full
    elif bit == KEY:
        header.sharps = KEYS[word[3:-1]][0]
    elif bit != TEMPO:                          # a cell opens
        form.silent, bar.voice = False, bit.bit_length() - 1
        cells.open_cell(reader)
        return reader.go('event')
    reader.go('bar')


def end_repeat_sign(reader, bit):
    form, bar = reader.form, reader.bar
    if bit == ENDING_SIGN:
        form.body_silent, form.n_before_ending = form.silent, form.n_bars
    elif form.repeat == IN_ENDING:              # the bar played last is the one before the ending
        form.silent, form.n_bars = form.body_silent, form.n_before_ending
    form.repeat = {REPEAT_SIGN: REPEAT_EMPTY, ENDING_SIGN: ENDING_EMPTY, AGAIN_SIGN: OUTSIDE}[bit]
    bar.length = reader.header.full             # also of a first bar, which now is no pickup
    bar.fields = ALL_FIELDS if form.repeat == OUTSIDE else 0


SLOTS = dict.fromkeys('LMQKV', Slot(header_words, end_header))
SLOTS |= {'bar': Slot(bar_words, end_bar), **cells.SLOTS}
