"""Which tokens a training step sees: windows of a split, each once an epoch.

    n = n_windows(len(ids), 256)
    for windows in micro_batches(step=0, n=n, batch_size=64, seed=1, n_micro=2):
        inputs_BT, targets_BT = batch(ids, windows, block_size=256, device='cpu')

Window w holds the tokens from w * block_size on, and one more as the last target. The windows of a
step do not depend on the number of ranks, so that runs on 1 and on 8 GPUs see the same batches, and
a resumed run needs only the step.
"""
import functools

import numpy as np
import torch


def n_windows(n_tokens, block_size):
    """Whole windows in a split; each needs one token more than its inputs."""
    return max(0, n_tokens - 1) // block_size


@functools.lru_cache(maxsize=2)
def epoch_order(n, seed, epoch):
    return np.random.default_rng((seed, epoch)).permutation(n)


def micro_batches(step, n, batch_size, seed, rank=0, world=1, n_micro=1, first=0):
    """One rank's share of a step: n_micro arrays of window numbers from `first` to n - 1.

    An epoch has (n - first) // batch_size steps and its own order; the windows that are left over,
    fewer than a step needs, are not used. batch_size is a multiple of world * n_micro.
    """
    n_used = n - first
    epoch, i = divmod(step, n_used // batch_size)
    windows = first + epoch_order(n_used, seed, epoch)[i * batch_size:(i + 1) * batch_size]
    return windows.reshape(world, n_micro, -1)[rank]


def batch(ids, windows, block_size, device):
    """(inputs, targets), int64 (B, T) on the device; beyond the end of ids targets are -1."""
    at = np.asarray(windows)[:, None] * block_size + np.arange(block_size + 1)
    tokens = np.where(at < len(ids), ids[np.minimum(at, len(ids) - 1)].astype(np.int64), -1)
    x, y = torch.from_numpy(tokens[:, :-1].clip(min=0)), torch.from_numpy(tokens[:, 1:].copy())
    if device != 'cuda':
        return x.to(device), y.to(device)
    # Each batch has pinned memory of its own: nothing overwrites it while the copy is under way
    x, y = x.pin_memory(), y.pin_memory()
    return x.to(device, non_blocking=True), y.to(device, non_blocking=True)
