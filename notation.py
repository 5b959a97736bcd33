"""Notes <-> compact ABC text, the notation that the models read and write. It loses nothing, both ways.

    text = encode(music)                 # Music (midi.py) -> text
    music = decode(text)                 # text -> Music; raises NotationError with line and reason

    L:1/8                                length 1 is an eighth note; always this line
    M:4/4                                meter
    Q:1/4=120                            quarters per minute
    K:Em                                 one of 15 major and 15 minor keys
    V:1 program=0                        a voice: one instrument line (General MIDI program)
    V:2 program=33
    V:3 drums                            channel 10; `drums=8` for another kit than 0
    [V:1]G2A/2B/2c[EGB]4|[V:2]E,4z4|     a line is a bar, a cell is a voice that sounds in it; others are left out
    Z|                                   a bar in which nothing sounds
    [M:3/4][Q:1/4=90][K:G][V:1]F6-|      changes stand at the start of a bar, in the order M, Q, K
    [V:1]F2z4|                           `-` ties a note that reaches the barline to the same pitch in the next bar

A first bar whose cells are all shorter than the meter is a pickup. This is ABC 2.1 (with L:1/8 and
`I:propagate-accidentals not`: an accidental holds for its own note only, and is written if and only if it differs from the
key signature; drum voices are spelled in C). Two freedoms make polyphony short: any length `n/d` in units of 1/12
eighth may stand (a triplet eighth is `C2/3`), and the members of a chord may have lengths of their own. As ABC 2.1 says, a
chord then advances by its *first* member, which may be a rest: `[zG4C8]` sounds G for a half note and C for a whole one, and
the next event comes an eighth later. Where all members last alike, the length follows the bracket: `[CEG]4`. tunebook.py makes
conventional ABC files of this, for other programs to read.

One canonical text for one piece of music:
  lengths    '' = 12 units, '2', '3/2', '/2' = 6 units, '2/3' = 8 units; reduced, 1 is not written before `/` nor `/1` after
  chords     the first member is the lowest note whose length is the distance to the voice's next event (or to the end of the bar);
             failing that, if all notes end before it, the longest one (lowest if several), and a rest follows;
             failing that, a rest of that distance. The other members follow in ascending pitch.
  cells      fill their bar exactly, with rests `z`; voices in the order of the header
"""
from midi import Music, Voice, bar_length, bar_starts


class NotationError(ValueError):
    """Text that is not in the notation; the message says where and why."""


def encode(music):
    """Canonical text of `music`, one line a bar, ending in a newline."""
    raise NotImplementedError


def decode(text):
    """Music of the text, by the same rules; raises NotationError."""
    raise NotImplementedError
