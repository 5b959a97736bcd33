"""The GPT, a decoder-only transformer over tune tokens, and the loss that both architectures share.

    model = GPT(GPTConfig(vocab_size=5000, n_layer=2, n_head=4, n_embd=128))
    logits_BTV, _ = model(idx_BT)                       # idx: int64 token ids, T <= block_size
    _, loss = model(idx_BT, targets_BT)                 # mean cross-entropy in nats
    cache = model.init_cache(batch=10)
    logits_B1V, _ = model(idx_BT, cache=cache)          # appends idx to the cache, T may be 1

Pre-LN blocks, learned positions, GELU, an untied head with bias; qkv without bias, all else with:
the shape of the original study, so that parameter counts are the same. Four fields of the config
bring the blocks up to date.

Letters in names are axes: B batch, T time, C width (n_embd), H heads, D = C / H, V vocabulary,
S positions up to now, K convolution taps, N = B * T, d = D / 2 pairs of channels.
"""
import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class GPTConfig:
    vocab_size: int = 5000
    block_size: int = 256       # longest context, in tokens
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 288           # width, a multiple of n_head
    dropout: float = 0.0
    positions: str = 'learned'  # learned | rotary
    key_offset: bool = False    # half of each key is that of the token before
    qk_norm: bool = False       # queries and keys of unit mean square, and one learned gain a layer
    conv_taps: int = 0          # tokens that the causal convolutions before attention and MLP see


class LayerCache(NamedTuple):
    """What attention and convolutions of one block see of GPT.init_cache in one forward pass.

    kv_B3HSD, seen_B2SC: the block's part of `kv` and `seen`, read and extended; S: block_size.
    rows_B1, positions_BT: where in them the new tokens belong.
    mask_B1TS: -inf where a token must not attend to a position, else 0; S: the positions in use.
    """
    kv_B3HSD: torch.Tensor
    seen_B2SC: torch.Tensor
    rows_B1: torch.Tensor
    positions_BT: torch.Tensor
    mask_B1TS: torch.Tensor


LARGEST_LOGIT = 80.0    # sums of its exponentials are finite in float32; trained models reach 20


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, H, half = config.n_embd, config.n_head, config.n_embd // config.n_head // 2
        if C % H:
            raise ValueError(f'n_embd {C} is no multiple of n_head {H}')
        if config.conv_taps < 0:
            raise ValueError(f'conv_taps must be at least 0, not {config.conv_taps}')
        if config.positions not in ('learned', 'rotary'):
            raise ValueError(f"positions {config.positions!r} is neither 'learned' nor 'rotary'")
        if C // H % 2 and (config.positions == 'rotary' or config.key_offset):
            raise ValueError(f'n_embd / n_head is {C // H}: rotary positions and key_offset need '
                             'an even number')
        self.n_head, self.dropout, self.key_offset = H, config.dropout, config.key_offset
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        self.proj = nn.Linear(C, C)
        self.gain = nn.Parameter(torch.ones(())) if config.qk_norm else None

        # Rotary positions: cosine and sine of each position's angles
        turns_S2d = None
        if config.positions == 'rotary':
            frequencies_d = 10_000.0 ** (-torch.arange(half) / half)
            angles_Sd = torch.arange(config.block_size)[:, None] * frequencies_d
            turns_S2d = torch.stack([angles_Sd.cos(), angles_Sd.sin()], 1)
        self.register_buffer('turns_S2d', turns_S2d, persistent=False)

    def forward(self, x_BTC):
        """Attention among the tokens of x alone."""
        q_BTHD, k_BTHD, v_BTHD = self.split_heads(x_BTC)
        before_B1HD = torch.zeros_like(k_BTHD[:, :1])       # nothing comes before the first token
        positions = slice(x_BTC.shape[1])
        q_BTHD, k_BTHD = self.shift_norm_rotate(q_BTHD, k_BTHD, before_B1HD, positions)
        q_BHTD, k_BHTD, v_BHTD = (x.transpose(1, 2) for x in (q_BTHD, k_BTHD, v_BTHD))
        dropout = self.dropout if self.training else 0.0
        if torch.compiler.is_compiling() and x_BTC.is_cpu:
            normed = self.gain is not None
            y_BHTD = attention_in_blocks(q_BHTD, k_BHTD, v_BHTD, dropout, normed)
        else:
            y_BHTD = flash_attention(q_BHTD, k_BHTD, v_BHTD, dropout)
        return self.merge_heads(y_BHTD)

    def forward_cached(self, x_BTC, cache):
        """Attention of new tokens to those in a LayerCache and to each other; adds them to it."""
        kv_B3HSD, _, rows_B1, positions_BT, mask_B1TS = cache
        q_BTHD, k_BTHD, v_BTHD = self.split_heads(x_BTC)

        # Half of a key comes from the previous token's key as it was made: kv has a place for that
        before_B1HD = None
        if self.key_offset:
            first_B1 = positions_BT[:, :1]
            before_B1HD = kv_B3HSD[rows_B1, 2, :, first_B1 - 1].to(k_BTHD.dtype)
            before_B1HD = before_B1HD * (first_B1 > 0)[:, :, None, None]    # none before the first
            kv_B3HSD[rows_B1, 2, :, positions_BT] = k_BTHD.to(kv_B3HSD.dtype)
        q_BTHD, k_BTHD = self.shift_norm_rotate(q_BTHD, k_BTHD, before_B1HD, positions_BT)

        # Extend the cache, then attend to all of it that is in use
        kv_B3HSD[rows_B1, :2, :, positions_BT] = torch.stack([k_BTHD, v_BTHD], 2).to(kv_B3HSD.dtype)
        k_BHSD, v_BHSD = kv_B3HSD[:, :2, :, :mask_B1TS.shape[3]].unbind(1)
        q_BHTD = q_BTHD.transpose(1, 2).to(kv_B3HSD.dtype)
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=mask_B1TS)
        return self.merge_heads(y_BHTD)

    def split_heads(self, x_BTC):
        """Queries, keys and values, each (B, T, H, D)."""
        B, T, C = x_BTC.shape
        return self.qkv(x_BTC).view(B, T, 3, self.n_head, C // self.n_head).unbind(2)

    def merge_heads(self, y_BHTD):
        B, H, T, D = y_BHTD.shape
        return self.proj(y_BHTD.transpose(1, 2).reshape(B, T, H * D))

    def shift_norm_rotate(self, q_BTHD, k_BTHD, before_B1HD, positions):
        """Queries and keys after shift, norm, rotation. before_B1HD: the key before the first."""
        dtype = q_BTHD.dtype
        if self.key_offset:
            # "What came after this before?" takes two layers: one to know the token before, one to
            # look it up. A key with half of its channels (one of each rotated pair) from the token
            # before tells both, and one layer can copy.
            before_BTHD = torch.cat([before_B1HD, k_BTHD[:, :-1]], 1)
            k_BTHD = torch.cat([k_BTHD.chunk(2, 3)[0], before_BTHD.chunk(2, 3)[1]], 3)
        if self.gain is not None:       # logits are bounded, whatever the learning rate
            q_BTHD, k_BTHD = (F.rms_norm(x.float(), x.shape[3:]) for x in (q_BTHD, k_BTHD))
            # Normed vectors have length sqrt(D), so a logit q·k / sqrt(D) is at most sqrt(D) gains
            largest_gain = LARGEST_LOGIT / q_BTHD.shape[3] ** 0.5
            q_BTHD = q_BTHD * self.gain.clamp(-largest_gain, largest_gain)
        if self.turns_S2d is not None:
            q_BTHD, k_BTHD = (rotated(x, self.turns_S2d[positions]) for x in (q_BTHD, k_BTHD))
        return q_BTHD.to(dtype), k_BTHD.to(dtype)


def rotated(x_BTHD, turns_T2d):
    """Channels i and i + D/2 turned as a pair, by an angle that grows with the position.

    RoPE, Su et al. 2021, arXiv 2104.09864.
    """
    cos, sin = turns_T2d[..., None, :].unbind(-3)
    a, b = x_BTHD.float().chunk(2, 3)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], 3)


def flash_attention(q_BHTD, k_BHTD, v_BHTD, dropout):
    return F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True, dropout_p=dropout)


def attention_in_blocks(q_BHTD, k_BHTD, v_BHTD, dropout, normed, n_blocks=2):
    """Causal attention for compiled CPU code: a block of queries meets the keys up to its end.

    torch's flash kernel for CPUs has a slow backward pass: this takes 0.57 of its time (4 heads of
    32, T = 256). Where queries and keys are normed, no row needs its largest logit subtracted
    before the exponential, and the division by their sum comes last: a forward and backward pass
    of the whole model then takes 0.8 of its time.
    """
    T = q_BHTD.shape[2]
    size, out = -(-T // n_blocks), []
    future_TT = torch.ones(T, T, dtype=torch.bool, device=q_BHTD.device).triu(1)
    for a in range(0, T, size):
        b = min(a + size, T)
        scale = q_BHTD.shape[3] ** -0.5
        scores = q_BHTD[:, :, a:b] @ k_BHTD[:, :, :b].transpose(2, 3)
        if normed and v_BHTD.dtype != torch.float16:        # whose numbers end at 65,504
            weights, total = Exponentials.apply(scores, future_TT[a:b, :b], scale)
        else:
            scores = (scores.float() * scale).masked_fill(future_TT[a:b, :b], -math.inf)
            weights, total = scores.softmax(3).to(v_BHTD.dtype), 1.0
        y_BHTD = F.dropout(weights, dropout) @ v_BHTD[:, :, :b]
        out.append((y_BHTD / total).to(v_BHTD.dtype))
    return torch.cat(out, 2)


class Exponentials(torch.autograd.Function):
    """exp(scale * scores), 0 in the future, and their sums in float32 (B, H, T, 1).

    scores: (B, H, T, S).

    Backward needs nothing but the exponentials, which are kept for the product with the values;
    autograd would keep the scores, too, and compute the exponentials again.
    """
    @staticmethod
    def forward(ctx, scores, future_TS, scale):
        weights = (scores.float() * scale).exp().masked_fill(future_TS, 0.0)
        rounded = weights.to(scores.dtype)
        ctx.save_for_backward(rounded)
        ctx.scale = scale
        return rounded, weights.sum(3, keepdim=True)

    @staticmethod
    def backward(ctx, grad_weights, grad_total):
        weights, = ctx.saved_tensors
        grad_scores = weights.float() * (grad_weights.float() + grad_total) * ctx.scale
        return grad_scores.to(weights.dtype), None, None


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.conv_2KC = None        # taps before attention and before the MLP
        if config.conv_taps:
            self.conv_2KC = nn.Parameter(torch.zeros(2, config.conv_taps, config.n_embd))

    def forward(self, x_BTC, cache=None):
        """`cache`: a LayerCache, to continue what it holds."""
        a_BTC = self.convolve(self.ln_1(x_BTC), 0, cache)
        a_BTC = self.attn(a_BTC) if cache is None else self.attn.forward_cached(a_BTC, cache)
        x_BTC = x_BTC + self.dropout(a_BTC)
        m_BTC = self.convolve(self.ln_2(x_BTC), 1, cache)
        return x_BTC + self.dropout(self.proj(F.gelu(self.fc(m_BTC))))

    def convolve(self, x_BTC, i, cache):
        """Each channel, plus a weighted sum of its values at the last tokens, this one's included.

        Heads then compare passages, not tokens, and the MLP sees them (canon layers, Allen-Zhu
        2025, arXiv 2512.17351). `i`: 0 before attention, 1 before the MLP.
        """
        if self.conv_2KC is None:
            return x_BTC
        if cache is None:
            return CausalConvolution.apply(x_BTC, self.conv_2KC[i])
        _, seen_B2SC, rows_B1, positions_BT, _ = cache
        seen_B2SC[rows_B1, i, positions_BT] = x_BTC.to(seen_B2SC.dtype)
        taps_K = torch.arange(self.conv_2KC.shape[1], device=x_BTC.device)
        places_BTK = positions_BT[..., None] - taps_K
        before_BTKC = seen_B2SC[rows_B1[..., None], i, places_BTK] * (places_BTK >= 0)[..., None]
        return x_BTC + (self.conv_2KC[i] * before_BTKC).sum(2)


class CausalConvolution(torch.autograd.Function):
    """x_t + the sum over k of weight_k * x_(t-k), channel by channel; x (B, T, C), weight (K, C).

    What autograd makes of padded copies takes 3 times as long on a CPU, and a step of the whole
    model then 1.1 times as long.
    """
    @staticmethod
    def forward(ctx, x_BTC, weight_KC):
        ctx.save_for_backward(x_BTC, weight_KC)
        out_BTC, T = x_BTC * (1 + weight_KC[0]), x_BTC.shape[1]
        for k in range(1, min(len(weight_KC), T)):
            out_BTC[:, k:].addcmul_(x_BTC[:, :T - k], weight_KC[k])
        return out_BTC

    @staticmethod
    def backward(ctx, grad_BTC):
        x_BTC, weight_KC = ctx.saved_tensors
        grad_x_BTC, T = grad_BTC * (1 + weight_KC[0]), x_BTC.shape[1]
        for k in range(1, min(len(weight_KC), T)):
            grad_x_BTC[:, :T - k].addcmul_(grad_BTC[:, k:], weight_KC[k])

        # Not torch.stack: compiled for a GPU, torch 2.10 to 2.13 can lose a sum over rows that goes
        # straight into a part of one buffer (pytorch issue 193061). Assigned like this, each sum
        # has a buffer of its own and is copied.
        grad_weight_KC = torch.zeros_like(weight_KC)
        for k in range(len(weight_KC)):
            grad_weight_KC[k] = (grad_BTC[:, k:] * x_BTC[:, :max(T - k, 0)]).sum((0, 1))
        return grad_x_BTC, grad_weight_KC


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = None
        if config.positions == 'learned':
            self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, kind='width'):
        """Draw all weights from torch's generator. LayerNorms and convolutions are the identity.

        'gpt2': every matrix N(0, 0.02), and the two projections back to the residual stream
        N(0, 0.02 / sqrt(2 n_layer)).
        'width': hidden matrices N(0, 1 / sqrt(fan_in)), so that a layer keeps the scale of its
        input at any width (0.02 is 1 / sqrt(2500): far too small for a width of 32), the two
        projections again 1 / sqrt(2 n_layer) of that; token embeddings N(0, 1) and positions
        N(0, 0.3), large enough beside the residual stream; a head N(0, 1 / fan_in): first logits
        near 0.
        Biases are 0.
        """
        for name, p in self.named_parameters():
            if p.ndim < 2 or 'conv' in name:
                is_zero = name.endswith(('bias', 'conv_2KC'))
                nn.init.constant_(p, 0.0 if is_zero else 1.0)
                continue
            std = 0.02
            if kind == 'width':
                stds = {'wte': 1.0, 'wpe': 0.3, 'head': 1 / p.shape[1]}
                std = stds.get(name.split('.')[0], p.shape[1] ** -0.5)
            if 'proj' in name:
                std /= math.sqrt(2 * self.config.n_layer)
            nn.init.normal_(p, std=std)

    def forward(self, idx_BT, targets_BT=None, cache=None, reduction='mean'):
        """-> (logits (B, T, V), None), or with targets (None, mean loss in nats).

        reduction='none': losses (B, T), without gradient. With a cache (init_cache), idx is
        appended to what each row holds, and the logits are those of the last position, (B, 1, V).
        Raises ValueError where that exceeds block_size.
        """
        T = idx_BT.shape[1]
        longest = T if cache is None else T + int(cache['pos'].max())
        if longest > self.config.block_size:
            raise ValueError(f'{longest} tokens do not fit into a context of '
                             f'{self.config.block_size}')
        positions_S = torch.arange(longest, device=idx_BT.device)
        if cache is not None:
            return self.forward_cached(idx_BT, positions_S, cache), None
        x_BTC = self.dropout(self.embed(idx_BT, positions_S))
        for block in self.blocks:
            x_BTC = block(x_BTC)
        return self.output(x_BTC, targets_BT, reduction)

    def forward_cached(self, idx_BT, positions_S, cache):
        """Logits (B, 1, V) after the last new token; positions_S: those in use afterwards."""
        B, T = idx_BT.shape
        rows_B1 = torch.arange(B, device=idx_BT.device)[:, None]
        positions_BT = cache['pos'][:, None] + positions_S[:T]
        is_later_B1TS = positions_S > positions_BT[:, None, :, None]
        mask_B1TS = cache['kv'].new_zeros(()).masked_fill(is_later_B1TS, -math.inf)
        x_BTC = self.embed(idx_BT, positions_BT)
        for i, block in enumerate(self.blocks):
            layer = LayerCache(cache['kv'][i], cache['seen'][i], rows_B1, positions_BT, mask_B1TS)
            x_BTC = block(x_BTC, layer)
        cache['pos'] += T
        return self.head(self.ln_f(x_BTC[:, -1:]))

    def output(self, x_BTC, targets_BT, reduction):
        return head_output(self.head, self.ln_f(x_BTC), targets_BT, reduction)

    def in_parts(self, compiled):
        """A model of the same weights, each block and the head `compiled` by itself."""
        twin = copy.copy(self)
        blocks = nn.ModuleList(compiled(block) for block in self.blocks)
        twin._modules = {**self._modules, 'blocks': blocks}
        twin.output = compiled(twin.output)
        return twin

    def embed(self, idx_BT, positions):
        if self.wpe is None:
            return self.wte(idx_BT)
        return self.wte(idx_BT) + self.wpe(positions)

    def init_cache(self, batch):
        """Empty cache of three tensors; the first two have a part for each block.

        `kv` (n_layer, B, 2, H, block_size, D): keys and values; with key_offset also, as a third
        entry, the keys before they are shifted.
        `seen` (n_layer, B, 2, block_size, C): what the convolutions were given; else B, 0.
        `pos` (B,): how many tokens each row holds. `cache['pos'][row] = n` cuts a row back to its
        first n tokens: later ones are hidden, then overwritten.
        """
        c, like = self.config, self.wte.weight
        n_kv, n_seen = 2 + c.key_offset, 2 if c.conv_taps else 0
        kv_shape = (c.n_layer, batch, n_kv, c.n_head, c.block_size, c.n_embd // c.n_head)
        return {'kv': like.new_zeros(kv_shape),
                'seen': like.new_zeros(c.n_layer, batch, n_seen, c.block_size, c.n_embd),
                'pos': torch.zeros(batch, dtype=torch.long, device=like.device)}

    def num_params(self):
        """{'total', 'embedding', 'position', 'head', 'non_embedding'}; total sums the others."""
        c = self.config
        blocks = c.n_layer * (12 * c.n_embd ** 2 + (10 + 2 * c.conv_taps) * c.n_embd + c.qk_norm)
        groups = {'embedding': c.vocab_size * c.n_embd,
                  'position': c.block_size * c.n_embd if c.positions == 'learned' else 0,
                  'head': c.vocab_size * (c.n_embd + 1), 'non_embedding': blocks + 2 * c.n_embd}
        return checked_sum(self, groups)

    def flops_per_token(self):
        """Training FLOPs per token.

        6 for each weight of a matrix product (2 forward, 4 backward), and attention's two products,
        half of which causality needs: 6 * n_layer * block_size * n_embd (Kaplan et al. 2020,
        table 1; PaLM, appendix B).
        """
        c = self.config
        weights = c.n_layer * (12 * c.n_embd + 2 * c.conv_taps) * c.n_embd + c.vocab_size * c.n_embd
        return 6 * weights + 6 * c.n_layer * c.block_size * c.n_embd


def checked_sum(model, groups):
    """`groups` (parameters by name) with their 'total', which must be what the model holds."""
    total = sum(p.numel() for p in model.parameters())
    assert sum(groups.values()) == total, f'{groups} do not sum to {total}'
    return {'total': total, **groups}


# The head. The logits of 4,096 tokens are 82 MB in fp32 at vocabulary 5,000, by far the largest
# tensor of a small model. So the loss and its gradients are computed chunk by chunk.
CHUNK_LOGITS = {'cpu': 2 ** 22, 'cuda': 2 ** 26}        # logits in a chunk, at most


def head_output(head, x_BTC, targets_BT, reduction):
    """(logits, None) without targets, else (None, loss)."""
    if targets_BT is None:
        return head(x_BTC), None
    x_NC, targets_N = x_BTC.flatten(0, 1), targets_BT.flatten()
    if torch.is_autocast_enabled(x_NC.device.type):
        x_NC = x_NC.to(torch.get_autocast_dtype(x_NC.device.type))
    if reduction == 'none':
        return None, token_losses(x_NC, head.weight, head.bias, targets_N).view_as(targets_BT)
    return None, ChunkedCrossEntropy.apply(x_NC, head.weight, head.bias, targets_N) / len(targets_N)


def chunks(x_NC, vocab_size):
    size = max(1, CHUNK_LOGITS.get(x_NC.device.type, 2 ** 22) // vocab_size)
    if x_NC.is_cpu:         # about what its caches hold; fewer ones where each must be compiled
        size = min(size, 512 if torch.compiler.is_compiling() else 256)
    n = -(-len(x_NC) // size)
    size = -(-len(x_NC) // n)       # equal chunks
    return [slice(i, i + size) for i in range(0, len(x_NC), size)]


@torch.no_grad()
def token_losses(x_NC, weight_VC, bias_V, targets_N):
    """Cross-entropy of each token in nats, float32 (N,)."""
    weight, bias = weight_VC.to(x_NC.dtype), bias_V.to(x_NC.dtype)
    losses = []
    for s in chunks(x_NC, len(bias_V)):
        logits = F.linear(x_NC[s], weight, bias).float()
        losses.append(F.cross_entropy(logits, targets_N[s], reduction='none'))
    return torch.cat(losses)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of linear(x, weight, bias), in nats (float32 scalar).

    d loss / d logits = softmax - one_hot needs nothing of the backward pass but a scalar, so it is
    computed and used in the forward pass, and not kept. Being free of the loss scale, it cannot
    underflow in fp16. torch's own linear_cross_entropy (2.13) works in the same way, but rounds the
    loss to bf16 under autocast and breaks the compiled graph.
    """
    @staticmethod
    def forward(ctx, x_NC, weight_VC, bias_V, targets_N):
        weight, bias = weight_VC.to(x_NC.dtype), bias_V.to(x_NC.dtype)
        with torch.autocast(x_NC.device.type, enabled=False):
            total = torch.zeros((), device=x_NC.device)
            grad_x, grad_weight, grad_bias = [], 0.0, 0.0
            for s in chunks(x_NC, len(bias_V)):
                logits, target = F.linear(x_NC[s], weight, bias).float(), targets_N[s, None]
                top = logits.amax(1, keepdim=True)
                p = (logits - top).exp_()           # in place: these are the step's largest tensors
                z = p.sum(1, keepdim=True)
                total = total + (top + z.log() - logits.gather(1, target)).sum()
                p.div_(z).scatter_add_(1, target, p.new_full(target.shape, -1.0))   # - one_hot
                d_logits = p.to(x_NC.dtype)
                grad_x.append(d_logits @ weight)
                grad_weight = grad_weight + (d_logits.T @ x_NC[s]).float()
                grad_bias = grad_bias + d_logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(torch.cat(grad_x), grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx, grad):
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        return (grad_x.float() * grad).to(grad_x.dtype), grad_weight * grad, grad_bias * grad, None
