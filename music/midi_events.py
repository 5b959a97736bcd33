"""Bytes of a Standard MIDI File -> all of its events as arrays. What is damaged is repaired or
named.

    remarks = Counter()
    events = read_events(data, remarks)         # raises MidiError(reason)

Notes, controllers and pitch bends have two data bytes, and nearly all events are of these kinds. A
stretch of them is found as a whole; the other events are read one by one. Both go into one stream,
in which every event has two data bytes, and so exactly three bytes below 128: the last byte of its
delta time, and its data. Hence the place of a byte of 128 or more follows from the number n of
lower bytes before it: n % 3 is 0 in a delta time and 1 at a status; 2 is an error. So an array of
such counts shows where a stretch ends, and `decode` takes the stream apart without a loop over
events.

    delta    status  data     delta  data     delta    status  data
    81 20    90      3c 50    10     3c 00    83 60    90      3e 50
    n % 3 of the bytes of 128 or more:
    0        1                                0        1

The format is that of the MIDI Association's "Standard MIDI Files 1.0" (RP-001).
"""
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from music.notes import remark
from music.quantise import MidiError

OTHER = 0xFF                # status, in the stream, of what is no message of a channel
TEMPO, METER, KEY, PORT, END_OF_TRACK = 0x51, 0x58, 0x59, 0x21, 0x2F        # kinds of meta events
DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}        # of system messages, which have no place in a file


@dataclass
class Events:
    """Arrays with one entry an event, in the order of the file."""
    tick: np.ndarray            # int64, since the start of the file
    track: np.ndarray           # int32: number of the track, from 0
    status: np.ndarray          # uint8; OTHER for all that is no message of a channel
    data: np.ndarray            # uint8 (n, 2); of messages with one data byte the second is 0
    metas: list                 # (index of the event, kind, its bytes)
    ends: list                  # index of the event that ends each track
    ticks_per_quarter: int
    in_seconds: bool  # SMPTE time: a quarter is half a second, whatever tempo the file has


def read_events(data, remarks):
    """Events of the bytes of a file; `remarks` (notes.remark) counts repairs. Raises
    MidiError(reason).

    RIFF is unwrapped. A track is read to its end-of-track event, whatever length it says it has;
    one that is cut off or damaged, to its last whole event. The patterns of format 2 follow each
    other.
    """
    head = data.find(b'MThd')
    if head < 0 or len(data) < head + 14:
        raise MidiError('no MIDI header')
    if head > 0 and not data.startswith(b'RIFF'):
        remark(remarks, 'repaired', 'bytes before the MIDI header')
    size, form, n_tracks, division = struct.unpack_from('>IHHH', data, head + 4)
    in_seconds = division >= 0x8000
    if in_seconds:              # frames a second (two's complement), ticks a frame
        division = max((256 - (division >> 8)) * (division & 255) // 2, 1)
        remark(remarks, 'guessed', 'quarters of half a second, in a file that counts seconds')
    if division == 0:
        raise MidiError('no ticks per quarter')

    first = head + 8 + size
    if data[first:first + 4] != b'MTrk':
        first = data.find(b'MTrk', head + 8)
        if first < 0:
            raise MidiError('no notes')
        if size != 6:
            remark(remarks, 'repaired', 'length of the MIDI header')

    # Whether all stretches are sound is known at the end; if not, the file is read event by event.
    for in_stretches in (True, False):
        found = Counter()
        stream = Stream(data, in_stretches)
        at = first
        while at >= 0:
            at = read_track(data, at, stream, found)
        in_turn = form == 2 and len(stream.ends) > 1
        events = decode(stream, in_turn, division, in_seconds)
        if events is not None:
            break
    remarks.update(found)

    if len(stream.ends) != n_tracks:
        remark(remarks, 'repaired', 'number of tracks in the MIDI header')
    if form > 2 or form == 0 and len(stream.ends) > 1:
        remark(remarks, 'repaired', 'format in the MIDI header')
    if in_turn:
        remark(remarks, 'guessed', 'patterns of format 2, played one after the other')
    return events


class Stream:
    """Events while they are read: delta time, status and two data bytes each, in running status."""

    def __init__(self, data, in_stretches):
        self.parts = []         # bytes of whole events
        self.others = []  # (kind, bytes) of each event of status OTHER; kind None: passed over
        self.ends = []          # which of `others` end a track
        self.in_stretches = in_stretches
        if in_stretches:
            array = np.frombuffer(data, np.uint8)
            self.n_low = np.cumsum(array < 128, dtype=np.int32)         # up to and with each byte
            breaks = np.flatnonzero((array >= 0xC0) & (array & 0xF0 != 0xE0))
            self.breaks = [*breaks.tolist(), len(data)]         # bytes that may be other statuses
            self.n_low_at_breaks = [*self.n_low[breaks].tolist(), 0]
            self.next = 0                                       # the first of them that is ahead

    def stretch(self, data, at, stop):
        """Bytes of the events with two data bytes from `at` up to the next other event or `stop`.

        `at` is where an event begins, and no less than in former calls."""
        if not self.in_stretches:
            return b''
        before, k = int(self.n_low[at - 1]), self.next
        while self.breaks[k] < at:
            k += 1
        while self.breaks[k] < stop and (self.n_low_at_breaks[k] - before) % 3 != 1:
            k += 1
        self.next = k
        if self.breaks[k] < stop:
            end = self.breaks[k] - 1                            # the last byte of its delta time
            while end > at and data[end - 1] >= 128:
                end -= 1
        else:                                                   # no end of track: whole events only
            n = (int(self.n_low[stop - 1]) - before) // 3 * 3
            end = int(np.searchsorted(self.n_low, before + n)) + 1 if n else at
        return data[at:end]

    def other(self, delta, kind=None, value=b''):
        self.parts.append(delta + b'\xff\0\0')
        self.others.append((kind, value))


def read_track(data, at, stream, remarks):
    """Read the track whose chunk begins at `at`. Returns where the next one begins, -1 after the
    last.
    """
    start = at + 8
    says = start + int.from_bytes(data[at + 4:start], 'big')
    if says == len(data) or data[says:says + 4] == b'MTrk':
        stop = says
    else:                       # the length is wrong, or what follows is no track
        following = data.find(b'MTrk', start)
        stop = following if following >= 0 else len(data)
    at, is_ended = read_to_end(data, start, stop, stream, remarks)

    # An end of track that is not at the end of a track whose length is right: what follows counts.
    is_right = stop == says and b'MTrk' not in data[at:says]
    if is_ended and is_right and data[at:says].strip(b'\0'):
        remark(remarks, 'repaired', 'events after the end of a track')
        while is_ended and at < says:
            at, is_ended = read_to_end(data, at, stop, stream, remarks)
        is_ended = at == says

    if not is_ended:
        if says > len(data):
            remark(remarks, 'repaired', 'tracks that are cut off')
        elif at < stop:
            remark(remarks, 'skipped', 'damaged rests of tracks')
        else:
            remark(remarks, 'repaired', 'tracks without an end')
        at = stop
    elif at != says and not is_right:
        remark(remarks, 'repaired', 'lengths of tracks')
    stream.other(b'\0')
    stream.ends.append(len(stream.others) - 1)
    return data.find(b'MTrk', at)


def read_to_end(data, at, stop, stream, remarks):
    """Read the events of a track up to its end-of-track event, and no further than `stop`.

    Returns (position after the last whole event, whether the end-of-track event was found).
    """
    status = 0                  # running status, unless the last stretch has one
    stretch = b''
    is_in_stream = False        # it has two data bytes, and the last event of the stream is of it
    is_in_force = False         # no event came after it that cancels it
    with suppress(IndexError):                  # the track ends within an event
        while at < stop:
            i = at
            while data[i] >= 0x80:
                i += 1
            i += 1
            if i >= stop or i - at > 4:
                break
            now = data[i]
            if now < 0x80 and is_in_stream or 0x80 <= now < 0xC0 or 0xE0 <= now < 0xF0:
                events = stream.stretch(data, at, stop)
                if events:
                    stream.parts.append(events)
                    at, stretch = at + len(events), events
                    is_in_stream = is_in_force = True
                    continue

            delta = data[at:i]
            if now >= 0x80:
                i += 1
            else:
                now = last_status(stretch, status)
                if not now:
                    break
                if not is_in_force:
                    remark(remarks, 'repaired', 'running status after another event')

            if now < 0xF0:
                size = 1 if 0xC0 <= now < 0xE0 else 2
                if i + size > stop:
                    break
                values = data[i:i + size]
                if max(values) > 127:
                    remark(remarks, 'repaired', 'data bytes above 127')
                    values = bytes(min(value, 127) for value in values)
                stream.parts.append(delta + bytes([now]) + values + b'\0' * (2 - size))
                at, status, stretch = i + size, now, b''
                is_in_stream, is_in_force = size == 2, True
                continue

            if now == 0xFF:
                kind = data[i]
                size, body = varlen(data, i + 1, stop)
                if body + size > stop:
                    break
                if kind == END_OF_TRACK:
                    stream.other(delta)
                    return body + size, True
                stream.other(delta, kind, data[body:body + size])
                at, is_in_force = body + size, False
            elif now in (0xF0, 0xF7):
                at, is_in_force = end_of_sysex(data, i, stop, remarks), False
                stream.other(delta)
            else:
                at = i + DATA_BYTES.get(now, 0)
                stream.other(delta)
                remark(remarks, 'skipped', 'system messages that have no place in a file')
            is_in_stream = False
    return at, False


def last_status(stretch, default):
    """The last status of a stretch of events with two data bytes; `default` if it has none."""
    n_low = 0
    for byte in reversed(stretch):
        if byte < 0x80:
            n_low += 1
        elif n_low % 3 == 2:
            return byte
    return default


def end_of_sysex(data, at, stop, remarks):
    """Position after a system exclusive message whose length is at `at`. IndexError past `stop`.

    Where its length does not lead to a status, and the next status is an F7, it ends there.
    """
    size, body = varlen(data, at, stop)
    end = body + size
    if end <= stop and (size and data[end - 1] == 0xF7 or leads_to_status(data, end, stop)):
        return end
    last = body
    while last < stop and data[last] < 0x80:
        last += 1
    if last < stop and data[last] == 0xF7:
        remark(remarks, 'repaired', 'lengths of system exclusive messages')
        return last + 1
    if end > stop:
        raise IndexError
    return end


def leads_to_status(data, at, stop):
    """Is there a delta time at `at`, and then a status?"""
    with suppress(IndexError):
        _, at = varlen(data, at, stop)
        return at < stop and data[at] >= 0x80
    return False


def varlen(data, at, stop):
    """(value, position after it) of a variable-length quantity of at most 4 bytes; else
    IndexError.
    """
    value = 0
    for i in range(at, min(at + 4, stop)):
        value = value << 7 | data[i] & 127
        if data[i] < 128:
            return value, i + 1
    raise IndexError


def decode(stream, in_turn, ticks_per_quarter, in_seconds):
    """Events of a Stream; None if a stretch in it is damaged. `in_turn`: a track begins where the
    one before it ends.
    """
    data = np.frombuffer(b''.join(stream.parts), np.uint8)
    is_high = data >= 128
    low, at = data[~is_high], np.flatnonzero(is_high).astype(np.int32)
    n = len(low) // 3
    n_low = at - np.arange(len(at), dtype=np.int32)             # before each high byte
    event = n_low // 3
    place = n_low - 3 * event

    # Each event has at most one status, and a delta time of at most four bytes.
    high, is_status = data[at], place == 1
    since, high_status = event[is_status], high[is_status]
    event, high = event[~is_status], high[~is_status]
    if (len(low) != 3 * n or (place == 2).any() or (np.diff(since) == 0).any()
            or (event[3:] == event[:-3]).any()):
        return None
    low = low.reshape(n, 3)
    status = np.repeat(high_status, np.diff(since, append=n))

    # The high bytes of a delta time count 128, 128² or 128³, by how many of them follow.
    follows = np.zeros(len(event), int)
    for k in (1, 2):
        follows[:-k] += event[k:] == event[:-k]
    delta = low[:, 0].astype(np.int64)
    np.add.at(delta, event, (high & 127).astype(np.int64) << 7 * (1 + follows))
    tick = np.cumsum(delta)

    others = np.flatnonzero(status == OTHER)
    ends = others[stream.ends]
    lengths = np.diff(ends, prepend=-1)
    if not in_turn:
        tick -= np.repeat(np.append(0, tick[ends[:-1]]), lengths)
    metas = [(i, kind, value) for i, (kind, value) in zip(others.tolist(), stream.others)
             if kind is not None]
    track = np.repeat(np.arange(len(ends), dtype=np.int32), lengths)
    return Events(tick, track, status, low[:, 1:], metas, ends.tolist(), ticks_per_quarter,
                  in_seconds)
