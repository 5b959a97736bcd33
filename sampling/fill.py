"""Infilling: bars of a tune are written again, given the bars before and after them, which stay.

    gap = find_gap(text, '9-16', reader)
    tunes, counts, sizes = fill(model, tokenizer, gap, reader, seeds=[(1, i) for i in range(10)])

A model reads from left to right and knows nothing of what comes. So for each tune many fillings are
drawn, each is weighted by the likelihood that the model gives to the bars after the gap, and one is
drawn by weight: sampling-importance-resampling (Rubin 1987). As the fillings grow many, it comes
from the distribution of what the sampler writes given both sides. The effective sample size, 1 /
sum of squared weights (Kong 1992), says how many of them were in the running: from 1 to all.

Bars are counted in the tune as it is played, repeats written out, from 1; a pickup is bar 0.
Changes of meter, tempo and key in the gap stay. A filling takes up the ties that lead into the gap,
and gives those that the bar after it expects and no others.
"""
import re

import numpy as np
import torch

from configurator import fail
from music.notation import decode, encode
from sampling.generate import generate
from sampling.given import Around, Given, parse
from sampling.words import SILENCE

CANDIDATES = 32             # fillings drawn for each tune
WEIGHTED_BARS = 2           # bars after the gap by which they are weighted


def find_gap(text, span, reader):
    """What is Given where the bars `span`, '9-16' or '9', of a text in the notation are a gap.
    `reader`: at the start of a tune."""
    match = re.fullmatch(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?', span)
    if not match or int(match[2] or match[1]) < int(match[1]):
        fail(f'--fill={span} is no range of bars such as 9-16')
    try:
        music = decode(text)
    except ValueError as e:
        fail(f'the tune to fill is not in the notation: {e}')

    # Lines of the gap, repeats written out.
    lines = encode(music, reader.options.beats, phrases=reader.options.phrases)
    lines = lines.splitlines(keepends=True)
    n_header = 4 + len(music.voices)
    first_bar = 0 if music.pickup else 1
    first, last = (int(n) - first_bar + n_header for n in (match[1], match[2] or match[1]))
    if first < n_header or last >= len(lines):
        last_bar = first_bar + len(lines) - n_header - 1
        fail(f'--fill={span}: the tune has bars {first_bar} to {last_bar}')

    bars = [parse(line[:-1])._replace(cells={}) for line in lines[first:last + 1]]
    if first == n_header and music.pickup:          # a silent bar would be a full one
        bars[0] = bars[0]._replace(forbidden=SILENCE)
    if last == len(lines) - 1:                      # a tune ends with its last note
        bars[-1] = bars[-1]._replace(forbidden=SILENCE)
    required_ties = reader.feed(''.join(lines[:last + 1])).bar.ties_in
    before, after = ''.join(lines[:first]), ''.join(lines[last + 1:])
    return Given(before, bars, music.pickup, required_ties, after)


def fill(model, tokenizer, gap, reader, seeds, candidates=CANDIDATES, **settings):
    """(a Tune for each seed, its text whole; counts of `generate`; effective sample sizes).
    settings: of `generate`."""
    pools = [[Around(tokenizer, (*seed, k), reader, gap) for k in range(candidates)]
             for seed in seeds]
    all_tunes = [tune for pool in pools for tune in pool]
    counts = generate(model, tokenizer, all_tunes, max_tokens=np.inf, max_bars=np.inf, **settings)

    # What is weighted: the bars after the gap, and the end of the tune if they are its last ones.
    lines = gap.after.splitlines(keepends=True)
    ids = tokenizer.encode(''.join(lines[:WEIGHTED_BARS]))
    if len(lines) <= WEIGHTED_BARS:
        ids.append(tokenizer.tune)

    chosen, sizes = [], []
    for pool, seed in zip(pools, seeds):
        whole = [tune for tune in pool if tune.ended]
        if not whole:
            fail(f'none of {candidates} fillings gives the ties that the bar after it expects: '
                 'try another --seed')
        weights = np.exp(log_weights(model, whole, ids))
        tune = whole[np.random.default_rng(seed).choice(len(whole), p=weights)]
        tune.text += gap.after
        chosen.append(tune)
        sizes.append(1 / (weights ** 2).sum())
    return chosen, counts, sizes


def log_weights(model, tunes, ids):
    """Logs (n,) of weights that sum to 1: the likelihoods of `ids` after each tune, float64."""
    scores = log_likelihoods(model, tunes, ids)
    return scores - np.logaddexp.reduce(scores)


@torch.inference_mode()
def log_likelihoods(model, tunes, ids, batch_size=32):
    """Log-likelihood (n,) of the tokens `ids` after each of n tunes, in nats. Of `ids` what does
    not fit into half of the context is left out, and of the tunes all that does not fit besides,
    but for the header and the latest bars."""
    ids = ids[:model.config.block_size // 2]
    rows = contexts(tunes, model.config.block_size - len(ids) + 1)
    scores = []
    for i in range(0, len(rows), batch_size):
        texts = [row + ids for row in rows[i:i + batch_size]]
        tensors = [torch.tensor(text) for text in texts]
        idx_BT = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
        idx_BT = idx_BT.to(model.head.weight.device)
        losses_BT = model(idx_BT[:, :-1], idx_BT[:, 1:].contiguous(), reduction='none')[1]
        losses_BT = losses_BT.double().cpu()
        for r, text in enumerate(texts):
            last = len(text) - 1
            scores.append(-losses_BT[r, last - len(ids):last].sum().item())
    return np.array(scores)


def contexts(tunes, room):
    """Of each tune all ids, or its header and latest bars, at most `room`, from the same bar on for
    all if they can."""
    if max(len(tune.ids) for tune in tunes) <= room:
        return [tune.ids for tune in tunes]
    headers = [tune.ids[:tune.header_end] if tune.header_end < 3 * room // 8 else []
               for tune in tunes]
    for starts in zip(*((tune.header_end, *tune.bar_ends[:-1]) for tune in tunes)):
        rows = [header + tune.ids[start:] for tune, header, start in zip(tunes, headers, starts)]
        if max(map(len, rows)) <= room:
            return rows
    return [tune.ids[-room:] for tune in tunes]
