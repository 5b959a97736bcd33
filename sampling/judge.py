"""Which draws are kept: not those with a fault, and of several the one that the model holds
likeliest per note."""
from dataclasses import replace

import torch

from music.metrics import loops, statistics
from music.notes import bar_starts

MIN_NOTES, MAX_REST_SHARE = 20, 0.5     # a tune with fewer notes, or silent for longer, has a fault


def fault(tune, min_bars):
    """The reason to draw a tune again, in words that follow its number, or None."""
    music = tune.music
    if music is None:
        return 'not readable'
    stats = statistics(music)
    if stats['notes'] < MIN_NOTES:
        return f'with fewer than {MIN_NOTES} notes'
    if stats['bars'] < min_bars:
        return f'with fewer than {min_bars} bars'
    if tune.n_prompt_bars and stats['bars'] <= tune.n_prompt_bars:
        return 'with nothing after the prompt'
    if loops(after_prompt(tune)):           # what is given may loop
        return 'looping'
    return 'mostly silent' if stats['rest_share'] > MAX_REST_SHARE else None


def after_prompt(tune):
    """Music of a tune without the notes that begin in the bars of its prompt."""
    music = tune.music
    starts = bar_starts(music)
    start = starts[min(tune.n_prompt_bars, len(starts) - 1)]
    return replace(music, notes=music.notes[music.notes[:, 0] >= start])


def nats_per_note(model, tokenizer, tune):
    """Negative log-likelihood of what was written after the prompt, in nats per note of it, by the
    model alone: at temperature 1 and without the constraint. Infinite where no note was written."""
    n_notes = 0 if tune.music is None else len(after_prompt(tune).notes)
    if not n_notes:
        return float('inf')
    ids = tune.ids + [tokenizer.tune] * tune.ended
    return -log_likelihood(model, ids, tune.n_prompt_ids) / n_notes


@torch.inference_mode()
def log_likelihood(model, ids, first):
    """Sum over ids[first:] of the log of its probability after the ids before it, in nats. Each of
    them sees at least half a context, or all there is."""
    block_size = model.config.block_size
    total, n = 0.0, first                               # n: ids that need no more scoring
    while n < len(ids):
        begin = max(0, n - block_size // 2)
        idx_BT = torch.tensor([ids[begin:begin + block_size + 1]], device=model.head.weight.device)
        losses_BT = model(idx_BT[:, :-1], idx_BT[:, 1:].contiguous(), reduction='none')[1]
        total -= losses_BT[0, n - begin - 1:].double().sum().item()
        n = begin + idx_BT.shape[1]
    return total
