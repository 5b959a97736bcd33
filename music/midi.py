"""MIDI file <-> notes: read, repair, write. What is read goes through quantise.py.

    music, report = read_midi('tune.mid')           # or bytes; raises MidiError(reason)
    write_midi(music, 'tune.mid')
"""
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path

import mido
import numpy as np
from symusic import Score

from music.notes import KEY_NAMES, UNITS, Voice, bar_starts, fitting_meter
from music.quantise import MidiError, quantise
from plumbing.files import atomic_write

TICKS_PER_UNIT = 20         # of the files we write: 480 ticks per quarter


def read_midi(source, close_gaps=True):
    """(Music, report) of a path or bytes: raw_midi, then quantise. Raises MidiError(reason)."""
    raw, repaired = raw_midi(source)
    music, report = quantise(raw, close_gaps)
    return music, report | {'repaired': int(repaired)}


def raw_midi(source):
    """(raw_notes, repaired?) of a path or bytes. symusic reads; what it rejects is repaired and read again."""
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    raw, repaired = None, False
    if data.startswith(b'MThd') and data[12:13] < b'\x80':        # else RIFF, junk before the header, or SMPTE time
        with suppress(RuntimeError, ValueError):
            raw = raw_notes(Score.from_midi(data))
    if raw is None or not len(raw['onset']):                     # symusic drops notes that are never closed
        data, repaired = repair(data), True
        try:
            raw = raw_notes(Score.from_midi(data))
        except (RuntimeError, ValueError) as e:
            raise MidiError('unreadable after repair') from e
    if not len(raw['onset']):
        raise MidiError('no notes')
    return raw, repaired


def repair(data):
    """Bytes of a regular MIDI file with all whole events of a damaged one. Raises MidiError if there is no header.
    Unwraps RIFF and skips junk before the header. Cuts a track at its last whole event and closes its open notes. Clips
    data bytes to 7 bits. Turns SMPTE time into quarters at 120 per minute."""
    at = data.find(b'MThd')
    if at < 0 or len(data) < at + 14:
        raise MidiError('no MIDI header')
    kind, _, division = struct.unpack_from('>HHH', data, at + 8)
    smpte = division >= 0x8000
    if smpte:                                                    # frames a second (two's complement), ticks a frame
        division = max((256 - (division >> 8)) * (division & 255) // 2, 1)
    elif division == 0:
        raise MidiError('no ticks per quarter')
    at += 8 + struct.unpack_from('>I', data, at + 4)[0]
    at = at if data[at:at + 4] == b'MTrk' else data.find(b'MTrk')
    tracks = []
    while at >= 0 and data[at:at + 4] == b'MTrk' and len(tracks) < 65535:
        length = int.from_bytes(data[at + 4:at + 8], 'big')
        events, read = whole_events(data, at + 8, min(at + 8 + length, len(data)), smpte)
        tracks.append(b'MTrk' + struct.pack('>I', len(events)) + events)
        following = at + 8 + length
        at = following if data[following:following + 4] == b'MTrk' else data.find(b'MTrk', read)
    return b'MThd' + struct.pack('>IHHH', 6, min(kind, 1), len(tracks), division) + b''.join(tracks)


def whole_events(data, at, stop, drop_tempo):
    """(bytes of the whole events of a track, cleaned, with open notes closed and an end; position after the last)."""
    out, status, open_notes, pending = bytearray(), None, Counter(), 0        # pending: ticks of events left out
    with suppress(IndexError):
        while at < stop:
            delta, i = varlen(data, at, stop)
            now, i = (data[i], i + 1) if data[i] >= 0x80 else (status, i)
            event = b''                                          # what stays of it
            if now is None:
                break
            if now < 0xF0:
                size = 1 if 0xC0 <= now < 0xE0 else 2
                values = [min(v, 127) for v in data[i:min(i + size, stop)]]
                if len(values) < size:
                    break
                event, at, status = bytes([now, *values]), i + size, now
                if now < 0xA0:
                    key = now & 15, values[0]
                    open_notes[key] = max(open_notes[key] + (1 if now >= 0x90 and values[1] else -1), 0)
            elif now in (0xF0, 0xF7, 0xFF):
                meta = data[i:i + 1] if now == 0xFF else b''
                size, body = varlen(data, i + len(meta), stop)
                if body + size > stop or meta == b'\x2f':
                    break
                if now == 0xFF and not (drop_tempo and meta == b'\x51'):
                    event = b'\xff' + data[i:body + size]
                at, status = body + size, status if now == 0xFF else None
            else:                                                # system messages have no place in a file
                at = i + {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(now, 0)
            pending += delta
            if event:
                out += to_varlen(pending) + event
                pending = 0
    for channel, pitch in open_notes.elements():
        out += to_varlen(pending) + bytes([0x80 | channel, pitch, 0])
        pending = 0
    return bytes(out) + to_varlen(pending) + b'\xff\x2f\x00', at


def varlen(data, at, stop):
    """(value, position after it) of a variable-length quantity of at most 4 bytes; IndexError past `stop`."""
    value = 0
    for i in range(at, min(at + 4, stop)):
        value = value << 7 | data[i] & 127
        if data[i] < 128:
            return value, i + 1
    raise IndexError


def to_varlen(value):
    """The bytes that varlen reads."""
    out = [value & 127]
    while value := value >> 7:
        out.append(value & 127 | 128)
    return bytes(reversed(out))


def raw_notes(score):
    """Dict of a symusic score, times in units (floats). Arrays: onset, duration, pitch, voice; the others are lists."""
    scale = UNITS / score.tpq
    tracks = [track for track in score.tracks if len(track.notes)]
    arrays = [track.notes.numpy() for track in tracks]
    column = lambda name: np.concatenate([array[name] for array in arrays]) if arrays else np.zeros(0)
    return {'onset': column('time') * scale, 'duration': column('duration') * scale,
            'pitch': column('pitch').astype(np.int64),
            'voice': np.repeat(np.arange(len(tracks)), [len(track.notes) for track in tracks]),
            'voices': [Voice(track.program, track.is_drum) for track in tracks],
            'meters': [(m.time * scale, m.numerator, m.denominator) for m in score.time_signatures],
            'tempos': [(t.time * scale, 6e7 / max(t.mspq, 1)) for t in score.tempos],
            'keys': [(k.time * scale, k.key, 'minor' if k.tonality else 'major') for k in score.key_signatures]}


def write_midi(music, path):
    """Standard MIDI file of `music`: a conductor track, then a track per voice. Up to 15 voices have a channel each.
    Beyond that, voices of one program share one; beyond 15 programs, more ports."""
    file = mido.MidiFile(type=1, ticks_per_beat=UNITS * TICKS_PER_UNIT, charset='utf-8')
    meta = mido.MetaMessage
    events = [(onset, meta('time_signature', numerator=n, denominator=d)) for onset, n, d in music.meters]
    if short := fitting_meter(music.pickup):
        events[0] = (music.pickup, events[0][1])
        events.insert(0, (0, meta('time_signature', numerator=short[0], denominator=short[1])))
    events += [(onset, meta('set_tempo', tempo=min(round(6e7 / tempo), 2 ** 24 - 1))) for onset, tempo in music.tempos]
    events += [(onset, meta('key_signature', key=KEY_NAMES[sharps, mode])) for onset, sharps, mode in music.keys]
    conductor = [(0, meta('track_name', name=music.title))] if music.title else []
    file.tracks.append(track(conductor + events))

    melodic = [i for i, voice in enumerate(music.voices) if not voice.is_drum]
    programs = sorted({music.voices[i].program for i in melodic})
    downbeats = set(bar_starts(music))
    for i, voice in enumerate(music.voices):
        port, channel = 0, 9
        if not voice.is_drum:
            port, line = divmod(melodic.index(i) if len(melodic) <= 15 else programs.index(voice.program), 15)
            channel = line + (line >= 9)                         # channel 9, counted from 0, is the drums'
        messages = [(0, meta('midi_port', port=port)),
                    (0, mido.Message('program_change', channel=channel, program=voice.program))]
        for onset, duration, pitch in music.notes[music.notes[:, 3] == i, :3].tolist():
            velocity = 96 if onset in downbeats else 80
            messages.append((onset + duration, mido.Message('note_off', channel=channel, note=pitch, velocity=0)))
            messages.append((onset, mido.Message('note_on', channel=channel, note=pitch, velocity=velocity)))
        file.tracks.append(track(messages))
    with atomic_write(path) as f:
        file.save(file=f)


def track(messages):
    """mido track of (onset in units, message); at one time, note-offs come first and note-ons last."""
    out, now = mido.MidiTrack(), 0
    for onset, message in sorted(messages, key=lambda m: (m[0], (m[1].type == 'note_on') - (m[1].type == 'note_off'))):
        out.append(message.copy(time=(onset - now) * TICKS_PER_UNIT))
        now = onset
    return out
