"""sampling/generate.py: cached logits are the plain ones, draws have their probabilities, tunes are exact."""
import json
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
from sampling.constrain import Reader
from sampling.draw import REJECTIONS, Options, draw, race
from sampling.generate import generate
from sampling.tune import KEPT_SHARE, Step, Tune

BLOCK = 64
WORLDS = []


def folk_tune(rng):
    """A small tune in the notation, so that a model and a tokenizer have something to learn."""
    key, meter, units = rng.choice([('G', '3/4', 6), ('Em', '4/4', 8), ('F', '6/8', 6)])
    lines = [f'L:1/8\nM:{meter}\nQ:1/4=120\nK:{key}\nV:1 program=0\nV:2 program=33\n']
    for _ in range(rng.randrange(6, 12)):
        cell = ''.join(rng.choice('GABcde') + '2' for _ in range(units // 2))
        lines.append(f'[V:1]{cell}|[V:2][G,D]{units}|\n')
    return ''.join(lines)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    if not WORLDS:                  # one will do, for tests/test_sample.py too
        WORLDS.append(small_world(tmp_path_factory))
    return WORLDS[0]


def small_world(tmp_path_factory):
    """(data folder with checkpoints, tokenizer, {'gpt', 'lstm'}): all tiny, and trained a little."""
    folder = tmp_path_factory.mktemp('world')
    rng = random.Random(0)
    texts = {split: [folk_tune(rng) for _ in range(n)] for split, n in (('train', 60), ('val', 12), ('test', 12))}
    tokenizer = bpe.train(texts['train'], vocab_size=100)
    (folder / 'tokenizer.json').write_text(tokenizer.to_json())
    for split in ('val', 'test'):
        (folder / f'{split}.abc').write_text('\n'.join(texts[split]))
    ids = [i for text in texts['train'] for i in [tokenizer.tune, *tokenizer.encode(text)]]
    np.array(ids, np.uint16).tofile(folder / 'train.bin')
    splits = {split: {'tunes': len(texts[split]), 'notes': sum(len(decode(text).notes) for text in texts[split])} for split in texts}
    meta = {'tokenizer': {'hash': tokenizer.hash}, 'splits': splits, 'settings': {'converter': 'builtin'}}
    (folder / 'meta.json').write_text(json.dumps(meta))
    ids = torch.tensor(ids)
    models = {}
    for arch, cls, config in (('gpt', GPT, GPTConfig(tokenizer.vocab_size, BLOCK, 2, 2, 32)), ('lstm', LSTM, LSTMConfig(tokenizer.vocab_size, BLOCK, 1, 48))):
        torch.manual_seed(1)
        model = models[arch] = cls(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(60):
            starts = torch.randint(len(ids) - BLOCK - 1, (16,))
            x = torch.stack([ids[a:a + BLOCK + 1] for a in starts])
            loss = model(x[:, :-1], x[:, 1:])[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        torch.save({'config': {'arch': arch, 'model': vars(config), 'train': {'data_dir': str(folder)}}, 'model': model.state_dict(),
                    'tokenizer': tokenizer.to_json(), 'num_params': model.num_params(), 'meta': meta, 'val': {'per_note': {'gpt': 1.0, 'lstm': 1.2}[arch]}}, folder / f'{arch}.pt')
    return folder, tokenizer, models


def alphabet(tokenizer):
    return {token for token in tokenizer.tokens if len(token) == 1}


def tunes_of(world, arch, n=6, constrain=True, prompt='', seed=1, **settings):
    folder, tokenizer, models = world
    tunes = [Tune(tokenizer, (seed, i), Reader(alphabet=alphabet(tokenizer)) if constrain else None, prompt) for i in range(n)]
    settings = {'max_tokens': 150, 'max_bars': 12, **settings}
    counts = generate(models[arch], tokenizer, tunes, **settings)
    return tunes, counts


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_logits_with_the_cache_equal_those_without_across_the_context_boundary(world, arch, monkeypatch):
    """Every logit that a draw sees is that of one naive pass over the tune's context."""
    from sampling import generate as module
    errors, filled, was_filled_since = [], {}, set()
    original_draw, original_fill, original_restore = module.draw, module.Rows.fill, module.Rows.restore

    def fill(rows, r):
        tune = rows.tunes[r]
        filled[tune] = tune.context(BLOCK), len(tune.ids), rows
        original_fill(rows, r)

    def draw(logits_BV, tunes, *rest):
        for row, tune in enumerate(tunes):
            context, n, rows = filled[tune]
            context = context + tune.ids[n:]
            assert len(tune.ids) >= n and len(context) == rows.n_context[rows.tunes.index(tune)] <= BLOCK
            naive = models[arch](torch.tensor([context]))[0][0, -1]
            errors.append(((naive - logits_BV[row]).abs().max() / naive.abs().max()).item())
        return original_draw(logits_BV, tunes, *rest)

    def restore(rows, r):
        was_filled_since.add(rows.saved[r] is None)
        original_restore(rows, r)

    folder, tokenizer, models = world
    monkeypatch.setattr(module, 'draw', draw)
    monkeypatch.setattr(module.Rows, 'fill', fill)
    monkeypatch.setattr(module.Rows, 'restore', restore)
    monkeypatch.setattr('sampling.draw.REJECTIONS', 2)                       # often
    monkeypatch.setattr(Reader, 'can_end', False)                            # long tunes
    tunes, counts = tunes_of(world, arch, n=3, batch_size=2, max_bars=100, max_tokens=150, top_p=0.95, temperature=1.3)
    assert max(len(tune.ids) for tune in tunes) > 2 * BLOCK and counts['dropped'] > 0 and was_filled_since == {False, True}
    assert len(errors) > 300 and max(errors) < 1e-5


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_a_tune_does_not_depend_on_what_is_sampled_beside_it(world, arch):
    together, _ = tunes_of(world, arch, n=4, max_tokens=120)
    in_turns, _ = tunes_of(world, arch, n=4, batch_size=3, max_tokens=120)
    alone, _ = tunes_of(world, arch, n=4, batch_size=1, max_tokens=120)
    assert [t.ids for t in together] == [t.ids for t in in_turns] == [t.ids for t in alone]
    assert len({t.text for t in together}) == 4
    other, _ = tunes_of(world, arch, n=4, max_tokens=120, seed=2)
    assert [t.ids for t in other] != [t.ids for t in together]


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
@pytest.mark.parametrize('settings', [{}, {'temperature': 2.0}, {'top_p': 0.5}, {'top_k': 1}, {'temperature': 0}, {'max_bars': 2}, {'max_tokens': 30}])
def test_constrained_tunes_are_readable_and_exact(world, arch, settings):
    tunes, counts = tunes_of(world, arch, **settings)
    for tune in tunes:
        text = sample.finish(tune)
        assert (not tune.stuck or tune.text[-1] == '\n') and tune.text.startswith(text[:-8])
        if tune.ended:
            assert Reader().feed(text).can_end
        if text.count('\n') > text.count('\nV:') + 4:
            assert exact_bars(text)[0] == exact_bars(text)[1] > 0
            music = decode(text)
            assert encode(decode(encode(music))) == encode(music)
        assert len(tune.bar_ends) <= settings.get('max_bars', 12) and len(tune.ids) - 1 <= settings.get('max_tokens', 150)
    assert counts['tokens'] == sum(len(t.ids) - 1 for t in tunes)


def test_an_untrained_model_under_the_constraint_writes_tunes_too(world):
    folder, tokenizer, models = world
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, BLOCK, 1, 2, 16))
    tunes = [Tune(tokenizer, (1, i), Reader('4/4', '120', 'G', ['program=0'], alphabet(tokenizer))) for i in range(3)]
    generate(model, tokenizer, tunes, max_tokens=200, max_bars=4)
    assert all(len(decode(sample.finish(tune)).notes) for tune in tunes)


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_no_kept_token_is_one_that_the_model_held_unlikely(world, arch, monkeypatch):
    monkeypatch.setattr('sampling.generate.MAX_RESTARTS', 1)                      # so that bars are given up, and tunes cut
    model, tunes, counts = world[2][arch], [], {}
    for seed in range(2):
        more, counted = tunes_of(world, arch, n=20, top_p=0.7, max_bars=40, seed=seed)
        tunes, counts = tunes + more, {name: n + counts.get(name, 0) for name, n in counted.items()}
    assert counts['forced'] == 0 and counts['dropped'] > 0
    assert counts['cut'] == sum(tune.stuck for tune in tunes)
    assert counts['tokens'] == sum(len(tune.ids) - 1 for tune in tunes)
    for tune in tunes:
        ids = torch.tensor(tune.ids[:BLOCK])
        p_TV = model(ids[None, :-1])[0][0].softmax(1)
        p_T = p_TV.gather(1, ids[1:, None])
        assert ((p_TV * (p_TV > p_T)).sum(1) < 0.7 + 1e-5).all()             # what is likelier holds less than top_p


@pytest.mark.parametrize('constrain', [True, False])
def test_a_given_key_stands_in_the_header_and_a_prompt_keeps_its_own(world, constrain, monkeypatch):
    monkeypatch.setattr('sampling.generate.MAX_RESTARTS', 1)                      # so that headers are given up, too
    folder, tokenizer, models = world
    reader = Reader(alphabet=alphabet(tokenizer)) if constrain else None
    tunes = [Tune(tokenizer, (1, i), reader, key=('Em', 'F')[i % 2]) for i in range(40)]
    counts = generate(models['gpt'], tokenizer, tunes, max_bars=3)
    with_key = [tune for tune in tunes if '\nQ:' in tune.text and tune.text.count('\n') > 4]
    assert len(with_key) > (39 if constrain else 20)
    for tune in with_key:
        assert tune.text.split('\nQ:')[1].split('\n')[1] == ('K:Em', 'K:F')[tunes.index(tune) % 2]
    assert counts['tokens'] == sum(len(tune.ids) - 1 for tune in tunes) and counts['forced'] == 0
    prompted = Tune(tokenizer, (1, 0), Reader(), 'L:1/8\nM:3/4\nQ:1/4=120\nK:F\nV:1 program=0\n', 'Em')
    generate(models['gpt'], tokenizer, [prompted], max_bars=2)
    assert 'K:F\n' in prompted.text and 'K:Em' not in prompted.text


def test_temperature_zero_takes_the_most_likely_allowed_token_and_top_k_1_the_same(world):
    cold, _ = tunes_of(world, 'gpt', n=2, temperature=0)
    narrow, _ = tunes_of(world, 'gpt', n=2, top_k=1, seed=7)
    assert cold[0].ids == cold[1].ids == narrow[0].ids == narrow[1].ids
    free, _ = tunes_of(world, 'gpt', n=1, temperature=0, constrain=False)
    narrow_free, _ = tunes_of(world, 'gpt', n=2, top_k=1, constrain=False)
    assert free[0].ids == narrow_free[0].ids == narrow_free[1].ids
    model, tokenizer = world[2]['gpt'], world[1]
    ids = [tokenizer.tune]
    while len(ids) < BLOCK - 1 and ids[-1:] != [tokenizer.tune] or len(ids) == 1:
        ids.append(int(model(torch.tensor([ids]))[0][0, -1].argmax()))
    assert free[0].ids[:len(ids) - 1] == ids[:-1]


def tune_that_allows(ids, can_restart):
    rollback = types.SimpleNamespace(can_restart=lambda n: can_restart, can_drop_bars=lambda n: False)
    return types.SimpleNamespace(step=lambda i: Step([i], None) if i in ids else None, rollback=rollback,
                                 generator=torch.Generator().manual_seed(0))


def test_draws_have_the_probabilities_of_the_allowed_tokens():
    """Candidates in the order of the race, the first allowed one taken: chi-squared against p renormalised over the allowed ones."""
    logits, allowed = torch.linspace(-1, 2, 11), [0, 2, 4, 6, 8]
    tune = tune_that_allows(allowed, can_restart=False)
    n, counts = 4000, np.zeros(11)
    for _ in range(n):
        (step, _), = draw(logits[None], [tune], Options(temperature=0.8), {'tried': 0, 'refused': 0})
        counts[step.ids[0]] += 1
    p = (logits / 0.8).exp().numpy().copy()
    p[[i for i in range(11) if i not in allowed]] = 0
    p /= p.sum()
    assert counts[p == 0].sum() == 0
    assert (((counts - n * p) ** 2)[p > 0] / (n * p)[p > 0]).sum() < 18.5          # 4 degrees of freedom: p = 0.001


@pytest.mark.parametrize('can_restart', [True, False])
def test_after_a_few_rejections_the_bar_is_sampled_again_if_it_can_be(can_restart):
    tune = tune_that_allows([7], can_restart)
    logits = torch.zeros(1, 21)
    outcomes = []
    for _ in range(400):
        counts = {'tried': 0, 'refused': 0}
        (step, _), = draw(logits, [tune], Options(max_restarts=20), counts)
        outcomes.append(step and step.ids[0])
        assert counts['refused'] <= (REJECTIONS if can_restart else 20)
        assert counts['tried'] - counts['refused'] == (outcomes[-1] == 7)
    assert set(outcomes) <= {7, None}
    share = REJECTIONS / 21 if can_restart else 1                  # the 7 among the first of 21 equal ones
    assert abs(np.mean([i == 7 for i in outcomes]) - share) < 4 * (share * (1 - share) / 400) ** 0.5 + 1e-9


def racer(seed=0):
    return types.SimpleNamespace(generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('top_p, top_k, expected', [(1.0, None, 5), (0.5, None, 1), (0.51, None, 2), (0.75, None, 2), (0.91, None, 4), (1.0, 3, 3), (0.5, 3, 1), (0.8, 3, 2), (1.0, 9, 5)])
def test_nucleus_and_top_k_keep_the_most_likely(top_p, top_k, expected):
    p = torch.tensor([[0.05, 0.5, 0.25, 0.15, 0.05 - 1e-4]])
    p = torch.cat([p, 1 - p.sum(dim=1, keepdim=True)], dim=1)[:, :5]
    kept, = race(p.log(), [racer()], top_p, top_k)
    assert len(kept) == expected and set(kept) <= set(p[0].argsort(descending=True)[:expected].tolist())


def test_nucleus_equals_a_sorted_one_on_many_tokens():
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 5.0):
        logits = scale * torch.randn(4, 3000)                                # flat ones need all, others 128 or 1,024 tokens
        p, order = logits.softmax(1).sort(dim=1, descending=True)
        keep = (p.cumsum(1) - p) < 0.9
        for row, kept in enumerate(race(logits, [racer() for _ in logits], 0.9, None)):
            assert sorted(kept) == sorted(order[row][keep[row]].tolist())


def test_a_race_does_not_depend_on_who_else_runs():
    torch.manual_seed(0)
    logits = torch.randn(6, 3000) * torch.tensor([0.1, 5.0, 0.1, 5.0, 1.0, 2.0])[:, None]
    together = race(logits, [racer(i) for i in range(6)], 0.9, None)
    assert together == [race(logits[i:i + 1], [racer(i)], 0.9, None)[0] for i in range(6)]


def test_a_full_context_keeps_the_header_and_the_latest_whole_bars(world):
    folder, tokenizer, models = world
    text = folk_tune(random.Random(1))
    text += text[text.index('['):]
    tune = Tune(tokenizer, (0,), Reader(), text + '[V:1]')
    assert len(tune.ids) > BLOCK
    context = tokenizer.decode(tune.context(BLOCK))
    header = text[:text.index('[')]
    assert context.startswith(header) and len(tune.context(BLOCK)) <= KEPT_SHARE * BLOCK
    rest = context[len(header):]
    assert rest and (text + '[V:1]').endswith('\n' + rest) and rest.startswith('[V:')
    long = Tune(tokenizer, (0,), None, 'K:C\n' * 200)
    assert 0 < len(long.context(BLOCK)) <= KEPT_SHARE * BLOCK
