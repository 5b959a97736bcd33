"""tunebook.py, unfold.py, abcfile.py: foreign ABC is read as it sounds, ours says what the music is, and other programs agree."""
import glob
import os
import random
import re
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_notation import pieces

from bench.damage import ABC_SNIPPETS, TEXT_KINDS, damage_text
from conftest import need
from music import midi
from music.abcfile import DRAWABLE, MAX_LINES, write_abc
from music.encoding import decoded
from music.notation import decode, encode, without_overlaps
from music.notes import Music, Voice, bar_starts
from music.tunebook import read_abc


def read(body, header='M:4/4\nL:1/8\nK:C'):
    ((_, music, reason),) = read_abc(f'X:1\nT:test\n{header}\n{body}\n')
    assert reason is None, reason
    return music


def sounds(body, header='M:4/4\nL:1/8\nK:C'):
    """[(onset, duration, pitch)] in eighths of what a body plays; whole numbers where they are."""
    short = lambda units: units // 12 if units % 12 == 0 else units / 12
    return [(short(onset), short(duration), pitch) for onset, duration, pitch, _ in read(body, header).notes.tolist()]


def letters(body, header='M:4/4\nL:1/8\nK:C'):
    """The notes that are played, one after another, as letters (accidentals and octaves left out)."""
    return ''.join('C-D-EF-G-A-B'[pitch % 12] for _, _, pitch in sounds(body, header))


@pytest.mark.parametrize('body, expected', [
    ('C D2 E/ F3/2 G// c', [(0, 1, 60), (1, 2, 62), (3, .5, 64), (3.5, 1.5, 65), (5, .25, 67), (5.25, 1, 72)]),
    ("C, c' z2 B,,", [(0, 1, 48), (1, 1, 84), (4, 1, 47)]),
    ('C>D E<F', [(0, 1.5, 60), (1.5, .5, 62), (2, .5, 64), (2.5, 1.5, 65)]),
    ('C>>D E << F', [(0, 1.75, 60), (1.75, .25, 62), (2, .25, 64), (2.25, 1.75, 65)]),
    ('C>{de}D "Am">E', [(0, 1.5, 60), (1.5, .75, 62), (2.25, .5, 64)]),
    ('(3CDE (3:2:2F2G', [(0, 2 / 3, 60), (2 / 3, 2 / 3, 62), (4 / 3, 2 / 3, 64), (2, 4 / 3, 65), (10 / 3, 2 / 3, 67)]),
    ('(2CD (4CDEF', [(0, 1.5, 60), (1.5, 1.5, 62), (3, .75, 60), (3.75, .75, 62), (4.5, .75, 64), (5.25, .75, 65)]),
    ('[CE]2 [C2E4]G', [(0, 2, 60), (0, 2, 64), (2, 2, 60), (2, 4, 64), (4, 1, 67)]),
    ('C2-C [CE]-[CE] c-|c', [(0, 3, 60), (3, 2, 60), (3, 2, 64), (5, 2, 72)]),
    ('^C C c|C', [(0, 1, 61), (1, 1, 61), (2, 1, 73), (3, 1, 60)]),
    ('^C-|C C', [(0, 2, 61), (2, 1, 60)]),
    ('[C^C]-|[C^C]', [(0, 2, 60), (0, 2, 61)]),
    ('C4 & E2 F2|G', [(0, 4, 60), (0, 2, 64), (2, 2, 65), (4, 1, 67)]),
    ('C [L:1/4] D [L:1/16]E', [(0, 1, 60), (1, 2, 62), (3, .5, 64)]),
    ('F [K:D] F ^c', [(0, 1, 65), (1, 1, 66), (2, 1, 73)]),
    ('!trill!C .D ~E (F G) "^words"A Tc y2 d', [(i, 1, p) for i, p in enumerate((60, 62, 64, 65, 67, 69, 72, 74))]),
    ('Z2|C', [(16, 1, 60)]),
    ('C\\\nD % a comment | E\nw:la la\nE', [(0, 1, 60), (1, 1, 62), (2, 1, 64)]),
])
def test_elements_sound_as_abc_2_1_says(body, expected):
    assert sounds(body) == [pytest.approx(note) for note in expected]


@pytest.mark.parametrize('body, expected', [
    ('|:CD:|EF', 'CDCDEF'),
    ('CD:|EF', 'CDCDEF'),                                # without |: from the start
    ('CD||EF:|GA', 'CDEFEFGA'),                          # or from the latest double bar,
    ('CD:|EF:|', 'CDCDEFEF'),                            # or end of a repeat
    ('|:C||D:|', 'CDCD'),                                # but not where |: stands
    ('|:CD::EF:|', 'CDCDEFEF'),
    ('|:CD|1E:|2F|]G', 'CDECDFG'),
    ('|:CD[1E:|[2F:|G', 'CDECDFG'),
    ('|:C|1,3D:|2E:|4F||G', 'CDCECDCFG'),
    ('|:CD|1E:|F', 'CDECDF'),
    ('C|1D:|2E||F|1G:|2A|]', 'CDCEFGFA'),
    ('|::CD::|E', 'CDCDCDE'),
    ('CD|[1 E\n:|[2 F|]', 'CDECDF'),
])
def test_repeats_and_endings_are_played_out(body, expected):
    assert letters(body) == expected


def test_parts_are_played_in_the_order_of_the_header():
    assert letters('P:A\nCD|\nP:B\nEF:|', 'P:A(BA)2\nM:4/4\nL:1/8\nK:C') == 'CD' + 'EFEFCD' * 2


@pytest.mark.parametrize('field, sharps, mode, pitch_of_f', [
    ('G', 1, 'major', 66), ('Am', 0, 'minor', 65), ('A Dorian', 1, 'minor', 66), ('Dmix', 1, 'major', 66), ('Ephr', 0, 'minor', 65),
    ('HP', 2, 'major', 66), ('Bb', -2, 'major', 65), ('F#', 6, 'major', 66), ('Cb', -7, 'major', 64), ('C^f', 0, 'major', 66),
    ('Flyd', 0, 'major', 65), ('none', 0, 'major', 65), ('Dmix=c', 1, 'major', 66)])
def test_keys_and_modes(field, sharps, mode, pitch_of_f):
    music = read('F', f'M:4/4\nL:1/8\nK:{field}')
    assert (music.keys, music.notes[0, 2]) == ([(0, sharps, mode)], pitch_of_f)


@pytest.mark.parametrize('field, quarters', [('1/4=96', 96), ('"Slow" 3/8=60', 90), ('1/2=50', 100), ('C3=80', 120), ('120', 60), ('"Allegro"', 120)])
def test_tempos(field, quarters):
    assert read('C', f'M:4/4\nL:1/8\nQ:{field}\nK:C').tempos == [(0, quarters)]


def test_pickup_and_incomplete_bars_that_meet_over_a_repeat_make_full_bars():
    music = read('C|DEFG ABcd|efga gfe:|')
    assert music.pickup == 12 and music.meters == [(0, 4, 4)] and bar_starts(music) == [0, 12, 108, 204, 300, 396]


def test_irregular_bars_become_meter_changes_and_missing_barlines_are_put_in():
    music = read('CDEF GABc|CDE|CDEF GABc CDEF GABc|C8|')
    assert music.meters == [(0, 4, 4), (96, 3, 8), (132, 4, 4)] and bar_starts(music) == [0, 96, 132, 228, 324, 420]


def test_voices_with_programs_and_drums():
    body = 'V:1\n%%MIDI program 40\nV:2\n%%MIDI channel 10\n[V:1]C8|D8|\n[V:2]E8|F8|'
    music = read(body)
    assert music.voices == [Voice(40), Voice(0, True)]
    assert music.notes.tolist() == [[0, 96, 60, 0], [0, 96, 64, 1], [96, 96, 62, 0], [96, 96, 65, 1]]
    assert read('C[I:MIDI program 12]D').voices == [Voice(0), Voice(12)]
    assert read('[V:2]E8|F8|\n[V:1]C8|D8|', 'V:1 octave=-1\n%%MIDI program 40\nV:2\nM:4/4\nL:1/8\nK:C').notes[0, 2] == 48


@pytest.mark.parametrize('body, reason', [
    ('C D ?', "sign '?' not understood"), ('', 'no music'), ('z4', 'no notes'), ("c''''''", 'pitch out of range'), ('C0', 'note of no length'),
    ('V:1\nC8|\nV:2\nC7|', 'voices differ in the length of a bar'), ('CDE (5CDE|CDEF GABc|C8|C8', 'bar off the grid')])
def test_what_cannot_be_read_has_a_named_reason(body, reason):
    assert [r for _, _, r in read_abc(f'X:1\nM:4/4\nL:1/8\nK:C\n{body}\n')] == [reason]


def test_a_book_goes_on_after_a_tune_that_is_rejected():
    book = 'X:1\nT:one\nK:C\nC ?\n\nX:2\nT:two\nK:C\nC D\n'
    assert [(title, music is None) for title, music, _ in read_abc(book)] == [('one', True), ('two', False)]


def test_a_file_header_holds_for_all_tunes():
    ((_, music, _),) = read_abc('L:1/4\nM:3/4\n\nX:1\nK:C\nCDE|F\n')
    assert music.meters == [(0, 3, 4)] and music.notes[0, 1] == 24


def test_compact_notation_is_read_too():
    music = read('CDEF GABc|[CEG]8')
    text = encode(music)
    assert [encode(m) for _, m, _ in read_abc(text + '\n' + text)] == [text, text]


def corpus():
    music21 = pytest.importorskip('music21')
    folder = os.path.join(os.path.dirname(music21.__file__), 'corpus')
    return sorted(path for book in ('airdsAirs', 'oneills1850', 'ryansMammoth') for path in glob.glob(os.path.join(folder, book, '*.abc')))


def test_at_least_99_percent_of_the_bundled_books_are_read():
    reasons = [reason for path in corpus()[::3] for _, _, reason in read_abc(open(path).read())]     # of all three
    assert len(reasons) == 1502 and sum(r is None for r in reasons) >= 0.99 * len(reasons)


def test_damaged_books_are_read_or_rejected_but_never_crash():
    rng = random.Random(0)
    tunes = [t for path in corpus()[::60] for t in re.split(r'^(?=X:)', open(path).read(), flags=re.M)[1:]][:40]
    outcomes = set()
    for tune in tunes * 12:
        text = list(tune)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(10, len(text))
            text[at:at + rng.randint(0, 2)] = rng.choice(['', *'[]|:(9->&{"Z/\n^', '[V:2]', '(9:9:9', 'K:', '(A'])
        outcomes |= {reason for _, _, reason in read_abc('X:1\n' + ''.join(text))}
    assert None in outcomes and len(outcomes) > 3


def content(music):
    """What must survive: notes with program and drum flag, and all events."""
    rows = sorted((*row[:3], music.voices[row[3]].program, music.voices[row[3]].is_drum) for row in music.notes.tolist())
    return rows, *([e for i, e in enumerate(events) if not i or e[1:] != events[i - 1][1:]] for events in (music.meters, music.tempos, music.keys))


@settings(max_examples=100, deadline=None)
@given(pieces())
def test_stand_alone_file_says_the_same_music(music):
    valid = set(bar_starts(music))
    music.tempos, music.keys = ([e for e in events if e[0] in valid] for events in (music.tempos, music.keys))
    text = write_abc(music)
    ((_, again, reason),) = read_abc(text)
    assert reason is None and content(again) == content(music) and again.pickup == music.pickup, text
    if len(re.findall(r'^V:', text, re.M)) <= MAX_LINES and len(music.voices) <= MAX_LINES:
        assert len(again.voices) == len(set(music.notes[:, 3].tolist()))


@settings(max_examples=100, deadline=None)
@given(pieces())
def test_stand_alone_file_keeps_to_the_standard(music):
    music.tempos, music.keys = music.tempos[:1], music.keys[:1]
    body = re.sub(r'^(?!\[V:).*\n', '', write_abc(music), flags=re.M)
    body = re.sub(r'\[[A-Z]:[^]]*\]', '', body)
    assert not re.search(r'&|\[[^]]*\d[^]]*\]', body)                         # no overlays, no lengths inside chords
    for n, d in re.findall(r'''[A-Ga-gz\]][,']*(\d*)(?:/(\d+))?''', body):
        sixtyfourths = 8 * int(n or 1) / int(d or 1)
        assert sixtyfourths in DRAWABLE and int(d or 1) in (1, 2, 4, 8)
    assert all(re.fullmatch(r'\(3:2:\d+', t) for t in re.findall(r'\([^A-Ga-gz\[_^=]*', body))


@pytest.mark.parametrize('low, high, longest, seed', [(30, 90, 20, 0), (60, 64, 60, 1), (60, 64, 200, 2), (55, 70, 90, 3)])
def test_many_voices_and_thick_chords_stay_within_what_abc2midi_holds(low, high, longest, seed):
    rng = np.random.default_rng(seed)
    onset, length = rng.integers(0, 80, 500) * 12, rng.integers(1, longest, 500) * 6
    rows = np.stack([onset, onset + length, rng.integers(low, high, 500), rng.integers(0, 12, 500)], 1).tolist()
    keys = [(0, 0, 'major'), (288, 3, 'major'), (672, -4, 'minor')]
    music = Music(without_overlaps(rows), [Voice(program) for program in range(12)], keys=keys)
    text = write_abc(music)
    assert len(re.findall(r'^V:', text, re.M)) == MAX_LINES
    ((_, again, _),) = read_abc(text)
    assert content(again) == content(music)


def test_music_of_no_notes_is_a_bar_of_silence():
    assert [reason for _, _, reason in read_abc(write_abc(Music(np.zeros((0, 4), np.int32))))] == ['no notes']


def test_abc2midi_hears_the_same_music(tmp_path):
    rng = np.random.default_rng(1)
    for trial in range(8):
        n = 120
        step = np.where(rng.random(n) < 0.7, 6, 8)
        rows = [(int(t * s), int(t * s + d * s), int(p), int(v)) for t, d, p, v, s in
                zip(rng.integers(0, 80, n), rng.integers(1, 9, n), rng.integers(30, 100, n), rng.integers(0, 4, n), step)]
        music = Music(without_overlaps(rows), [Voice(0), Voice(33), Voice(73), Voice(0, True)], [(0, 4, 4), (96, 3, 4)],
                      [(0, 100), (96, 140)], [(0, 2 * trial - 7, 'major')])
        (tmp_path / 'a.abc').write_text(write_abc(music))
        subprocess.run([need('abc2midi'), tmp_path / 'a.abc', '-o', tmp_path / 'a.mid'], capture_output=True, check=True)
        heard = midi.raw_midi(str(tmp_path / 'a.mid'))
        kinds = [(v.program, v.is_drum) for v in heard['voices']]
        theirs = sorted((*kinds[v], int(p), round(float(t))) for t, p, v in zip(heard['onset'], heard['pitch'], heard['voice']))
        ours = sorted((music.voices[v].program, music.voices[v].is_drum, p, t) for t, _, p, v in music.notes.tolist())
        assert len(theirs) == len(ours) and all(a[:3] == b[:3] and abs(a[3] - b[3]) <= 2 for a, b in zip(theirs, ours))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(['C', 'D2', '^F', '_B', 'c/', 'e3/2', 'z', '[CEG]', 'G-G', '(3CDE', 'A>B', 'A<c', '|', 'G,', "c'", '=F']),
                min_size=3, max_size=30))
def test_we_hear_what_abc2midi_hears(tmp_path_factory, tokens):
    folder = tmp_path_factory.mktemp('abc')
    tune = 'X:1\nT:t\nM:4/4\nL:1/8\nQ:1/4=120\nK:D\n' + ' '.join(tokens + ['C4', '|', 'D', '|]']) + '\n'
    (folder / 'a.abc').write_text(tune)
    subprocess.run([need('abc2midi'), folder / 'a.abc', '-o', folder / 'a.mid', '-NGUI'], capture_output=True, check=True)
    heard = midi.raw_midi(str(folder / 'a.mid'))
    ((_, music, reason),) = read_abc(tune)
    if reason is None:                                                        # else a bar of a length that no meter has
        theirs = sorted((int(p), round(float(t))) for t, p in zip(heard['onset'], heard['pitch']))
        ours = sorted((p, t) for t, _, p, _ in music.notes.tolist())
        assert len(theirs) == len(ours) and all(a[0] == b[0] and abs(a[1] - b[1]) <= 2 for a, b in zip(theirs, ours)), tune


def test_music21_opens_the_stand_alone_file():
    music21 = pytest.importorskip('music21')
    music = read('CDEF GABc|(3CDE F2 [CEG]2 ^F2|C8-|C4 z4|]')
    score = music21.converter.parse(write_abc(music), format='abc')
    found = sorted((float(n.getOffsetInHierarchy(score)) * 24, p.midi) for n in score.stripTies().recurse().notes for p in n.pitches)
    assert [p for _, p in found] == [p for _, p in sorted((t, p) for t, _, p, _ in music.notes.tolist())]


# ---- Files of strangers

def remarked(text):
    """(letters of the notes, remarks) of the only tune of a text."""
    ((_, music, reason),) = read_abc(text)
    assert reason is None, reason
    return ''.join('C-D-EF-G-A-B'[pitch % 12] for pitch in music.notes[:, 2].tolist()), dict(music.remarks)


BLOCKS = {'skipped: blocks of text': 1}


@pytest.mark.parametrize('before, inside, after', [
    ('CD|\n', '%%begintext\nA bad egg, added\n%%endtext', '\nEF|'),
    ('CD|\n', '%%begintext align\nA cabbage bed\n\nX:2\nK:G\nGGG\n%%endtext', '\nEF|'),
    ('CD|\n', '%%beginps\n/a { b c } def\n%%endps', '\nEF|'),
    ('CD|\n', '%%beginsvg\n<g/>\n%%endsvg', '\nEF|'),
    ('CD|EF|\n', '%%begintext\nA bad egg', ''),                               # never closed
    ('CD|EF|\n', '%%begintext\nA bad egg', '\n\nA bad deed')])
def test_blocks_of_text_are_no_music(before, inside, after):
    assert remarked(f'X:1\nL:1/4\nM:2/4\nK:C\n{before}{inside}{after}\n') == ('CDEF', BLOCKS)


@pytest.mark.parametrize('text', [
    'X:1\n%%begintext\nK: is for kitchen\n%%endtext\nL:1/4\nM:2/4\nK:C\nCD|EF|\n',
    'X:1\nL:1/4\nM:2/4\nI:beginps\nK:\n%%endps\nK:C\nCD|EF|\n'])
def test_blocks_of_text_in_the_header(text):
    assert remarked(text) == ('CDEF', BLOCKS)


@pytest.mark.parametrize('line', ['%%text A bad egg', '%%center A bad egg', 'w:a bad egg', 'w:a bad\n+:egg', 'W:A bad egg', 's:* !f! *',
                                  'N:abc def', 'r:a bad egg', '[r:a bad egg]', '% a bad egg', '"a bad egg"'])
def test_fields_and_lines_of_words_are_no_music(line):
    assert remarked(f'X:1\nL:1/4\nM:2/4\nK:C\nCD|\n{line}\nEF|\n') == ('CDEF', {})


def test_a_block_that_is_never_closed_costs_no_other_tune():
    book = 'X:1\nK:C\nCDEF|\n%%begintext\na bad egg\n\nX:2\nK:C\nG8|\n%%begintext\nabc\n%%endtext\nA8|\n'
    assert [len(music.notes) for _, music, _ in read_abc(book)] == [4, 2]
    assert [len(music.notes) for _, music, _ in read_abc('%%begintext\nX:9\nK:G\na\n%%endtext\n' + book)] == [4, 2]


@pytest.mark.parametrize('words', ['This is the second part', 'Enjoy!', 'Hope this helps - let me know.', '(play it twice)'])
def test_lines_of_words_are_no_music(words):
    tune = 'X:1\nL:1/4\nM:2/4\nK:C\nCD|EF|\n'
    assert remarked(tune + words + '\n') == ('CDEF', {'skipped: lines of words': 1})


@pytest.mark.parametrize('line', ['uAvB TdHg', '"sing along"CD EF', '!trill!CDEF', 'CDEF GABc', '(3abc (3def', '[r: three words here]CD EF'])
def test_music_is_no_line_of_words(line):
    assert not remarked(f'X:1\nL:1/4\nM:none\nK:C\n{line}\n')[1]


@pytest.mark.parametrize('body, expected', [
    ('f2e|d3|\n&&A3-|AGF|', [(0, 4, 69), (0, 2, 77), (2, 1, 76), (3, 3, 74), (4, 1, 67), (5, 1, 65)]),
    ('f2e|d3|\n& A3|g3', [(0, 2, 77), (2, 1, 76), (3, 3, 69), (3, 3, 74), (6, 3, 79)]),
    ('f2e|d3&&A3|G3|g3', [(0, 3, 69), (0, 2, 77), (2, 1, 76), (3, 3, 67), (3, 3, 74), (6, 3, 79)]),
    ('(&f3|d3&A3|G3&)|g3', [(0, 3, 69), (0, 3, 77), (3, 3, 67), (3, 3, 74), (6, 3, 79)]),
    ('f3|d3|&&A3|G3|&&C3|D3|g3', [(0, 3, 60), (0, 3, 69), (0, 3, 77), (3, 3, 62), (3, 3, 67), (3, 3, 74), (6, 3, 79)]),
    ('f3|d3|&& Z2|g3', [(0, 3, 77), (3, 3, 74), (6, 3, 79)]),
    ('f3|d3|&&&& A3|G3', [(0, 3, 69), (0, 3, 77), (3, 3, 67), (3, 3, 74)])])
def test_overlays_go_back_a_bar_for_each_sign(body, expected):
    assert sorted(sounds(body, 'M:3/8\nL:1/8\nK:C')) == sorted(expected)


@pytest.mark.parametrize('text, first', [
    ('L:1/8\nM:4/4\nK:G\nG2A2 B2c2|^d8|\n', 67), ('M:4/4\nK:G\nG2A2 B2c2|\n', 67), ('K:G\nGABc|', 67), ('\n\nT:tune\nK:G\nGABc|\n', 67),
    ('Here is a tune for you:\n\n```abc\nL:1/8\nK:G\nGABc|\n```\nHope you like it!\n', 67),
    ('Sure!\n```\nX:1\nT:t\nK:G\nGABc|\n```\nA bad egg.', 67),
    ('> X:1\n> K:G\n> GABc|\n', 67), ('  X:1\n  K:G\n  GABc|\n', 67),
    ('Q:1/4=90\nL:1/8\nK:G\nGABc|\n', 67), ('```\r\nK:G\r\nGABc|\r\n```\r\n', 67), ('X:1\rK:G\rGABc|\r', 67),
    ('L:1/8\nM:4/4\nQ:1/4=120\nK:G\nGABc|\n', 67)])
def test_pasted_tunes_are_read(text, first):
    ((_, music, reason),) = read_abc(text)
    assert reason is None and music.notes[0, 2] == first and not music.remarks


def test_all_tunes_without_a_number_are_read():
    text = 'Two tunes:\nT:one\nK:C\nCDEF|\n\nand\n\nT:two\nK:C\nGABc|\nGABc|\n\nBye!\n'
    assert [(title, len(music.notes)) for title, music, _ in read_abc(text)] == [('one', 4), ('two', 8)]
    assert [title for title, *_ in read_abc(text + 'X:3\nT:three\nK:C\nC\n')] == ['one', 'two', 'three']


@pytest.mark.parametrize('text, reason', [
    ('X:1\nT:t\nM:4/4\nCDEF|\n', 'no K: line, which ends the header'), ('X:1\nT:t\n', 'no K: line, which ends the header'),
    ('T:t\nCDEF|\n', 'no K: line, which ends the header'),
    ('X:1\n\nT:t\n\nK:C\n\nCDEF|\n\nGABc|\n', 'an empty line after K:, where the music should begin'),
    ('K:C\n\nCDEF|\n', 'an empty line after K:, where the music should begin'),
    ('X:1\nK:C\n', 'no music'), ('X:1\nK:C\n\nThat was it.\n', 'no music'),
    ('', 'no tune: neither an X: nor a K: line'), ('some words\n', 'no tune: neither an X: nor a K: line')])
def test_messages_name_the_cause(text, reason):
    assert [reason for *_, reason in read_abc(text)] == [reason]


def test_music_after_an_empty_line_is_named():
    assert remarked('X:1\nL:1/4\nM:2/4\nK:C\nCD|EF|\n\nGA|\nBc|\nThese are words\n') == ('CDEF', {'skipped: lines of music after an empty line': 2})


@pytest.mark.parametrize('field, quarters', [
    ('3/8 1/4 1/4=30', 105), ('1/4 3/8 = 40', 100), ('1/4+3/8=40', 100), ('"Slow" 1/4=60 "ly"', 60), ('1/4.=60', 90), ('1/4=66-72', 69),
    ('1/4=ca. 92', 92), ('C=100', 50), ('1/8=92.5', 46), ('"Allegro" 1/4=120', 120), ('1/8 3/8=40', 80), ('100', 50)])
def test_tempos_of_all_forms(field, quarters):
    music = read('C', f'M:4/4\nL:1/8\nQ:{field}\nK:C')
    assert music.tempos == [(0, quarters)] and not music.remarks


@pytest.mark.parametrize('field', ['"Allegro"', 'Allegro', '1/0=60', '1/4=fast', '1/4=0', 'x=60', '1/4', '80=1/4', '1/4=1e3'])
def test_a_tempo_that_cannot_be_read_is_named(field):
    music = read('C', f'M:4/4\nL:1/8\nQ:{field}\nK:C')
    assert music.tempos == [(0, 120)] and music.remarks == {'guessed: tempo': 1}
    assert not read('C', 'M:4/4\nL:1/8\nQ:\nK:C').remarks


@pytest.mark.parametrize('header, keys', [
    ('%%MIDI drummap E 36\n%%MIDI drummap d 38\n%%MIDI channel 10\nK:C', [36, 38, 69]),
    ('%%MIDI channel 10\n%%MIDI drummap ^C 35\n%%MIDI drummap E 36\nK:C', [36, 74, 69]),
    ('%%percmap E 40 x\n%%MIDI channel 10\nK:C', [40, 74, 69]),
    ('V:1 clef=perc\n%%MIDI drummap d 38\nK:C', [64, 38, 69]),
    ('%%MIDI drummap A 47\nK:C perc', [64, 74, 47])])
def test_drum_maps_are_followed(header, keys):
    music = read('E d A', f'M:3/4\nL:1/4\n{header}')
    assert music.notes[:, 2].tolist() == keys and music.voices[0].is_drum


@pytest.mark.parametrize('header, named', [('K:C clef=perc', 1), ('V:1 clef=perc\nK:C', 1), ('K:C perc', 1), ('%%MIDI channel 10\nK:C perc', 0), ('K:C bass', 0)])
def test_a_percussion_clef_without_a_drum_map_is_named(header, named):
    music = read('E d A', f'M:3/4\nL:1/4\n{header}')
    assert music.notes[:, 2].tolist() == [64, 74, 69]
    assert music.remarks == ({'guessed: pitches on a percussion clef': 1} if named else {})


def test_a_drum_map_in_the_music_holds_from_there():
    body = 'E|\n%%MIDI drummap E 36\nE|[I:MIDI=drummap E 38]E|\n'
    assert read(body, 'M:1/4\nL:1/4\n%%MIDI channel 10\nK:C').notes[:, 2].tolist() == [64, 36, 38]


def test_a_drum_map_belongs_to_its_voice_first():
    header = 'M:1/4\nL:1/4\nV:1\n%%MIDI channel 10\n%%MIDI drummap E 36\nV:2\n%%MIDI channel 10\n%%MIDI drummap E 38\nV:3\nK:C'
    music = read('[V:1]E\n[V:2]E\n[V:3]E', header)
    assert music.notes[:, 2].tolist() == [36, 38, 64]
    assert read('[V:1]C', 'M:1/4\nL:1/4\n%%MIDI drummap E kick\n%%MIDI drumon\nK:C').remarks == {'skipped: drum maps': 1, 'skipped: drum patterns': 1}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1', 'cp1252', 'utf-16', 'utf-16-be-bom'])
def test_titles_in_many_encodings(encoding):
    text = 'X:1\nT:Größe\nK:C\nCDEF|\n'
    data = b'\xfe\xff' + text.encode('utf-16-be') if encoding.endswith('bom') else text.encode(encoding)
    ((title, music, _),) = read_abc(decoded(data))
    assert title == 'Größe' and len(music.notes) == 4


def test_quotes_of_windows_and_bytes_that_it_does_not_have_are_read():
    assert [decoded(data) for data in (b'\x93a\x94', b'\x81\xfc')] == ['\u201ca\u201d', '\x81\xfc']


def test_grace_notes_dangling_ties_and_macros_are_named():
    assert remarked('X:1\nL:1/4\nM:2/4\nm:~G2={A}G{F}G\nK:C\nCD|\n') == ('CD', {'skipped: macros': 1})
    assert remarked('X:1\nL:1/4\nM:2/4\nK:C\n{ab}C-D|E-E-|\n') == ('CDE', {'skipped: grace notes': 2, 'repaired: dangling ties': 2})


def test_damaged_tunes_of_strangers_are_read_or_rejected():
    rng = random.Random(0)
    tune = 'X:1\nT:t\nM:3/4\nL:1/8\nQ:1/4 3/8=40\n%%MIDI drummap E 36\nP:AB\nK:G\nP:A\n!segno!G2A2B2|(3ABc d4&G6|\n&&D6|\nP:B\n|:c2"D.C."d2e2|1d6:|2c6!D.S.!|]\n'
    outcomes = set()
    for _ in range(400):
        data = damage_text(tune * rng.randint(1, 2), rng.choice(TEXT_KINDS), rng, ABC_SNIPPETS)
        for _, music, reason in read_abc(decoded(data)):
            outcomes.add(reason)
            assert music is None or (decode(encode(music)).notes == music.notes).all(), data
    assert None in outcomes and len(outcomes) > 5
