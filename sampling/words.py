"""The words of the notation, slot by slot: tables in which the reader of constrain.py looks up what
can come next.

A text is a row of words (`M:3/4` and its line end, `[V:2]`, a note's name, a length, a tie), each
in a slot. The table of a slot says of every way in which a word of it can begin which words begin
so. Each word has a bit of a mask, but words that are always let through together share one:

    words = table(None, 'length')
    words['3'], words['3/']             # masks of the lengths that begin so: 3, 3/2, ..., 30, ...
    words['3/2' + END]                  # the bit of this length: 1 << 18, for it has 18 units
"""
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from music.notation import EIGHTH, LENGTH, MAX_VOICES, spelling
from music.notes import KEYS, MAX_BAR, UNITS, bar_length
from music.quantise import STRAIGHT, TRIPLET
from music.repeats import MARKS

DENOMINATORS = (1, 2, 4, 8, 16, 32)
METERS = {f'{n}/{d}': bar_length(n, d)                      # text -> units in a bar
          for d in DENOMINATORS for n in range(1, 1 + d * MAX_BAR // bar_length(1, 1))}
VALUES = {'L': ['1/8'], 'M': list(METERS), 'Q': [f'1/4={q}' for q in range(1, 10000)],
          'K': list(KEYS)}                                  # of the fields of a header
VOICES = ([f'program={p}' for p in range(128)] + ['drums'] + [f'drums={p}' for p in range(1, 128)])

END = '\0'                                                  # after a whole word
ANY = -1                                                    # mask of all words

# Bits of the slot 'bar': what opens a cell has that of its voice ([V:1] has bit 0), then these
# follow.
SILENCE, NEWLINE, METER, TEMPO, KEY, REPEAT_SIGN, ENDING_SIGN, AGAIN_SIGN = (
    1 << MAX_VOICES + i for i in range(8))
ALL_FIELDS = METER | TEMPO | KEY

# Bits of the slots 'event' and 'member': a note has that of its pitch, then these follow.
PITCHES = (1 << 128) - 1
REST, CHORD, CHORD_END, CELL_END = (1 << 128 + i for i in range(4))

# Bits of the slots 'length' and 'tie': a length has that of its units.
EIGHTH_NOTE = 1 << EIGHTH
UNTIED, TIED = 1, 2


class Slot(NamedTuple):
    words: Callable     # reader -> (table, mask of the words that may stand there)
    end: Callable       # (reader, word, bit): do what the word says, go on to the next slot


def bits(first, stop):
    """Mask of the bits from `first` to below `stop`: bits(1, 4) is 0b1110."""
    return (1 << stop) - (1 << first)


@cache
def table(alphabet, slot, *which):
    """{how a word may begin: mask of the words that begin so} of the words of a slot; `word + END`
    is the whole word. `alphabet`: the characters that can be written, None for any, for a
    vocabulary may lack some. `which`: what the words of the slot depend on."""
    words = WORDS[slot](*which)
    beginnings = {'': 0}
    for word, bit in words.items():
        if alphabet is None or alphabet.issuperset(word):
            for i in range(len(word) + 1):
                beginnings[word[:i]] = beginnings.get(word[:i], 0) | bit
            beginnings[word + END] = bit
    return beginnings


def field_words(field, asked):
    """A line of the header, with any value or the one that is asked for."""
    values = VALUES[field] if asked is None else [asked]
    return {f'{field}:{value}\n': 1 for value in values}


def voice_words(n, asked, repeats):
    """After n voices in the header: another one, or the first bar. `asked`: all programs that must
    stand, or None for any."""
    values = VOICES if asked is None else asked[n:n + 1]
    words = {}
    if n < MAX_VOICES:
        words |= {f'V:{n + 1} {value}\n': 1 for value in values}
    if n and (asked is None or not values):
        words |= {'Z|': SILENCE}
        words |= {f'[V:{i + 1}]': 1 << i for i in range(n)}
        if repeats:
            words |= {f'{MARKS[0]}\n': REPEAT_SIGN}
    return words


def bar_words(line_end):
    """What stands outside of cells, and what opens one."""
    words = {'Z|': SILENCE, line_end: NEWLINE}
    words |= {f'[V:{i + 1}]': 1 << i for i in range(MAX_VOICES)}
    words |= {f'{mark}\n': bit for mark, bit in zip(MARKS, (REPEAT_SIGN, ENDING_SIGN, AGAIN_SIGN))}
    for field, bit in (('M', METER), ('Q', TEMPO), ('K', KEY)):
        words |= {f'[{field}:{value}]': bit for value in VALUES[field]}
    return words


def cell_words(sharps, space):
    """Events and members of chords in a key; `space` is a space where they start on a beat."""
    words = {name: 1 << pitch for pitch, name in enumerate(spelling(sharps))}
    words |= {'z': REST, '[': CHORD}
    words = {space + word: bit for word, bit in words.items()}
    return words | {']': CHORD_END, '|': CELL_END}


def length_words():
    return {LENGTH[units]: 1 << units for units in range(1, MAX_BAR + 1)}


def tie_words():
    return {'': UNTIED, '-': TIED}


WORDS = {field: partial(field_words, field) for field in VALUES} | {
    'V': voice_words, 'bar': bar_words, 'cell': cell_words, 'length': length_words,
    'tie': tie_words}


@cache
def grid_lengths(phase):
    """Mask of the lengths from `phase` (units into a beat) to one of the two grids, and within a
    beat to the same."""
    lengths = 0
    for end in range(phase + 1, phase + MAX_BAR + 1):
        for step in (STRAIGHT, TRIPLET):
            if end % step == 0 and (end >= UNITS or phase % step == 0):
                lengths |= 1 << end - phase
    return lengths
