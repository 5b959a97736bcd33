"""MIDI file <-> notes: read, repair, quantise, write.

    music, report = read_midi('tune.mid')           # or bytes; raises MidiError(reason)
    write_midi(music, 'tune.mid')

Quantisation is one separate step (`quantise`): per voice and beat the better of a straight grid (8 per quarter) and a
triplet grid (6 per quarter), or all 24 units where both would make one note of two strokes of a pitch. No note is dropped; a
short one is lengthened to one step of its grid. Onsets move by at most 1/12 of a quarter. The report counts what was moved,
lengthened and merged, in fields that can be summed over files.
"""
import io
import os
import struct
from dataclasses import dataclass, field

import mido
import numpy as np
from symusic import Score

UNITS = 24                  # grid units per quarter note: the straight grid is 3 units, the triplet grid 4
STRAIGHT, TRIPLET = 3, 4
MAX_BARS = 10_000           # a longer file is a broken one: a stray event at an absurd time
MAX_BAR = 768               # units in the longest bar: 8 whole notes
TICKS_PER_UNIT = 20         # of the files we write: 480 ticks per quarter

MAJORS = 'Cb Gb Db Ab Eb Bb F C G D A E B F# C#'.split()                     # tonics of -7 .. 7 sharps
MINORS = 'Abm Ebm Bbm Fm Cm Gm Dm Am Em Bm F#m C#m G#m D#m A#m'.split()
KEYS = {name: (i - 7, mode) for names, mode in ((MAJORS, 'major'), (MINORS, 'minor')) for i, name in enumerate(names)}
KEY_NAMES = {key: name for name, key in KEYS.items()}


@dataclass
class Voice:
    program: int = 0            # General MIDI program 0-127 (for drums: the kit)
    is_drum: bool = False


@dataclass
class Music:
    """Quantised music. All times are integers in units of 1/24 quarter.

    notes: int32 (n, 4): onset, duration >= 1, pitch 0-127, voice (index into `voices`); sorted by onset, voice, pitch.
    Within one voice and pitch, notes never overlap. Events lie on barlines; each list starts at onset 0.
    """
    notes: np.ndarray
    voices: list = field(default_factory=list)          # Voice
    meters: list = field(default_factory=lambda: [(0, 4, 4)])        # (onset, numerator, denominator in 1, 2, 4, 8, 16, 32)
    tempos: list = field(default_factory=lambda: [(0, 120)])         # (onset, quarters per minute, an int)
    keys: list = field(default_factory=lambda: [(0, 0, 'major')])    # (onset, sharps -7..7 (flats negative), 'major' or 'minor')
    pickup: int = 0             # length of the first bar if it is shorter than its meter, else 0
    title: str = ''             # for people; never part of the notation a model sees


class MidiError(ValueError):
    """A file that is not music we can read; str(e) is the named reason under which it is counted."""


def bar_length(numerator, denominator):
    """Units in a full bar: 96 to a whole note."""
    return 4 * UNITS * numerator // denominator


def bar_starts(music, end=None):
    """Onsets of all barlines from 0 up to and including the first one at or after `end` (default: the last note's end)."""
    if end is None:
        end = int((music.notes[:, 0] + music.notes[:, 1]).max()) if len(music.notes) else 0
    starts = [0]
    for i, (_, numerator, denominator) in enumerate(music.meters):
        until = min(end, music.meters[i + 1][0]) if i + 1 < len(music.meters) else end
        if music.pickup and starts == [0] and until > 0:
            starts.append(music.pickup)
        length = bar_length(numerator, denominator)
        starts += range(starts[-1] + length, until + length, length)
    return starts


# ---------------------------------------------------------------------------------------------------------------- reading

def read_midi(source, close_gaps=True):
    """(Music, report) of a path or bytes: raw_midi, then quantise. Raises MidiError(reason)."""
    raw, repaired = raw_midi(source)
    music, report = quantise(raw, close_gaps)
    return music, report | {'repaired': int(repaired)}


def raw_midi(source):
    """(raw notes as in raw_notes, repaired?) of a path or bytes. symusic reads; what it rejects is repaired and read again."""
    if isinstance(source, bytes):
        data = source
    else:
        with open(source, 'rb') as f:
            data = f.read()
    raw, repaired = None, False
    if data.startswith(b'MThd') and data[12:13] < b'\x80':                    # else RIFF, junk before the header, or SMPTE time
        try:
            raw = raw_notes(Score.from_midi(data))
        except (RuntimeError, ValueError):
            pass
    if raw is None or not len(raw['onset']):                                  # symusic drops notes that are never closed
        try:
            raw, repaired = raw_notes(Score.from_midi(repair(data))), True
        except MidiError:
            raise
        except (RuntimeError, ValueError) as e:
            raise MidiError('unreadable after repair') from e
    if not len(raw['onset']):
        raise MidiError('no notes')
    return raw, repaired


def repair(data):
    """Bytes of a regular MIDI file with all whole events of a damaged one. Raises MidiError if there is no header.

    Unwraps RIFF and skips junk before the header; cuts a track at its last whole event and closes its open notes; clips data
    bytes to 7 bits; turns SMPTE time into quarters at 120 per minute.
    """
    at = data.find(b'MThd')
    if at < 0 or len(data) < at + 14:
        raise MidiError('no MIDI header')
    kind, _, division = struct.unpack_from('>HHH', data, at + 8)
    smpte = division >= 0x8000
    if smpte:                                                                 # frames per second (two's complement), ticks per frame
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
    """(clean bytes of the whole events of a track, with open notes closed and an end, position after the last of them)."""
    out, status, open_notes, pending = bytearray(), None, {}, 0               # pending: ticks of events left out
    try:
        while at < stop:
            delta, i = varlen(data, at, stop)
            if data[i] >= 0x80:
                now, i = data[i], i + 1
            elif status is None:
                break
            else:
                now = status
            if now == 0xFF or now in (0xF0, 0xF7):
                meta = data[i:i + 1] if now == 0xFF else b''
                size, body = varlen(data, i + len(meta), stop)
                if body + size > stop or meta == b'\x2f':
                    break
                if now == 0xFF and not (drop_tempo and meta == b'\x51'):
                    out += to_varlen(pending + delta) + b'\xff' + data[i:body + size]
                    pending = 0
                else:
                    pending += delta
                at, status = body + size, None if now != 0xFF else status
            elif now < 0xF0:
                size = 1 if 0xC0 <= now < 0xE0 else 2
                values = [min(v, 127) for v in data[i:min(i + size, stop)]]
                if len(values) < size:
                    break
                out += to_varlen(pending + delta) + bytes([now, *values])
                pending, at, status = 0, i + size, now
                if now < 0xA0:
                    key = now & 15, values[0]
                    open_notes[key] = max(open_notes.get(key, 0) + (1 if now >= 0x90 and values[1] else -1), 0)
            else:                                                             # system messages have no place in a file
                pending += delta
                at = i + {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(now, 0)
    except IndexError:
        pass
    for (channel, pitch), count in open_notes.items():
        for _ in range(count):
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
    out = [value & 127]
    while value := value >> 7:
        out.append(value & 127 | 128)
    return bytes(reversed(out))


def raw_notes(score):
    """Dict of a symusic score, times in units (float): onset, duration, pitch, voice (arrays); voices, meters, tempos, keys (lists)."""
    scale = UNITS / score.tpq
    tracks = [(t, t.notes.numpy()) for t in score.tracks if len(t.notes)]
    column = lambda name: np.concatenate([n[name] for _, n in tracks]) if tracks else np.zeros(0)
    return {'onset': column('time') * scale, 'duration': column('duration') * scale, 'pitch': column('pitch').astype(np.int64),
            'voice': np.repeat(np.arange(len(tracks)), [len(t.notes) for t, _ in tracks]),
            'voices': [Voice(t.program, t.is_drum) for t, _ in tracks],
            'meters': [(m.time * scale, m.numerator, m.denominator) for m in score.time_signatures],
            'tempos': [(t.time * scale, 6e7 / max(t.mspq, 1)) for t in score.tempos],
            'keys': [(k.time * scale, k.key, 'minor' if k.tonality else 'major') for k in score.key_signatures]}


# ------------------------------------------------------------------------------------------------------------ quantisation

def quantise(raw, close_gaps=True):
    """(Music, report) of raw notes (see raw_notes): the grid, notated durations, bars, tempos and key. Raises MidiError.

    close_gaps=False keeps the gate times: durations are then only rounded to the grid.
    """
    onset, duration, pitch, voice = (np.asarray(raw[k]) for k in ('onset', 'duration', 'pitch', 'voice'))
    meters, starts = lay_bars(raw['meters'], float((onset + duration).max()))
    n_voices = len(raw['voices'])
    start, stop, moved = snap(onset, onset + duration, pitch, voice, n_voices, starts)
    is_drum = np.array([v.is_drum for v in raw['voices']])

    # Unisons: of notes at one onset the longest stays, then a note ends where the next one of its pitch begins.
    order = np.lexsort((-stop, start, pitch, voice))
    start, stop, pitch, voice, before = start[order], stop[order], pitch[order], voice[order], duration[order]
    same_line = (np.diff(voice, append=-1) == 0) & (np.diff(pitch, append=-1) == 0)
    merged = np.roll(same_line & (np.diff(start, append=-1) == 0), 1)
    start, stop, pitch, voice, before = (x[~merged] for x in (start, stop, pitch, voice, before))
    same_line = (np.diff(voice, append=-1) == 0) & (np.diff(pitch, append=-1) == 0)
    stop = np.where(same_line, np.minimum(stop, np.roll(start, -1)), stop)

    order = np.lexsort((pitch, start, voice))
    start, stop, pitch, voice, before = (x[order] for x in (start, stop, pitch, voice, before))
    if close_gaps:
        stop = notated_ends(start, stop, voice, is_drum[voice], starts)
    report = {'notes': len(onset), 'merged_unisons': int(merged.sum()), 'onset_error': float(np.abs(moved).sum() / UNITS),
              'onsets_within_twelfth': int((np.abs(moved) <= UNITS / 12 + 1e-9).sum()),
              'duration': float(before.sum() / UNITS), 'duration_change': float(np.abs(stop - start - before).sum() / UNITS)}

    # Whole bars of silence before the first note go; then events are put on barlines.
    shift = starts[np.searchsorted(starts, start.min(), 'right') - 1]
    report['shift'] = int(shift)
    starts = starts[starts >= shift] - shift
    start, stop = start - shift, stop - shift
    starts = starts[:np.searchsorted(starts, stop.max(), 'left') + 1]
    meters = since_shift(meters, shift, starts[-1])
    tempos = bar_tempos([(t - shift, q) for t, q in raw['tempos']], starts)
    keys, estimated = fitting_keys([(t - shift, s, m) for t, s, m in raw['keys']], starts, start, pitch, ~is_drum[voice])
    report['key_estimated'] = int(estimated)

    # Voices in an order that does not depend on the file: by program, higher ones first, drums last.
    mean = np.bincount(voice, pitch, n_voices) / np.maximum(np.bincount(voice, minlength=n_voices), 1)
    used = sorted(np.unique(voice).tolist(), key=lambda v: (raw['voices'][v].is_drum, raw['voices'][v].program, -mean[v]))
    rank = np.zeros(n_voices, np.int64)
    rank[used] = np.arange(len(used))
    notes = np.stack([start, stop - start, pitch, rank[voice]], 1).astype(np.int32)
    notes = notes[np.lexsort((notes[:, 2], notes[:, 3], notes[:, 0]))]
    return Music(notes, [raw['voices'][v] for v in used], meters, tempos, keys), report


def lay_bars(events, end):
    """(meters, barlines as an int array beyond `end`) of raw meter events (time in units, numerator, denominator).

    A change less than an eighth away from a barline is moved there; one inside a bar closes that bar, which gets a meter of its
    own. Meters that the grid cannot hold (denominators over 32) are ignored. MidiError if there are too many bars.
    """
    meters, starts, current = [], [0], (4, 4)

    def fill(until):
        length = bar_length(*current)
        if until > MAX_BARS * 4 * UNITS or (until - starts[-1]) / length > MAX_BARS:
            raise MidiError(f'longer than {MAX_BARS} bars')
        if not meters or meters[-1][1:] != current:
            meters.append((starts[-1], *current))
        starts.extend(range(starts[-1] + length, int(until) + 1, length))

    for time, numerator, denominator in sorted(events):
        if denominator not in (1, 2, 4, 8, 16, 32) or not 0 < bar_length(numerator, denominator) <= MAX_BAR:
            continue
        time = min(time, end)
        length = bar_length(*current)
        rest = (time - starts[-1]) % length
        if rest < UNITS / 2:
            time -= rest
        elif length - rest < UNITS / 2:
            time += length - rest
        time = max(STRAIGHT * round(time / STRAIGHT), starts[-1])
        if time > starts[-1]:
            fill(time)
            if time > starts[-1]:                                             # a short bar of its own meter
                short = (time - starts[-1]) // STRAIGHT
                power = max(p for p in (1, 2, 4, 8) if short % p == 0)
                current = short // power, 32 // power
                fill(time)
        current = numerator, denominator
    length = bar_length(*current)
    fill(end + 2 * length)
    return meters, np.array(starts)


def snap(onset, end, pitch, voice, n_voices, starts):
    """(start, stop, moved by) in units: onsets and ends on the grid of their voice and beat. Beats are quarters from the barline."""
    def beats(time):
        """(id of voice and beat, start of the beat, its length, time since then): a bar's last beat may be short."""
        bar = np.searchsorted(starts, time, 'right') - 1
        floor = starts[bar] + ((time - starts[bar]) // UNITS).astype(np.int64) * UNITS
        return floor // STRAIGHT * n_voices + voice, floor, np.minimum(starts[bar + 1] - floor, UNITS), time - floor

    def on_grid(time):
        """(time on the grid, step of that grid)."""
        ids, floor, size, phase = beats(time)
        found = np.minimum(np.searchsorted(grids, ids), len(grids) - 1)
        step = np.where(grids[found] == ids, steps[found], STRAIGHT)
        step = np.where((step == TRIPLET) & (size % (UNITS // 2) != 0), STRAIGHT, step)
        return floor + (step * np.rint(phase / step)).astype(np.int64), step

    ids, _, _, phase = beats(onset)
    grids, group = np.unique(ids, return_inverse=True)
    odd = np.rint(phase / STRAIGHT) % 2                                       # off-beat 32nds are rarer than triplets: a unit dearer
    error = {step: np.bincount(group, np.abs(phase - step * np.rint(phase / step))) for step in (STRAIGHT, TRIPLET)}
    steps = np.where(error[TRIPLET] + 0.25 < error[STRAIGHT] + np.bincount(group, odd), TRIPLET, STRAIGHT)
    start, _ = on_grid(onset)

    order = np.lexsort((onset, pitch, voice))
    near = lambda x: np.diff(x[order]) == 0
    collide = near(voice) & near(pitch) & near(start) & (np.diff(onset[order]) >= 0.75)
    if collide.any():
        steps[group[order[1:][collide]]] = steps[group[order[:-1][collide]]] = 1
        start, _ = on_grid(onset)
    stop, _ = on_grid(end)
    return start, np.maximum(stop, start + on_grid(start)[1]), start - onset


def notated_ends(start, stop, voice, is_drum, starts):
    """Ends as a musician would write them, for notes sorted by voice and onset.

    A gap before the voice's next onset is closed if it is at most a 16th, or at most an eighth and no longer than the note; one
    before the next beat, if it is at most a 16th and a third of the note. A note that runs into the next onset by at most a 32nd
    ends there. A drum stroke lasts to the next onset or the next beat.
    """
    new = (np.diff(voice, prepend=-1) != 0) | (np.diff(start, prepend=-1) != 0)
    first = np.flatnonzero(new)
    following = np.where(np.diff(voice[first], append=-1) == 0, np.roll(start[first], -1), np.iinfo(np.int32).max)
    following = following[np.cumsum(new) - 1]
    gap = following - stop
    short = (gap <= UNITS // 4) | ((gap <= UNITS // 2) & (gap <= stop - start))
    runs_on = (gap < 0) & (gap >= -STRAIGHT) & (following - start > -gap)
    stop = np.where((short & (gap >= 0)) | runs_on, following, stop)
    to_beat = next_beat(stop - 1, starts) - stop
    stop = stop + np.where((to_beat <= UNITS // 4) & (3 * to_beat <= stop - start) & (stop + to_beat <= following), to_beat, 0)
    return np.where(is_drum, np.minimum(following, next_beat(start, starts)), stop)


def next_beat(time, starts):
    """First beat after each time: quarters from the barline, or the next barline."""
    bar = np.searchsorted(starts, time, 'right') - 1
    return np.minimum(time + UNITS - (time - starts[bar]) % UNITS, starts[bar + 1])


def since_shift(events, shift, end):
    """Events moved by -shift: those before 0 leave only the last at 0, those at or after `end` go."""
    out = []
    for time, *event in events:
        time = max(time - shift, 0)
        if out and out[-1][0] == time:
            out.pop()
        if time < end and (not out or out[-1][1:] != tuple(event)):
            out.append((time, *event))
    return out


def bar_tempos(events, starts):
    """Tempo changes at barlines: each bar's mean tempo (quarters per minute), where it differs by 5% from the one in force."""
    events = sorted((max(t, 0), q) for t, q in events)
    if not events or events[0][0] > starts[1] / 2:
        events.insert(0, (0, 120.0))
    times, values = np.array(events, float).T
    times[0] = 0
    seconds = np.concatenate([[0], np.cumsum(np.diff(times) / values[:-1])])  # in units per (quarter per minute)
    i = np.searchsorted(times, starts, 'right') - 1
    spent = np.diff(seconds[i] + (starts - times[i]) / values[i])
    mean = np.clip(np.rint(np.diff(starts) / np.maximum(spent, 1e-9)), 1, 9999).astype(int).tolist()
    tempos = [(0, mean[0])]
    for start, tempo in zip(starts.tolist(), mean):
        if abs(tempo / tempos[-1][1] - 1) >= 0.05:
            tempos.append((start, tempo))
    return tempos


MAJOR_SCALE = np.zeros(12)
MAJOR_SCALE[[0, 2, 4, 5, 7, 9, 11]] = 1
# Probe-tone ratings of Krumhansl & Kessler (1982), major and minor on C.
PROFILES = np.array([[6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
                     [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]])
ROTATED = np.array([np.roll(profile, tonic) for profile in PROFILES for tonic in range(12)])
ROTATED = (ROTATED - ROTATED.mean(1, keepdims=True)) / ROTATED.std(1, keepdims=True)
SCALES = np.array([np.roll(MAJOR_SCALE, 7 * sharps % 12) for sharps in range(-7, 8)])     # row: sharps + 7


def fitting_keys(events, starts, onset, pitch, is_pitched):
    """(keys at barlines, estimated?). The file's keys stay if each fits its notes: within 2% of the notes of the best scale.

    Otherwise one key is estimated for the whole tune by the correlation of Krumhansl & Schmuckler.
    """
    onset, pitch_class = onset[is_pitched], pitch[is_pitched] % 12
    keys = []
    for time, sharps, mode in sorted(events, key=lambda e: e[0]):
        if -7 <= sharps <= 7:
            at = int(starts[np.argmin(np.abs(starts - max(time, 0)))])
            if keys and keys[-1][0] == at:
                keys.pop()
            if at < starts[-1] and (not keys or keys[-1][1:] != (sharps, mode)):
                keys.append((at, sharps, mode))
    if not len(onset):
        return [(0, 0, 'major')], False
    if keys:
        keys[0] = (0, *keys[0][1:])
        bounds = [k[0] for k in keys] + [np.iinfo(np.int32).max]
        for (begin, sharps, _), end in zip(keys, bounds[1:]):
            counts = np.bincount(pitch_class[(onset >= begin) & (onset < end)], minlength=12)
            inside = SCALES @ counts
            if inside[sharps + 7] < inside.max() - 0.02 * counts.sum():
                break
        else:
            return keys, False
    counts = np.bincount(pitch_class, minlength=12).astype(float)
    mode, tonic = divmod(int(np.argmax(ROTATED @ (counts - counts.mean()))), 12)
    sharps = (7 * (tonic + 3 * mode) + 5) % 12 - 5                            # relative major, on the line of fifths from -5 to 6
    return [(0, sharps, 'minor' if mode else 'major')], True


# ---------------------------------------------------------------------------------------------------------------- writing

def write_midi(music, path):
    """Standard MIDI file of `music`: a conductor track, then a track per voice. Written beside `path` and renamed into place.

    Up to 15 voices have a channel each; beyond that, voices of one program share one, and beyond 15 programs further ports are used.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=UNITS * TICKS_PER_UNIT, charset='utf-8')
    starts = bar_starts(music)
    events = [(onset, mido.MetaMessage('time_signature', numerator=n, denominator=d)) for onset, n, d in music.meters]
    if music.pickup:
        short = music.pickup // STRAIGHT
        power = max(p for p in (1, 2, 4, 8) if short % p == 0)
        if short and music.pickup % STRAIGHT == 0:
            events[0:1] = [(0, mido.MetaMessage('time_signature', numerator=short // power, denominator=32 // power)),
                           (music.pickup, events[0][1])]
    events += [(onset, mido.MetaMessage('set_tempo', tempo=min(round(6e7 / q), 2 ** 24 - 1))) for onset, q in music.tempos]
    events += [(onset, mido.MetaMessage('key_signature', key=KEY_NAMES[sharps, mode])) for onset, sharps, mode in music.keys]
    conductor = [(0, mido.MetaMessage('track_name', name=music.title))] if music.title else []
    file.tracks.append(track(conductor + events))

    melodic = [v for v in music.voices if not v.is_drum]
    programs = sorted({v.program for v in melodic})
    line, downbeats = 0, set(starts)
    for i, voice in enumerate(music.voices):
        place = line if len(melodic) <= 15 else programs.index(voice.program) if not voice.is_drum else 0
        line += not voice.is_drum
        port, channel = (0, 9) if voice.is_drum else (place // 15, (*range(9), *range(10, 16))[place % 15])
        messages = [(0, mido.MetaMessage('midi_port', port=port)),
                    (0, mido.Message('program_change', channel=channel, program=voice.program))]
        for onset, duration, pitch in music.notes[music.notes[:, 3] == i, :3].tolist():
            velocity = 96 if onset in downbeats else 80
            messages.append((onset + duration, mido.Message('note_off', channel=channel, note=pitch, velocity=0)))
            messages.append((onset, mido.Message('note_on', channel=channel, note=pitch, velocity=velocity)))
        file.tracks.append(track(messages))
    buffer = io.BytesIO()
    file.save(file=buffer)
    temporary = f'{path}.tmp'
    with open(temporary, 'wb') as f:
        f.write(buffer.getvalue())
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


def track(messages):
    """mido track of (onset in units, message); at one time, note-offs come first and note-ons last."""
    out, now = mido.MidiTrack(), 0
    for onset, message in sorted(messages, key=lambda m: (m[0], (m[1].type == 'note_on') - (m[1].type == 'note_off'))):
        out.append(message.copy(time=(onset - now) * TICKS_PER_UNIT))
        now = onset
    return out
