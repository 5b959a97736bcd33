"""model.py and lstm.py: sizes, causality, the chunked loss, the caches."""
import copy
import functools
import itertools
import os
import runpy
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import model as model_module
from conftest import ROOT
from lstm import LSTM, LSTMConfig
from model import (
    GPT,
    ChunkedCrossEntropy,
    GPTConfig,
    attention_in_blocks,
    flash_attention,
    token_losses,
)

ORIGINAL = {        # total and non-embedding parameters of the original study, vocabulary 5,000, context 256
    'gpt_micro': (1_713_800, 396_032), 'gpt_tiny': (3_307_400, 1_333_248), 'gpt_small': (8_948_552, 5_989_824),
    'gpt_medium': (30_463_880, 25_207_808), 'gpt_large': (92_909_960, 85_028_352), 'rnn_tiny': (7_226_248, 2_101_248),
    'rnn_small': (21_824_392, 12_859_392), 'rnn_medium': (53_138_312, 37_773_312), 'rnn_large': (72_024_968, 56_659_968)}


ATTENTION = [dict(zip(('positions', 'key_offset', 'qk_norm', 'conv_taps'), values))
             for values in itertools.product(('learned', 'rotary'), (False, True), (False, True), (0, 4))]
KINDS = [('lstm', {}), *(('gpt', attention) for attention in ATTENTION)]      # every architecture, and every kind of attention


def spread(model):
    """Weights far from the small ones of a fresh model, so that attention looks at some positions more than at others."""
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return model


def small(arch, **changes):
    torch.manual_seed(0)
    if arch == 'gpt':
        return GPT(GPTConfig(**{'vocab_size': 50, 'block_size': 16, 'n_layer': 2, 'n_head': 2, 'n_embd': 16, **changes})).eval()
    return LSTM(LSTMConfig(**{'vocab_size': 50, 'block_size': 16, 'n_layer': 2, 'hidden_size': 12, **changes})).eval()


@pytest.mark.parametrize('name', ORIGINAL)
def test_configs_have_the_original_parameter_counts(name):
    values = runpy.run_path(os.path.join(ROOT, 'config', f'{name}.py'))
    with torch.device('meta'):      # shapes without memory
        if values['arch'] == 'gpt':
            model = GPT(GPTConfig(n_layer=values['n_layer'], n_head=values['n_head'], n_embd=values['n_embd']))
        else:
            model = LSTM(LSTMConfig(n_layer=values['n_layer'], hidden_size=values['hidden_size']))
    counts = model.num_params()
    assert (counts['total'], counts['non_embedding']) == ORIGINAL[name]
    assert sum(v for k, v in counts.items() if k != 'total') == counts['total'] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('arch,attention', KINDS)
def test_parameters_are_counted_in_every_kind(arch, attention):
    counts = small(arch, **attention).num_params()
    assert sum(v for k, v in counts.items() if k != 'total') == counts['total']
    if arch == 'gpt':
        assert counts['position'] == (16 * 16 if attention['positions'] == 'learned' else 0)
        plain = small('gpt').num_params()['non_embedding']
        assert counts['non_embedding'] == plain + 2 * attention['qk_norm'] + 2 * 2 * 16 * attention['conv_taps']


@pytest.mark.parametrize('arch,attention', KINDS)
def test_a_later_token_changes_no_earlier_logit(arch, attention):
    model = spread(small(arch, **attention))
    idx = torch.randint(0, 50, (3, 16))
    before, _ = model(idx)
    for t in (1, 7, 15):
        changed = idx.clone()
        changed[:, t] = (changed[:, t] + 1) % 50
        after, _ = model(changed)
        assert torch.equal(before[:, :t], after[:, :t])
        assert not torch.equal(before[:, t], after[:, t])


def test_half_of_a_key_is_that_of_the_token_before():
    model = small('gpt', n_layer=1, n_head=1, vocab_size=16, key_offset=True)
    seen, attention = {}, model.blocks[0].attn
    inner = attention.shift_norm_rotate
    attention.shift_norm_rotate = lambda *args: seen.setdefault('qk', inner(*args))
    model(torch.arange(16)[None])
    q, k = seen['qk']
    raw = attention.qkv(model.blocks[0].ln_1(model.wte(torch.arange(16)[None]) + model.wpe.weight)).chunk(3, 2)[1]
    assert torch.equal(k[0, :, 0, :8], raw[0, :, :8]) and torch.equal(k[0, 1:, 0, 8:], raw[0, :-1, 8:])
    assert not k[0, 0, 0, 8:].any()


def test_rotary_attention_knows_only_the_distance():
    q, k = torch.randn(2, 1, 16, 1, 8)
    attention = small('gpt', n_head=1, n_embd=8, positions='rotary').blocks[0].attn
    scores = [torch.einsum('td,sd->ts', *(x[0, :, 0] for x in attention.shift_norm_rotate(q[:, :4], k[:, :4], None, slice(a, a + 4))))
              for a in (0, 12)]
    torch.testing.assert_close(*scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('changes', [{'positions': 'sine'}, {'n_embd': 6, 'n_head': 2, 'key_offset': True},
                                     {'n_embd': 6, 'n_head': 2, 'positions': 'rotary'}, {'conv_taps': -1}])
def test_attention_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match='positions|conv_taps'):
        small('gpt', **changes)


@pytest.mark.parametrize('attention', ATTENTION, ids=str)
def test_a_model_in_parts_is_the_model(attention):
    model, idx = small('gpt', **attention), torch.randint(50, (3, 16))
    calls, called = [], lambda part: lambda *args: calls.append(part) or part(*args)
    twin = model.in_parts(lambda part: part if isinstance(part, torch.nn.Module) else called(part))
    assert list(map(id, twin.parameters())) == list(map(id, model.parameters()))
    torch.testing.assert_close(twin(idx, idx)[1], model(idx, idx)[1], rtol=0, atol=0)
    assert len(calls) == 1                                  # the head; the model itself goes on without
    model(idx, idx)
    assert len(calls) == 1


@pytest.mark.parametrize('T', [1, 2, 3, 4, 9])
def test_convolution_is_a_sum_of_padded_copies(T):
    x, weight = torch.randn(2, T, 5, dtype=torch.double, requires_grad=True), torch.randn(4, 5, dtype=torch.double, requires_grad=True)
    plain = x + sum(weight[k] * F.pad(x, (0, 0, k, 0))[:, :T] for k in range(4))
    torch.testing.assert_close(model_module.CausalConvolution.apply(x, weight), plain)
    assert torch.autograd.gradcheck(model_module.CausalConvolution.apply, (x, weight))


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_loss_is_the_cross_entropy_of_the_logits(arch):
    model = small(arch)
    idx, targets = torch.randint(0, 50, (2, 3, 16))
    expected = F.cross_entropy(model(idx)[0].flatten(0, 1), targets.flatten(), reduction='none').view(3, 16)
    torch.testing.assert_close(model(idx, targets)[1], expected.mean())
    torch.testing.assert_close(model(idx, targets, reduction='none')[1], expected)


@pytest.mark.parametrize('normed', [False, True])
@pytest.mark.parametrize('T', [1, 2, 15, 16])
def test_attention_in_blocks_is_flash_attention(T, normed):
    torch.manual_seed(0)
    qkv = [torch.randn(2, 3, T, 8, requires_grad=True) for _ in range(3)]
    one, two = attention_in_blocks(*qkv, 0.0, normed), flash_attention(*qkv, 0.0)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(torch.autograd.grad(one.square().sum(), qkv), torch.autograd.grad(two.square().sum(), qkv))


@pytest.mark.parametrize('gain', [100.0, -100.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_normed_queries_and_keys_cannot_overflow_whatever_their_gain(gain, dtype, monkeypatch):
    model = small('gpt', qk_norm=True)
    for block in model.blocks:
        block.attn.gain.data.fill_(gain)
    idx = torch.randint(0, 50, (4, 16))
    plain = model(idx, idx)[1]
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        loss = model(idx, idx)[1]
    loss.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5 if dtype == torch.float32 else 0.1)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('tokens', [1, 7, 64, 65])
def test_chunked_loss_and_gradients_are_those_of_the_plain_one(tokens, monkeypatch):
    monkeypatch.setitem(model_module.CHUNK_LOGITS, 'cpu', 16 * 30)      # 16 tokens a chunk
    torch.manual_seed(0)
    x, w, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((tokens, 8), (30, 8), (30,)))
    targets = torch.randint(0, 30, (tokens,))
    grads = torch.autograd.grad(3.0 * ChunkedCrossEntropy.apply(x.float(), w.float(), b.float(), targets), (x, w, b))
    expected = torch.autograd.grad(3.0 * F.cross_entropy(F.linear(x, w, b), targets, reduction='sum'), (x, w, b))
    for grad, right in zip(grads, expected):
        torch.testing.assert_close(grad, right, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(token_losses(x.float(), w.float(), b.float(), targets).double(),
                               F.cross_entropy(F.linear(x, w, b), targets, reduction='none'), rtol=1e-5, atol=1e-5)


def test_fp16_gradients_of_the_head_do_not_underflow():
    torch.manual_seed(0)
    x, w, b = torch.randn(64, 8), torch.randn(5000, 8) * 0.1, torch.zeros(5000)
    targets = torch.randint(0, 5000, (64,))

    def gradient(dtype):
        leaf = w.clone().requires_grad_()
        ChunkedCrossEntropy.apply(x.to(dtype), leaf, b, targets).div(1e6).backward()        # 1e-6 * 1/5000 is no fp16 number
        return leaf.grad
    torch.testing.assert_close(gradient(torch.float16), gradient(torch.float32), rtol=2e-2, atol=2e-9)


def gradients(model, idx, targets, dtype, backend):
    """(loss, gradient of each parameter) of a copy of the model; `backend` of torch.compile, None: not compiled."""
    model = copy.deepcopy(model)
    wrapped = torch.compile(model, backend=backend) if backend else model
    with torch.autocast(idx.device.type, dtype, enabled=dtype != torch.float32):
        loss = wrapped(idx, targets)[1]
    loss.backward()
    torch._dynamo.reset()
    return loss.item(), {name: p.grad.double() for name, p in model.named_parameters()}


@pytest.fixture(scope='module', params=['plain', 'modern'])
def compared(request):
    """(loss, gradients) of eager code, the same of inductor's graphs, and the graphs, forward and backward.

    Heads of 48 channels, as in gpt_small, and a loss in three chunks. The graphs are not turned into C++, which takes a
    minute; at the size of a GPU's runs they are, in test_cuda.py."""
    from functorch.compile import (  # these take seconds
        make_boxed_func,
        min_cut_rematerialization_partition,
    )
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.decomposition import select_decomp_table
    graphs = []

    def keep(module, inputs):
        graphs.append(module.graph)
        return make_boxed_func(module.forward)

    attention = dict(positions='rotary', key_offset=True, qk_norm=True, conv_taps=4) if request.param == 'modern' else {}
    partition = functools.partial(min_cut_rematerialization_partition, compiler='inductor')
    backend = aot_autograd(fw_compiler=keep, bw_compiler=keep, decompositions=select_decomp_table(), partition_fn=partition)
    with pytest.MonkeyPatch.context() as m:
        m.setitem(model_module.CHUNK_LOGITS, 'cpu', 22 * 50)
        model = spread(small('gpt', n_layer=1, n_head=2, n_embd=96, **attention))
        idx, targets = torch.randint(0, 50, (2, 4, 16))
        assert len(model_module.chunks(torch.zeros(64, 96), 50)) == 3
        return (gradients(model, idx, targets, torch.float32, None),
                gradients(model, idx, targets, torch.float32, backend), graphs)


def test_the_graph_of_the_compiler_has_the_loss_and_gradients_of_eager_code(compared):
    (loss, eager), (compiled_loss, compiled), _ = compared
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    for name, grad in eager.items():
        assert (compiled[name] - grad).norm() < 1e-4 * grad.norm(), name


@pytest.mark.parametrize('compared', ['modern'], indirect=True)
def test_no_sum_goes_straight_into_a_part_of_a_buffer(compared):
    """Compiled for a GPU, torch 2.10 to 2.13 loses sums over rows that are stacked (pytorch issue 193061)."""
    graphs = compared[2]

    def name(node):
        return node.target.__name__.split('.')[0] if node.op == 'call_function' else ''
    stacked = [part for graph in graphs for node in graph.nodes if name(node) == 'cat' for part in node.args[0]]
    for i, part in enumerate(stacked):
        while name(part) in ('view', '_unsafe_view', 'unsqueeze', 'squeeze', 'permute', 'expand', 'slice', 'select'):
            part = part.args[0]                                     # the same memory, seen in another shape
        stacked[i] = name(part)
    assert len(graphs) == 2 and len(stacked) > 10 and 'sum' not in stacked


@pytest.mark.skipif(not shutil.which(os.environ.get('CXX', 'g++')), reason='torch.compile needs a C++ compiler')
def test_the_compiled_loss_in_several_chunks_has_the_gradients_of_the_plain_one(monkeypatch):
    monkeypatch.setitem(model_module.CHUNK_LOGITS, 'cpu', 32 * 50)
    monkeypatch.setattr(torch._inductor.config.cpp, 'vec_isa_ok', True)
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((64, 24), (50, 24), (50,)))
    targets = torch.randint(0, 50, (64,))
    assert len(model_module.chunks(x, 50)) == 2
    loss = torch.compile(ChunkedCrossEntropy.apply)(x, weight, bias, targets)
    expected = F.cross_entropy(F.linear(x, weight, bias), targets, reduction='sum')
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, (x, weight, bias)), torch.autograd.grad(expected, (x, weight, bias)))


@pytest.mark.parametrize('arch,attention', KINDS)
@pytest.mark.parametrize('pieces', [(16,), (1,) * 16, (5, 1, 7, 3)])
def test_cached_logits_equal_those_of_the_whole_sequence(arch, attention, pieces):
    model = spread(small(arch, **attention))
    idx = torch.randint(0, 50, (3, 16))
    cache = model.init_cache(3)
    logits = torch.cat([model(piece, cache=cache)[0] for piece in idx.split(pieces, dim=1)], dim=1)
    last = np.cumsum(pieces) - 1                                # of each piece the logits after its last token
    torch.testing.assert_close(logits, model(idx)[0][:, last], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('attention', ATTENTION)
def test_rows_of_a_cache_may_stand_at_different_positions(attention):
    model = spread(small('gpt', **attention))
    idx = torch.randint(0, 50, (2, 9))
    cache = model.init_cache(2)
    model(idx, cache=cache)
    cache['pos'][1] = 4                                         # row 1 is cut back to its first four tokens
    logits, _ = model(torch.tensor([[1, 2], [3, 4]]), cache=cache)
    for row, history, new in ((0, idx[0], [1, 2]), (1, idx[1, :4], [3, 4])):
        whole, _ = model(torch.cat([history, torch.tensor(new)])[None])
        torch.testing.assert_close(logits[row], whole[0, -1:], rtol=1e-4, atol=1e-5)


def test_more_tokens_than_the_context_are_refused():
    model = small('gpt')
    with pytest.raises(ValueError, match='context of 16'):
        model(torch.zeros(1, 17, dtype=torch.long))
    cache = model.init_cache(1)
    model(torch.zeros(1, 16, dtype=torch.long), cache=cache)
    with pytest.raises(ValueError, match='context of 16'):
        model(torch.zeros(1, 1, dtype=torch.long), cache=cache)


@pytest.mark.parametrize('kind', ['width', 'gpt2'])
@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_a_fresh_model_predicts_about_uniformly(arch, kind):
    model = small(arch, vocab_size=1000)
    model.init_weights(kind)
    idx, targets = torch.randint(0, 1000, (2, 8, 16))
    assert model(idx, targets)[1].item() == pytest.approx(6.908, abs=0.1)       # log 1000


def test_width_aware_hidden_layers_keep_the_scale_at_any_width():
    for width in (16, 64, 256):
        layer = small('gpt', n_embd=width).blocks[0].fc
        assert layer(torch.randn(2000, width)).std().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_flops_count_six_for_each_weight_of_a_product(arch):
    model = small(arch, **{'conv_taps': 4} if arch == 'gpt' else {})
    weights = [p for name, p in model.named_parameters() if p.ndim > 1 and not name.startswith(('wte', 'wpe'))]
    attention = 6 * 2 * 16 * 16 if arch == 'gpt' else 0         # 6 * n_layer * block_size * n_embd
    assert model.flops_per_token() == 6 * sum(p.numel() for p in weights) + attention


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match='n_embd 30 is no multiple of n_head 4'):
        GPT(GPTConfig(n_embd=30, n_head=4))


@pytest.mark.parametrize('n_layer', [1, 2])
def test_dropout_of_an_lstm_reaches_what_its_last_layer_gives(n_layer):
    model = spread(small('lstm', n_layer=n_layer, dropout=0.5))
    x = model.wte(torch.randint(0, model.config.vocab_size, (2, 8)))
    in_training = model.train().stacked(x)
    share_of_zeros = (in_training == 0).float().mean().item()
    assert 0.3 < share_of_zeros < 0.7
    assert (model.eval().stacked(x) != 0).all()


def test_layers_of_an_lstm_with_dropout_are_those_of_torch(monkeypatch):
    model = spread(small('lstm', n_layer=3, dropout=0.5))
    idx = torch.randint(0, 50, (3, 16))
    whole = model(idx)[0]
    model.train()
    dropped = [model(idx)[0] for _ in range(2)]
    assert not torch.equal(*dropped) and not torch.allclose(dropped[0], whole)
    monkeypatch.setattr(F, 'dropout', lambda x, p: x)
    assert torch.allclose(model(idx)[0], whole, atol=1e-6)
