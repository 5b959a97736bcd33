"""The constraint lets through what notation.encode writes, and nothing that decode cannot read."""
import copy
import itertools
import random

import numpy as np
import pytest

from music.notation import NotationError, decode, encode
from music.notes import Music, Voice, bar_starts
from sampling.constrain import Reader

ALPHABET = "LMQKVZz:/=[]|-_^,'\n 0123456789ABCDEFGabcdefgmprodus#"
CLOSERS = '\n|]'
HEADER = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\nV:2 drums\n'


def walk(rng, reader, n, text=''):
    """Random legal text of about n characters, then whatever ends the tune: the reader must never leave it without a next character."""
    while len(text) < n or not reader.can_end:
        alphabet = rng.sample(ALPHABET, len(ALPHABET))
        if len(text) >= n:
            alphabet.sort(key=lambda c: CLOSERS.find(c) if c in CLOSERS else 9 if c == '-' else 5)
        for char in alphabet:
            after = reader.feed(char)
            if after is not None:
                break
        else:
            pytest.fail(f'no character can follow {text!r}')
        text, reader = text + char, after
        assert len(text) < n + 20000, 'a tune must come within reach'
    return text


def random_music(rng):
    """Music with chords, overlaps, ties, rests, several voices, changes of meter, key and tempo, perhaps a pickup."""
    pickup = rng.choice([0, 0, 12, 30])
    meters, tempos, keys, at = [(0, 3, 4)], [(0, 100)], [(0, -2, 'minor')], pickup or 72
    for _ in range(rng.randrange(4)):
        meters.append((at, rng.choice([2, 3, 5, 6]), rng.choice([4, 8])))
        if rng.random() < 0.5:
            tempos.append((at, rng.randrange(30, 200)))
        if rng.random() < 0.5:
            keys.append((at, rng.randrange(-7, 8), rng.choice(['major', 'minor'])))
        at += meters[-1][1] * 96 // meters[-1][2]
    voices = [Voice(rng.randrange(128), rng.random() < 0.2) for _ in range(rng.randrange(1, 13))]
    notes, grid = {}, rng.choice([1, 3, 12])
    for _ in range(rng.randrange(60)):
        voice, pitch = rng.randrange(len(voices)), rng.choice([rng.randrange(128), rng.randrange(60, 66)])
        notes.setdefault((voice, pitch), set()).add(rng.randrange(0, 600, grid))
    rows = []
    for (voice, pitch), onsets in notes.items():
        onsets = sorted(onsets)
        for onset, following in zip(onsets, onsets[1:] + [10**6]):
            rows.append((onset, min(rng.randrange(1, 200), following - onset), pitch, voice))
    music = Music(np.array(sorted(rows, key=lambda r: (r[0], r[3], r[2])), np.int32).reshape(-1, 4), voices, meters, tempos, keys, pickup)
    end = bar_starts(music)[-1]
    for events in (music.meters, music.tempos, music.keys):
        events[:] = [e for e in events if e[0] < max(end, 1)]
    return music


def read(text, reader=None):
    """The reader after text fed in pieces, as tokens would be; None where one is refused."""
    reader, rng = reader or Reader(), random.Random(len(text))
    while text and reader is not None:
        n = rng.randrange(1, 6)
        reader, text = reader.feed(text[:n]), text[n:]
    return reader


@pytest.mark.parametrize('seed', range(100))
def test_every_text_of_the_writer_is_read_to_its_end(seed):
    music = random_music(random.Random(seed))
    text = encode(music)
    reader = read(text)
    assert reader is not None, text
    assert reader.can_end == (len(music.notes) > 0)
    assert text.count('|\n') == len(bar_starts(music)) - 1


@pytest.mark.parametrize('seed', range(40))
def test_whatever_is_let_through_decodes_fills_its_bars_and_never_meets_a_dead_end(seed):
    """From a random header or a fixed one, in any alphabet that can write a tune, on the grid or off it."""
    rng = random.Random(seed)
    head = HEADER if seed % 3 else ''
    start = Reader(alphabet=set(ALPHABET) - set(rng.choice(['', 'u#', "z'", 'Z-'])) | set(head)).feed(head)
    start = start.on_grid() if seed % 2 else start
    text = walk(rng, start, rng.randrange(300), head)
    music = decode(text)
    again = decode(encode(music))
    np.testing.assert_array_equal(again.notes, music.notes)
    assert text.count('\n') - text.count('\nV:') - 4 >= 1


@pytest.mark.parametrize('seed', range(40))
def test_a_changed_character_is_refused_wherever_decode_refuses_it(seed):
    rng = random.Random(seed)
    text = encode(random_music(rng))
    readers = list(itertools.accumulate(text, Reader.feed, initial=Reader()))       # in front of each character
    refused = 0
    for _ in range(60):
        i = rng.randrange(len(text))
        changed = text[:i] + rng.choice(['', rng.choice(ALPHABET)]) + text[i + rng.randrange(2):]
        try:
            decode(changed)
        except NotationError:
            refused += 1
            reader = read(changed[i:], readers[i])
            assert reader is None or not reader.can_end, changed
    assert refused


@pytest.mark.parametrize('line, after', [
    ('[V:1]C8|\n', True), ('[V:1]C8', True), ('[V:1]C9|', False), ('[V:1]C7|', True), ('[V:2]C8|[V:1]', False), ('[V:3]', False),
    ('[V:1]z8|', False), ('[V:1]C4z4|\n', True), ('[V:1]Cz2z', False), ('[V:1][CEG]8|', True), ('[V:1][CEG]9|', False),
    ('[V:1][C8E4]', True), ('[V:1][C8E4]|', True), ('[V:1][E4C8]|', False), ('[V:1][E4C8]C2', False), ('[V:1][C', True),
    ('[V:1][C]', False), ('[V:1][CCE', False), ('[V:1]^C', True), ('[V:1]_G', False), ('[V:1]_B', True), ('[V:2]^F', True),
    ('[V:1]C8-|\nZ|', False), ('[V:1]C8-|\n[V:1]C', True), ('[V:1]C8-|\n[V:1]D', False), ('[V:1]C8-|\n[V:2]', False),
    ('[V:1]C8-|\n[V:1][CE]8|', True), ('[V:1]C8-|\n[V:1][DE]', False), ('[V:1][CE]8-|\n[V:1]C', False), ('[V:1][CE]8-|\n[V:1][C2E', True),
    ('[V:1]C8|\n[V:1]C4-', False), ('[V:1]C8|\n[V:1]z4C4-|', True), ('[V:1]C2-', True), ('[V:1]C2-|[V:2]C2|', True), ('[V:1]C2-C', False),
    ('[V:1]C2-|[V:2]C3|', False), ('[V:1][C2-E]', True), ('[V:1][C4E2-', False), ('[V:1][C/2E4]2', False), ('[M:3/4]', False),
    ('Z|\n[M:3/4]Z|\n', True), ('Z|\n[Q:1/4=90][M:', False), ('Z|\n[M:3/4][K:G][V:1]C6|', True), ('Z|\n[M:3/4][V:1]C7|', False), ('Z|\nZ|Z', False),
    ('[V:1]C2/', True), ('[V:1]C2/3', True), ('[V:1]C2/5', False), ('[V:1]C1', True), ('[V:1]C10z', False), ('[V:1]C10/3', True)])
def test_hand_made_lines(line, after):
    assert (Reader().feed(HEADER).feed(line) is not None) == after


def test_what_is_asked_for_stands_in_the_header():
    rng = random.Random(0)
    for _ in range(5):
        text = walk(rng, Reader(meter='3/4', tempo='90', key='Em', voices=['program=40', 'drums']), 200)
        assert text.startswith('L:1/8\nM:3/4\nQ:1/4=90\nK:Em\nV:1 program=40\nV:2 drums\n')
        assert '\nV:3' not in text


@pytest.mark.parametrize('cell, after', [('C/4', True), ('C/3', True), ('C/12', False), ('C/4C/4C/2', True), ('C/4C/12', False), ('C/4C3/4', True),
                                          ('C/4C2/3', False), ('C2/3C2/3C2/3C6|', True), ('C5/2', True), ('C29/12', False), ('C/4z23/3', False), ('C/4z31/4|', True)])
def test_on_the_grid_times_are_eighths_or_sixths_of_a_quarter(cell, after):
    reader = Reader().feed(HEADER + "[V:1]").on_grid()
    ends = reader.feed(cell + '' if cell[-1] == '|' else cell + 'D')
    assert (ends is not None) == after


def test_it_is_known_where_only_the_line_can_end():
    start = Reader().feed(HEADER)
    assert [start.feed(t).ends_line for t in ('[V:1]C8', '[V:1]C8|', '[V:2]C8|', 'Z|', 'Z|\n')] == [False, False, True, True, False]


def test_feeding_leaves_the_reader_as_it_was():
    reader = Reader().feed(HEADER + '[V:1]C2')
    before = copy.deepcopy(vars(reader))
    for char in ALPHABET:
        reader.feed(char)
    assert vars(reader) == before
