import json
import os
import random
import sys
import types
from collections import Counter

import mido
import numpy as np
import pytest
import torch

import bpe
import sample
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from music.metrics import exact_bars
from music.midi import read_midi, write_midi
from music.musicxml import musicxml
from music.notation import decode, encode
from music.tunebook import read_abc
from sampling.constrain import Reader
from sampling.generate import KEPT_SHARE, REFUSALS, Tune, draw, generate, race

BLOCK = 64


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
    """Tokenizer, a data folder, and a trained GPT and LSTM, all tiny."""
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


# ---- generation

@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_logits_with_the_cache_equal_those_without_across_the_context_boundary(world, arch, monkeypatch):
    """Every logit that a draw sees is that of one naive pass over the tune's context."""
    from sampling import generate as module
    errors, filled, was_filled_since, original_draw, original_fill, original_restore = [], {}, set(), module.draw, module.Rows.fill, module.Rows.restore

    def fill(rows, r):
        tune = rows.tunes[r]
        filled[tune] = tune.context(BLOCK), len(tune.ids)
        original_fill(rows, r)

    def draw(logits_BV, tunes, *rest):
        for row, tune in enumerate(tunes):
            context, n = filled[tune]
            context = context + tune.ids[n:]
            assert len(tune.ids) >= n and len(context) == tune.n_context <= BLOCK
            naive = models[arch](torch.tensor([context]))[0][0, -1]
            errors.append(((naive - logits_BV[row]).abs().max() / naive.abs().max()).item())
        return original_draw(logits_BV, tunes, *rest)

    def restore(rows, r):
        was_filled_since.add(rows.tunes[r].saved is None)
        original_restore(rows, r)

    folder, tokenizer, models = world
    monkeypatch.setattr(module, 'draw', draw)
    monkeypatch.setattr(module.Rows, 'fill', fill)
    monkeypatch.setattr(module.Rows, 'restore', restore)
    monkeypatch.setattr(module, 'REFUSALS', 2)                               # often
    monkeypatch.setattr(Reader, 'can_end', False)                            # long tunes
    tunes, counts = tunes_of(world, arch, n=12, batch_size=5, max_bars=100, max_tokens=300, top_p=0.95, temperature=1.3)
    assert max(len(tune.ids) for tune in tunes) > 2 * BLOCK and counts['dropped'] > 0 and was_filled_since == {False, True}
    assert len(errors) > 300 and max(errors) < 1e-5


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_a_tune_does_not_depend_on_what_is_sampled_beside_it(world, arch):
    together, _ = tunes_of(world, arch, n=10)
    in_turns, _ = tunes_of(world, arch, n=10, batch_size=3)
    alone, _ = tunes_of(world, arch, n=10, batch_size=1)
    assert [t.ids for t in together] == [t.ids for t in in_turns] == [t.ids for t in alone]
    assert len({t.text for t in together}) == 10
    other, _ = tunes_of(world, arch, n=10, seed=2)
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
    monkeypatch.setattr('sampling.generate.RETRIES', 1)                      # so that bars are given up, and tunes cut
    model, tunes, counts = world[2][arch], [], {}
    for seed in range(3):
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


def test_keys_come_as_often_as_their_weights_say(world):
    folder, tokenizer, models = world
    weights = {'G': 1.0, 'Em': 0.25}                                         # and F never
    keys = {}
    for name, given in (('as the model does', None), ('weighed', weights)):
        tunes = [Tune(tokenizer, (1, i), Reader(alphabet=alphabet(tokenizer)), key_weights=given) for i in range(200)]
        counts = generate(models['gpt'], tokenizer, tunes, max_bars=1)
        keys[name] = Counter(tune.text.split('K:')[1].split('\n')[0] for tune in tunes)
    own, weighed = keys.values()
    assert own['F'] > 20 and weighed.keys() == {'G', 'Em'} and counts['tokens'] == sum(len(t.ids) - 1 for t in tunes)
    expected = 0.25 * own['Em'] / (0.25 * own['Em'] + own['G'])
    assert abs(weighed['Em'] / 200 - expected) < 0.1
    prompted = Tune(tokenizer, (1, 0), Reader(), 'L:1/8\nM:3/4\nQ:1/4=120\nK:F\nV:1 program=0\n', weights)
    generate(models['gpt'], tokenizer, [prompted], max_bars=2)
    assert 'K:F\n' in prompted.text


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


def test_draws_have_the_probabilities_of_the_allowed_tokens():
    """Candidates in the order of the race, the first allowed one taken: chi-squared against p renormalised over the allowed ones."""
    class Only:                                     # lets through the texts of even ids
        can_end = ends_line = False

        def feed(self, text):
            return self if int(text) % 2 == 0 else None

    class Tokens:
        tokens, tune = [str(i) for i in range(10)], 10

    logits = torch.linspace(-1, 2, 11)
    tune = types.SimpleNamespace(reader=Only(), generator=torch.Generator().manual_seed(0), can_go_back=lambda retries: False)
    n, counts = 4000, np.zeros(11)
    for _ in range(n):
        counts[draw(logits[None], [tune], Tokens, 0.8, 1.0, None, 0, {'tried': 0, 'refused': 0})[0][0]] += 1
    p = (logits / 0.8).exp().numpy().copy()
    p[1::2] = p[10] = 0
    p /= p.sum()
    assert counts[p == 0].sum() == 0
    assert (((counts - n * p) ** 2)[p > 0] / (n * p)[p > 0]).sum() < 18.5          # 4 degrees of freedom: p = 0.001


@pytest.mark.parametrize('can_go_back', [True, False])
def test_after_a_few_refusals_the_bar_is_begun_anew_if_it_can_be(can_go_back):
    class Only7:
        can_end = ends_line = False

        def feed(self, text):
            return self if text == '7' else None

    class Tokens:
        tokens, tune = [str(i) for i in range(20)], 20

    tune = types.SimpleNamespace(reader=Only7(), generator=torch.Generator().manual_seed(0), can_go_back=lambda retries: can_go_back)
    logits = torch.zeros(1, 21)
    outcomes = []
    for _ in range(400):
        counts = {'tried': 0, 'refused': 0}
        outcomes.append(draw(logits, [tune], Tokens, 1.0, 1.0, None, 20, counts)[0][0])
        assert counts['refused'] <= (REFUSALS if can_go_back else 20) and counts['tried'] - counts['refused'] == (outcomes[-1] == 7)
    assert set(outcomes) <= {7, None}
    share = 1 if not can_go_back else REFUSALS / 21                # the 7 among the first of 21 alike
    assert abs(np.mean([i == 7 for i in outcomes]) - share) < 4 * (share * (1 - share) / 400) ** 0.5 + 1e-9


def racer(seed=0, reader=True):
    return types.SimpleNamespace(reader=reader, generator=torch.Generator().manual_seed(seed))


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
    for top_p, top_k in (0.9, None), (0.9, 20), (1.0, 20), (1.0, None):
        alone = race(logits, [racer(i, reader=None) for i in range(6)], top_p, top_k)
        assert race(logits, [racer(i) for i in range(6)], top_p, top_k) == alone


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


# ---- the script

class Result:
    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


@pytest.fixture
def run(monkeypatch, capsys):
    """The script as from the command line, in this process (torch takes seconds to import)."""
    def run(*arguments, cwd=None):
        if cwd:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', ['sample.py', *map(str, arguments)])
        code = 0
        try:
            sample.main()
        except SystemExit as e:
            code = e.code
        return Result(code, *capsys.readouterr())
    return run


def test_the_whole_run_from_the_best_checkpoint_twice_the_same(run, world, tmp_path):
    folder, tokenizer, _ = world
    for arch in ('gpt', 'lstm'):
        os.makedirs(tmp_path / 'out' / arch)
        os.link(folder / f'{arch}.pt', tmp_path / 'out' / arch / 'ckpt.pt')
    (tmp_path / 'out' / 'broken').mkdir()
    (tmp_path / 'out' / 'broken' / 'ckpt.pt').write_bytes(b'cut off')
    first = run('--out_midi', '--num_samples=4', '--max_bars=12', cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert 'out/gpt/ckpt.pt' in first.stdout
    files = sorted(os.listdir(tmp_path / 'samples'))
    assert files == sorted([f'0{i}.{kind}' for i in range(1, 5) for kind in ('abc', 'mid', 'musicxml', 'png', 'svg')] + ['index.html', 'metrics.json'])
    metrics = json.loads((tmp_path / 'samples' / 'metrics.json').read_text())
    assert metrics['first_draws']['readable'] == metrics['first_draws']['bars_exact'] == 1
    assert metrics['comparison']['notes']['n'] == 4 and metrics['comparison']['notes']['baseline'] > 0.3
    assert len(metrics['copying']['held_out']) == 24 and len(metrics['copying']['samples']) == 4
    for i in range(4):
        music = read_midi(str(tmp_path / 'samples' / f'0{i + 1}.mid'))[0]
        played = sum(m.type == 'note_on' and m.velocity > 0 for m in mido.MidiFile(tmp_path / 'samples' / f'0{i + 1}.mid') if not m.is_meta)
        assert len(music.notes) == played == metrics['tunes'][i]['notes'] >= 20
    before = {name: (tmp_path / 'samples' / name).read_bytes() for name in files if name[-3:] in ('abc', 'mid', 'tml')}
    again = run('--out_midi', '--num_samples=4', '--max_bars=12', '--out_dir=again', cwd=tmp_path)
    assert again.returncode == 0
    assert before == {name: (tmp_path / 'again' / name).read_bytes() for name in before}
    fewer = run('--num_samples=1', '--max_bars=12', cwd=tmp_path)
    assert fewer.returncode == 0 and sorted(os.listdir(tmp_path / 'samples')) == ['01.abc', '01.musicxml', '01.png', '01.svg', 'index.html', 'metrics.json']


def test_tunes_begin_with_the_prompt_whatever_its_form(run, world, tmp_path):
    text = folk_tune(random.Random(5))
    header, bars = text[:text.index('[')], text[text.index('['):].splitlines(keepends=True)
    music = decode(text)
    write_midi(music, str(tmp_path / 'p.mid'))
    (tmp_path / 'p.abc').write_text('X:1\nT:a tune\nM:3/4\nL:1/8\nQ:1/4=120\nK:G\nG2A2B2|c2d2e2|G6|\n')
    header_of_abc = encode(next(read_abc((tmp_path / 'p.abc').read_text()))[1])
    (tmp_path / 'p.musicxml').write_text(musicxml(music))
    (tmp_path / 'p.XML').write_text(musicxml(music))
    for prompt, whole in ((text, text), (tmp_path / 'p.musicxml', encode(read_midi(tmp_path / 'p.mid')[0])), (tmp_path / 'p.XML', encode(music)), ((header + bars[0]).replace('\n', '\\n'), header + bars[0]), (tmp_path / 'p.mid', encode(music)), (tmp_path / 'p.abc', header_of_abc)):
        for n in (None, 0, 1):
            got = sample.prompt_text(sample.Settings(prompt=str(prompt), prompt_bars=n), {"beats": False, "repeats": False})
            assert got == ''.join(whole.splitlines(keepends=True)[:None if n is None else n + whole.count('\nV:') + 4])
            tune = Tune(world[1], (0,), Reader(), got)
            generate(world[2]['lstm'], world[1], [tune], max_bars=14)
            assert tune.text.startswith(got) and len(tune.text) > len(got)
    result = run(f'--ckpt={world[0] / "lstm.pt"}', '--num_samples=1', '--max_bars=14', f'--prompt={tmp_path / "p.mid"}', '--prompt_bars=2', f'--out_dir={tmp_path / "o"}')
    assert result.returncode == 0, result.stderr
    assert encode(read_midi(str(tmp_path / 'p.mid'))[0]).splitlines()[6] in (tmp_path / 'o' / 'index.html').read_text()


def test_what_is_asked_for_is_in_every_tune(run, world, tmp_path):
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=3', '--max_bars=6', '--meter=6/8', '--key=F', '--tempo=120', '--programs=0,33', f'--out_dir={tmp_path}')
    assert result.returncode == 0, result.stderr
    for i in (1, 2, 3):
        text = (tmp_path / f'0{i}.abc').read_text()
        assert 'M:6/8' in text and 'K:F' in text and '%%MIDI program 33' in text.replace('program 2 33', 'program 33')


@pytest.mark.parametrize('arguments, message', [
    (['--meter=7/5'], '--meter=7/5'), (['--meter=waltz'], '--meter'), (['--key=H'], '--key=H'), (['--programs=0,200'], '200'), (['--tempo=0'], '--tempo'),
    (['--top_k=0'], '--top_k'), (['--top_p=0'], '--top_p'), (['--temperature=-1'], '--temperature'), (['--num_samples=0'], '--num_samples'),
    (['--prompt=this is no music'], 'no music'), (['--prompt=none.mid'], 'none.mid'), (['--prompt=bad.mid'], 'bad.mid'), (['--prompt=bad.abc'], 'bad.abc'),
    (['--prompt=bad.musicxml'], 'bad.musicxml'), (['--prompt=none.mxl'], 'none.mxl'),
    (['--key=G', '--constrain=false'], '--key'), (['--key=G', '--prompt=L:1/8'], '--key'), (['--ckpt=none.pt'], 'none.pt'), (['--ckpt=bad.mid'], 'bad.mid'),
    (['--ckpt=old.pt'], 'old.pt'), (['--ckpt=other.pt'], 'other.pt')])
def test_mistakes_end_in_one_line(run, world, tmp_path, arguments, message):
    (tmp_path / 'bad.mid').write_bytes(b'no midi at all')
    (tmp_path / 'bad.abc').write_text('no tune in here\n')
    (tmp_path / 'bad.musicxml').write_text('<score-partwise><part/>')
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    torch.save({'model': checkpoint['model'], 'version': 0}, tmp_path / 'old.pt')
    checkpoint['config']['model']['n_embd'] = 64
    torch.save(checkpoint, tmp_path / 'other.pt')
    result = run(*([] if any('--ckpt' in a for a in arguments) else [f'--ckpt={world[0] / "gpt.pt"}']), *arguments, '--num_samples=1' if 'num_samples' not in arguments[0] else '--max_bars=2', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1 and message in result.stderr
    assert not (tmp_path / 'samples').exists()


def test_without_data_the_rest_is_done(run, world, tmp_path):
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=1', f'--data_dir={tmp_path / "none"}', f'--out_dir={tmp_path / "o"}', '--prompt=')
    assert result.returncode == 0 and 'no comparison' in result.stdout
    assert 'comparison' not in json.loads((tmp_path / 'o' / 'metrics.json').read_text())


def test_no_checkpoint_is_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, 'GIVEN', str(tmp_path / 'none.pt'))         # nor the one of the clone
    with pytest.raises(SystemExit) as e:
        sample.best_checkpoint()
    assert e.value.code == 2 and 'train one first' in capsys.readouterr().err


def foreign_tune(rng):
    """A tune as midi2abc writes it: other ABC, without number and title."""
    bars = [''.join(rng.choice('GABcde') + '2' for _ in range(3)) + '|' for _ in range(10)]
    return 'M: 3/4\nL: 1/8\nQ:1/4=120\nK:C % 0 sharps\nV:1\n%%MIDI program 0\n' + '\n'.join(bars) + '\n'


@pytest.fixture
def foreign(world, tmp_path):
    """Checkpoint and folder of data prepared with --converter=midi2abc: a model that has nearly learned one tune by heart."""
    rng = random.Random(3)
    texts = {split: [foreign_tune(rng) for _ in range(n)] for split, n in (('train', 2), ('val', 6), ('test', 6))}
    tokenizer = bpe.train(texts['train'], vocab_size=60)
    for split in ('val', 'test'):
        (tmp_path / f'{split}.abc').write_text('\n'.join(texts[split]))
    (tmp_path / 'tokenizer.json').write_text(tokenizer.to_json())
    ids = [i for text in texts['train'] for i in [tokenizer.tune, *tokenizer.encode(text)]]
    np.array(ids, np.uint16).tofile(tmp_path / 'train.bin')
    meta = {'tokenizer': {'hash': tokenizer.hash}, 'splits': {split: {'tunes': len(texts[split])} for split in texts}, 'settings': {'converter': 'midi2abc'}}
    (tmp_path / 'meta.json').write_text(json.dumps(meta))
    config = LSTMConfig(tokenizer.vocab_size, BLOCK, 1, 48)
    torch.manual_seed(1)
    model, ids = LSTM(config), torch.tensor(ids)[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        optimizer.step()
    torch.save({'config': {'arch': 'lstm', 'model': vars(config), 'train': {'data_dir': str(tmp_path)}}, 'model': model.state_dict(), 'meta': meta,
                'tokenizer': tokenizer.to_json(), 'num_params': model.num_params(), 'val': {'per_note': 2.0}}, tmp_path / 'foreign.pt')
    return tmp_path


def test_a_model_of_midi2abc_writes_its_own_texts_without_constraint_and_they_are_measured_where_they_can_be_read(run, foreign):
    result = run(f'--ckpt={foreign / "foreign.pt"}', '--num_samples=3', '--max_tokens=400', '--out_midi', cwd=foreign)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('without the constraint') == 1
    metrics = json.loads((foreign / 'samples' / 'metrics.json').read_text())
    assert metrics['settings']['constrain'] is False and 'bars_exact' not in metrics['first_draws']
    assert metrics['first_draws']['readable'] > 0 and metrics['comparison']['notes']['held_out'] == 30 and metrics['copying']['train_tunes'] == 2
    texts = [(foreign / 'samples' / f'0{i}.abc').read_text() for i in (1, 2, 3)]
    assert all(text.startswith(f'X:1\nT:Tune {i}\nM: 3/4\nL: 1/8\n') for i, text in enumerate(texts, 1))
    read = [next(read_abc(text))[1] for text in texts]
    assert [m['notes'] for m in metrics['tunes']] == [len(music.notes) for music in read if music]
    assert sum(name.endswith('.mid') for name in os.listdir(foreign / 'samples')) == len(metrics['tunes'])


@pytest.mark.parametrize('asked', ['--key=G', '--prompt=K:C'])
def test_what_needs_our_notation_is_refused_for_a_model_of_midi2abc_in_one_line(run, foreign, asked):
    result = run(f'--ckpt={foreign / "foreign.pt"}', asked, cwd=foreign)
    assert result.returncode == 2 and result.stderr.count('\n') == 1 and 'midi2abc' in result.stderr


def test_data_other_than_what_the_checkpoint_was_trained_on_are_compared_with_on_demand_only(run, world, tmp_path):
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    checkpoint['meta']['splits']['train']['tunes'] += 1                     # the folder was prepared anew since
    torch.save(checkpoint, tmp_path / 'old.pt')
    arguments = f'--ckpt={tmp_path / "old.pt"}', '--num_samples=2', '--max_bars=12', '--statistics_only'
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 0 and 'no longer holds' in result.stdout and 'copies' in result.stdout
    assert not {'comparison', 'copying'} & set(json.loads((tmp_path / 'samples' / 'metrics.json').read_text()))
    named = run(*arguments, f'--data_dir={world[0]}')
    assert named.returncode == 0 and 'is not what the checkpoint was trained on' in named.stdout
    assert {'comparison', 'copying'} <= set(json.loads((tmp_path / 'samples' / 'metrics.json').read_text()))
    same = run(f'--ckpt={world[0] / "gpt.pt"}', *arguments[1:], f'--data_dir={world[0]}')
    assert same.returncode == 0 and 'trained on' not in same.stdout


def test_losses_on_other_validation_tunes_do_not_compete_for_the_best_checkpoint(world, tmp_path, monkeypatch, capsys):
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    for name, loss, notes, written in (('a', 1.2, 100, 50), ('b', 1.1, 100, 100), ('other', 0.5, 90, 60)):
        checkpoint['val'], checkpoint['meta']['splits']['val'] = {'per_note': loss}, {'tunes': 3, 'notes': notes, 'tokens': int(10 * loss)}
        (tmp_path / 'out' / name).mkdir(parents=True)
        torch.save(checkpoint, tmp_path / 'out' / name / 'best.pt')
        os.utime(tmp_path / 'out' / name / 'best.pt', (written, written))
    monkeypatch.chdir(tmp_path)
    assert sample.best_checkpoint() == 'out/b/best.pt'
    said = capsys.readouterr().out
    assert said.count('\n') == 1 and 'out/b/best.pt' in said and 'left out: 1\n' in said
    os.utime('out/other/best.pt', (200, 200))
    assert sample.best_checkpoint() == 'out/other/best.pt'
    os.remove('out/other/best.pt')
    capsys.readouterr()
    assert sample.best_checkpoint() == 'out/b/best.pt' and capsys.readouterr().out == ''
