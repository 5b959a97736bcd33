"""midi.py: what is read, what is repaired, what the grid moves. Files are made with mido."""
import io
import os
import random
from collections import Counter

import mido
import numpy as np
import pytest

from music import midi_events
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


# ------------------------------------------------------------------------------------------- what other readers lose

def chunk(events, length=None):
    """A track of bytes; `length`: what it says instead of its own."""
    return b'MTrk' + (len(events) if length is None else length).to_bytes(4, 'big') + events


def smf(*tracks, kind=1, ticks=480, count=None):
    head = b'MThd\0\0\0\6' + b''.join(n.to_bytes(2, 'big') for n in (kind, len(tracks) if count is None else count, ticks))
    return head + b''.join(track if track.startswith(b'MTrk') else chunk(track) for track in tracks)


END = b'\0\xff\x2f\0'
ON = lambda pitch, channel=0, delta=b'\0': delta + bytes([0x90 | channel, pitch, 80])
OFF = lambda pitch, channel=0, delta=b'\x83\x60': delta + bytes([0x80 | channel, pitch, 0])     # 480 ticks later
MELODY = b''.join(ON(60 + i) + OFF(60 + i) for i in range(6))


def read(data):
    """([(onset, duration, pitch) in quarters, by onset and pitch], {remark: count})."""
    music, _ = read_midi(data)
    notes = sorted((onset / UNITS, duration / UNITS, pitch) for onset, duration, pitch, _ in music.notes.tolist())
    return notes, dict(music.remarks)


MELODY_NOTES = [(i, 1, 60 + i) for i in range(6)]


def test_a_note_that_is_never_released_lasts_to_the_end_of_its_track():
    for wait, quarters in ((b'\x83\x60', 1), (b'\x87\x40', 2), (b'\x9e\0', 8)):
        notes, remarks = read(smf(MELODY + ON(72) + ON(76) + wait + b'\xff\x2f\0'))
        assert notes == MELODY_NOTES + [(6, quarters, 72), (6, quarters, 76)]
        assert remarks == {'repaired: notes without an end': 2}


@pytest.mark.parametrize('controller', [120, 123, 124, 125, 126, 127])
@pytest.mark.parametrize('own_track', [True, False])
def test_controllers_that_end_all_notes_of_a_channel_are_releases(controller, own_track):
    silence = b'\x87\x40' + bytes([0xB3, controller, 0])                        # 960 ticks on
    held = ON(60, 3) + ON(64, 3) + ON(67, 5)
    tracks = [held + silence + b'\x87\x40\xff\x2f\0'] if own_track else [held + b'\x8f\0\xff\x2f\0', silence + END]
    notes, remarks = read(smf(*tracks))
    assert notes == [(0, 2, 60), (0, 2, 64), (0, 4, 67)]                        # channel 5 is another channel
    assert remarks == {'repaired: notes without an end': 1}


@pytest.mark.parametrize('controller', [1, 7, 64, 121, 122])
def test_other_controllers_end_nothing(controller):
    notes, _ = read(smf(ON(60) + b'\x87\x40' + bytes([0xB0, controller, 0]) + b'\x87\x40\xff\x2f\0'))
    assert notes == [(0, 4, 60)]


def test_a_note_without_a_release_ends_with_the_next_one_of_its_pitch():
    stroke = lambda delta: ON(38, 9, delta)
    quarter = b'\x83\x60'
    notes, remarks = read(smf(stroke(b'\0') + stroke(quarter) * 6 + OFF(38, 9) + END))
    assert [(onset, pitch) for onset, _, pitch in notes] == [(i, 38) for i in range(7)]
    assert remarks == {'repaired: notes without an end': 6}
    notes, remarks = read(smf(ON(60) + ON(60, 0, b'\x87\x40') + OFF(60) + END))
    assert notes == [(0, 2, 60), (2, 1, 60)] and remarks == {'repaired: notes without an end': 1}


def test_a_release_at_the_onset_itself_makes_a_short_note_and_no_lost_one():
    short = lambda delta: ON(60, 0, delta) + OFF(60, 0, b'\0')
    notes, remarks = read(smf(short(b'\0') + short(b'\x83\x60') * 4 + ON(72) + OFF(72) + END))
    assert [(onset, pitch) for onset, _, pitch in notes] == [(0, 60), (1, 60), (2, 60), (3, 60), (4, 60), (4, 72)]
    assert not remarks and max(duration for _, duration, _ in notes[:5]) < 1


def test_overlapping_notes_of_a_pitch_end_in_the_order_in_which_they_began():
    raw = raw_midi(smf(ON(60) + ON(60, 0, b'\x83\x60') + OFF(60) + OFF(60) + END))
    assert (raw['onset'] / UNITS).tolist() == [0, 1] and (raw['duration'] / UNITS).tolist() == [2, 2] and not raw['remarks']


@pytest.mark.parametrize('kind', [0, 1])
def test_every_note_on_of_a_random_file_is_a_note(kind):
    rng = random.Random(kind)
    for _ in range(20):
        tracks = []
        for _ in range(1 if kind == 0 else 3):
            messages = [(rng.randrange(0, 9000), mido.Message(rng.choice(['note_on', 'note_on', 'note_off']),
                         note=rng.randrange(60, 66), channel=rng.choice([0, 9]), velocity=rng.choice([0, 64])))
                        for _ in range(60)]
            tracks.append(messages + [(9000, mido.Message('control_change', control=123, channel=0))])
        ons = [m for messages in tracks for _, m in messages if m.type == 'note_on' and m.velocity]
        raw = raw_midi(midi_bytes(tracks, kind=kind))
        assert sorted(raw['pitch'].tolist()) == sorted(m.note for m in ons)
        _, report = quantise(raw)
        assert report['notes'] == len(ons)


# ------------------------------------------------------------------------------------------------------------ programs

def program(number, channel=0, delta=b'\0'):
    return delta + bytes([0xC0 | channel, number])


def programs(data):
    """{pitch: program} of a file in which a pitch has one program."""
    music, _ = read_midi(data)
    return {pitch: music.voices[voice].program for _, _, pitch, voice in music.notes.tolist()}


def test_programs_belong_to_channels_whatever_track_sets_them():
    set_up = program(40) + program(73, 1) + END
    play = [ON(60) + OFF(60) + END, ON(72, 1) + OFF(72, 1) + END]
    assert programs(smf(set_up, *play)) == {60: 40, 72: 73}
    assert programs(smf(*play, set_up)) == {60: 40, 72: 73}                     # a later track, at the same time
    assert programs(smf(play[0], program(73, 1) + play[1])) == {60: 0, 72: 73}


def test_a_program_set_by_another_track_in_the_middle_holds_from_there():
    change = program(20) + program(21, 0, b'\x87\x40') + END
    assert programs(smf(change, b''.join(ON(60 + i) + OFF(60 + i) for i in range(4)) + END)) == {60: 20, 61: 20, 62: 21, 63: 21}


def test_of_two_programs_set_at_one_time_that_of_the_own_track_holds():
    tracks = [program(p) + ON(60 + p) + OFF(60 + p) + END for p in (5, 6, 7)]
    assert programs(smf(*tracks)) == {65: 5, 66: 6, 67: 7}


def test_programs_of_other_ports_are_others():
    port = lambda n: b'\0\xff\x21\x01' + bytes([n])
    assert programs(smf(port(1) + program(40) + END, port(0) + ON(60) + OFF(60) + END, port(1) + ON(62) + OFF(62) + END)) == {60: 0, 62: 40}


def test_a_note_has_the_program_with_which_it_began():
    assert programs(smf(program(10) + ON(60) + program(11, 0, b'\x83\x60') + OFF(60, 0, b'\0') + ON(62) + OFF(62) + END)) == {60: 10, 62: 11}


# ----------------------------------------------------------------------------------------------------- half-read files

SYSEX = b'\0\xf0\x08\x41\x10\x42\x12\x40\0\x04\xf7'


@pytest.mark.parametrize('between', [SYSEX, b'\0\xff\x01\x02hi', b'\0\xf7\x02\xf3\x01', b'\0\xf0\x02\x01\x02\0\xf7\x02\x03\xf7'])
def test_running_status_goes_on_after_what_should_cancel_it(between):
    before = MELODY[:-9] + ON(65) + b'\x83\x60\x41\0'                           # the last status is a note-on
    notes, remarks = read(smf(before + between + b'\0\x45\x50\x83\x60\x45\0' + b'\0\x47\x50\x83\x60\x47\0' + END))
    assert notes == MELODY_NOTES + [(6, 1, 0x45), (7, 1, 0x47)]
    assert remarks == {'repaired: running status after another event': 1}


@pytest.mark.parametrize('sysex', [b'\0\xf0\x7e\x7f\x09\x01\xf7', b'\0\xf0\x7f\x41\x10\xf7', b'\0\xf0\x02\x41\x10\x42\x12\xf7'])
def test_a_system_exclusive_message_of_a_wrong_length_ends_where_it_ends(sysex):
    notes, remarks = read(smf(sysex + MELODY + END))
    assert notes == MELODY_NOTES and remarks == {'repaired: lengths of system exclusive messages': 1}


BASS = b''.join(ON(40 + i) + OFF(40 + i, 0, b'\x87\x40') for i in range(3)) + END
BOTH = sorted(MELODY_NOTES + [(2 * i, 2, 40 + i) for i in range(3)])


@pytest.mark.parametrize('length', [0, 20, 21, 22, len(MELODY), len(MELODY) + 9, 200, 2 ** 31])
def test_a_track_is_read_to_its_end_whatever_length_it_says(length):
    notes, remarks = read(smf(chunk(MELODY + END, length), BASS))
    assert notes == BOTH and remarks == {'repaired: lengths of tracks': 1}


def test_a_length_that_leads_to_the_end_of_the_file_hides_no_track():
    rest = len(MELODY + END + chunk(BASS))
    assert read(smf(chunk(MELODY + END, rest), BASS)) == (BOTH, {'repaired: lengths of tracks': 1})


def test_a_truncated_file_says_so():
    data = smf(MELODY + END, BASS)
    for cut in range(len(data) - 40, len(data)):
        _, remarks = read(data[:cut])
        assert 'repaired: tracks that are cut off' in remarks or 'repaired: number of tracks in the MIDI header' in remarks


def test_what_is_wrong_in_the_header_is_named():
    sound = smf(MELODY + END, BASS)
    long_header = b'MThd\0\0\0\x0a' + sound[8:14] + b'more' + sound[14:]
    assert read(long_header) == (BOTH, {})                                      # the format allows it
    assert read(b'MThd\0\0\0\x0a' + sound[8:]) == (BOTH, {'repaired: length of the MIDI header': 1})
    for count in (0, 1, 3, 65535):
        assert read(smf(MELODY + END, BASS, count=count)) == (BOTH, {'repaired: number of tracks in the MIDI header': 1})
    for kind in (0, 3, 256):
        assert read(smf(MELODY + END, BASS, kind=kind)) == (BOTH, {'repaired: format in the MIDI header': 1})


def test_chunks_of_other_kinds_are_passed_over():
    alien = b'XFIH' + (5).to_bytes(4, 'big') + b'abcde'
    tracks = chunk(MELODY + END), chunk(BASS)
    for data in (smf() + tracks[0] + alien + tracks[1], smf() + alien + tracks[0] + tracks[1], smf() + tracks[0] + tracks[1] + alien):
        assert read(data[:10] + b'\0\x02' + data[12:]) == (BOTH, {})


def test_events_after_the_end_of_a_track_are_read_and_named():
    more = ON(72) + OFF(72) + END
    assert read(smf(MELODY + END + more)) == (MELODY_NOTES + [(6, 1, 72)], {'repaired: events after the end of a track': 1})
    assert read(smf(MELODY + END + b'\0' * 9)) == (MELODY_NOTES, {})            # mere padding
    assert read(smf(MELODY)) == (MELODY_NOTES, {'repaired: tracks without an end': 1})


def test_a_damaged_event_in_the_middle_is_named():
    notes, remarks = read(smf(MELODY + b'\xff\xff\xff\xff\xff' + MELODY + END))
    assert notes == MELODY_NOTES and remarks == {'skipped: damaged rests of tracks': 1}
    notes, remarks = read(smf(MELODY + b'\0\xf8' + END))
    assert notes == MELODY_NOTES and remarks == {'skipped: system messages that have no place in a file': 1}


def test_patterns_of_format_2_follow_each_other():
    a, b, c = (b''.join(ON(start + i) + OFF(start + i) for i in range(4)) + END for start in (60, 70, 80))
    notes, remarks = read(smf(a, b, c, kind=2))
    assert notes == [(4 * k + i, 1, start + i) for k, start in enumerate((60, 70, 80)) for i in range(4)]
    assert remarks == {'guessed: patterns of format 2, played one after the other': 1}
    assert read(smf(a, kind=2)) == (notes[:4], {})


def test_meters_and_keys_that_cannot_be_kept_are_named():
    odd = b'\0\xff\x58\x04\x05\x07\x18\x08' + b'\0\xff\x59\x02\x09\0' + b'\0\xff\x51\x01\x07'
    notes, remarks = read(smf(odd + MELODY + END))
    assert notes == MELODY_NOTES
    assert remarks == {'skipped: meters that the grid cannot hold': 1, 'skipped: keys of more than seven accidentals': 1,
                       'skipped: tempos, meters or keys that are cut off': 1}


@pytest.mark.parametrize('division', [b'\0\0'])
def test_a_file_without_ticks_is_refused_with_that_reason(division):
    data = bytearray(smf(MELODY + END))
    data[12:14] = division
    with pytest.raises(MidiError, match='no ticks per quarter'):
        read_midi(bytes(data))


def test_time_in_seconds_is_a_guess_that_is_named():
    data = bytearray(scale_bytes())
    data[12:14] = bytes([256 - 30, 80])
    assert list(read(bytes(data))[1]) == ['guessed: quarters of half a second, in a file that counts seconds']


def test_reading_in_stretches_and_event_by_event_is_the_same():
    rng = random.Random(3)
    for _ in range(30):
        events, channel = b'', rng.randrange(16)
        for _ in range(120):
            delta = rng.choice([b'\0', b'\x10', b'\x83\x60', b'\x81\x80\0', b'\xff\x7f'])
            kind = rng.choice([0x90, 0x90, 0x80, 0xB0, 0xE0, 0xA0, 0xC0, 0xD0, 0xFF, 0xF0])
            if kind >= 0xF0:
                events += delta + rng.choice([b'\xff\x01\x03abc', b'\xff\x51\x03\x07\xa1\x20', b'\xf0\x03\x01\x02\xf7'])
                continue
            size = 1 if kind in (0xC0, 0xD0) else 2
            events += delta + bytes([kind | channel]) + bytes(rng.randrange(128) for _ in range(size))
            for _ in range(rng.randrange(3)):                                   # running status
                events += rng.choice([b'\0', b'\x87\x40']) + bytes(rng.randrange(128) for _ in range(size))
        data = smf(events + END, MELODY + END)
        by_event = midi_events.Stream(data, False)
        in_stretches = midi_events.Stream(data, True)
        decoded = []
        for stream in (by_event, in_stretches):
            at = data.find(b'MTrk')
            while at >= 0:
                at = midi_events.read_track(data, at, stream, Counter())
            decoded.append(midi_events.decode(stream, False, 480, False))
        for name in ('tick', 'track', 'status', 'data', 'ends', 'metas'):
            assert np.array_equal(*(np.array(getattr(events, name), object if name == 'metas' else None) for events in decoded))
        assert len(by_event.parts) > len(in_stretches.parts)
