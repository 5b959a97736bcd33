"""The optimiser, one update, and the learning-rate schedule."""
import math

import torch


def make_optimizer(model, s):
    """AdamW in groups of parameters; every group keeps its peak rate as 'peak_lr'."""
    kinds = {'hidden': [], 'vector': [], 'embedding': [], 'head': []}       # the first two: learning_rate, as logged
    for name, p in model.named_parameters():
        matrix = {'wte': 'embedding', 'wpe': 'embedding', 'head': 'head'}.get(name.split('.')[0], 'hidden')
        kinds[matrix if p.ndim > 1 else 'vector'].append(p)
    rates, groups = {'embedding': s.embedding_lr, 'head': s.head_lr}, []
    for kind, params in kinds.items():
        rate = rates.get(kind) or s.learning_rate
        # AdamW shrinks weights by rate * decay a step: the same share of all matrices, whatever their rate
        decay = s.weight_decay * s.learning_rate / rate if kind != 'vector' else 0.0
        groups.append({'params': params, 'lr': rate, 'peak_lr': rate, 'weight_decay': decay})
    return torch.optim.AdamW(groups, betas=(s.beta1, s.beta2), fused=True)


def update(model, optimizer, scaler, grad_clip):
    """One step on the gradients in place -> (norm of the gradient before clipping, was it taken).

    An fp16 overflow anywhere skips the step, and the scaler backs off.
    """
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip or math.inf)
    scaler.step(optimizer)
    taken = not scaler.is_enabled() or bool(torch.isfinite(norm))
    scaler.update()
    model.zero_grad(set_to_none=True)
    return norm, taken


@torch.no_grad()
def running_mean(mean, model, n):
    """Mean of the weights after n steps, the last of which `model` has, a list of tensors; `mean`, which is changed: of
    those before (Izmailov et al. 2018, arXiv 1803.05407; over the end of a run: Kaddour 2022, arXiv 2209.14981).
    """
    weights = [p.detach() for p in model.parameters()]
    if n == 1:
        return [weight.clone() for weight in weights]
    torch._foreach_lerp_(mean, weights, 1 / n)
    return mean


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
