"""The loss on a whole split, its standard error, and its parts: copied from the context, or new."""
import math

import numpy as np
import torch

from training.loader import batch


def recalled(x_BT, y_BT):
    """Which targets could be copied, bool (B, T): the pair (x, y) occurred earlier in the row."""
    pair_BT = x_BT * (int(y_BT.max()) + 1) + y_BT
    pair_BT, order_BT = pair_BT.sort(dim=1, stable=True)    # equal pairs side by side, in order
    again_BT = torch.zeros_like(pair_BT, dtype=torch.bool)
    return again_BT.scatter(1, order_BT[:, 1:], pair_BT[:, 1:] == pair_BT[:, :-1])


@torch.no_grad()
def evaluate(model, ids, sizes, run):
    """Loss on all of `ids` (tokens,), in nats, as a dict:

    'loss' per token, 'se': its standard error with windows as the sampling unit, 'perplexity',
    'per_note', 'per_char', 'recalled': {'share' of the targets, 'loss' per token}, 'rest': the same
    of all other targets. `sizes`: notes and characters of the split, as in meta.json. Windows of
    block_size tokens, none overlapping, are shared by the ranks.
    """
    block_size = model.config.block_size
    n = -(-(len(ids) - 1) // block_size)
    nats_NK, counts_NK = torch.zeros(2, n, 2, dtype=torch.float64)  # a window: recalled, the rest

    # The losses of this rank's windows
    mine = np.arange(run.rank, n, run.world)
    model.eval()
    for i in range(0, len(mine), run.micro_batch_size):
        windows = mine[i:i + run.micro_batch_size]
        x_BT, y_BT = batch(ids, windows, block_size, run.device)
        with run.autocast():
            losses_BT = model(x_BT, y_BT.clamp(min=0), reduction='none')[1]
        is_recalled_BT = recalled(x_BT, y_BT).cpu()
        is_target_BT = y_BT.cpu() >= 0                      # the last window may be short
        losses_BT = losses_BT.cpu().double()                # on the CPU: mps has no float64
        for k, chosen_BT in enumerate((is_recalled_BT, ~is_recalled_BT)):
            chosen_BT = chosen_BT & is_target_BT
            nats_NK[windows, k] = (losses_BT * chosen_BT).sum(1)
            counts_NK[windows, k] = chosen_BT.double().sum(1)
    model.train()

    # All ranks together. The loss is a ratio of two sums over windows, hence its standard error
    nats_NK, counts_NK = run.sum(nats_NK), run.sum(counts_NK)
    nats, tokens = float(nats_NK.sum()), float(counts_NK.sum())
    loss = nats / tokens
    residuals_N = nats_NK.sum(1) - loss * counts_NK.sum(1)
    se = math.sqrt(float(residuals_N.square().sum()) * n / max(1, n - 1)) / tokens

    parts = []
    for part_nats, count in zip(nats_NK.sum(0).tolist(), counts_NK.sum(0).tolist()):
        parts.append({'share': count / tokens, 'loss': part_nats / count if count else 0.0})
    perplexity = math.exp(min(loss, 700))       # of a diverged model it is too large for a float
    return {'loss': loss, 'se': se, 'perplexity': perplexity, 'per_note': nats / sizes['notes'],
            'per_char': nats / sizes['characters'], 'recalled': parts[0], 'rest': parts[1]}
