"""Fill a gap: bars of a tune written anew between what stands before and behind, which stays as it is.

    gap = find_gap(text, '9-16', reader)
    tunes, counts, sizes = fill(model, tokenizer, gap, reader, seeds=[(1, i) for i in range(10)])

A model reads from left to right and knows nothing of what comes. So for each tune many fillings are drawn, each is
weighed by the likelihood that the model gives to the bars behind the gap, and one is drawn by weight:
sampling-importance-resampling (Rubin 1987). It comes, as the fillings grow many, from the distribution of what the
sampler writes given both sides. The effective sample size, 1 / sum of squared weights (Kong 1992), says how many of
them were in the running: from 1 to all.

Bars are counted in the tune as it is played, repeats written out, from 1; a pickup is bar 0. Changes of meter, tempo
and key in the gap stay. A filling takes up the ties that lead into the gap, and gives those that the bar behind it
expects and no others.
"""
import re
from typing import NamedTuple

import numpy as np
import torch

from configurator import fail
from music.notation import decode, encode
from sampling.constrain import SILENCE
from sampling.generate import generate
from sampling.given import Around, parse

CANDIDATES = 32             # fillings drawn for each tune
BEHIND = 2                  # bars behind the gap by which they are weighed


class Gap(NamedTuple):
    before: str             # text up to the gap
    bars: list              # given.Bar of each bar in the gap
    behind: str             # text from there on; '' where the tune ends with the gap
    length: int             # units in the first bar of the tune
    owed: dict              # voice -> pitches (mask) that are tied into the bar behind


def find_gap(text, span, reader):
    """Gap of a tune's text in the notation; `span`: '9-16' or '9'. `reader`: at the start of a tune."""
    match = re.fullmatch(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?', span)
    if not match or int(match[2] or match[1]) < int(match[1]):
        fail(f'--fill={span} is no range of bars such as 9-16')
    try:
        music = decode(text)
    except ValueError as e:
        fail(f'the tune to fill is not in the notation: {e}')
    lines = encode(music, reader.beats, phrases=reader.phrases).splitlines(keepends=True)
    n_header = 4 + len(music.voices)
    number = 0 if music.pickup else 1               # of the first bar
    first, last = (int(n) - number + n_header for n in (match[1], match[2] or match[1]))
    if first < n_header or last >= len(lines):
        fail(f'--fill={span}: the tune has bars {number} to {len(lines) - n_header + number - 1}')
    header = reader.feed(''.join(lines[:n_header]))
    bars = [parse(line[:-1])._replace(cells={}) for line in lines[first:last + 1]]
    if first == n_header and music.pickup:          # a silent bar would be a full one
        bars[0] = bars[0]._replace(closed=SILENCE)
    if last == len(lines) - 1:                      # a tune ends with its last note
        bars[-1] = bars[-1]._replace(closed=SILENCE)
    return Gap(''.join(lines[:first]), bars, ''.join(lines[last + 1:]), music.pickup or header.full,
               reader.feed(''.join(lines[:last + 1])).due)


def fill(model, tokenizer, gap, reader, seeds, candidates=CANDIDATES, behind=BEHIND, **settings):
    """(a Tune for each seed, its text whole; counts of `generate`; effective sample sizes). settings: of `generate`."""
    pools = [[Around(tokenizer, (*seed, k), reader, gap.before, gap.bars, gap.length, gap.owed)
              for k in range(candidates)] for seed in seeds]
    counts = generate(model, tokenizer, [tune for pool in pools for tune in pool], max_tokens=np.inf, max_bars=np.inf,
                      **settings)
    lines, chosen, sizes = gap.behind.splitlines(keepends=True), [], []
    ids = tokenizer.encode(''.join(lines[:behind])) + [tokenizer.tune] * (len(lines) <= behind)
    for pool, seed in zip(pools, seeds):
        whole = [tune for tune in pool if tune.ended]
        if not whole:
            fail(f'none of {candidates} fillings gives the ties that the bar behind expects: try another --seed')
        weights = np.exp(log_weights(model, whole, ids))
        tune = whole[np.random.default_rng(seed).choice(len(whole), p=weights)]
        tune.text += gap.behind
        chosen.append(tune)
        sizes.append(1 / (weights ** 2).sum())
    return chosen, counts, sizes


def log_weights(model, tunes, ids):
    """Logs (n,) of weights that sum to 1: the likelihoods of `ids` behind each tune, float64."""
    scores = log_likelihoods(model, tunes, ids)
    return scores - np.logaddexp.reduce(scores)


@torch.inference_mode()
def log_likelihoods(model, tunes, ids, batch_size=32):
    """Log-likelihood (n,) of the tokens `ids` behind each of n tunes, in nats. What does not fit into half of the
    context is left out of `ids`, and of the tunes all that does not fit besides but the header and the latest bars."""
    ids = ids[:model.config.block_size // 2]
    rows = contexts(tunes, model.config.block_size - len(ids) + 1)
    scores = []
    for i in range(0, len(rows), batch_size):
        texts = [row + ids for row in rows[i:i + batch_size]]
        idx_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        idx_BT = idx_BT.to(model.head.weight.device)
        losses_BT = model(idx_BT[:, :-1], idx_BT[:, 1:].contiguous(), reduction='none')[1].double().cpu()
        scores += [-losses_BT[r, len(text) - 1 - len(ids):len(text) - 1].sum().item() for r, text in enumerate(texts)]
    return np.array(scores)


def contexts(tunes, room):
    """Of each tune all ids, or its header and latest bars, at most `room`, from the same bar on for all if they can."""
    if max(len(tune.ids) for tune in tunes) <= room:
        return [tune.ids for tune in tunes]
    headers = [tune.ids[:tune.header_end] if tune.header_end < 3 * room // 8 else [] for tune in tunes]
    for starts in zip(*((tune.header_end, *tune.bar_ends[:-1]) for tune in tunes)):
        rows = [header + tune.ids[start:] for tune, header, start in zip(tunes, headers, starts)]
        if max(map(len, rows)) <= room:
            return rows
    return [tune.ids[-room:] for tune in tunes]
