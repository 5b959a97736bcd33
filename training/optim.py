"""The optimiser, one update, the mean of weights, and the learning-rate schedule."""
import math

import torch


def make_optimizer(model, s):
    """AdamW in groups of parameters; every group keeps its peak learning rate as 'peak_lr'."""
    # The order matters: the learning rate of the first group is the one that is logged
    kinds = {'hidden': [], 'vector': [], 'embedding': [], 'head': []}
    matrix_kinds = {'wte': 'embedding', 'wpe': 'embedding', 'head': 'head'}
    for name, p in model.named_parameters():
        kind = matrix_kinds.get(name.split('.')[0], 'hidden') if p.ndim > 1 else 'vector'
        kinds[kind].append(p)

    groups = []
    for kind, params in kinds.items():
        lr = {'embedding': s.embedding_lr, 'head': s.head_lr}.get(kind) or s.learning_rate
        # AdamW shrinks weights by lr * decay a step: the same share of all matrices, whatever their
        # lr
        decay = s.weight_decay * s.learning_rate / lr if kind != 'vector' else 0.0
        groups.append({'params': params, 'lr': lr, 'peak_lr': lr, 'weight_decay': decay})
    return torch.optim.AdamW(groups, betas=(s.beta1, s.beta2), fused=True)


def update(model, optimizer, scaler, grad_clip):
    """One step of the optimiser -> (gradient norm before clipping, was the step taken).

    In fp16 an overflow of any gradient skips the step, and the scaler lowers its scale.
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
    """Mean of the weights after each of n steps, a list of tensors as model.parameters().

    `mean`: that of the n - 1 steps before, changed in place (None if n is 1); `model` holds the
    weights of the last one. Izmailov et al. 2018, arXiv 1803.05407; over the end of a run: Kaddour
    2022, arXiv 2209.14981.
    """
    weights = [p.detach() for p in model.parameters()]
    if n == 1:
        return [weight.clone() for weight in weights]
    torch._foreach_lerp_(mean, weights, 1 / n)
    return mean


def lr_factor(step, n_steps, s):
    """Learning rate at a step (from 0) as a share of its peak: linear warm-up, then down to min_lr.

    'cosine': half a wave over all steps after the warm-up. 'wsd' (warm-up, stable, decay):
    constant, and linear over the last cooldown_fraction of the steps.
    """
    floor = 0.1 if s.min_lr is None else s.min_lr / s.learning_rate
    if step < s.warmup_steps:
        return (step + 1) / s.warmup_steps
    if s.schedule == 'wsd':
        height = min(1.0, (n_steps - step) / decay_steps(s, n_steps))
    else:
        angle = math.pi * (step - s.warmup_steps) / (n_steps - s.warmup_steps)
        height = 0.5 * (1 + math.cos(angle))
    return floor + (1 - floor) * height


def decay_steps(s, n_steps):
    """Steps over which schedule='wsd' lowers the learning rate."""
    return max(1, round(s.cooldown_fraction * n_steps))
