"""One draw for each of many tunes: the likely tokens in random order, and of these the first one
that the constraint lets through.

Tokens race: each arrives after an exponential time of rate p. So the first one is a draw with the
probabilities p, and the first one that is let through is a draw from the allowed tokens with their
probabilities in proportion.
"""
from dataclasses import dataclass

import numpy as np
import torch

FEW = 128                   # tokens among which the likely ones are sought first
REJECTIONS = 5              # of one draw, after which the bar of the voice is sampled again


@dataclass
class Options:
    """How tokens are drawn."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    max_restarts: int = 0   # of one voice's bar; then whole bars are dropped (rollback.py)

    @property
    def is_greedy(self):
        """Is it always the most likely token?"""
        return self.temperature == 0 or self.top_k == 1


def draw(logits_BV, tunes, options, counts):
    """For each tune (Step of the next token or None if the constraint lets none through, is the
    token likely?).

    In a bar that can be sampled again REJECTIONS candidates are tried at most. At its start, or
    when that was done often enough, all the likely ones are. Where there is no bar to drop, in a
    header that is asked for or between given cells, the others follow, outside of top_k and
    top_p."""
    logits_BV = logits_BV.float().cpu()
    if options.temperature == 0:
        candidates = logits_BV.topk(min(FEW, logits_BV.shape[1])).indices.tolist()
    else:
        if options.temperature != 1:
            logits_BV = logits_BV / options.temperature
        candidates = race(logits_BV, tunes, options.top_p, options.top_k)
    drawn = []
    for logits_V, tune, likely in zip(logits_BV, tunes, candidates):
        can_restart = tune.rollback.can_restart(options.max_restarts)
        step = first_allowed(tune, likely[:REJECTIONS] if can_restart else likely, counts)
        is_likely = step is not None
        if not (is_likely or can_restart or tune.rollback.can_drop_bars(options.max_restarts)):
            step = first_allowed(tune, unlikely(logits_V, tune, likely, options), counts)
        drawn.append((step, is_likely))
    return drawn


def unlikely(logits_V, tune, likely, options):
    """All other tokens, in the order of a race. Its times are compared as logarithms, for the
    probabilities may be too small for a float."""
    noise_V = torch.ones_like(logits_V).exponential_(generator=tune.generator)
    order_V = logits_V if options.is_greedy else logits_V - noise_V.log()
    tried = set(likely)
    return [i for i in order_V.argsort(descending=True).tolist() if i not in tried]


def first_allowed(tune, ids, counts):
    """Step of the first of `ids` that the constraint lets through, or None."""
    for i in ids:
        step = tune.step(i)
        counts['tried'] += 1
        if step is not None:
            return step
        counts['refused'] += 1
    return None


def race(logits_BV, tunes, top_p, top_k, n=FEW):
    """For each row the likely tokens in the order in which the race ends.

    Likely are the top k, and of these the most likely ones that hold the share top_p. They are
    sought among the n most likely, which is faster; rows where these hold too little race again,
    among eight times as many."""
    V = logits_BV.shape[1]
    k = min(top_k or V, V)
    if k < V:
        n = k
    else:
        n = min(n, V) if top_p < 1 else V

    # Probabilities of the n most likely tokens, 0 outside of top_k and top_p.
    p_BN = logits_BV.softmax(dim=1)
    is_wide = [False] * len(tunes)              # needs more than n
    if n < V or top_p < 1:
        p_BN, ids_BN = most_likely(p_BN, n)
        if k < V:
            p_BN = p_BN / p_BN.sum(dim=1, keepdim=True)
    else:
        ids_BN = torch.arange(V).expand_as(p_BN)
    if top_p < 1:
        share_BN = p_BN.cumsum(dim=1)
        p_BN = p_BN.masked_fill(share_BN - p_BN >= top_p, 0)
        is_wide = [n < k and share < top_p for share in share_BN[:, -1].tolist()]

    # The race: p / noise is the inverse of the time of arrival.
    noise_BN = torch.ones_like(p_BN)
    for row, tune in enumerate(tunes):
        if not is_wide[row]:
            noise_BN[row].exponential_(generator=tune.generator)
    speed_BN = p_BN / noise_BN
    places_BN = speed_BN.argsort(dim=1, descending=True)
    n_likely = (speed_BN > 0).sum(dim=1).tolist()
    order = [ids[:m] for ids, m in zip(ids_BN.gather(1, places_BN).tolist(), n_likely)]

    rows = [row for row in range(len(tunes)) if is_wide[row]]
    if rows:
        again = race(logits_BV[rows], [tunes[row] for row in rows], top_p, top_k, 8 * n)
        for row, ids in zip(rows, again):
            order[row] = ids
    return order


def most_likely(p_BV, n):
    """(p, ids) of each row's n most likely tokens, in falling order. For few of many, torch's topk
    takes twice the time."""
    V = p_BV.shape[1]
    if n < V:
        ids_BN = torch.from_numpy(np.argpartition(p_BV.numpy(), V - n)[:, V - n:])
    else:
        ids_BN = torch.arange(V).expand_as(p_BV)
    p_BN, places_BN = p_BV.gather(1, ids_BN).sort(dim=1, descending=True)
    return p_BN, ids_BN.gather(1, places_BN)
