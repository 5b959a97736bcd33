"""train.py and what it is made of: exact epochs, ranks, evaluation, checkpoints, mistakes."""
import importlib
import json
import math
import multiprocessing
import os
import pathlib
import signal
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import train
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from training import machine
from training.evaluation import recalled
from training.loader import batch, micro_batches, n_windows
from training.optim import lr_factor, make_optimizer, update

torch.set_num_threads(1)
VOCAB, TOKENS = 32, 1100        # 68 windows of 16


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


def write_data(folder, sizes=(TOKENS, 250, 77), top=VOCAB, seed=0):
    """A prepared folder of tokens that count up modulo the vocabulary, with a random jump now and then: learnable."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split, n in zip(('train', 'val', 'test'), sizes):
        ids = np.cumsum(np.where(rng.random(n) < 0.1, rng.integers(0, top, n), 1)) % top
        ids.astype(np.uint16).tofile(folder / f'{split}.bin')
        splits[split] = {'tunes': 1, 'tokens': n, 'characters': 3 * n, 'notes': n // 2, 'bars': n // 8}
    (folder / 'meta.json').write_text(json.dumps(
        {'vocab_size': VOCAB, 'tokenizer': {'kind': 'char', 'hash': 'abc', 'tune': 0}, 'splits': splits}))
    (folder / 'tokenizer.json').write_text('{"a tokenizer": "as text"}')
    return str(folder)


TINY = ['--block_size=16', '--n_layer=2', '--n_head=2', '--n_embd=16', '--hidden_size=16', '--batch_size=4', '--log_interval=1',
        '--learning_rate=3e-3', '--device=cpu', '--dtype=fp32', '--compile=False',
        '--max_tokens=640', '--eval_interval=4']             # 10 steps; evaluations after 4, 8 and 10
MODERN = ('--positions=rotary', '--key_offset=True', '--qk_norm=True', '--conv_taps=4')


def run(monkeypatch, data, out, *options):
    """train.py in this process; its checkpoint."""
    monkeypatch.setattr(sys, 'argv', ['train.py', f'--data_dir={data}', f'--out_dir={out}', *TINY, *options])
    train.main()
    return load(out)


def load(out, name='ckpt.pt'):
    return torch.load(os.path.join(out, name), map_location='cpu', weights_only=True)


def assert_same_run(a, b):
    """Weights, optimiser state, scaler and every logged value but times and memory are bit for bit the same."""
    def flat(x, path=''):
        if isinstance(x, dict):
            return {k: v for key, value in x.items() for k, v in flat(value, f'{path}.{key}').items()}
        if isinstance(x, list):
            return {k: v for i, value in enumerate(x) for k, v in flat(value, f'{path}.{i}').items()}
        return {path: x}
    for part in ('model', 'optimizer', 'scaler', 'history', 'val', 'step', 'tokens', 'skipped'):
        one, two = flat(a[part]), flat(b[part])
        assert one.keys() == two.keys()
        for key, value in one.items():
            if key.split('.')[-1] not in ('time_s', 'tokens_per_s', 'mfu', 'memory_gb'):
                assert torch.equal(value, two[key]) if torch.is_tensor(value) else value == two[key], f'{part}{key}'


# ---- the index stream

@pytest.mark.parametrize('world', [1, 2, 3, 8])
@pytest.mark.parametrize('batch_size', [24, 96])
@pytest.mark.parametrize('tokens', [256 * 96 + 1, 256 * 500, 100_003])
def test_an_epoch_uses_each_window_once_and_ranks_only_share_it(world, batch_size, tokens):
    n = n_windows(tokens, 256)
    steps, n_micro = n // batch_size, 3 if batch_size // world % 3 == 0 else 2
    seen = []
    for step in range(2 * steps):
        alone, = micro_batches(step, n, batch_size, seed=5)
        shared = [w for rank in range(world) for w in micro_batches(step, n, batch_size, 5, rank, world, n_micro)]
        assert len({len(w) for w in shared}) == 1
        assert np.concatenate(shared).tolist() == alone.tolist()
        seen += alone.tolist()
    first, second = seen[:steps * batch_size], seen[steps * batch_size:]
    for epoch in (first, second):
        assert len(set(epoch)) == len(epoch) == n - n % batch_size and set(epoch) <= set(range(n))
    assert first != second


def test_windows_tile_the_tokens_and_targets_are_the_next_tokens():
    ids = np.arange(1000, dtype=np.uint16)
    n = n_windows(len(ids), 16)
    x, y = batch(ids, np.arange(n), 16, 'cpu')
    assert torch.equal(x.flatten(), torch.arange(16 * n)) and torch.equal(y, x + 1)
    assert int(y.max()) <= 999 < 16 * (n + 1)                   # one window more would want a token that is not there


def test_a_last_window_that_is_not_whole_is_padded_with_minus_one():
    x, y = batch(np.arange(20, dtype=np.uint16), [0, 1], 16, 'cpu')
    assert y[1].tolist() == [17, 18, 19] + [-1] * 13 and x[1, :4].tolist() == [16, 17, 18, 19]


# ---- ranks

def torchrun(monkeypatch, data, out, *options):
    """train.py in two ranks that torchrun's agent starts here. Returns what each wrote to stderr.

    The ranks are forks of a server that has imported torch and train.py, once for all of them.
    """
    monkeypatch.setattr(sys, 'argv', ['train.py', f'--data_dir={data}', f'--out_dir={out}', *TINY, *options])
    multiprocessing.set_forkserver_preload(['torch._dynamo', 'torch.distributed.run', 'train'])
    config = LaunchConfig(1, 1, 2, DefaultLogsSpecs(f'{out}-logs', Std.ERR), rdzv_backend='c10d', rdzv_endpoint='localhost:0',
                          local_addr='localhost', max_restarts=0, start_method='forkserver')
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    try:
        elastic_launch(config, train.main)()
    except ChildFailedError as e:
        assert {failure.exitcode for failure in e.failures.values()} <= {2, -signal.SIGTERM}, e
        return False, stderr_of(f'{out}-logs')
    finally:
        for n, handler in handlers.items():
            signal.signal(n, handler)
    return True, stderr_of(f'{out}-logs')


def stderr_of(folder):
    return [path.read_text() for path in sorted(pathlib.Path(folder).rglob('stderr.log'))]


def test_two_ranks_give_the_losses_of_one(monkeypatch, data, tmp_path):
    options = (*MODERN, '--batch_size=8', '--micro_batch_size=2', '--max_tokens=2560', '--epochs=3', '--grad_clip=0.5')       # 20 steps
    is_whole, words = torchrun(monkeypatch, data, tmp_path / 'two', *options)
    assert is_whole and len(words) == 2, words
    one = run(monkeypatch, data, tmp_path / 'one', *options)
    two = load(tmp_path / 'two')
    assert len(one['history']) == len(two['history']) and one['step'] == 20
    for a, b in zip(one['history'], two['history']):
        for key in ('loss', 'grad_norm') if 'loss' in a else ():
            assert a[key] == pytest.approx(b[key], rel=1e-5), a['step']
    assert one['val']['loss'] == pytest.approx(two['val']['loss'], rel=1e-5)
    assert two['config']['train']['ranks'] == 2


def test_a_mistake_is_said_by_one_of_the_ranks(monkeypatch, tmp_path):
    is_whole, words = torchrun(monkeypatch, tmp_path / 'nowhere', tmp_path / 'out')
    assert not is_whole and ''.join(words).count('error: no prepared data') == 1


# ---- evaluation, checkpoint, schedule, optimisers

@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_evaluation_is_the_whole_split_and_leaves_training_alone(arch, monkeypatch, data, tmp_path, capsys):
    often = run(monkeypatch, data, tmp_path / 'a', f'--arch={arch}', '--dropout=0.3', '--eval_interval=1')
    seldom = run(monkeypatch, data, tmp_path / 'b', f'--arch={arch}', '--dropout=0.3')
    assert all(torch.equal(p, seldom['model'][name]) for name, p in often['model'].items())

    model = (GPT(GPTConfig(**often['config']['model'])) if arch == 'gpt' else LSTM(LSTMConfig(**often['config']['model']))).eval()
    model.load_state_dict(often['model'])
    for split in ('val', 'test'):
        ids = torch.from_numpy(np.fromfile(os.path.join(data, f'{split}.bin'), dtype=np.uint16).astype(np.int64))
        nats = sum(F.cross_entropy(model(ids[None, i:i + 16][:, :len(ids) - 1 - i])[0][0], ids[i + 1:i + 17], reduction='sum').item()
                   for i in range(0, len(ids) - 1, 16))
        capsys.readouterr()
        run(monkeypatch, data, tmp_path / 'a', '--eval_only', f'--split={split}')
        words = capsys.readouterr().out
        assert f'{nats / (len(ids) // 2):.3f} nats/note ({nats / (len(ids) - 1):.3f}/token ± ' in words
        assert f'perplexity {math.exp(nats / (len(ids) - 1)):.1f})' in words
        if split == 'val':
            assert often['val']['loss'] == pytest.approx(nats / (len(ids) - 1), rel=1e-6)
            assert often['val']['per_note'] == pytest.approx(nats / (len(ids) // 2), rel=1e-6)
            assert often['val']['per_char'] == pytest.approx(nats / (3 * len(ids)), rel=1e-6)


def test_recalled_targets_are_those_whose_pair_occurred_earlier_in_the_window():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.integers(0, 5, (2, 7, 20)))
    expected = [[(a, b) in list(zip(xs, ys))[:t] for t, (a, b) in enumerate(zip(xs, ys))] for xs, ys in zip(x.tolist(), y.tolist())]
    assert recalled(x, y).tolist() == expected


def test_the_loss_is_split_in_recalled_targets_and_the_rest(monkeypatch, data, tmp_path, capsys):
    checkpoint = run(monkeypatch, data, tmp_path / 'a')
    val, model = checkpoint['val'], GPT(GPTConfig(**checkpoint['config']['model'])).eval()
    model.load_state_dict(checkpoint['model'])
    ids = np.fromfile(os.path.join(data, 'val.bin'), dtype=np.uint16).astype(np.int64)
    sums = {True: [0, 0.0], False: [0, 0.0]}
    for i in range(0, len(ids) - 1, 16):
        x, y, seen = ids[i:i + 16][:len(ids) - 1 - i], ids[i + 1:i + 17], set()
        losses = F.cross_entropy(model(torch.from_numpy(x)[None])[0][0], torch.from_numpy(y), reduction='none').tolist()
        for pair, loss in zip(zip(x.tolist(), y.tolist()), losses):
            sums[pair in seen][0] += 1
            sums[pair in seen][1] += loss
            seen.add(pair)
    for part, (count, nats) in zip(('recalled', 'rest'), (sums[True], sums[False])):
        assert val[part]['share'] == pytest.approx(count / (len(ids) - 1)) and val[part]['loss'] == pytest.approx(nats / count, rel=1e-5)
    assert val['recalled']['share'] > 0.02 and val['recalled']['share'] + val['rest']['share'] == pytest.approx(1)
    capsys.readouterr()
    run(monkeypatch, data, tmp_path / 'a', '--eval_only')
    words = capsys.readouterr().out
    assert f"| recalled {val['recalled']['loss']:.2f} ({val['recalled']['share']:.0%}), new {val['rest']['loss']:.2f}" in words


def test_standard_error_is_that_of_independent_windows(data):
    class Fixed(torch.nn.Module):       # loss of a token = its id, so that windows are a known sample
        config = types.SimpleNamespace(block_size=4)

        def forward(self, idx, targets, reduction):
            return None, targets.float()

    rng = np.random.default_rng(0)
    errors, estimates = [], []
    runner = types.SimpleNamespace(rank=0, world=1, micro_batch_size=7, device='cpu', sum=lambda t: t,
                                   autocast=lambda: torch.autocast('cpu', enabled=False))
    for _ in range(200):
        ids = np.repeat(rng.integers(0, 100, 51), 4)[3:].astype(np.uint16)       # four equal targets a window
        loss = train.evaluate(Fixed(), ids, {'notes': 1, 'characters': 1}, runner)
        errors.append(loss['loss'] - 49.5)
        estimates.append(loss['se'])
    assert np.mean(estimates) == pytest.approx(np.std(errors), rel=0.15)


def test_training_learns_and_best_is_the_best(monkeypatch, data, tmp_path):
    last = run(monkeypatch, data, tmp_path, '--max_tokens=20000', '--epochs=20', '--learning_rate=2e-2',
               '--eval_interval=None')                          # five in a run
    assert last['history'][0]['loss'] == pytest.approx(math.log(VOCAB), abs=0.2) and last['val']['loss'] < 2.0
    vals = [row['val']['loss'] for row in last['history'] if 'val' in row]
    assert load(tmp_path, 'best.pt')['val']['loss'] == min(vals) and len(vals) == 5


def test_a_checkpoint_holds_all_that_sampling_and_fitting_need(monkeypatch, data, tmp_path):
    c = run(monkeypatch, data, tmp_path)
    assert c['tokenizer'] == '{"a tokenizer": "as text"}' and c['meta']['splits']['train']['tokens'] == TOKENS
    assert c['tokens'] == 640 and c['step'] == 10 and set(c['val']) == {'loss', 'se', 'perplexity', 'per_note', 'per_char', 'recalled', 'rest'}
    assert c['config']['arch'] == 'gpt' and c['config']['model']['vocab_size'] == VOCAB and c['config']['train']['learning_rate'] == 3e-3
    model = GPT(GPTConfig(**c['config']['model']))
    model.load_state_dict(c['model'])
    assert model.num_params() == c['num_params']
    assert {'rng', 'optimizer', 'scaler', 'history', 'versions', 'git'} <= set(c)


def test_the_tail_of_an_epoch_is_left_out_and_said(monkeypatch, data, tmp_path, capsys):
    c = run(monkeypatch, data, tmp_path, '--max_tokens=1_000_000', '--batch_size=24')
    assert c['step'] == 68 // 24 and 'of 68 windows an epoch leaves out 20 (320 tokens' in capsys.readouterr().out


def schedule(n_steps, **changes):
    s = types.SimpleNamespace(**{'learning_rate': 1.0, 'min_lr': None, 'warmup_steps': 10, 'schedule': 'cosine', 'cooldown_fraction': 0.2,
                                 **changes})
    return [lr_factor(step, n_steps, s) for step in range(n_steps)]


def test_schedules_have_their_shapes():
    cosine = schedule(110)
    assert cosine[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and max(cosine) == 1.0
    assert cosine[60] == pytest.approx(0.55) and cosine[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in zip(cosine[10:], cosine[11:]))
    wsd = schedule(100, schedule='wsd', min_lr=0.0)
    assert set(wsd[10:81]) == {1.0} and wsd[90] == pytest.approx(0.5) and wsd[99] == pytest.approx(0.05)


def test_every_parameter_is_in_one_group():
    for model in (GPT(GPTConfig(16, 8, 2, 2, 24)), LSTM(LSTMConfig(16, 8, 2, 24))):
        s = types.SimpleNamespace(weight_decay=0.1, learning_rate=1e-3, embedding_lr=None, head_lr=None, beta1=0.9, beta2=0.95)
        held = [p for g in make_optimizer(model, s).param_groups for p in g['params']]
        assert sum(p.numel() for p in held) == sum(p.numel() for p in model.parameters())


def test_embeddings_and_head_have_rates_of_their_own_and_all_matrices_share_one_decay():
    for model in (GPT(GPTConfig(16, 8, 2, 2, 24)), LSTM(LSTMConfig(16, 8, 2, 24))):
        s = types.SimpleNamespace(weight_decay=0.1, learning_rate=1e-2, embedding_lr=0.3, head_lr=0.05,
                                  beta1=0.9, beta2=0.95)
        adamw = make_optimizer(model, s)
        names, seen = {id(p): name for name, p in model.named_parameters()}, set()
        for group in adamw.param_groups:
            for p in group['params']:
                layer, matrix = names[id(p)].split('.')[0], p.ndim > 1
                assert group['lr'] == group['peak_lr'] == ({'wte': 0.3, 'wpe': 0.3, 'head': 0.05}.get(layer, 0.01) if matrix else 0.01)
                assert group['lr'] * group['weight_decay'] == pytest.approx(0.1 * 0.01 if matrix else 0.0)
                seen.add((layer, matrix))
        assert {('wte', True), ('head', True), ('head', False)} <= seen and adamw.param_groups[0]['lr'] == 0.01


def test_an_fp16_overflow_is_skipped_and_halves_the_scale():
    torch.manual_seed(0)
    model = GPT(GPTConfig(16, 8, 1, 2, 24, positions='rotary', key_offset=True, qk_norm=True, conv_taps=4))
    s = types.SimpleNamespace(weight_decay=0.1, learning_rate=1e-2, embedding_lr=None, head_lr=None, beta1=0.9, beta2=0.95)
    optimizer = make_optimizer(model, s)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    idx = torch.randint(0, 16, (4, 8))
    for poisoned in (model.blocks[0].fc.weight, model.head.bias, None):          # a matrix, a vector, none
        before = {k: v.clone() for k, v in model.state_dict().items()}
        scale = scaler.get_scale()
        scaler.scale(model(idx, idx)[1]).backward()
        if poisoned is not None:
            poisoned.grad.view(-1)[3] = math.inf
        _, taken = update(model, optimizer, scaler, 1.0)
        same = all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert taken == (poisoned is None) == (not same) and scaler.get_scale() == scale * (1 if taken else 0.5)


# ---- the machine

@pytest.mark.parametrize('name, peak', [
    ('NVIDIA L4', 121e12), ('NVIDIA L40S', 362e12), ('NVIDIA L40', None), ('NVIDIA RTX A4000', None), ('NVIDIA A40', 150e12),
    ('NVIDIA A100-SXM4-40GB', 312e12), ('NVIDIA A100 80GB PCIe', 312e12), ('NVIDIA A100-SXM4-40GB MIG 1g.5gb', None),
    ('NVIDIA H100 80GB HBM3', 989e12), ('NVIDIA H100 PCIe', 756e12), ('NVIDIA H100 NVL', 835e12), ('NVIDIA H200', 989e12),
    ('NVIDIA GH200 480GB', 989e12), ('Tesla V100-SXM2-16GB', 125e12), ('Tesla T4', 65e12), ('NVIDIA RTX A6000', 155e12),
    ('NVIDIA GeForce RTX 3090', 71e12), ('NVIDIA GeForce RTX 3090 Ti', None), ('NVIDIA GeForce RTX 4090 Laptop GPU', None)])
def test_the_peak_rate_is_that_of_the_very_chip(name, peak, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: name)
    mfu = train.Run.mfu(types.SimpleNamespace(device='cuda', dtype='bf16', world=2), 1e12)
    assert mfu is None if peak is None else mfu == pytest.approx(1e12 / (2 * peak))


def test_another_device_runs_in_fp32_not_compiled_and_is_called_untested(monkeypatch, capsys):
    monkeypatch.setattr(machine, 'usable_device', lambda name: name)
    device = train.Run(train.Settings(device='mps'))
    device.resolve_compile_mode(1e18)
    assert (device.device, device.dtype, device.compile) == ('mps', 'fp32', False)
    said = capsys.readouterr().out
    assert "device 'mps' is untested by us" in said and said.count('\n') == 1
    torch.use_deterministic_algorithms(True)


def test_a_deterministic_run_tells_cublas_before_cuda_begins(monkeypatch):
    seen = []
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    monkeypatch.setattr(machine, 'usable_device', lambda name: seen.append(os.environ.get('CUBLAS_WORKSPACE_CONFIG')) or 'cuda')
    monkeypatch.setattr(torch, 'set_float32_matmul_precision', lambda precision: None)
    for deterministic in (False, True):
        train.Run(train.Settings(device='cuda', dtype='bf16', deterministic=deterministic))
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG')
    assert seen == [None, ':4096:8']


def test_training_needs_no_resource_module(monkeypatch, data, tmp_path, capsys):
    """As on Windows, which has none: train.py and all that it is made of, imported without it."""
    monkeypatch.setitem(sys.modules, 'resource', None)
    for name in list(sys.modules):
        if name.split('.')[0] in ('train', 'training', 'plumbing', 'configurator', 'model', 'lstm'):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, 'argv', ['train.py', f'--data_dir={data}', f'--out_dir={tmp_path}', *TINY])
    importlib.import_module('train').main()
    assert 'memory n/a' in capsys.readouterr().out
    assert all(row['memory_gb'] is None for row in load(tmp_path)['history'] if 'loss' in row)


def test_a_run_is_named_after_all_of_its_config_files(monkeypatch, data, tmp_path):
    for name, text in (('small', 'n_embd = 16\nn_head = 2'), ('modern', 'beta2 = 0.99')):
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.chdir(tmp_path)
    for configs, out in ((['small.py'], 'out/small'), (['small.py', './modern.py'], 'out/small-modern'), ([], 'out/gpt')):
        monkeypatch.setattr(sys, 'argv', ['train.py', *configs, f'--data_dir={data}', *TINY])
        train.main()
        assert load(out)['config']['train']['beta2'] == (0.99 if 'modern' in out else 0.95)


# ---- mistakes

@pytest.mark.parametrize('options, said', [
    (['--max_tokens=63'], 'nothing to train on: a step takes 64 tokens'),
    (['--batch_size=128'], 'nothing to train on: a step takes 2,048 tokens'),
    (['--micro_batch_size=3'], 'micro_batch_size 3 does not divide the 4 sequences'),
    (['--n_head=3'], 'n_embd 16 is no multiple of n_head 3'),
    (['--warmup_steps=10'], 'warmup_steps is 10, but the run has 10 steps'),
    (['--device=cuda'], 'no GPU'),
    (['--device=abacus'], "device 'abacus': torch cannot use it here"),
    (['--device=meta'], "device 'meta': torch cannot use it here"),
    (['--device=xpu:1'], "device 'xpu:1': torch cannot use it here"),
    (['--init_from=nothing.pt'], "no checkpoint 'nothing.pt'"),
    (['--init_from=a.pt', '--trunk=b.pt'], "'init_from' and 'trunk' are two starting points"),
    (['--eval_only'], 'no checkpoint'),
    (['--trunk=nothing.pt'], "no checkpoint 'nothing.pt'"),
    (['--data_dir=nothing'], "no prepared data in 'nothing'"),
])
def test_a_mistake_is_one_line(options, said, monkeypatch, data, tmp_path, capsys):
    if '--device=cuda' in options and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'out', *options)
    err = capsys.readouterr().err
    assert e.value.code == 2 and said in err and err.count('\n') == 1


@pytest.mark.parametrize('setting', [
    'max_tokens=0', 'epochs=0', 'batch_size=-4', 'micro_batch_size=0', 'block_size=0', 'n_layer=0', 'n_head=0',
    'n_embd=-16', 'hidden_size=0', 'log_interval=0', 'eval_interval=0', 'conv_taps=-1', 'conv_taps=17',
    'warmup_steps=-3', 'seed=-1', 'seed=4294967296', 'snapshots=63', 'snapshots=640,-64', 'learning_rate=0',
    'learning_rate=-1e-3', 'embedding_lr=0', 'head_lr=-1', 'min_lr=-1e-4', 'min_lr=1', 'dropout=1.5', 'dropout=-0.1',
    'dropout=1', 'beta1=1', 'beta2=1', 'beta2=-0.5', 'anneal_fraction=1', 'average_fraction=-0.1',
    'cooldown_fraction=1.1', 'cooldown_fraction=-0.2', 'weight_decay=-0.1', 'grad_clip=-1', 'save_minutes=-1', 'patience=0',
    'learning_rate=1e999', 'grad_clip=1e999', 'arch=rnn', 'positions=sine', 'init=zero', 'schedule=linear',
    'dtype=int8', 'compile=perhaps', 'split=all'])
def test_a_setting_out_of_its_range_is_one_line_that_names_it(setting, monkeypatch, data, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'out', f'--{setting}')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and repr(setting.split('=')[0]) in err
    assert not os.path.exists(tmp_path / 'out')


def test_settings_at_the_ends_of_their_ranges_are_taken(monkeypatch, data, tmp_path):
    for i, options in enumerate((['--dropout=0', '--beta1=0', '--beta2=0', '--weight_decay=0', '--grad_clip=0', '--save_minutes=0'],
                                 ['--min_lr=3e-3', '--warmup_steps=0', '--conv_taps=16', '--seed=4294967295'],
                                 ['--schedule=wsd', '--cooldown_fraction=0', '--min_lr=0', '--warmup_steps=9'],
                                 ['--schedule=wsd', '--cooldown_fraction=1', '--snapshots=64,640', '--average_fraction=0.99'])):
        checkpoint = run(monkeypatch, data, tmp_path / str(i), *options)
        assert checkpoint['step'] == 10 and math.isfinite(checkpoint['val']['loss'])


def unusable(tmp_path, kind):
    """A path that cannot be the folder of a run."""
    (tmp_path / 'file').write_text('a file')
    if kind == 'closed':
        (tmp_path / 'closed').mkdir(mode=0o500)
        if os.access(tmp_path / 'closed', os.W_OK):
            pytest.skip('root may write everywhere')
    return {'a file': tmp_path / 'file', 'below a file': tmp_path / 'file' / 'run', 'closed': tmp_path / 'closed',
            'too long': tmp_path / ('x' * 300)}[kind]


@pytest.mark.parametrize('kind', ['a file', 'below a file', 'too long', 'closed'])
def test_a_folder_that_cannot_be_written_to_is_one_line(kind, monkeypatch, data, tmp_path, capsys):
    out = unusable(tmp_path, kind)
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, out)
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'out_dir' in err and str(out) in err
    assert (tmp_path / 'file').read_text() == 'a file'


@pytest.mark.parametrize('text', ['', '{"vocab_size": 32', '[]', 'null', '{"vocab_size": "32"}', '{"name": "another program"}',
                                  '{"vocab_size": 32, "tokenizer": {}, "splits": {"train": {}}}', b'\xff\xfe'])
def test_a_broken_or_foreign_meta_json_is_one_line(text, monkeypatch, tmp_path, capsys):
    folder = tmp_path / 'data'
    folder.mkdir()
    write_data(folder)
    (folder / 'meta.json').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, folder, tmp_path / 'out')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'meta.json' in err and 'run prepare.py again' in err
    assert not os.path.exists(tmp_path / 'out')


@pytest.mark.parametrize('name, change, said', [
    ('tokenizer.json', None, 'is missing'), ('tokenizer.json', b'\xff', 'cannot be read'),
    ('train.bin', None, 'is missing'), ('train.bin', b'abc' * 101, 'odd number of bytes'),
    ('val.bin', b'ab' * 40, 'holds 40 tokens, but meta.json says 250'), ('val.bin', None, 'is missing'),
    ('meta.json', lambda meta: meta['splits']['val'].update(notes=0), 'counts no notes'),
    ('meta.json', lambda meta: meta['splits']['train'].update(characters=0), 'counts no notes')])
def test_a_damaged_data_folder_is_one_line(name, change, said, monkeypatch, tmp_path, capsys):
    folder = tmp_path / 'data'
    folder.mkdir()
    write_data(folder)
    if callable(change):
        meta = json.loads((folder / name).read_text())
        change(meta)
        (folder / name).write_text(json.dumps(meta))
    else:
        (folder / name).unlink()
        if change is not None:
            (folder / name).write_bytes(change)
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, folder, tmp_path / 'out')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and said in err and str(folder) in err
    assert not os.path.exists(tmp_path / 'out')


def test_a_model_without_the_state_of_its_training_is_no_trunk(monkeypatch, data, tmp_path, capsys):
    checkpoint = run(monkeypatch, data, tmp_path / 'a')
    torch.save({name: checkpoint[name] for name in ('model', 'config', 'meta', 'tokenizer')}, tmp_path / 'model.pt')
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'b', f'--trunk={tmp_path}/model.pt')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'without the state of its training' in err


@pytest.mark.skipif(torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason='this CPU trains an LSTM in bf16')
def test_a_number_format_that_the_cpu_has_no_kernels_for_is_one_line(monkeypatch, data, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'out', '--arch=lstm', '--dtype=bf16')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'no bf16 kernel' in err and '--dtype=fp32' in err


def test_divergence_has_an_exit_status_of_its_own(monkeypatch, data, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'out', '--learning_rate=1e30', '--grad_clip=0', '--warmup_steps=0')
    err = capsys.readouterr().err
    assert e.value.code == 3 and 'lower the learning rate' in err and err.count('\n') == 1


def test_ranks_that_cannot_share_a_batch_are_refused(monkeypatch, data, tmp_path, capsys):
    monkeypatch.setenv('WORLD_SIZE', '3')
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'out')
    assert e.value.code == 2 and 'batch_size 4 cannot be shared by 3 ranks' in capsys.readouterr().err


@pytest.mark.parametrize('sizes, top, said', [((TOKENS, 0, 9), VOCAB, 'val.bin holds no two tokens'),
                                              ((TOKENS, 99, 9), 40, 'holds the id 39, but the vocabulary of meta.json has 32'),
                                              ((9, 99, 9), VOCAB, 'nothing to train on')])
def test_bad_data_are_one_line(sizes, top, said, monkeypatch, tmp_path, capsys):
    folder = tmp_path / 'data'
    folder.mkdir()
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, write_data(folder, sizes, top), tmp_path / 'out')
    assert e.value.code == 2 and said in capsys.readouterr().err and not os.path.exists(tmp_path / 'out' / 'ckpt.pt')


def test_another_run_is_not_resumed(monkeypatch, data, tmp_path, capsys):
    out = tmp_path / 'out'
    before = run(monkeypatch, data, out)
    other = tmp_path / 'data'
    other.mkdir()
    for options, said in ((['--n_layer=3'], 'n_layer is 2 there and 3 here'), (['--arch=lstm'], "arch is 'gpt' there and 'lstm' here"),
                          (['--learning_rate=1e-4'], 'learning_rate is 0.003 there and 0.0001 here'),
                          ([f'--data_dir={write_data(other, (900, 99, 99))}'], 'was trained on other data')):
        with pytest.raises(SystemExit) as e:
            run(monkeypatch, data, out, '--resume', *options)
        assert e.value.code == 2 and said in capsys.readouterr().err
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'ckpt.pt').write_bytes(b'no checkpoint')
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path / 'bad', '--resume')
    assert e.value.code == 2 and 'is no checkpoint of train.py' in capsys.readouterr().err
    assert_same_run(before, load(out))
