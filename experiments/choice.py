"""Which model to train on a folder of data in a given time: used by config/gpt.py without a size.

    chosen = choose('data/mine', minutes=10, device='auto')     # n_embd, epochs, max_tokens, ...

Every width is asked how many tokens it would see in that time on this machine, from the time of a
few training steps, and what the law of repeated data (results/repeats.csv) then says of its loss.
"""
import math
import os

import numpy as np

from configurator import fail
from experiments.runner import ROOT, read_rows
from model import GPT, GPTConfig
from plumbing.checkpoint import try_checkpoint
from plumbing.progress import clock
from scaling import repeats
from scaling.commands import DROPOUT, FEW_PASSES, recipe_of_passes
from training import speed
from training.data import load_meta
from training.machine import usable_device

WIDTHS = 32, 64, 96, 128, 160, 192, 256, 384
TIMED = 64, 256                 # of these widths steps are timed, the others lie between
STEP = 8, 256                   # windows and tokens of a step
REPEATS = os.path.join(ROOT, 'results', 'repeats.csv')
CHOSEN = 'n_embd', 'batch_size', 'epochs', 'max_tokens', 'dropout', 'eval_interval', 'patience'
LEAST_PASSES = 2                # if there is time: on MIDI files the law stops too early
EVALUATING = 0.1                # the share of the time that evaluations may take


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
    tunes = train['tunes'] / (1 + copies)
    try:
        law = repeats.fit(read_rows(REPEATS))
    except ValueError as e:
        fail(f'{REPEATS}: {e}; give --n_embd')

    # The best number of passes of each width in the time that there is
    device = usable_device(device)
    seconds_of = {dropout: step_times(meta['vocab_size'], device, dropout)
                  for dropout in (0.0, DROPOUT)}
    for_steps = 60 * minutes * (1 - EVALUATING)
    best = None
    for width in WIDTHS:
        most = {dropout: for_steps / seconds(width) * STEP[0] * STEP[1] / train['tokens']
                for dropout, seconds in seconds_of.items()}
        passes = most[0.0]
        if passes * (1 + copies) > FEW_PASSES:
            passes = max(FEW_PASSES / (1 + copies), most[DROPOUT])
        n = 24 * width ** 2
        least = min(passes, LEAST_PASSES)
        if passes < 1:          # a part of one pass: as much data as that, all of it new
            loss = repeats.predict(law, n, tokens * passes, tunes * passes, copies, 1)
        else:
            passes, loss = repeats.enough_passes(law, n, tokens, tunes, copies, passes)
            passes = max(passes, least)
        if best is None or loss < best[0]:
            best = loss, width, passes
    _, width, passes = best

    batch_size, dropout = recipe_of_passes(passes, train['tokens'], copies)
    step_s = seconds_of[dropout](width)
    if batch_size < STEP[0]:        # a smaller step takes longer per token
        step_s = step_time(width, meta['vocab_size'], device, dropout, batch_size)
    steps = passes * train['tokens'] / batch_size / STEP[1]
    steps = max(1, round(min(steps, for_steps / step_s)))

    # As many evaluations as cost little; a target costs a third of one that is trained on
    seconds = steps * step_s
    evaluation_s = step_s * meta['splits']['val']['tokens'] / batch_size / STEP[1] / 3
    evaluations = int(np.clip(EVALUATING * seconds / evaluation_s, 8, 20))
    seconds += evaluations * evaluation_s
    print(f"config/gpt.py: {tunes:,.0f} tunes, {tokens:,} tokens, "
          f'{copies:.0f} transposed copies; for {minutes:g} minutes on this machine width {width} '
          f'and {passes:.2g} passes are best by the law of results/repeats.csv (tune books; '
          f'{LEAST_PASSES} at least, if there is time): '
          f'{steps:,} steps, about {clock(seconds)}. Others: '
          '--minutes=…, or --n_embd=… with --epochs=… and --max_tokens=…', flush=True)
    return {'n_embd': width, 'batch_size': batch_size, 'epochs': int(np.ceil(passes)),
            'max_tokens': steps * batch_size * STEP[1], 'dropout': dropout,
            'eval_interval': math.ceil(steps / evaluations), 'patience': 4}


def step_times(vocab_size, device, dropout):
    """A function of the width: seconds of a training step, from a few steps of two models."""
    times = [step_time(width, vocab_size, device, dropout) for width in TIMED]
    work = [flops(width, vocab_size) for width in TIMED]
    slope, offset = np.polyfit(work, times, 1)
    slope, offset = (slope, offset) if offset > 0 else (times[1] / work[1], 0.0)
    return lambda width: offset + slope * flops(width, vocab_size)


def flops(width, vocab_size):
    """Of a token in two layers and the head, up to a factor."""
    return 24 * width ** 2 + vocab_size * width


def step_time(width, vocab_size, device, dropout, batch_size=STEP[0]):
    """Seconds of a training step of two layers, not compiled, see training/speed.py."""
    config = GPTConfig(vocab_size=vocab_size, block_size=STEP[1], n_layer=2, n_head=width // 32,
                       n_embd=width, positions='rotary', key_offset=True, qk_norm=True,
                       conv_taps=4, dropout=dropout)
    model = GPT(config).to(device)
    model.init_weights()
    return speed.step_time(model, vocab_size, device, batch_size, STEP[1])
