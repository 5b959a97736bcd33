"""midi.py: what is read, what is repaired, what the grid moves. Files are made with mido."""
import io
import os
import random

import mido
import numpy as np
import pytest

from music.midi import raw_midi, read_midi, write_midi
from music.notes import UNITS, Music, Voice, bar_starts
from music.quantise import MAX_BARS, MidiError, fitting_keys, quantise


def midi_bytes(tracks, ticks=480, kind=1):
    """MIDI file of lists of (absolute tick, message)."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    for messages in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(messages, key=lambda m: m[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def note(tick, length, pitch, channel=0):
    return [(tick, mido.Message('note_on', note=pitch, channel=channel)),
            (tick + length, mido.Message('note_off', note=pitch, channel=channel))]


def scale_bytes(n=40, **kw):
    return midi_bytes([sum((note(i * 240, 200, 60 + i % 12) for i in range(n)), [])], **kw)


def raw_of(onset, duration, pitch=None, voice=None, voices=None, meters=(), tempos=(), keys=()):
    onset = np.array(onset, float)
    return {'onset': onset, 'duration': np.broadcast_to(np.array(duration, float), onset.shape).copy(),
            'pitch': np.array(pitch if pitch is not None else range(40, 40 + len(onset))),
            'voice': np.array(voice if voice is not None else [0] * len(onset)), 'voices': voices or [Voice()],
            'meters': list(meters), 'tempos': list(tempos), 'keys': list(keys)}


def mido_notes(path_or_bytes, ticks_per_unit=20):
    """Multiset of (onset, duration, pitch, program, is_drum) as mido sees it, track by track, in units."""
    file = mido.MidiFile(file=io.BytesIO(path_or_bytes)) if isinstance(path_or_bytes, bytes) else mido.MidiFile(path_or_bytes)
    notes = []
    for track in file.tracks:
        now, sounding, program = 0, {}, {}
        for message in track:
            now += message.time
            if message.type == 'program_change':
                program[message.channel] = message.program
            elif message.type == 'note_on' and message.velocity:
                sounding[message.channel, message.note] = now
            elif message.type in ('note_on', 'note_off') and (message.channel, message.note) in sounding:
                onset = sounding.pop((message.channel, message.note))
                notes.append((onset // ticks_per_unit, (now - onset) // ticks_per_unit, message.note,
                              program.get(message.channel, 0), message.channel == 9))
    return sorted(notes)


def notes_of(music):
    return sorted((o, d, p, music.voices[v].program, music.voices[v].is_drum) for o, d, p, v in music.notes.tolist())


def random_music(seed, n_voices=3, n=80):
    rng = random.Random(seed)
    from music.notation import without_overlaps
    spans = []
    for _ in range(n):
        onset = rng.randrange(0, 900)
        spans.append((onset, onset + rng.randint(1, 150), rng.randint(0, 127), rng.randrange(n_voices)))
    voices = [Voice(rng.randrange(128), rng.random() < 0.3) for _ in range(n_voices)]
    return Music(without_overlaps(spans), voices, [(0, 3, 4), (144, 7, 8), (480, 2, 2)], [(0, 97), (144, 201)], [(0, -3, 'minor')])


@pytest.mark.parametrize('seed', range(20))
def test_mido_reads_back_exactly_the_notes_written(tmp_path, seed):
    music = random_music(seed, n_voices=[1, 4, 17, 40][seed % 4])
    write_midi(music, tmp_path / 'a.mid')
    assert mido_notes(tmp_path / 'a.mid') == notes_of(music)
    assert os.listdir(tmp_path) == ['a.mid']


def test_reading_a_written_file_gives_the_same_music(tmp_path):
    starts = range(0, 960, 24)
    music = Music(np.array([[s, 24, 60 + s // 24 % 12, 0] for s in starts], np.int32), [Voice(33)], [(0, 3, 4), (72 * 4, 4, 4)],
                  [(0, 97), (72 * 4, 140)], [(0, 0, 'major')])
    write_midi(music, tmp_path / 'a.mid')
    read, report = read_midi(tmp_path / 'a.mid')
    assert notes_of(read) == notes_of(music)
    assert (read.meters, read.tempos) == (music.meters, music.tempos)
    assert report['notes'] == len(music.notes) and report['onset_error'] == 0 == report['repaired']


def test_every_note_is_kept_and_moves_at_most_a_twelfth():
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = 200
        raw = raw_of(rng.uniform(0, 2000, n), rng.exponential(10, n), rng.permutation(256)[:n] % 128, np.arange(n) % 4,
                     [Voice(), Voice(5), Voice(0, True), Voice(9)], meters=[(0, 7, 8), (400, 4, 4), (1003, 3, 8)])
        music, report = quantise(raw)
        assert len(music.notes) + report['merged_unisons'] == n
        assert report['onsets_within_twelfth'] == n and music.notes[:, 1].min() >= 1
        got = np.sort(music.notes[:, 0] + report['shift'])
        assert report['merged_unisons'] or np.abs(got - np.sort(raw['onset'])).max() <= UNITS / 12


def test_triplets_and_sixteenths_find_their_grids_in_the_same_voice():
    music, _ = quantise(raw_of([0, 8.2, 15.9, 24, 30.3, 35.8, 42], 5))
    assert music.notes[:, 0].tolist() == [0, 8, 16, 24, 30, 36, 42]


def test_strokes_faster_than_the_grid_keep_their_number():
    onsets = np.arange(0, 24, 1.5)                                            # a roll of 64ths on one pitch
    music, report = quantise(raw_of(onsets, 1, [60] * 16))
    assert len(music.notes) == 16 and report['merged_unisons'] == 0
    assert np.abs(music.notes[:, 0] - onsets).max() <= 0.5


def test_short_notes_are_lengthened_never_dropped():
    music, _ = quantise(raw_of([0, 24, 48], 0, [60, 60, 60]), close_gaps=False)
    assert music.notes[:, 1].tolist() == [3, 3, 3]


def test_gate_times_become_notated_durations_unless_switched_off():
    raw = raw_of([0, 24, 48, 72], [20, 13, 22, 24], [60, 62, 64, 65])
    assert quantise(raw)[0].notes[:, 1].tolist() == [24, 24, 24, 24]
    assert quantise(raw, close_gaps=False)[0].notes[:, 1].tolist() == [21, 12, 21, 24]


def test_unisons_of_one_voice_do_not_overlap_and_are_counted():
    music, report = quantise(raw_of([0, 0.2, 24], [60, 30, 24], [60, 60, 60]))
    assert music.notes[:, :2].tolist() == [[0, 24], [24, 24]]
    assert report['merged_unisons'] == 1


def test_a_meter_change_inside_a_bar_closes_that_bar():
    music, _ = quantise(raw_of(np.arange(0, 480, 24), 24, [60] * 20, meters=[(0, 4, 4), (144, 3, 4)]))
    assert music.meters == [(0, 4, 4), (96, 2, 4), (144, 3, 4)]
    assert bar_starts(music)[:4] == [0, 96, 144, 216]


def test_leading_silent_bars_go_and_events_before_them_stay_in_force():
    music, report = quantise(raw_of([200, 224], 24, meters=[(0, 4, 4)], tempos=[(0, 90), (96, 150)], keys=[(0, 1, 'major')]))
    assert report['shift'] == 192 and music.notes[0, 0] == 8
    assert music.tempos == [(0, 150)]
    assert all(type(x) is int for events in (music.meters, music.tempos) for event in events for x in event)


def test_the_tempo_of_a_bar_keeps_its_time():
    music, _ = quantise(raw_of(np.arange(0, 288, 24), 24, [60] * 12, tempos=[(0, 100), (96, 100), (144, 50)]))
    assert music.tempos == [(0, 100), (96, 67), (192, 50)]                    # half of bar 2 at 100, half at 50: 4 / (2/100 + 2/50)


@pytest.mark.parametrize('sharps', range(-5, 7))
@pytest.mark.parametrize('mode', ['major', 'minor'])
def test_keys_are_estimated_from_the_notes_and_a_fitting_key_is_kept(sharps, mode):
    tonic = (7 * sharps - 3 * (mode == 'minor')) % 12
    steps = [0, 2, 4, 5, 7, 9, 11] if mode == 'major' else [0, 2, 3, 5, 7, 8, 11]
    tune = [0, 4, 2, 4, 0, 1, 2, 3, 4, 2, 0, 6, 0, 4, 2, 0]
    pitch = np.array([60 + tonic + steps[i] for i in tune])
    args = np.array([0, 10_000]), np.arange(16), pitch, np.ones(16, bool)
    assert fitting_keys([], *args) == ([(0, sharps, mode)], True)
    assert fitting_keys([(0, (sharps + 13) % 12 - 6, 'major')], *args)[1]     # a key a tritone or so away does not fit
    if mode == 'major':
        assert fitting_keys([(0, sharps, mode)], *args) == ([(0, sharps, mode)], False)


def test_riff_is_unwrapped_and_junk_before_the_header_is_skipped():
    data = scale_bytes()
    expected = notes_of(read_midi(data)[0])
    riff = b'RIFF' + (len(data) + 12).to_bytes(4, 'little') + b'RMIDdata' + len(data).to_bytes(4, 'little') + data
    for wrapped in (riff, b'junk' * 30 + data):
        music, report = read_midi(wrapped)
        assert notes_of(music) == expected and report['repaired'] == (wrapped is not riff)


def test_a_truncated_file_keeps_the_notes_before_the_cut():
    data = scale_bytes()
    whole = notes_of(read_midi(data)[0])
    for cut in range(60, len(data), 7):
        notes = notes_of(read_midi(data[:cut])[0])
        assert notes[:-1] == whole[:len(notes) - 1]                           # the last one may be cut short
        assert len(notes) == (cut - 22 + 5) // 9                              # 22 bytes of headers, note on 4, note off 5


def test_open_notes_are_closed_and_data_bytes_clipped():
    on = [(i * 480, mido.Message('note_on', note=60 + i)) for i in range(3)]
    music, _ = read_midi(midi_bytes([on]))
    assert music.notes[:, 2].tolist() == [60, 61, 62]
    data = bytearray(scale_bytes())
    data[data.index(b'\x90\x3c') + 2] = 0xC0                                  # velocity 192
    music, report = read_midi(bytes(data))
    assert report['repaired'] and len(music.notes) == 40


def test_smpte_time_is_read_in_seconds():
    data = bytearray(scale_bytes(ticks=480))
    data[12:14] = bytes([256 - 25, 40])                                       # 25 frames of 40 ticks: 1000 ticks a second
    music, _ = read_midi(bytes(data))
    assert music.notes[1, 0] == round(0.240 * 2 * UNITS) and music.tempos == [(0, 120)]


@pytest.mark.parametrize('data, reason', [(b'', 'no MIDI header'), (b'GIF89a' * 9, 'no MIDI header'), (midi_bytes([[]]), 'no notes'),
                                          (midi_bytes([note(0, 5, 60) + note(2 ** 27, 5, 60)], 24), f'longer than {MAX_BARS} bars')])
def test_what_is_not_music_has_a_named_reason(data, reason):
    with pytest.raises(MidiError, match=reason):
        read_midi(data)


def test_mutated_files_never_crash():
    rng = random.Random(0)
    sound = midi_bytes([[(0, mido.MetaMessage('time_signature', numerator=3)), (9, mido.MetaMessage('key_signature', key='Bb'))],
                        sum((note(i * 240, 200, 60 + i % 12, i % 16) for i in range(60)), [])])
    for _ in range(400):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            music, _ = read_midi(bytes(data[:rng.randrange(len(data))] if rng.random() < 0.3 else data))
            assert len(music.notes)
        except MidiError as e:
            assert str(e)
