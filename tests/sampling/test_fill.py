"""fill.py: bars of a tune are written again, given what comes before and after them."""
import random
import types

import numpy as np
import pytest
import torch

import bpe
import sample
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from music.metrics import exact_bars
from music.notation import decode, encode
from music.notes import bar_starts
from sampling.constrain import Reader
from sampling.fill import WEIGHTED_BARS, contexts, fill, find_gap, log_likelihoods, log_weights
from sampling.generate import generate
from sampling.given import Around

HEAD = 'L:1/8\nM:3/4\nQ:1/4=120\nK:G\nV:1 program=0\nV:2 program=33\n'
LINES = ['[V:1]B2|[V:2]G,2|', '[V:1]G2A2B2|[V:2][G,D]6|', '[V:1]c2d4-|', '[V:1]d2c2B2|[V:2]D,6|', 'Z|',
         '[M:4/4][K:F][V:1]A2G2F2E2|[V:2]F,8-|', '[V:1]F2G2A2c2-|[V:2]F,4[C,E,]4-|', '[V:1]c2B2A2G2-|[V:2][C,E,]8|',
         '[Q:1/4=90][V:1]G4A4|', '[V:1]F8|[V:2]F,8|']
TUNE = HEAD + '\n'.join(LINES) + '\n'
FREE = {'top_p': 0.95}


def other_tune(rng):
    """Like TUNE: two voices, ties, a change of meter."""
    cell = lambda n: ''.join(rng.choice('GABcde') + '2' for _ in range(n))
    lines = [f'[V:1]{cell(3)}|[V:2][G,D]6|' for _ in range(rng.randrange(3, 6))]
    lines += [f'[M:4/4][V:1]{cell(3)}c2-|[V:2][C,E,]8-|', f'[V:1]c2{cell(3)}|[V:2][C,E,]4F,4|', '[V:1]A4F4|']
    return HEAD + '\n'.join(lines) + '\n'


@pytest.fixture(scope='module')
def world():
    """(tokenizer, {'gpt', 'lstm'}) of tiny models that have learned a little."""
    rng = random.Random(0)
    texts = [other_tune(rng) for _ in range(40)] + [TUNE]
    tokenizer = bpe.train(texts, 120)
    ids = torch.tensor([i for text in texts for i in [tokenizer.tune, *tokenizer.encode(text)]])
    models = {}
    for name, make in (('gpt', lambda: GPT(GPTConfig(120, 160, 1, 2, 32, positions='rotary', key_offset=True, conv_taps=4))),
                       ('lstm', lambda: LSTM(LSTMConfig(120, 160, 1, 32)))):
        torch.manual_seed(0)
        model = models[name] = make()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(30):
            at = torch.randint(len(ids) - 65, (8,))
            x_BT = torch.stack([ids[a:a + 65] for a in at])
            optimizer.zero_grad()
            model(x_BT[:, :-1], x_BT[:, 1:])[1].backward()
            optimizer.step()
        model.eval()
    return tokenizer, models


def reader_of(tokenizer, **marks):
    return Reader(alphabet={token for token in tokenizer.tokens if len(token) == 1}, **marks)


def filled(world, span, text=TUNE, arch='gpt', n=2, seed=1, **settings):
    """(texts, effective sample sizes)"""
    tokenizer, models = world
    reader = reader_of(tokenizer)
    tunes, _, sizes = fill(models[arch], tokenizer, find_gap(text, span, reader), reader, [(seed, i) for i in range(n)],
                           **{'candidates': 2, **FREE, **settings})
    return [tune.text for tune in tunes], sizes


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
@pytest.mark.parametrize('first,last', [(0, 0), (2, 4), (4, 6), (7, 9), (0, 9)])
def test_all_but_the_gap_stays_and_its_bars_are_exact(world, arch, first, last):
    texts, sizes = filled(world, f'{first}-{last}', arch=arch)
    before, after = 6 + first, 6 + last + 1
    old, changed = TUNE.splitlines(True), 0
    for text in texts:
        new = text.splitlines(True)
        assert new[:before] == old[:before] and new[after:] == old[after:] and len(new) == len(old)
        assert exact_bars(text) == (10, 10)
        music, theirs = decode(text), decode(TUNE)
        assert (music.meters, music.tempos, music.keys, music.pickup) == (
            theirs.meters, theirs.tempos, theirs.keys, theirs.pickup)
        changed += text != TUNE
    assert changed and all(1 - 1e-9 <= size <= 2 + 1e-9 for size in sizes)


@pytest.mark.parametrize('bar', range(10))
def test_ties_into_the_gap_and_out_of_it_are_honoured(world, bar):
    """What sounds in the bars outside is what sounded there: each note, from its barline or onset on."""
    def outside(text):
        music = decode(text)
        begin, end = bar_starts(music)[bar:bar + 2]
        notes = [tuple(note) for note in music.notes.tolist()]
        return (sorted((on, min(on + n, begin), pitch, v) for on, n, pitch, v in notes if on < begin),
                sorted((max(on, end), on + n, pitch, v, on < end) for on, n, pitch, v in notes if on + n > end))

    text, = filled(world, str(bar), arch=['gpt', 'lstm'][bar % 2], n=1)[0]
    assert outside(text) == outside(TUNE)


def test_an_untrained_model_gives_a_tied_chord_too(world):
    tokenizer, _ = world
    torch.manual_seed(1)
    model = GPT(GPTConfig(120, 160, 1, 2, 16))
    reader = reader_of(tokenizer)
    gap = find_gap(TUNE, '6', reader)
    assert gap.required_ties == {0: 1 << 72, 1: 1 << 48 | 1 << 52}
    tunes = [Around(tokenizer, (1, k), reader, gap) for k in range(10)]
    generate(model, tokenizer, tunes, max_tokens=np.inf, max_bars=np.inf)
    whole = [tune.text for tune in tunes if tune.ended]
    assert len(whole) > 8                                   # else held notes leave no room
    for text in whole:
        assert reader.feed(text).bar.ties_in == gap.required_ties and exact_bars(text)[0] == 7


def test_the_seed_decides_and_neither_the_batch_nor_the_tunes_beside(world):
    texts, sizes = filled(world, '3-4')
    assert filled(world, '3-4', batch_size=3) == (texts, pytest.approx(sizes))
    assert filled(world, '3-4', n=1)[0] == texts[:1]
    assert filled(world, '3-4', seed=2)[0] != texts and len(set(texts)) > 1


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
@pytest.mark.parametrize('span', ['2-4', '5', '8-9'])
@torch.inference_mode()
def test_weights_are_the_likelihood_of_what_follows_token_by_token(world, arch, span):
    tokenizer, models = world
    model, reader = models[arch], reader_of(tokenizer)
    gap = find_gap(TUNE, span, reader)
    tunes = [Around(tokenizer, (1, k), reader, gap) for k in range(3)]
    generate(model, tokenizer, tunes, max_tokens=np.inf, max_bars=np.inf)
    lines = gap.after.splitlines(True)
    ids = tokenizer.encode(''.join(lines[:WEIGHTED_BARS])) + [tokenizer.tune] * (len(lines) <= WEIGHTED_BARS)
    naive = []
    for tune in tunes:
        context, total = list(tune.ids), 0.0
        assert len(context) + len(ids) <= model.config.block_size
        for i in ids:
            total += model(torch.tensor([context]))[0][0, -1].log_softmax(0)[i].item()
            context.append(i)
        naive.append(total)
    np.testing.assert_allclose(log_likelihoods(model, tunes, ids, batch_size=2), naive, atol=1e-4)
    weights = np.exp(log_weights(model, tunes, ids))
    expected = np.exp(np.array(naive) - max(naive))
    np.testing.assert_allclose(weights, expected / expected.sum(), atol=1e-4)


def test_fillings_are_drawn_in_proportion_to_their_weights(world, monkeypatch):
    from sampling import fill as module
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    monkeypatch.setattr(module, 'log_weights', lambda model, tunes, ids: np.log(weights))
    monkeypatch.setattr(module, 'generate', lambda model, tokenizer, tunes, **settings: None)
    monkeypatch.setattr(module, 'Around', lambda tokenizer, seed, *rest: types.SimpleNamespace(k=seed[-1], text='', ended=True))
    tokenizer = world[0]
    tunes, _, sizes = fill(None, tokenizer, find_gap(TUNE, '5', reader_of(tokenizer)), None, [(1, i) for i in range(2000)], 4)
    counts = np.bincount([tune.k for tune in tunes])
    assert ((counts - 2000 * weights) ** 2 / (2000 * weights)).sum() < 16.3                # 3 degrees of freedom: p = 0.001
    assert sizes[0] == pytest.approx(1 / (weights ** 2).sum())


def test_what_is_weighed_fits_the_context_and_starts_with_the_same_bar():
    tunes = [types.SimpleNamespace(ids=list(range(n)), header_end=4, bar_ends=[10, 20, n]) for n in (28, 30, 34)]
    assert contexts(tunes, 34) == [tune.ids for tune in tunes]
    assert contexts(tunes, 33) == [tune.ids[:4] + tune.ids[10:] for tune in tunes]
    assert contexts(tunes, 18) == [tune.ids[:4] + tune.ids[20:] for tune in tunes]
    assert contexts(tunes, 15) == [tune.ids[-15:] for tune in tunes]
    assert contexts(tunes, 10)[0] == tunes[0].ids[-10:]


def test_a_tune_longer_than_the_context_is_filled(world):
    """Context 160 tokens; the tune has over 500. The bars outside stay."""
    tokenizer, models = world
    text = HEAD + ''.join(f'{LINES[1]}\n{LINES[3]}\n' for _ in range(40))
    assert len(tokenizer.encode(text)) > 500
    new, sizes = filled(world, '61-64', text, n=2)
    for tune in new:
        assert tune.splitlines()[:66] == text.splitlines()[:66] and tune.splitlines()[70:] == text.splitlines()[70:]
        assert exact_bars(tune) == (80, 80)


def test_beats_and_phrases_are_marked_and_repeats_played_out():
    marks = {'beats': True, 'phrases': True}
    lines = ['|:', '[V:1]FAd dcd|', '[V:1]GBG g2f|', '[V:1]A3 z3|', '[V:1]d6|', '[1', '[V:1]e6|', ':|', '[V:1]c6|']
    text = 'L:1/8\nM:6/8\nQ:1/4=120\nK:G\nV:1 program=0\n' + '\n'.join(lines) + '\n'
    tokenizer = bpe.train([text, encode(decode(text), **marks)] * 3, 50)
    torch.manual_seed(0)
    model, reader = GPT(GPTConfig(50, 64, 1, 2, 16)), reader_of(tokenizer, repeats=True, **marks)
    tunes, _, _ = fill(model, tokenizer, find_gap(text, '4-6', reader), reader, [(1, 0), (1, 1)], candidates=3)
    played = encode(decode(text), **marks).splitlines()
    for tune in tunes:
        new = tune.text.splitlines()
        assert new[:8] == played[:8] and new[11:] == played[11:] and new[8:11] != played[8:11] and '|:' not in new
        assert Reader(**marks).feed(tune.text).can_end and new[8][-2:] == '|$'


@pytest.mark.parametrize('span,message', [
    ('16-9', '--fill=16-9'), ('x', '--fill=x'), ('', '--fill='), ('3-', '--fill=3-'), ('-3', '--fill=-3'), ('9-10', '0 to 9'),
    ('11', '0 to 9')])
def test_a_range_that_is_none_is_one_line(world, span, message, capsys):
    with pytest.raises(SystemExit) as stop:
        find_gap(TUNE, span, reader_of(world[0]))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count('\n') == 1 and message in err


def test_without_a_pickup_bars_count_from_1(world, capsys):
    text = HEAD + '\n'.join(LINES[1:4]) + '\n'
    gap = find_gap(text, '1', reader_of(world[0]))
    assert gap.before == HEAD and gap.pickup == 0 and gap.after == '\n'.join(LINES[2:4]) + '\n'
    with pytest.raises(SystemExit):
        find_gap(text, '0-1', reader_of(world[0]))
    assert '1 to 3' in capsys.readouterr().err


@pytest.mark.parametrize('settings,message', [
    ({'fill': '1-2'}, '--prompt'), ({'fill': '1-2', 'prompt': ' '}, '--prompt'), ({'fill': '1', 'prompt': 'x', 'constrain': False}, '--constrain'),
    ({'fill': '1', 'prompt': 'x', 'key': 'G'}, '--key'), ({'fill': '1', 'prompt': 'x', 'accompany': 'y', 'programs': ['0']}, 'exclude')])
def test_settings_that_contradict_fill_are_one_line(settings, message, capsys):
    with pytest.raises(SystemExit) as stop:
        sample.check(sample.Settings(**settings))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count('\n') == 1 and message in err
