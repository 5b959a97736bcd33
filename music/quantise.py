"""Raw notes of a MIDI file -> notes on a grid, in bars, with a key: one separate step, and a
measured one.

Per voice and beat the better of a straight grid (8 per quarter) and a triplet grid (6 per
quarter), or all 24 units where both would make one note of two strokes of a pitch. No note is
dropped; a short one is lengthened to one step of its grid. Onsets move by at most 1/12 of a
quarter. The report counts what was moved, lengthened and merged, in fields that can be summed over
files. bench/codec.py measures it on a folder.
"""
from collections import Counter
from typing import NamedTuple

import numpy as np

from music.notes import UNITS, WHOLE, Music, bar_length, begins, fitting_meter, in_force, is_meter

STRAIGHT, TRIPLET = 3, 4    # steps of the two grids, in units
MAX_BARS = 10_000           # a longer file is a broken one: a stray event at an absurd time
MAX_LANES = 256             # of a file with more voices, some share their grids


class MidiError(ValueError):
    """A file that is not music we can read; str(e) is the named reason under which it is
    counted.
    """


def quantise(raw, close_gaps=True):
    """(Music, report) of raw notes (midi.raw_midi): grid, notated durations, bars, tempos, key.

    close_gaps=False keeps the gate times: durations are then only rounded to the grid. Raises
    MidiError.
    """
    remarks = raw.get('remarks', Counter())
    onset, duration, pitch, voice = (np.asarray(raw[name])
                                     for name in ('onset', 'duration', 'pitch', 'voice'))
    voices = raw['voices']
    meters, starts = lay_bars(raw['meters'], float((onset + duration).max()))
    beats = Beats.of(starts)
    start, stop, moved = snap(onset, onset + duration, pitch, voice, len(voices), beats)
    is_drum = np.array([v.is_drum for v in voices])

    # Unisons: of notes at one onset the longest stays. Then a note ends where the next one of its
    # pitch begins.
    line = 128 * voice + pitch
    place = line * (starts[-1] + 1) + start
    order = np.argsort(place)
    if not begins(place[order]).all():
        order = np.lexsort((-stop, place))
        order = order[begins(place[order])]
    start, stop, pitch, voice, before, line = (
        x[order] for x in (start, stop, pitch, voice, duration, line))
    is_cut = (line[1:] == line[:-1]) & (start[1:] < stop[:-1])
    stop[:-1][is_cut] = start[1:][is_cut]

    order = np.argsort((voice * (starts[-1] + 1) + start) * 128 + pitch)
    start, stop, pitch, voice, before = (x[order] for x in (start, stop, pitch, voice, before))
    if close_gaps:
        stop = notated_ends(start, stop, voice, is_drum[voice], beats)

    # Whole bars of silence before the first note go; then events are put on barlines.
    shift = int(starts[np.searchsorted(starts, start.min(), 'right') - 1])
    starts = starts[starts >= shift] - shift
    start, stop = start - shift, stop - shift
    starts = starts[:np.searchsorted(starts, stop.max(), 'left') + 1]
    meters = in_force([(max(time - shift, 0), *meter) for time, *meter in meters], starts[-1])
    tempos = bar_tempos([(t - shift, q) for t, q in raw['tempos']], starts)
    keys = [(time - shift, *key) for time, *key in raw['keys']]
    keys, estimated = fitting_keys(keys, starts, start, pitch, ~is_drum[voice])

    # Voices in an order that does not depend on the file: by program, higher ones first, drums
    # last.
    counts = np.bincount(voice, minlength=len(voices))
    mean_pitch = np.bincount(voice, pitch, len(voices)) / np.maximum(counts, 1)
    used = sorted(np.flatnonzero(counts).tolist(),
                  key=lambda v: (voices[v].is_drum, voices[v].program, -mean_pitch[v]))
    rank = np.zeros(len(voices), np.int64)
    rank[used] = np.arange(len(used))
    voice = rank[voice]
    notes = np.stack([start, stop - start, pitch, voice], 1).astype(np.int32)
    notes = notes[np.argsort((start * len(used) + voice) * 128 + pitch)]
    report = {'notes': len(onset), 'merged_unisons': len(onset) - len(order),
              'onset_error': float(np.abs(moved).sum() / UNITS),                # times in quarters
              'onsets_within_twelfth': int((np.abs(moved) <= UNITS / 12 + 1e-9).sum()),
              'duration': float(before.sum() / UNITS),
              'duration_change': float(np.abs(stop - start - before).sum() / UNITS),
              'shift': shift, 'key_estimated': int(estimated),
              'repaired': int(any(what.startswith('repaired') for what in remarks))}
    return Music(notes, [voices[v] for v in used], meters, tempos, keys, remarks=remarks), report


def lay_bars(events, end):
    """(meters, barlines as an int array beyond `end`) of raw meter events (time in units,
    numerator, denominator). A change less than an eighth away from a barline is moved there; one
    inside a bar closes that bar, which gets a meter of its own. Meters that the grid cannot hold
    are ignored. MidiError if there are too many bars.
    """
    meters, starts, current = [], [0], (4, 4)

    def fill(until):
        length = bar_length(*current)
        if until > MAX_BARS * WHOLE or (until - starts[-1]) / length > MAX_BARS:
            raise MidiError(f'longer than {MAX_BARS} bars')
        meters.append((starts[-1], *current))
        starts.extend(range(starts[-1] + length, int(until) + 1, length))

    for time, numerator, denominator in sorted(events):
        if not is_meter(numerator, denominator):
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
            if time > starts[-1]:  # a short bar of its own meter
                current = fitting_meter(time - starts[-1])
                fill(time)
        current = numerator, denominator
    fill(end + 2 * bar_length(*current))
    return meters, np.array(starts)


class Beats(NamedTuple):
    """The beats of all bars. A beat is a quarter from the barline in every meter, unlike
    notes.beat_length, since the two grids divide a quarter; the last one of a bar may be
    shorter.
    """
    number: np.ndarray          # of the beat that holds each unit from 0 to the last barline
    start: np.ndarray           # of each beat, in units
    stop: np.ndarray

    @classmethod
    def of(cls, starts):
        """`starts`: barlines, as lay_bars has them."""
        since_barline = np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))
        begins_beat = since_barline % UNITS == 0
        start = np.flatnonzero(begins_beat)
        return cls(np.cumsum(begins_beat) - 1, start, np.append(start[1:], starts[-1]))


def snap(onset, end, pitch, voice, n_voices, beats):
    """(start, stop, moved by) in units: onsets and ends on the grid of their voice and beat."""
    n_lanes = min(n_voices, MAX_LANES)
    lane = voice % n_lanes

    def group_of(time):
        """(number of the lane and beat, start of the beat, time since then)."""
        beat = beats.number[time.astype(np.int64)]
        start = beats.start[beat]
        return beat * n_lanes + lane, start, time - start

    def rounded(group, start, phase):
        step = steps[group]
        return start + (step * np.rint(phase / step)).astype(np.int64)

    # How far the onsets of each lane and beat are from either grid. 32nds are rarer than triplets,
    # so an onset on one counts as a unit of error.
    place = group, _, phase = group_of(onset)
    n_groups = len(beats.start) * n_lanes
    error = {step: np.bincount(group, np.abs(phase - step * np.rint(phase / step)), n_groups)
             for step in (STRAIGHT, TRIPLET)}
    n_32nds = np.bincount(group, np.rint(phase / STRAIGHT) % 2, n_groups)
    is_triplet = error[TRIPLET] + 0.25 < error[STRAIGHT] + n_32nds
    is_triplet &= np.repeat((beats.stop - beats.start) % (UNITS // 2) == 0, n_lanes)
    steps = np.where(is_triplet, TRIPLET, STRAIGHT)
    start = rounded(*place)

    # Two strokes of a pitch that would become one: there, every unit is on the grid.
    key = (voice * 128 + pitch) * (beats.stop[-1] + 1) + start
    ordered = np.sort(key)
    shared = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(shared):
        both = np.flatnonzero(np.isin(key, shared))
        both = both[np.lexsort((onset[both], key[both]))]
        time = onset[both]
        is_near = ((np.diff(key[both]) == 0) & (np.diff(time) >= 0.5)
                   & (np.diff(np.rint(time)) > 0))              # whole units would keep them apart
        if is_near.any():
            steps[group[both[1:][is_near]]] = steps[group[both[:-1][is_near]]] = 1
            start = rounded(*place)

    # A note lasts at least one step of the grid on which it starts.
    stop = rounded(*group_of(end))
    shortest = steps[group_of(start)[0]]
    return start, np.maximum(stop, start + shortest), start - onset


def notated_ends(start, stop, voice, is_drum, beats):
    """Ends as a musician would write them, for notes sorted by voice and onset. A gap before the
    voice's next onset is closed if it is at most a 16th, or at most an eighth and no longer than
    the note. One before the next beat is closed if it is at most a 16th and a third of the note. A
    note that runs into the next onset by at most a 32nd ends there. A drum stroke lasts to the
    next onset or the next beat.
    """
    # The next onset of the voice.
    is_new = begins(voice) | begins(start)
    first = np.flatnonzero(is_new)
    goes_on = np.diff(voice[first], append=-1) == 0
    following = np.where(goes_on, np.roll(start[first], -1), np.iinfo(np.int32).max)
    following = following[np.cumsum(is_new) - 1]

    gap = following - stop
    is_short = (gap >= 0) & ((gap <= UNITS // 4) | ((gap <= UNITS // 2) & (gap <= stop - start)))
    runs_on = (gap < 0) & (gap >= -STRAIGHT) & (following - start > -gap)
    stop = np.where(is_short | runs_on, following, stop)

    to_beat = next_beat(stop - 1, beats) - stop
    reaches = ((to_beat <= UNITS // 4) & (3 * to_beat <= stop - start)
               & (stop + to_beat <= following))
    stop = np.where(reaches, stop + to_beat, stop)
    return np.where(is_drum, np.minimum(following, next_beat(start, beats)), stop)


def next_beat(time, beats):
    """First beat after each time (int): a quarter from the barline, or the next barline."""
    return beats.stop[beats.number[time]]


def bar_tempos(events, starts):
    """Tempo changes at barlines: a bar's mean tempo (quarters per minute) if it differs by 5% from
    the one in force.
    """
    events = sorted((max(t, 0), q) for t, q in events)
    if not events or events[0][0] > starts[1] / 2:
        events.insert(0, (0, 120.0))
    times, values = np.array(events, float).T
    times[0] = 0
    # in units per (quarter per minute)
    seconds = np.concatenate([[0], np.cumsum(np.diff(times) / values[:-1])])
    i = np.searchsorted(times, starts, 'right') - 1
    spent = np.diff(seconds[i] + (starts - times[i]) / values[i])
    mean = np.clip(np.rint(np.diff(starts) / np.maximum(spent, 1e-9)), 1, 9999).astype(int).tolist()
    tempos = [(0, mean[0])]
    for start, tempo in zip(starts.tolist(), mean):
        if abs(tempo / tempos[-1][1] - 1) >= 0.05:
            tempos.append((start, tempo))
    return tempos


MAJOR_SCALE = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
# Probe-tone ratings of Krumhansl & Kessler (1982), major and minor on C.
PROFILES = np.array([[6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
                     [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17]])
ROTATED = np.array([np.roll(profile, tonic) for profile in PROFILES for tonic in range(12)])
ROTATED = (ROTATED - ROTATED.mean(1, keepdims=True)) / ROTATED.std(1, keepdims=True)
# [sharps + 7, pitch class]
SCALES = np.array([np.roll(MAJOR_SCALE, 7 * sharps) for sharps in range(-7, 8)])


def fitting_keys(events, starts, onset, pitch, is_pitched):
    """(keys at barlines, estimated?). The file's keys stay if each holds as many notes as the best
    scale, less 2%. Otherwise one key is estimated for the whole tune by the correlation of
    Krumhansl & Schmuckler.
    """
    onset, pitch_class = onset[is_pitched], pitch[is_pitched] % 12
    barline = lambda time: int(starts[np.argmin(np.abs(starts - max(time, 0)))])
    events = sorted((event for event in events if -7 <= event[1] <= 7), key=lambda event: event[0])
    keys = in_force([(barline(time), *key) for time, *key in events], starts[-1])
    if not len(onset):
        return [(0, 0, 'major')], False
    if keys:
        keys[0] = (0, *keys[0][1:])
        section = np.searchsorted([time for time, *_ in keys], onset, 'right') - 1
        counts = np.bincount(12 * section + pitch_class, minlength=12 * len(keys)).reshape(-1, 12)
        inside = counts @ SCALES.T  # [key, sharps + 7]: notes in the scale
        own = inside[np.arange(len(keys)), [sharps + 7 for _, sharps, _ in keys]]
        if (own >= inside.max(1) - 0.02 * counts.sum(1)).all():
            return keys, False
    counts = np.bincount(pitch_class, minlength=12).astype(float)
    mode, tonic = divmod(int(np.argmax(ROTATED @ (counts - counts.mean()))), 12)
    sharps = (7 * (tonic + 3 * mode) + 5) % 12 - 5  # of the relative major, -5 to 6
    return [(0, sharps, 'minor' if mode else 'major')], True
