"""The constraint inside cells: notes, chords, rests, lengths and ties of a voice in a bar
(constrain.py). X_words and end_X are the two functions of a words.Slot."""
from dataclasses import dataclass
from functools import reduce
from operator import or_

from music.notation import EIGHTH
from music.notes import UNITS
from sampling.words import (
    ANY,
    CELL_END,
    CHORD,
    CHORD_END,
    EIGHTH_NOTE,
    PITCHES,
    REST,
    TIED,
    UNTIED,
    Slot,
    bits,
    grid_lengths,
    table,
)


class Part:
    """A part of a Reader's state. Its values are replaced and never changed in place."""

    def copy(self):
        new = object.__new__(type(self))        # a third of the time of dataclasses.replace
        new.__dict__.update(self.__dict__)
        return new


@dataclass
class Cell(Part):
    """The cell that is being read, up to its next event. Times are units from the start of the
    bar."""
    signature: int = 0              # sharps in which it is spelled; drums are in C
    required_ties: int | None = None    # mask of the pitches that it must tie out; None: any
    required_pitches: int = 0       # mask of the pitches that the next event must hold
    position: int = 0               # of the next event
    reached: int = 0                # the latest end of a note
    sounding: tuple = ()            # (end, mask of pitches) of notes that last beyond `position`
    # What `look_ahead` finds:
    room: int = 0                   # units from `position` to the end of the bar
    lengths: int = 0                # mask of the lengths that an event may have
    free: int = 0                   # mask of the pitches that do not sound


@dataclass
class Event(Part):
    """The note, rest or chord that is being read."""
    in_chord: bool = False          # inside of brackets
    chord: tuple = ()               # (units, mask of pitches) of its members; one if it is no chord
    pitch: int = 0                  # mask of the note or member just read; 0 for a rest
    units: int = 0                  # its length
    ties_out: int = 0               # mask of the pitches tied in this event


def pitches_of(notes):
    """Mask of the pitches of (time, mask) pairs."""
    return reduce(or_, (pitch for _, pitch in notes), 0)


def open_cell(reader):
    bar, cell = reader.bar, reader.cell
    cell.signature = 0 if reader.header.drums[bar.voice] else reader.header.sharps
    cell.required_pitches = bar.ties_in.get(bar.voice, 0)
    required = bar.required_ties
    cell.required_ties = None if required is None else required.get(bar.voice, 0)
    reader.event.ties_out = 0
    bar.ties_in = {voice: mask for voice, mask in bar.ties_in.items() if voice != bar.voice}
    look_ahead(reader)


def look_ahead(reader):
    """How far is it to the end of the bar, which is on any grid? Which lengths and pitches are
    free?"""
    cell = reader.cell
    cell.room = (reader.bar.length or reader.header.full) - cell.position
    ends = grid_lengths(cell.position % UNITS) | 1 << cell.room if reader.grid else ANY
    writable = table(reader.options.alphabet, 'length')['']
    cell.lengths = ends & bits(1, cell.room + 1) & writable
    cell.free = PITCHES & ~pitches_of(cell.sounding)
    if is_last(cell):
        cell.required_pitches |= missing_ties(reader)


# ---- The slot of an event, at its first character

def event_words(reader):
    """The cell's end, a chord, a rest, a note. Several required pitches need a chord."""
    bar, cell, event = reader.bar, reader.cell, reader.event
    allowed = 0
    is_full = cell.room == 0 if bar.length else cell.position >= cell.reached
    if cell.reached and is_full and not missing_ties(reader):
        allowed = CELL_END
    if cell.room > 0:
        allowed |= CHORD
        required = cell.required_pitches
        if required & (required - 1) == 0:      # at most one: without the lowest bit none is left
            allowed |= required or cell.free
            if required and is_last(cell):      # a chord would need a second one
                allowed &= ~CHORD
        after_rest = event.chord and not event.chord[-1][1]
        if not after_rest and not required and rest_lengths(reader):
            allowed |= REST
    beat = reader.header.beat
    on_beat = beat and cell.position and cell.position % beat == 0
    return table(reader.options.alphabet, 'cell', cell.signature, ' ' if on_beat else ''), allowed


def end_event(reader, word, bit):
    bar, cell, event = reader.bar, reader.cell, reader.event
    if bit == CELL_END:
        bar.length = bar.length or cell.position
        cell.position, cell.reached, cell.sounding, event.chord = 0, 0, (), ()
        return reader.go('bar')
    event.in_chord = bit == CHORD
    event.pitch = bit if bit < REST else 0
    event.chord, event.ties_out = (), 0
    reader.go('member' if event.in_chord else 'length')


# ---- The slot of a chord's member

def member_words(reader):
    """Members of a chord go upwards after the first one, past none that is required."""
    bar, cell, chord = reader.bar, reader.cell, reader.event.chord
    taken = pitches_of(chord)
    missing = cell.required_pitches & ~taken
    if chord and cell.position + chord[0][0] == bar.length:     # the first member fills the bar
        missing |= missing_ties(reader) & ~taken
    above = ANY << pitches_of(chord[1:]).bit_length()       # the members after the first one
    allowed = cell.free & ~taken & above
    if is_last(cell) and missing_ties(reader):
        allowed &= missing
    elif not chord:
        allowed |= REST
    if chord and missing:
        allowed &= bits(0, (missing & -missing).bit_length())   # up to the lowest missing one
    elif len(chord) > 1:
        allowed |= CHORD_END
    return table(reader.options.alphabet, 'cell', cell.signature, ''), allowed


def end_member(reader, word, bit):
    event = reader.event
    if bit != CHORD_END:
        event.pitch = bit if bit < REST else 0
        return reader.go('length')
    event.in_chord = False
    if not may_share_length(event):
        return end_of_event(reader, event.chord[0][0])
    event.pitch, event.chord = pitches_of(event.chord), ()
    reader.go('length')


# ---- The slot of a length

def length_words(reader):
    """Lengths of a note, a rest, a member, or of a whole chord, after its bracket."""
    cell, event = reader.cell, reader.event
    allowed = cell.lengths if event.pitch or event.in_chord else rest_lengths(reader)
    to_barline = 1 << cell.room
    if cell.required_ties is not None:
        missing = missing_ties(reader)
        if event.in_chord:
            if event.chord and event.chord[0][0] == cell.room and event.pitch & missing:
                allowed &= to_barline       # the first member fills the bar: none can tie it later
        # What reaches the barline is the cell's last event, and one tie holds for all its pitches.
        # So it stops short if others must still be tied, or only some of its own.
        elif missing & ~event.pitch or event.pitch & cell.required_ties not in (0, event.pitch):
            allowed &= ~to_barline

    # A member without a length lasts an eighth, or what a length after the bracket says, so it may
    # stand where no eighth may. There, those before it wait for the bracket, and so must this one.
    if event.in_chord and event.pitch and may_share_length(event):
        if event.chord and not allowed & EIGHTH_NOTE:
            allowed = EIGHTH_NOTE
        else:
            allowed |= EIGHTH_NOTE
    return table(reader.options.alphabet, 'length'), allowed


def end_length(reader, word, bit):
    reader.event.units = bit.bit_length() - 1
    if may_tie(reader):
        reader.go('tie')
    else:
        end_tie(reader, '', UNTIED)


# ---- The slot of a tie

def may_tie(reader):
    """What reaches the barline may be tied. In a first bar that may become a pickup, a tie puts the
    barline there, so nothing may last longer."""
    bar, cell, event = reader.bar, reader.cell, reader.event
    end = cell.position + event.units
    reaches = end == bar.length if bar.length else end >= cell.reached
    if not event.pitch or not reaches:
        return False
    if not event.in_chord:
        return True
    # With a tie of its own, a member without a length lasts an eighth, never what a length after
    # the bracket says. So where no eighth may stand, its tie too comes after the bracket.
    if event.units == EIGHTH and may_share_length(event) and not cell.lengths & EIGHTH_NOTE:
        return False
    return bool(bar.length) or event.units >= max((units for units, _ in event.chord), default=0)


def tie_words(reader):
    """Exactly what is required is tied, in a chord of one length perhaps only after its bracket."""
    cell, event = reader.cell, reader.event
    if cell.required_ties is None:
        allowed = ANY
    elif event.pitch & cell.required_ties != event.pitch:
        allowed = UNTIED
    elif event.in_chord and event.units == EIGHTH and may_share_length(event):
        allowed = TIED | UNTIED
    else:
        allowed = TIED
    return table(None, 'tie'), allowed


def end_tie(reader, word, bit):
    bar, event = reader.bar, reader.event
    if bit == TIED:
        event.ties_out |= event.pitch
        bar.length = bar.length or reader.cell.position + event.units
        look_ahead(reader)
    event.chord += ((event.units, event.pitch),)
    if event.in_chord:
        return reader.go('member')
    end_of_event(reader, event.units)


def end_of_event(reader, advance):
    """The note, rest or chord is whole: the next event comes after `advance`."""
    bar, cell, event = reader.bar, reader.cell, reader.event
    start = cell.position
    cell.position += advance
    notes = [(start + units, pitch) for units, pitch in event.chord if pitch]
    cell.sounding = tuple(note for note in (*cell.sounding, *notes) if note[0] > cell.position)
    if notes:
        cell.reached = max(cell.reached, max(notes)[0])
    if event.ties_out:
        bar.ties_out = {**bar.ties_out, bar.voice: bar.ties_out.get(bar.voice, 0) | event.ties_out}
    cell.required_pitches = 0
    look_ahead(reader)
    reader.go('event')


# ---- What the slots ask

def may_share_length(event):
    """May one length follow the chord? As long as its members are notes without length and tie."""
    return not event.ties_out and all(units == EIGHTH and pitch for units, pitch in event.chord)


def rest_lengths(reader):
    """Mask of the lengths that a rest may have: no cell has rests only."""
    cell = reader.cell
    if cell.reached and not missing_ties(reader):
        return cell.lengths
    return cell.lengths & ~(1 << cell.room)


def is_last(cell):
    """Has the cell to end with this event, because the grid is no finer?"""
    return cell.lengths == 1 << cell.room


def missing_ties(reader):
    """Mask of the pitches that this cell still has to tie out."""
    bar = reader.bar
    tied = reader.event.ties_out | bar.ties_out.get(bar.voice, 0)
    return (reader.cell.required_ties or 0) & ~tied


SLOTS = {'event': Slot(event_words, end_event), 'member': Slot(member_words, end_member),
         'length': Slot(length_words, end_length), 'tie': Slot(tie_words, end_tie)}
