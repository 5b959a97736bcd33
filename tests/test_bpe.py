"""bpe.py: lossless, exactly as many ids as asked for, no token across a barline, equal to a naive BPE."""
import random
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpe


def tunes(n, seed=0):
    """Texts like the compact notation's, from few cells, so that there is something to merge."""
    draw = random.Random(seed)
    cells = [''.join(draw.choice(['G2', 'A', 'B/2', 'c', '[CEG]4', 'z4', '^F,']) for _ in range(6)) + '|' for _ in range(40)]
    return [f'L:1/8\nM:4/4\nQ:1/4=120\nK:{draw.choice(["G", "Em", "C"])}\nV:1 program=0\nV:2 drums\n'
            + ''.join(f'[V:1]{draw.choice(cells)}[V:2]{draw.choice(cells)}\n' for _ in range(20)) for _ in range(n)]


@pytest.fixture(scope='module')
def trained():
    return {'bpe': bpe.train(tunes(50), 300), 'char': bpe.train(tunes(50), 300, 'char')}


@given(st.one_of(st.text(), st.text(alphabet='\\0123456789abcdef|\n[V:1]é\x00\ud800🎵')))
@settings(max_examples=300, deadline=None)
def test_any_text_comes_back_and_needs_no_id_beyond_the_vocabulary(trained, text):
    for tokenizer in trained.values():
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(0 <= i < tokenizer.tune for i in ids)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_ids_decode_without_an_error(trained, data):
    for tokenizer in trained.values():
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
        assert isinstance(tokenizer.decode(ids), str)


def test_vocab_size_counts_every_id_and_tune_is_the_last(trained):
    tokenizer = trained['bpe']
    assert tokenizer.vocab_size == 300 == len(tokenizer.tokens) + 1 == len(set(tokenizer.tokens)) + 1
    assert tokenizer.tune == 299 and tokenizer.decode([299]) == ''
    assert [tokenizer.decode([i]) for i in range(299) if tokenizer.tokens[i] != '\\'] == [
        token for token in tokenizer.tokens if token != '\\']


def test_tune_mark_written_in_a_text_is_not_the_tune_id(trained):
    for tokenizer in trained.values():
        assert tokenizer.tune not in tokenizer.encode('<|tune|>')
        assert tokenizer.decode(tokenizer.encode('<|tune|>')) == '<|tune|>'


def test_char_level_is_one_id_per_character(trained):
    for text in tunes(5, seed=1):
        assert len(trained['char'].encode(text)) == len(text)


def test_no_token_crosses_a_barline_or_a_line_end(trained):
    assert any(len(token) > 8 for token in trained['bpe'].tokens)
    for token in trained['bpe'].tokens:
        assert re.fullmatch(r'[^|\n]*(\|?\n?)', token), token


def test_text_cut_at_barlines_has_the_same_tokens(trained):
    text = tunes(1, seed=2)[0]
    pieces = re.findall(r'[^|\n]*\|\n?|[^|\n]*\n', text)
    assert ''.join(pieces) == text
    assert sum((trained['bpe'].encode(piece) for piece in pieces), []) == trained['bpe'].encode(text)


def test_merges_equal_a_naive_bpe_up_to_ties():
    texts = tunes(30, seed=3)
    tokenizer = bpe.train(texts, 200)
    chunks = Counter(tuple(chunk) for text in texts for chunk in re.findall(bpe.SPLIT, text))
    for token in [t for t in tokenizer.tokens if len(t) > 1]:
        pairs = Counter()
        for chunk, n in chunks.items():
            for pair in zip(chunk, chunk[1:]):
                pairs[pair] += n
        best = max(pairs.values())
        pair = next(p for p in pairs if ''.join(p) == token and pairs[p] == best)           # a most frequent pair was merged
        chunks = merged(chunks, pair)
    naive = [tokenizer.tokens.index(part) for chunk in re.findall(bpe.SPLIT, texts[0]) for part in segment(chunk, tokenizer.tokens)]
    assert tokenizer.encode(texts[0]) == naive


def merged(chunks, pair):
    result = Counter()
    for chunk, n in chunks.items():
        out, i = [], 0
        while i < len(chunk):
            if chunk[i:i + 2] == pair:
                out.append(chunk[i] + chunk[i + 1])
                i += 2
            else:
                out.append(chunk[i])
                i += 1
        result[tuple(out)] += n
    return result


def segment(chunk, tokens):
    """Merge the pair of lowest rank until none is left."""
    parts = list(chunk)
    while True:
        ranks = [(tokens.index(a + b), i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in tokens]
        if not ranks:
            return parts
        _, i = min(ranks)
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


def test_saved_and_loaded_tokenizer_is_the_same(trained, tmp_path):
    for kind, tokenizer in trained.items():
        (tmp_path / 'tokenizer.json').write_text(tokenizer.to_json())
        again = bpe.Tokenizer.load(tmp_path / 'tokenizer.json')
        assert (again.kind, again.hash, again.vocab_size, again.tune) == (kind, tokenizer.hash, tokenizer.vocab_size, tokenizer.tune)
        assert again.encode(tunes(1, seed=4)[0]) == tokenizer.encode(tunes(1, seed=4)[0])


def test_training_twice_gives_the_same_tokenizer(trained):
    assert bpe.train(iter(tunes(50)), 300).hash == trained['bpe'].hash


def test_a_vocabulary_larger_or_smaller_than_the_text_allows_names_the_range():
    with pytest.raises(ValueError, match=r'does not fit this text, which gives \d+ to \d+ ids'):
        bpe.train(['[V:1]CDEF|\n'], 1000)
    with pytest.raises(ValueError, match='does not fit'):
        bpe.train(['[V:1]CDEF|\n'], 10)


def test_report_on_a_missing_folder_is_one_line_and_exit_2(tmp_path):
    run = subprocess.run([sys.executable, bpe.__file__, str(tmp_path / 'no')], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.count('\n') == 1 and 'tokenizer.json' in run.stderr


def test_report_names_the_longest_and_the_most_used_tokens(trained, tmp_path):
    tokenizer = trained['bpe']
    (tmp_path / 'tokenizer.json').write_text(tokenizer.to_json())
    ids = [tokenizer.tune] + tokenizer.encode(''.join(tunes(5)))
    np.array(ids, np.uint16).tofile(tmp_path / 'train.bin')
    report = bpe.report(str(tmp_path))
    token, count = Counter(t for t in (tokenizer.tokens[i] for i in ids[1:]) if len(t) > 1).most_common(1)[0]
    assert re.search(rf'most used.*:\n +{count}  {re.escape(repr(token))}\n', report)
    assert repr(max(tokenizer.tokens, key=len)) in report


def test_a_tokenizer_keeps_the_split_it_was_trained_with():
    old = bpe.Tokenizer('bpe', ['a', 'b', '|', ' ', ' a'], r'[^|]*\||[^|]+')
    again = bpe.Tokenizer.from_json(old.to_json())
    assert again.split == old.split and again.hash == old.hash and again.encode('a a|b') == old.encode('a a|b')
