"""Which model to train on a folder of data in a given time: used by config/gpt.py without a size.

    chosen = choose('data/mine', minutes=10, device='auto')     # n_embd, epochs, max_tokens, ...

Every width is asked how many tokens it would see in that time on this machine, from the time of a
few training steps, and what the law of repeated data (results/repeats.csv) then says of its loss.
"""
import os
import time

import numpy as np
import torch

from configurator import fail
from experiments.runner import ROOT, read_rows
from model import GPT, GPTConfig
from plumbing.checkpoint import try_checkpoint
from plumbing.progress import clock
from scaling import repeats
from training.data import load_meta
from training.machine import DTYPES, keep_freed_memory, usable_device

WIDTHS = 32, 64, 96, 128, 160, 192, 256, 384
TIMED = 64, 256                 # of these widths steps are timed, the others lie between
STEP = 8, 256                   # windows and tokens of a step
REPEATS = os.path.join(ROOT, 'results', 'repeats.csv')
CHOSEN = 'n_embd', 'batch_size', 'epochs', 'max_tokens', 'dropout', 'eval_interval', 'patience'
FEW = 1_000_000                 # in so few tokens a model learns more from steps of 2 windows


def choose(data_dir, minutes, device='auto', resume=None):
    """{setting: value} for train.py of the size and the budget with the least expected loss.

    Prints what is chosen and why. `resume`: the folder of a run; if it holds one, its own values
    are taken instead. Exits (2) where the data are missing, or under torchrun, whose processes
    could choose differently.
    """
    checkpoint = resume and try_checkpoint(os.path.join(resume, 'ckpt.pt'))
    if checkpoint:
        config = {**checkpoint['config']['train'], **checkpoint['config']['model']}
        return {name: config[name] for name in CHOSEN}
    if not minutes or minutes <= 0:
        fail(f"'minutes' must be above 0, not {minutes!r}")
    if int(os.environ.get('WORLD_SIZE', 1)) > 1:
        fail("'n_embd' must be given under torchrun: its processes could choose differently")
    meta = load_meta(data_dir)
    train = meta['splits']['train']
    tokens = meta.get('untransposed', train['tokens'])
    copies = train['tokens'] / tokens - 1
    try:
        law = repeats.fit(read_rows(REPEATS))
    except ValueError as e:
        fail(f'{REPEATS}: {e}; give --n_embd')

    # The best number of passes of each width in the time that there is.
    speed = tokens_per_second(meta['vocab_size'], device)
    best = None
    for width in WIDTHS:
        most = minutes * 60 * speed(width) / train['tokens']
        if most < 1:            # a part of one pass: as much data as that, all of it new
            epochs, loss = most, repeats.predict(law, 24 * width ** 2, tokens * most, copies, 1)
        else:
            epochs, loss = repeats.best_epochs(law, 24 * width ** 2, tokens, copies, most)
        if best is None or loss < best[0]:
            best = loss, width, epochs
    loss, width, epochs = best

    batch_size = 2 if epochs * train['tokens'] < FEW else STEP[0]
    step_tokens = batch_size * STEP[1]
    steps = max(1, round(epochs * train['tokens'] / step_tokens))
    seconds = steps * step_tokens / speed(width)
    print(f"config/gpt.py: {train.get('tunes', 0) / (1 + copies):,.0f} tunes, {tokens:,} tokens, "
          f'{copies:.0f} transposed copies; for {minutes:g} minutes on this machine width {width} '
          f'and {epochs:.2g} passes are best: {steps:,} steps, about {clock(seconds)}. Others: '
          '--minutes=…, or --n_embd=… with --epochs=… and --max_tokens=…', flush=True)
    return {'n_embd': width, 'batch_size': batch_size, 'epochs': int(np.ceil(epochs)),
            'max_tokens': steps * step_tokens, 'dropout': 0.1 if epochs > 2 else 0.0,
            'eval_interval': max(1, steps // 20), 'patience': 4}


def tokens_per_second(vocab_size, device):
    """A function of the width: training speed, from a few eager steps of two models."""
    device = usable_device(device)
    if device == 'cpu':
        keep_freed_memory()
    times = {width: step_time(width, vocab_size, device) for width in TIMED}
    slope, offset = np.polyfit([flops(width, vocab_size) for width in TIMED],
                               [times[width] for width in TIMED], 1)
    slope, offset = (slope, offset) if offset > 0 else (times[256] / flops(256, vocab_size), 0.0)
    return lambda width: STEP[0] * STEP[1] / (offset + slope * flops(width, vocab_size))


def flops(width, vocab_size):
    """Of a token in two layers and the head, up to a factor."""
    return 24 * width ** 2 + vocab_size * width


def step_time(width, vocab_size, device):
    """Seconds of a training step, the best of three."""
    config = GPTConfig(vocab_size=vocab_size, block_size=STEP[1], n_layer=2, n_head=width // 32,
                       n_embd=width, positions='rotary', key_offset=True, qk_norm=True,
                       conv_taps=4)
    dtype = 'fp32'
    if device == 'cuda' or device == 'cpu' and torch.cpu._is_avx512_bf16_supported():
        dtype = 'bf16'
    model = GPT(config).to(device)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids_BT = torch.randint(vocab_size, STEP, device=device)
    times = []
    for _ in range(4):          # the first one is not counted
        start = time.perf_counter()
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != 'fp32'):
            loss = model(ids_BT, ids_BT)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()             # waits for the GPU
        times.append(time.perf_counter() - start)
    return min(times[1:])
