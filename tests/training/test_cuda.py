"""On a GPU: what a CPU computes, resumption bit for bit, every number format. Skipped where torch sees none."""
import itertools
import os

import pytest
import test_model
import test_resume
import test_train
import torch
import torch.nn.functional as F
from test_train import MODERN, load, run

import train
from model import CHUNK_LOGITS, ChunkedCrossEntropy, chunks
from training.optim import update

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')     # cuBLAS reads it once, when CUDA begins
data = test_train.data          # a fixture
PLAIN, LONG = ('--arch=gpt',), ('--arch=lstm',)


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('options', [PLAIN, (*PLAIN, *MODERN), LONG], ids=' '.join)
def test_a_gpu_finds_the_losses_of_a_cpu(options, compiled, monkeypatch, data, tmp_path):
    cpu = run(monkeypatch, data, tmp_path / 'cpu', *options)
    gpu = run(monkeypatch, data, tmp_path / 'gpu', *options, '--device=cuda', f'--compile={compiled}')
    assert gpu['history'][0]['memory_gb'] > 0 and len(gpu['history']) == len(cpu['history'])
    for a, b in zip(cpu['history'], gpu['history']):
        for key in ('loss', 'grad_norm') if 'loss' in a else ():
            assert a[key] == pytest.approx(b[key], rel=5e-3), a['step']         # products of 10 bits of mantissa (TF32)
    assert cpu['val']['loss'] == pytest.approx(gpu['val']['loss'], rel=5e-3)


@pytest.mark.parametrize('dtype', ['fp32', 'bf16', 'fp16'])
@pytest.mark.parametrize('options', [(*PLAIN, *MODERN), (*PLAIN, '--dropout=0.2', '--micro_batch_size=2', '--compile=True', *MODERN),
                                     LONG, (*LONG, '--dropout=0.2', '--micro_batch_size=2', '--compile=True')], ids=' '.join)
def test_a_run_that_was_stopped_goes_on_bit_for_bit(options, dtype, monkeypatch, data, tmp_path):
    options = (*options, f'--dtype={dtype}', '--device=cuda', '--deterministic=True')
    test_resume.test_a_run_that_was_stopped_goes_on_bit_for_bit(options, 'crash', monkeypatch, data, tmp_path)


def test_half_precision_stays_near_full_precision(monkeypatch, data, tmp_path):
    """Two passes over the data; fp16 begins with a few skipped steps, until the scale of its loss has come down."""
    val = {}
    for dtype in ('fp32', 'bf16', 'fp16'):
        checkpoint = run(monkeypatch, data, tmp_path / dtype, *PLAIN, *MODERN, f'--dtype={dtype}', '--device=cuda', '--epochs=4',
                         '--max_tokens=4000')
        val[dtype] = checkpoint['val']['loss']
    assert val['bf16'] == pytest.approx(val['fp32'], rel=0.02) and val['fp16'] == pytest.approx(val['fp32'], rel=0.05)


@pytest.mark.parametrize('arch, attention', test_model.KINDS)
def test_a_cache_changes_no_logits(arch, attention):
    model = test_model.spread(test_model.small(arch, **attention)).cuda()
    idx = torch.randint(0, 50, (3, 16), device='cuda')
    whole, cache = model(idx)[0], model.init_cache(batch=3)
    for a, b in ((0, 5), (5, 6), (6, 7), (7, 15), (15, 16)):
        assert (model(idx[:, a:b], cache=cache)[0][:, -1] - whole[:, b - 1]).abs().max() < 2e-2 * whole.std()


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 2e-3), (torch.bfloat16, 2e-2), (torch.float16, 5e-3)])
def test_loss_in_chunks_is_that_of_torch(dtype, tolerance, monkeypatch):
    monkeypatch.setitem(CHUNK_LOGITS, 'cuda', 1000)       # so that there are several
    torch.manual_seed(1)
    x, weight, bias = (torch.randn(*shape, device='cuda', requires_grad=True) for shape in ((64, 32), (50, 32), (50,)))
    targets = torch.randint(0, 50, (64,), device='cuda')
    ours, theirs = [], []
    for results, loss in ((ours, ChunkedCrossEntropy.apply(x.to(dtype), weight, bias, targets)),
                          (theirs, F.cross_entropy(F.linear(x, weight, bias), targets, reduction='sum'))):
        results += [loss, *torch.autograd.grad(loss, (x, weight, bias))]
    for a, b in zip(ours, theirs):
        assert (a - b).norm() < tolerance * b.norm()


SIZES = {       # two layers of what users train, with vocabulary 5,000 and context 256
    'heads of 64': ('gpt', {'n_head': 12, 'n_embd': 768}), 'heads of 48, as gpt_small': ('gpt', {'n_head': 6, 'n_embd': 288}),
    'modern': ('gpt', {'n_head': 12, 'n_embd': 768, 'positions': 'rotary', 'key_offset': True, 'qk_norm': True, 'conv_taps': 4}),
    'modern, heads of 48': ('gpt', {'n_head': 6, 'n_embd': 288, 'positions': 'rotary', 'key_offset': True, 'qk_norm': True, 'conv_taps': 4}),
    'lstm': ('lstm', {'hidden_size': 1536})}


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('size', SIZES)
def test_compiled_gradients_are_as_near_to_full_precision_as_eager_ones(size, dtype):
    """At batch 64 (96 for the narrow ones): 16,384 rows or more, where reductions over rows are fused (pytorch issue
    193061) and the loss comes in several chunks."""
    arch, shape = SIZES[size]
    batch = 96 if shape.get('n_embd') == 288 else 64
    model = test_model.small(arch, vocab_size=5000, block_size=256, **shape).cuda()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if 'conv' in name:                                      # they begin at 0
                p.normal_(std=0.2)
    idx, targets = torch.randint(0, 5000, (2, batch, 256), device='cuda')
    assert len(chunks(torch.zeros(batch * 256, 1, device='cuda'), 5000)) > 1
    loss, right = test_model.gradients(model, idx, targets, torch.float32, None)
    far = {}
    for compiled in (False, True):
        low_loss, grads = test_model.gradients(model, idx, targets, dtype, 'inductor' if compiled else None)
        assert low_loss == pytest.approx(loss, rel=1e-2)
        far[compiled] = {name: ((grad - right[name]).norm() / right[name].norm()).item() for name, grad in grads.items()}
    for name in right:
        assert far[True][name] < 3 * far[False][name] + 0.02, name


@pytest.mark.parametrize('options', [(*PLAIN, *MODERN), LONG], ids=' '.join)
def test_a_run_with_the_fast_kernels_goes_on_but_for_rounding(options, monkeypatch, data, tmp_path):
    """Without --deterministic, as real runs are: attention's backward pass and the embedding's add in any order."""
    options = (*options, '--device=cuda', '--dtype=bf16')
    whole = run(monkeypatch, data, tmp_path / 'whole', *options)
    with monkeypatch.context() as m, pytest.raises(InterruptedError):
        steps = itertools.count(1)

        def interrupted(*args):
            if next(steps) == 6:
                raise InterruptedError
            return update(*args)
        m.setattr(train, 'update', interrupted)
        run(m, data, tmp_path / 'parts', *options, '--save_minutes=0')
    assert load(tmp_path / 'parts')['step'] == 5
    parts = run(monkeypatch, data, tmp_path / 'parts', *options, '--resume')
    for a, b in zip(whole['history'], parts['history']):
        assert a['step'] == b['step'] and ('loss' not in a or a['loss'] == pytest.approx(b['loss'], rel=1e-2))
    assert parts['val']['loss'] == pytest.approx(whole['val']['loss'], rel=1e-2)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='fewer than two GPUs')
def test_two_gpus_give_the_losses_of_one(monkeypatch, data, tmp_path):
    options = (*MODERN, '--device=cuda', '--batch_size=8', '--micro_batch_size=2', '--max_tokens=2560', '--epochs=3')
    is_whole, words = test_train.torchrun(monkeypatch, data, tmp_path / 'two', *options)
    assert is_whole, words
    one = run(monkeypatch, data, tmp_path / 'one', *options)
    losses = [[row['loss'] for row in history if 'loss' in row] for history in (one['history'], load(tmp_path / 'two')['history'])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
