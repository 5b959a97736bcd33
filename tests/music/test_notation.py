"""notation.py: what is encoded is decoded, for any music; what is not in the notation is refused with line and reason."""
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from music import __main__ as program
from music.midi import read_midi, write_midi
from music.notation import (
    LENGTH,
    UNITS_OF,
    NotationError,
    chords,
    cut_at_barlines,
    decode,
    encode,
    pitches,
    read_cell,
    spelling,
    without_overlaps,
)
from music.notes import KEYS, Music, Voice, bar_length, bar_starts
from music.repeats import folded, phrased, unfolded


@st.composite
def pieces(draw):
    """Any music: overlaps, chords, ties over barlines, silent bars, pickups, meter, tempo and key changes on barlines."""
    n_voices = draw(st.sampled_from([1, 1, 2, 3, 100]))
    voices = [Voice(draw(st.integers(0, 127)), draw(st.booleans())) for _ in range(min(n_voices, 4))] * (-(-n_voices // 4))
    spans = draw(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 250), st.integers(0, 127), st.integers(0, n_voices - 1)),
                          min_size=1, max_size=40))
    notes = without_overlaps([(onset, onset + units, pitch, voice) for onset, units, pitch, voice in spans])
    meter = st.sampled_from([(4, 4), (3, 4), (6, 8), (7, 8), (2, 2), (5, 16), (3, 32), (1, 1)])
    first = draw(meter)
    music = Music(notes, voices[:n_voices], [(0, *first)], [(0, draw(st.integers(1, 9999)))], [(0, *draw(st.sampled_from(list(KEYS.values()))))])
    end = int((notes[:, 0] + notes[:, 1]).max())
    sounding = notes[:, 0].min()
    if draw(st.booleans()) and sounding < 90 and bar_length(*first) > 1:
        music.pickup = draw(st.integers(1, bar_length(*first) - 1))
        if sounding >= music.pickup:                                          # a silent pickup cannot be told from a silent bar
            music.pickup = 0
    for events, kind in ((music.meters, meter), (music.tempos, st.integers(1, 9999).map(lambda q: (q,))),
                         (music.keys, st.sampled_from(list(KEYS.values())))):
        bars = bar_starts(music, end)[1:-1]
        for bar in sorted(draw(st.lists(st.integers(0, max(len(bars) - 1, 0)), max_size=3, unique=True))):
            bars = bar_starts(music, end)[1:-1]                               # a new meter moves the later barlines
            if bar < len(bars) and bars[bar] > events[-1][0]:
                events.append((bars[bar], *draw(kind)))
    return music


def same(a, b):
    return (np.array_equal(a.notes, b.notes) and (a.voices, a.meters, a.tempos, a.keys, a.pickup)
            == (b.voices, b.meters, b.tempos, b.keys, b.pickup))


@settings(max_examples=150, deadline=None)
@given(pieces())
def test_codec_identity_for_any_music(music):
    valid = {start: True for start in bar_starts(music)}
    music.tempos = [e for e in music.tempos if e[0] in valid]                 # drawn before a meter change moved the barlines
    music.keys = [e for e in music.keys if e[0] in valid]
    text = encode(music)
    assert same(decode(text), music), text
    assert encode(decode(text)) == text


@pytest.mark.parametrize('beats,repeats,phrases', list(itertools.product((False, True), repeat=3)))
@settings(max_examples=40, deadline=None)
@given(pieces())
def test_codec_identity_with_marks(beats, repeats, phrases, music):
    valid = set(bar_starts(music))
    music.tempos, music.keys = ([e for e in events if e[0] in valid] for events in (music.tempos, music.keys))
    text = encode(music, beats, repeats, phrases)
    assert same(decode(text), music), text
    if not repeats:
        plain = text.replace('$', '').split('\n')[:-1]
        assert '\n'.join(line.replace(' ', '') if line[0] == '[' else line for line in plain) + '\n' == encode(music)


@pytest.mark.parametrize('meter,bar', [
    ('6/8', 'FAd dcd'), ('4/4', 'AB cd e2 f2'), ('3/4', 'c4 d2'), ('3/4', 'A3B c2'), ('2/2', 'A2 B2 c2 d2'), ('6/16', 'F/2A/2d/2 e3/2'),
    ('3/8', 'AB c'), ('4/4', 'z2 [CEG]2 [C4E2]'), ('4/4', '[C2E6]z2 z4'), ('4/4', 'A2/3B2/3c2/3 d2/3e2/3f2/3 g4')])
def test_a_space_stands_where_a_beat_begins(meter, bar):
    text = f'L:1/8\nM:{meter}\nQ:1/4=120\nK:C\nV:1 program=0\n[V:1]{bar}|\n[V:1]{bar}|\n'
    plain = text[:text.index('[V')] + text[text.index('[V'):].replace(' ', '')
    music = decode(plain)
    assert encode(music, beats=True) == encode(decode(text), beats=True) and encode(music) == encode(decode(text))
    for line in encode(music, beats=True).splitlines()[5:]:
        position = 0
        for group in line[5:-1].split(' '):
            assert group and (position == 0 or position % {'6/8': 36, '6/16': 18}.get(meter, 24) == 0)
            position += read_cell(group)[1]


def test_spaces_may_stand_anywhere_in_what_a_person_writes():
    text = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n[V:1]A B c d e f g a |\n[V:1] A8|\n'
    assert encode(decode(text)).splitlines()[5:] == ['[V:1]ABcdefga|', '[V:1]A8|']


def test_a_repeated_section_is_written_once():
    bars = [f'[V:1]{note}8|' for note in 'CDEFGABcdefg']
    music = decode('L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n' + '\n'.join(bars[:5] + bars[:4] + bars[8:]) + '\n')
    assert encode(music, repeats=True).splitlines()[5:] == ['|:', *bars[:4], '[1', bars[4], ':|', *bars[8:]]


@pytest.mark.parametrize('lines,expected', [
    ('a b c d e f g h i', 'a b c d$ e f g h$ i'), ('|: a b c d :| e f g h', '|: a b c d$ :| e f g h$'),
    ('|: a b c [1 d :| e f', '|: a b c [1 d$ :| e$ f'), ('|: a b c d [1 e f :| g h i', '|: a b c d$ [1 e f :| g h i'),
    ('a |: b c d e f :| |: g h [1 i j :| k l m', 'a |: b c d$ e f :| |: g h$ [1 i j :| k l m')])
def test_every_fourth_bar_ends_a_phrase(lines, expected):
    assert ' '.join(phrased(lines.split())) == expected
    shifted = list(phrased(['pickup', *lines.split()], pickup=True))
    assert shifted[0] == 'pickup' and ' '.join(shifted[1:]) == expected


@pytest.mark.parametrize('lines,reason', [
    (['|:', ':|'], ':|'), ([':|'], ':|'), (['|:', '[V:1]A8|', '|:'], '|:'), (['[1'], '[1'), (['|:', '[1'], '[1'),
    (['|:', '[V:1]A8|', '[1', ':|'], ':|'), (['|:', '[V:1]A8|', '[1', '[V:1]A8|', '[1'], '[1')])
def test_marks_out_of_place_are_refused_with_their_line(lines, reason):
    with pytest.raises(NotationError) as error:
        decode('L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n' + '\n'.join(lines) + '\n')
    assert str(error.value) == f'line {5 + len(lines)}: {reason} out of place'


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from('ab'), max_size=60), st.lists(st.sampled_from('abcdef'), max_size=60))
def test_repeats_unfold_to_what_was_folded(few, many):
    for bars in (few, many, many * 2, many + few * 2 + many):
        lines = folded(bars)
        assert [bar for _, bar in unfolded(lines)] == bars and len([line for line in lines if line.isalpha()]) <= len(bars)


@pytest.mark.parametrize('key', KEYS)
def test_every_key_spells_every_pitch_once_and_reads_it_back(key):
    sharps, mode = KEYS[key]
    assert len(set(spelling(sharps))) == 128 and all(pitches(sharps)[text] == pitch for pitch, text in enumerate(spelling(sharps)))
    notes = np.array([[12 * i, 12, pitch, 0] for i, pitch in enumerate(range(128))], np.int32)
    music = Music(notes, [Voice()], keys=[(0, sharps, mode)])
    assert same(decode(encode(music)), music)


@pytest.mark.parametrize('key, texts', [('F', ('^c4', '_d4')), ('C', ('^B4', 'c4', '=c4')), ('G', ('^f4', 'f4', '_g4')),
                                        ('Cb', ('=B4', 'c4', '=B4'))])
def test_a_note_is_read_in_every_spelling(key, texts):
    read = [decode(f'L:1/8\nM:2/4\nQ:1/4=120\nK:{key}\nV:1 program=0\n[V:1]{text}|\n') for text in texts]
    assert all(same(music, read[0]) and encode(music) == encode(read[0]) for music in read)


def test_the_scale_of_a_key_needs_no_accidentals():
    for name, tonic in (('Eb', 63), ('F#', 66), ('Cb', 59), ('C#', 61)):
        assert not any(c in '_^=' for step in (0, 2, 4, 5, 7, 9, 11) for c in spelling(KEYS[name][0])[tonic + step])


def test_spelling_agrees_with_music21():
    from music21 import abcFormat, key
    for name, (sharps, mode) in KEYS.items():
        signature = key.KeySignature(sharps)
        altered = {p.step: p.alter for p in signature.alteredPitches}
        for pitch in (60, 61, 66, 70, 71, 72, 85):
            text = spelling(sharps)[pitch]
            mark, body = (text[0], text[1:]) if text[0] in '_=^' else ('', text)
            note = abcFormat.ABCNote(mark + body)
            note.activeKeySignature = None
            name_, accidental_ok = note.getPitchName(mark + body)
            from music21 import pitch as m21pitch
            p = m21pitch.Pitch(name_)
            if not mark:
                p.accidental = altered.get(body[0].upper(), 0)
            assert p.midi == pitch, (name, text)


def test_the_docstring_examples():
    text = 'L:1/8\nM:4/4\nQ:1/4=120\nK:Em\nV:1 program=0\nV:2 drums=8\n[V:1]G2A/2B/2c[EGB]4|[V:2]C,,4z4|\nZ|\n[M:3/4][K:G][V:1]F6-|\n[V:1]F2z4|\n'
    music = decode(text)
    assert encode(music) == text
    assert music.notes.tolist()[:2] == [[0, 24, 67, 0], [0, 48, 36, 1]]
    assert music.notes.tolist()[-1] == [192, 96, 66, 0]
    assert music.voices == [Voice(0), Voice(8, True)] and music.meters == [(0, 4, 4), (192, 3, 4)]


def test_a_chord_advances_by_its_first_member():
    head = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n'
    music = decode(head + '[V:1][zG4c7]E[C2E4]z4|\n')
    assert [n[:3] for n in music.notes.tolist()] == [[0, 48, 67], [0, 84, 72], [12, 12, 64], [24, 24, 60], [24, 48, 64]]


def test_lengths_are_reduced_fractions_and_unique():
    assert LENGTH[12] == '' and LENGTH[6] == '/2' and LENGTH[8] == '2/3' and LENGTH[96] == '8' and LENGTH[1] == '/12'
    assert len(UNITS_OF) == len(LENGTH) - 1


HEAD = 'L:1/8\nM:2/4\nQ:1/4=120\nK:C\nV:1 program=0\nV:2 drums\n'


@pytest.mark.parametrize('text, reason', [
    ('', 'header'), ('X:1\n' + HEAD, 'header'), (HEAD.replace('M:2/4', 'M:2/3'), 'impossible meter'),
    (HEAD.replace('M:2/4', 'M:0/4'), 'impossible meter'), (HEAD.replace('K:C', 'K:H'), 'header'), (HEAD.replace('K:C', 'K:D#'), 'no such key'),
    (HEAD.replace('V:2', 'V:3'), 'bad voice'), (HEAD.replace('program=0', 'program=128'), 'bad voice'),
    (HEAD + '[V:1]C4|\n[V:1]C3|\n', 'fills 36 of 48'), (HEAD + '[V:1]C4|\n[V:1]C5|\n', 'fills 60 of 48'), (HEAD + '[V:1]C5|\n', 'fills 60 of 48'),
    (HEAD + '[V:1]C2|[V:2]C3|\n', 'fills 36 of 24'), (HEAD + '[V:1]C4|\n[V:1][CE6]3z|\n', 'lengths inside'),
    (HEAD + '[V:1]C4|\n[V:1][CE6]z3|\n', 'fills 72 of 48'), (HEAD + '[V:2]C4|[V:1]C4|\n', 'out of order'), (HEAD + '[V:1]C4|[V:1]C4|\n', 'out of order'),
    (HEAD + '[V:3]C4|\n', 'not in the header'), (HEAD + '[V:1]C4|\n[V:1]C-C3|\n', 'does not reach'), (HEAD + '[V:1]C1C3|\n', 'bad length'),
    (HEAD + '[V:1]C4|\n[V:1]C2/4C7/2|\n', 'bad length'), (HEAD + '[V:1]_C,,,,,4|\n', 'no MIDI pitch'), (HEAD + '[V:1]H4|\n', 'cannot read'),
    (HEAD + '[M:3/4][V:1]C6|\n', 'header'), (HEAD + '[V:1]C4|\nhello\n', 'line 8: not a bar'), (HEAD + '[V:1]C4|\n[V:1]|\n', 'not a bar')])
def test_text_outside_the_notation_is_refused_with_its_line(text, reason):
    with pytest.raises(NotationError, match=reason):
        decode(text)


def test_sampled_slips_are_read_leniently():
    music = decode(HEAD + '[V:1]C4-|\n[V:1]D4|\n[V:1][C4C2]|\n[V:1][z2C4]C2|\n[V:2]z4|\n')
    assert [n[:3] for n in music.notes.tolist()] == [[0, 48, 60], [48, 48, 62], [96, 48, 60], [144, 24, 60], [168, 24, 60]]


def test_the_worked_bar_of_segments_and_events():
    music = decode(HEAD.replace('2/4', '4/4') + '[V:1]z2[C2E4]Dz[CE]2-|\n[V:1][CE]8|\n')
    starts = np.array(bar_starts(music))
    segments = cut_at_barlines(music, starts)
    order, events = chords(segments, np.repeat(np.diff(starts), len(music.voices)), np.full(4, 24))
    assert segments[:, :5].tolist() == [[0] * 5, [24, 24, 48, 72, 72], [60, 64, 62, 60, 64], [24, 48, 12, 24, 24], [0, 0, 0, 1, 1]]
    assert events[:, :3].tolist() == [[0, 2, 3], [1, 0, 0], [0, 0, 0], [0, 12, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]] and order.tolist() == list(range(7))


def test_events_off_the_barlines_are_refused():
    with pytest.raises(ValueError, match='barline'):
        encode(Music(np.array([[0, 500, 60, 0]], np.int32), [Voice()], tempos=[(0, 100), (50, 120)]))


def test_the_codec_stands_alone_on_the_command_line(tmp_path, capsys):
    music = Music(np.array([[0, 12, 60, 0], [12, 36, 64, 0], [0, 96, 36, 1]], np.int32), [Voice(40), Voice(0, True)])
    write_midi(music, tmp_path / 'a.mid')
    subprocess.run([sys.executable, '-m', 'music', tmp_path / 'a.mid', tmp_path / 'a.abc'], cwd=ROOT, check=True)
    program.main([str(tmp_path / 'a.abc'), str(tmp_path / 'b.mid')])
    assert same(read_midi(str(tmp_path / 'a.mid'))[0], read_midi(str(tmp_path / 'b.mid'))[0])
    (tmp_path / 'bad.mid').write_bytes(b'no music')
    capsys.readouterr()
    for option in ('-h', '--help'):
        program.main([option])
        shown = capsys.readouterr()
        assert 'python -m music in.mid out.abc' in shown.out and not shown.err
    for args, message in (((), 'usage'), (('x.mid',), 'usage'), (('x.mid', 'y.mid'), 'x.mid'), (('x.mid', 'y.abc'), 'x.mid'),
                          ((tmp_path / 'bad.mid', tmp_path / 'y.abc'), 'no MIDI header')):
        with pytest.raises(SystemExit) as e:
            program.main(list(map(str, args)))
        error = capsys.readouterr().err
        assert e.value.code == 2 and message in error and error.count('\n') == 1
    assert sorted(os.listdir(tmp_path)) == ['a.abc', 'a.mid', 'b.mid', 'bad.mid']
