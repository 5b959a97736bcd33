"""The speed of training on this machine, from a few steps on random tokens.

    step_s = step_time(model, vocab_size=1000, device='cpu', batch_size=8, block_size=256)
"""
import time

import numpy as np
import torch

from training.machine import DTYPES, auto_dtype, keep_freed_memory

STEPS = 8                       # the first two are not counted: they may compile


def step_time(model, vocab_size, device, batch_size, block_size):
    """Seconds of a training step of `model` as train.py takes it: a median.

    The model is on the `device`, and trained as it is given, compiled or not; its weights change.
    """
    dtype = auto_dtype(device)
    if device == 'cpu':
        keep_freed_memory()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids_BT = torch.randint(vocab_size, (batch_size, block_size), device=device)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != 'fp32'):
            loss = model(ids_BT, ids_BT)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()             # waits for the GPU
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))
