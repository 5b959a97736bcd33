"""Optimisers, one update, and the learning-rate schedule."""
import math

import torch


def make_optimizers(model, s):
    """([AdamW] or [AdamW, Muon], row_blocks) for s.optimizer; every group keeps its peak rate as 'peak_lr'.

    Muon gets each matrix by itself: a fused q, k, v is three, an LSTM's stacked gates four. row_blocks: (parameter,
    weight, rows), the parameter being a view of those rows of the weight; `update` hands it their gradient.
    """
    row_blocks = []
    if s.optimizer == 'muon':
        for weight, n in model.hidden_matrices():
            height = weight.shape[0] // n
            rows = [slice(i * height, (i + 1) * height) for i in range(n)]
            row_blocks += [(torch.nn.Parameter(weight.detach()[r]), weight, r) for r in rows]
    by_muon = {id(weight) for _, weight, _ in row_blocks}
    kinds = {'hidden': [], 'vector': [], 'embedding': [], 'head': []}       # the first two: learning_rate, as logged
    for name, p in model.named_parameters():
        if id(p) not in by_muon:
            matrix = {'wte': 'embedding', 'wpe': 'embedding', 'head': 'head'}.get(name.split('.')[0], 'hidden')
            kinds[matrix if p.ndim > 1 else 'vector'].append(p)
    rates, groups = {'embedding': s.embedding_lr, 'head': s.head_lr}, []
    for kind, params in kinds.items():
        rate = rates.get(kind) or s.learning_rate
        # AdamW shrinks weights by rate * decay a step: the same share of all matrices, whatever their rate
        decay = s.weight_decay * s.learning_rate / rate if kind != 'vector' else 0.0
        groups += [{'params': params, 'lr': rate, 'weight_decay': decay}] if params else []
    optimizers = [torch.optim.AdamW(groups, betas=(s.beta1, s.beta2), fused=True)]
    if row_blocks:
        optimizers.append(torch.optim.Muon([p for p, _, _ in row_blocks], lr=s.muon_lr, weight_decay=s.weight_decay))
    for group in (g for o in optimizers for g in o.param_groups):
        group['peak_lr'] = group['lr']
    return optimizers, row_blocks


def update(model, optimizers, row_blocks, scaler, grad_clip):
    """One step of all optimisers on the gradients in place -> (norm of the gradient before clipping, was it taken).

    An fp16 overflow anywhere skips the step for all of them, and the scaler backs off.
    """
    for block, weight, rows in row_blocks:
        block.grad = weight.grad[rows]
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf)
    taken = not scaler.is_enabled() or bool(torch.isfinite(norm))
    if taken:
        for optimizer in optimizers:
            optimizer.step()
    scaler.update()
    model.zero_grad(set_to_none=True)
    return norm, taken


def lr_factor(step, n_steps, s):
    """Share of the peak rate at a step, counted from 0: linear warm-up, then down to min_lr.

    'cosine': half a wave over all that is left. 'wsd': constant, at last linear over cooldown_fraction of the steps.
    """
    floor = 0.1 if s.min_lr is None else s.min_lr / s.learning_rate
    if step < s.warmup_steps:
        return (step + 1) / s.warmup_steps
    if s.schedule == 'wsd':
        height = min(1.0, (n_steps - step) / max(1, round(s.cooldown_fraction * n_steps)))
    else:
        height = 0.5 * (1 + math.cos(math.pi * (step - s.warmup_steps) / (n_steps - s.warmup_steps)))
    return floor + (1 - floor) * height
