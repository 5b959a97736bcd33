"""constrain.py, prompt.py and generate.py where beats, repeats and phrases are marked: what encode writes, and nothing but that."""
import itertools
import types

import pytest
import torch

import bpe
import sample
from lstm import LSTM, LSTMConfig
from music.notation import decode, encode
from sampling.constrain import Reader
from sampling.generate import generate
from sampling.prompt import prompt_text
from sampling.tune import Tune

HEAD = 'L:1/8\nM:6/8\nQ:1/4=120\nK:G\nV:1 program=0\n'
BARS = ['[V:1]FAd dcd|', '[V:1]GBG g2f|', '[V:1]A3 z3|', '[V:1][GB]2d d3|', '[V:1]e3/2d/2c BAG|', '[V:1]d6|']
PLAIN = HEAD + '\n'.join(bar.replace(' ', '') for bar in BARS[:4] + BARS[4:5] + BARS[:4] + BARS[5:]) + '\n'
MARKED = HEAD + '\n'.join(['|:', *BARS[:4], '[1', BARS[4], ':|', BARS[5]]) + '\n'
PHRASED = MARKED.replace(BARS[3], BARS[3] + '$')
BOTH = {'beats': True, 'repeats': True, 'phrases': False}
ALL = {**BOTH, 'phrases': True}


def reads(text, **marks):
    reader = Reader(**marks).feed(text)
    return reader is not None and reader.can_end


def test_what_encode_writes_is_read_and_only_with_these_marks():
    music = decode(PLAIN)
    assert encode(music, **BOTH) == MARKED and encode(music, **ALL) == PHRASED
    choices = list(itertools.product((False, True), repeat=3))
    for beats, repeats, phrases in choices:
        text = encode(music, beats, repeats, phrases)
        assert [reads(text, beats=b, repeats=r, phrases=p) for b, r, p in choices] == [
            b == beats and r >= repeats and p == phrases for b, r, p in choices]


@pytest.mark.parametrize('n', range(10))
@pytest.mark.parametrize('pickup', [[], ['[V:1]d2|']])
def test_a_phrase_ends_where_encode_says_and_nowhere_else(n, pickup):
    plain = HEAD + '\n'.join([*pickup, *['[V:1]FAd dcd|'] * n, '[V:1]d6|']) + '\n'
    text = encode(decode(plain), **{**ALL, 'repeats': False})
    assert text.count('$') == (n + 1) // 4 and reads(text, **ALL) and reads(text.replace('$', ''), **BOTH)
    body = text.index('[V:1]')
    for i in (i for i in range(body, len(text)) if text[i] == '\n'):
        other = text[:i - 1] + text[i:] if text[i - 1] == '$' else text[:i] + '$' + text[i:]
        assert not reads(other, **ALL)


@pytest.mark.parametrize('old,new', [
    ('FAd dcd', 'FAddcd'), ('FAd dcd', 'F Ad dcd'), ('FAd dcd', ' FAd dcd'), ('FAd dcd', 'FAd  dcd'), ('dcd|', 'dcd |'),
    ('[GB]2d', '[G B]2d'), ('d3|', 'd 3|')])
def test_a_space_stands_in_front_of_each_event_on_a_beat_and_nowhere_else(old, new):
    assert reads(MARKED, **BOTH) and not reads(MARKED.replace(old, new), **BOTH)


@pytest.mark.parametrize('lines', [
    [':|'], ['[1'], ['|:', ':|'], ['|:', BARS[0], '|:'], ['|:', BARS[0], '[1', ':|'], ['|:', BARS[0], '[1', BARS[1], '[1'],
    ['|:', BARS[0]], ['|:', BARS[0][:-1] + '-|', ':|'], ['|:', '[M:3/4]' + BARS[0], ':|'], ['|:', '[V:1]FAd|', ':|'],
    [BARS[0], '[K:D]|:', BARS[0], ':|']])
def test_a_mark_stands_only_where_it_makes_sense(lines):
    assert not reads(HEAD + '\n'.join(lines) + '\n', **BOTH)


def test_a_tune_may_begin_with_a_repeat_or_end_with_one():
    for lines in (['|:', BARS[0], ':|'], ['|:', BARS[0], ':|', '|:', BARS[1], '[1', BARS[2], ':|', BARS[3]]):
        text = HEAD + '\n'.join(lines) + '\n'
        assert reads(text, **BOTH) and decode(text)


@pytest.fixture(scope='module')
def world():
    texts = [text.replace('K:G', f'K:{key}') for key in ('G', 'C', 'D', 'F') for text in (MARKED, PHRASED)]
    tokenizer = bpe.train(texts, 90)
    torch.manual_seed(0)
    return LSTM(LSTMConfig(vocab_size=90, n_layer=1, hidden_size=16)).eval(), tokenizer


@pytest.mark.parametrize('marks', [BOTH, ALL])
def test_tunes_under_the_constraint_keep_its_marks(world, marks):
    model, tokenizer = world
    tunes = [Tune(tokenizer, (1, i), Reader(alphabet=set(tokenizer.tokens), **marks)) for i in range(6)]
    generate(model, tokenizer, tunes, max_tokens=150, max_bars=8)
    texts = [sample.finish(tune) for tune in tunes]
    assert all(decode(text) and Reader(**marks).feed(text) for text in texts)
    assert any('|:' in text for text in texts) and any(' ' in line for text in texts for line in text.splitlines()[5:])
    assert any('|$' in text for text in texts) == marks['phrases']


def test_a_prompt_takes_the_marks_of_the_model():
    asked = lambda **s: types.SimpleNamespace(**{'prompt_bars': None, 'accompany': None, **s})
    assert prompt_text(asked(prompt=PLAIN), BOTH) == encode(decode(PLAIN), beats=True)      # played out: what is given stays given
    assert prompt_text(asked(prompt=MARKED), {'beats': False, 'repeats': False, 'phrases': False}) == PLAIN
    assert prompt_text(asked(prompt=PLAIN, prompt_bars=2), BOTH) == HEAD + '\n'.join(BARS[:2]) + '\n'
    assert prompt_text(asked(prompt=MARKED, prompt_bars=6), BOTH) == HEAD + '\n'.join(BARS[:5] + BARS[:1]) + '\n'
    assert prompt_text(asked(prompt=PHRASED, prompt_bars=4), ALL) == HEAD + '\n'.join(BARS[:4]) + '$\n'
    assert prompt_text(asked(prompt=PHRASED, prompt_bars=9), ALL) == HEAD + '\n'.join([*BARS[:3], BARS[3] + '$', BARS[4], *BARS[:2], BARS[2] + '$', BARS[3]]) + '\n'
    assert prompt_text(asked(prompt=MARKED), ALL) == encode(decode(PLAIN), beats=True, phrases=True)
    assert prompt_text(asked(prompt=PHRASED), BOTH) == encode(decode(PLAIN), beats=True)
    assert prompt_text(asked(prompt='', prompt_bars=4), BOTH) == ''
    assert prompt_text(asked(prompt=PLAIN + '\n' + PLAIN), BOTH) == prompt_text(asked(prompt=PLAIN), BOTH)


@pytest.mark.parametrize('bars,n,expected', [
    (['GABcde-', 'e6'], 1, ['GAB cde-']), (['CDEFGA', 'Z', 'Z', 'c6'], 3, ['CDE FGA', 'Z', 'Z']), (['CDE FGA', 'CD'], 5, ['CDE FGA', 'CD'])])
def test_the_first_bars_of_a_prompt_stay_as_they_are(bars, n, expected):
    text = lambda bars: HEAD + '\n'.join('Z|' if bar == 'Z' else f'[V:1]{bar}|' for bar in bars) + '\n'
    prompt, wanted = text(bars), text(expected)
    if expected[-1] == 'CD':                                    # a bar that is not whole yet
        prompt, wanted = prompt[:-2], wanted[:-2]
    s = types.SimpleNamespace(prompt=prompt, prompt_bars=n, accompany=None)
    assert prompt_text(s, {'beats': True, 'repeats': False, 'phrases': False}) == wanted


@pytest.mark.parametrize('lines', [[':|'], ['|:', '|:']])
def test_a_prompt_with_a_mark_out_of_place_is_one_line(lines, capsys):
    with pytest.raises(SystemExit) as stop:
        prompt_text(types.SimpleNamespace(prompt=HEAD + '\n'.join([BARS[0], *lines]) + '\n', prompt_bars=1, accompany=None), BOTH)
    assert stop.value.code == 2 and 'out of place' in capsys.readouterr().err


def test_a_silent_ending_keeps_no_tune_from_its_end():
    assert reads(HEAD + '\n'.join(['|:', *BARS[:4], '[1', 'Z|', ':|']) + '\n', **BOTH)
    assert not reads(HEAD + '\n'.join(['|:', *BARS[:4], 'Z|', '[1', BARS[4], ':|']) + '\n', **BOTH)


def test_an_empty_line_without_the_constraint_is_only_unreadable(world):
    tune = Tune(world[1], (1, 0))
    for i in world[1].encode('L:1/8\n\nK:C'):
        tune.append(i)
    assert tune.text == 'L:1/8\n\nK:C'
