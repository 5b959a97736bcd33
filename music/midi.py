"""MIDI file <-> notes. midi_events.py reads the file, what is read goes through quantise.py.

    music, report = read_midi('tune.mid')           # or bytes; raises MidiError(reason)
    write_midi(music, 'tune.mid')

A note that is never released ends with the next note of its pitch, with a controller that silences
its channel, or with its track. Programs belong to channels, whatever track sets them.
"""
from collections import Counter, deque
from pathlib import Path

import mido
import numpy as np

from music.midi_events import KEY, METER, PORT, TEMPO, read_events
from music.notes import KEY_NAMES, UNITS, Voice, bar_starts, fitting_meter, is_meter, remark
from music.quantise import MidiError, quantise
from plumbing.files import atomic_write

TICKS_PER_UNIT = 20         # of the files we write: 480 ticks per quarter
DRUMS = 9                   # channel, counted from 0
# All sound off, all notes off, and the four changes of mode, which are all notes off as well.
SILENCING = 120, 123, 124, 125, 126, 127


def read_midi(source, close_gaps=True):
    """(Music, report) of a path or bytes: raw_midi, then quantise. Raises MidiError(reason)."""
    return quantise(raw_midi(source), close_gaps)


def raw_midi(source):
    """Dict of a path or bytes, as quantise reads it; times in units (floats). Raises
    MidiError(reason).

    Arrays, one entry a note in the order of the file: onset, duration, pitch, voice. Lists: voices;
    meters, tempos and keys, each (time, ...). Counter: remarks.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    remarks = Counter()
    events = read_events(data, remarks)
    scale = UNITS / events.ticks_per_quarter

    channel, kind = events.status & 15, events.status >> 4      # kind 15: no message of a channel
    is_note = (kind == 8) | (kind == 9)
    index, ends = notes_of(events, np.flatnonzero(is_note), remarks)
    if not len(index):
        raise MidiError('no notes')
    channel, pitch, track = channel[index].astype(int), events.data[index, 0], events.track[index]
    program = programs_of(events, index, track, channel)

    # A voice is what one track plays on one channel with one program.
    keys, voice = numbered((track * 16 + channel) * 128 + program)
    onset = events.tick[index]
    return {'onset': onset * scale, 'duration': (ends - onset) * scale,
            'pitch': pitch.astype(np.int64), 'voice': voice,
            'voices': [Voice(key % 128, key // 128 % 16 == DRUMS) for key in keys.tolist()],
            **signatures(events, scale, remarks), 'remarks': remarks}


def numbered(values):
    """(the different values of an int array, ascending; the place of each entry among them)."""
    is_there = np.zeros(values.max() + 1, bool)
    is_there[values] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[values]


def notes_of(events, at, remarks):
    """(indices of the events that begin a note, ticks at which these notes end), in the order of
    the file. `at`: indices of all note-ons and note-offs.
    """
    tick, pitch, velocity = events.tick[at], events.data[at, 0], events.data[at, 1]
    is_on = (events.status[at] >= 0x90) & (velocity > 0)

    # Sorted by line (a pitch of a channel in a track), nearly every note-on is followed by its end.
    line = (events.track[at] * 16 + (events.status[at] & 15)) * 128 + pitch
    order = np.argsort(line.astype(np.min_scalar_type(line.max(initial=0))), kind='stable')
    line, time, opens = line[order], tick[order], is_on[order]
    is_closed = np.zeros(len(at), bool)
    is_closed[:-1] = (opens[:-1] & ~opens[1:] & (line[1:] == line[:-1]) & (time[1:] > time[:-1]))
    end = np.zeros(len(at), np.int64)
    end[:-1][is_closed[:-1]] = time[1:][is_closed[:-1]]

    # The other lines are read note by note.
    odd = np.unique(line[opens & ~is_closed])
    if len(odd):
        ports = ports_of(events)
        silences = silencing(events, ports)
    for number in odd.tolist():
        part = slice(*np.searchsorted(line, (number, number + 1)))
        track, channel = divmod(number // 128, 16)
        end[part] = ends_of_line(time[part].tolist(), opens[part].tolist(),
                                 silences.get((ports[track], channel), []),
                                 int(events.tick[events.ends[track]]), remarks)
    ends = np.empty_like(end)
    ends[order] = end
    return at[is_on], ends[is_on]


def ends_of_line(ticks, opens, silences, last, remarks):
    """Ends of the notes of one pitch: a list with an entry for each event, 0 for note-offs.

    ticks, opens: of the note-ons (True) and note-offs. silences: ticks, ascending, at which all
    notes end. last: tick at which the track ends.
    """
    ends, sounding = [0] * len(ticks), deque()
    for i, (tick, is_on) in enumerate(zip(ticks, opens)):
        if is_on:
            sounding.append(i)
        elif sounding and tick > ticks[sounding[0]]:            # the oldest note ends first
            ends[sounding.popleft()] = tick
    if not sounding:
        return ends

    # There are fewer releases than notes. A note takes the first one before the next note. One at
    # its own onset is for the note before it, if that still sounds.
    n_endless, is_released = 0, True
    onsets = [i for i, is_on in enumerate(opens) if is_on]
    for i, following in zip(onsets, [*onsets[1:], None]):
        releases = ticks[i + 1:following]
        later = [tick for tick in releases if tick > ticks[i]]
        is_short = len(releases) > 0 and not later and is_released
        is_released = len(later) > 0 or is_short
        if later:
            ends[i] = later[0]
        elif is_short:
            ends[i] = ticks[i]
        else:                   # no release of its own
            ends[i] = last if following is None else ticks[following]
            silence = next((tick for tick in silences if tick > ticks[i]), None)
            if silence is not None and silence <= ends[i]:
                ends[i] = silence
            else:
                n_endless += 1
    remark(remarks, 'repaired', 'notes without an end', n_endless)
    return ends


def silencing(events, ports):
    """{(port, channel): ticks, ascending, of the controllers that end all of its notes}."""
    found = (events.status >> 4 == 11) & np.isin(events.data[:, 0], SILENCING)
    silences = {}
    for i in np.flatnonzero(found).tolist():
        place = ports[events.track[i]], int(events.status[i]) & 15
        silences.setdefault(place, []).append(int(events.tick[i]))
    return {place: sorted(ticks) for place, ticks in silences.items()}


def ports_of(events):
    """Port of each track. A track that names none has the lowest one of the file."""
    named = {}
    for i, kind, value in events.metas:
        if kind == PORT and value:
            named.setdefault(int(events.track[i]), value[0])
    lowest = min(named.values(), default=0)
    return [named.get(track, lowest) for track in range(len(events.ends))]


def programs_of(events, index, track, channel):
    """Program of each note, given by the index of its event, its track and its channel.

    It is the last one set on the channel before the note, by whatever track of its port. Of two
    that are set at one time, that of the note's own track counts.
    """
    changes = np.flatnonzero(events.status >> 4 == 12)
    program = np.zeros(len(index), int)
    if not len(changes):
        return program
    n = len(events.tick)
    place = track * 16 + channel
    place_of_change = events.track[changes] * 16 + (events.status[changes] & 15)

    # The last change of the note's own track.
    order = np.argsort(place_of_change, kind='stable')
    changes, place_of_change = changes[order], place_of_change[order]
    last = np.searchsorted(place_of_change * n + changes, place * n + index) - 1
    is_set = (last >= 0) & (place_of_change[last] == place)
    program[is_set] = events.data[changes[last[is_set]], 0]

    # Later changes by other tracks.
    setters = {}                # channel -> tracks that set programs on it
    for one in set(place_of_change.tolist()):
        setters.setdefault(one % 16, set()).add(one // 16)
    players = [one for one in numbered(place)[0].tolist()
               if setters.get(one % 16, set()) - {one // 16}]
    ports = np.array(ports_of(events)) if players else None
    for one in players:
        is_foreign = ((place_of_change % 16 == one % 16) & (place_of_change != one)
                      & (ports[events.track[changes]] == ports[one // 16]))
        foreign = changes[is_foreign]
        if not len(foreign):
            continue
        foreign = foreign[np.argsort(events.tick[foreign], kind='stable')]
        notes = np.flatnonzero(place == one)
        latest = np.searchsorted(events.tick[foreign], events.tick[index[notes]], 'right') - 1
        own = np.where(is_set[notes], events.tick[changes[last[notes]]], -1)
        counts = (latest >= 0) & (events.tick[foreign[latest]] > own)
        program[notes[counts]] = events.data[foreign[latest[counts]], 0]
    return program


def signatures(events, scale, remarks):
    """Dict of meters, tempos and keys as quantise reads them, times in units."""
    meters, tempos, keys = [], [], []
    for i, kind, value in events.metas:
        time = float(events.tick[i]) * scale
        if kind == TEMPO and not events.in_seconds and len(value) >= 3:
            tempos.append((time, 6e7 / max(int.from_bytes(value[:3], 'big'), 1)))
        elif kind == METER and len(value) >= 2:
            if is_meter(value[0], 2 ** value[1]):
                meters.append((time, value[0], 2 ** value[1]))
            else:
                remark(remarks, 'skipped', 'meters that the grid cannot hold')
        elif kind == KEY and len(value) >= 2:
            sharps = (value[0] + 128) % 256 - 128               # two's complement
            if abs(sharps) <= 7:
                keys.append((time, sharps, 'minor' if value[1] else 'major'))
            else:
                remark(remarks, 'skipped', 'keys of more than seven accidentals')
        elif kind in (TEMPO, METER, KEY) and not events.in_seconds:
            remark(remarks, 'skipped', 'tempos, meters or keys that are cut off')
    return {'meters': meters, 'tempos': tempos, 'keys': keys}


def write_midi(music, path):
    """Standard MIDI file of `music`: a conductor track, then a track per voice. Up to 15 voices
    have a channel each. Beyond that, voices of one program share one; beyond 15 programs, more
    ports.
    """
    file = mido.MidiFile(type=1, ticks_per_beat=UNITS * TICKS_PER_UNIT, charset='utf-8')
    meta = mido.MetaMessage
    events = [(onset, meta('time_signature', numerator=n, denominator=d))
              for onset, n, d in music.meters]
    if short := fitting_meter(music.pickup):
        events[0] = (music.pickup, events[0][1])
        events.insert(0, (0, meta('time_signature', numerator=short[0], denominator=short[1])))
    events += [(onset, meta('set_tempo', tempo=min(round(6e7 / tempo), 2 ** 24 - 1)))
               for onset, tempo in music.tempos]
    events += [(onset, meta('key_signature', key=KEY_NAMES[sharps, mode]))
               for onset, sharps, mode in music.keys]
    conductor = [(0, meta('track_name', name=music.title))] if music.title else []
    file.tracks.append(track(conductor + events))

    melodic = [i for i, voice in enumerate(music.voices) if not voice.is_drum]
    programs = sorted({music.voices[i].program for i in melodic})
    downbeats = set(bar_starts(music))
    for i, voice in enumerate(music.voices):
        port, channel = 0, 9
        if not voice.is_drum:
            number = melodic.index(i) if len(melodic) <= 15 else programs.index(voice.program)
            port, line = divmod(number, 15)
            channel = line + (line >= 9)  # channel 9, counted from 0, is the drums'
        messages = [(0, meta('midi_port', port=port)),
                    (0, mido.Message('program_change', channel=channel, program=voice.program))]
        for onset, duration, pitch in music.notes[music.notes[:, 3] == i, :3].tolist():
            velocity = 96 if onset in downbeats else 80
            off = mido.Message('note_off', channel=channel, note=pitch, velocity=0)
            on = mido.Message('note_on', channel=channel, note=pitch, velocity=velocity)
            messages += [(onset + duration, off), (onset, on)]
        file.tracks.append(track(messages))
    with atomic_write(path) as f:
        file.save(file=f)


def track(messages):
    """mido track of (onset in units, message); at one time, note-offs come first and note-ons
    last.
    """
    out, now = mido.MidiTrack(), 0
    rank = {'note_off': 0, 'note_on': 2}
    for onset, message in sorted(messages, key=lambda m: (m[0], rank.get(m[1].type, 1))):
        out.append(message.copy(time=(onset - now) * TICKS_PER_UNIT))
        now = onset
    return out
