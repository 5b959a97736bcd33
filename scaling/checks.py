"""What a law is worth: does it hold sizes that it has not seen, does it drift, does it beat a rule?

    found = check(group, law)           # a law of heldout.fit and its runs
    found['coverage']                   # {'inside': 41, 'runs': 46}: sizes left out, 95% intervals
    found['drift']                      # the law without the smallest size, the shortest runs, ...
    found['rules']                      # its errors at both edges of the data beside a naive rule's
"""
import numpy as np

from scaling.frontier import estimate, fit_l_nd, forecast, predict_left_out
from scaling.heldout import edge_sets, rms, token_counts
from scaling.runs import choose_l_nd, size_of

RESAMPLES = 50          # of each of the laws without one size
DRIFTING = 'E', 'alpha', 'beta', 'kappa'


def check(group, law, seed=0):
    """{'coverage', 'drift', 'rules'} of a law; each None or empty where the runs are too few."""
    return {'coverage': coverage(group, law, seed), 'drift': drift(group, law),
            'rules': beside_rules(group, law)}


def coverage(group, law, seed=0):
    """How many runs lie in the 95% interval that the law of all other sizes predicts for them.

    {'inside', 'runs'}, or None where the other sizes are too few for a law.
    """
    sizes = np.array([size_of(run) for run in group])
    n, d, loss = (law['data'][key] for key in ('n', 'd', 'loss'))
    inside = 0
    for size in np.unique(sizes):
        others = sizes != size
        if not choose_l_nd([run for run, kept in zip(group, others) if kept]):
            return None
        without = fit_l_nd(n[others], d[others], loss[others], RESAMPLES, seed, sizes[others],
                           law['form'], rounds=1)
        for k in np.flatnonzero(~others):
            _, low, high = forecast(without, n[k], d[k])
            inside += bool(low <= loss[k] <= high)
    return {'inside': inside, 'runs': len(group)}


def drift(group, law):
    """The law of fewer runs: a list of {'without', 'runs', 'E', 'alpha', 'beta', 'kappa'}."""
    sizes, tokens = np.array([size_of(run) for run in group]), token_counts(group)
    n, d, loss = (law['data'][key] for key in ('n', 'd', 'loss'))
    subsets = {'the smallest size': sizes != sizes.min(),
               'the largest size': sizes != sizes.max(),
               'the shortest runs': tokens != tokens[d.argmin()],
               'the longest runs': tokens != tokens[d.argmax()]}
    rows = []
    for without, kept in subsets.items():
        if choose_l_nd([run for run, is_kept in zip(group, kept) if is_kept]):
            own = estimate(n[kept], d[kept], loss[kept], law['form'])
            rows.append({'without': without, 'runs': int(kept.sum()),
                         **{key: own[key] for key in DRIFTING}})
    return rows


def beside_rules(group, law):
    """The law's error at each edge of the data, and that of a rule that needs no law.

    A list of {'edge', 'runs', 'law', 'rule'}: root mean square of log(predicted / seen) over the
    runs of `edge_sets` that the rule can predict; the law is that of all runs outside of the edge.
    """
    edges = edge_sets(group)
    if not edges:
        return []
    n, d, loss = (law['data'][key] for key in ('n', 'd', 'loss'))
    by_law = predict_left_out(n, d, loss, np.array(list(edges.values())), law['form'])
    means, rows = mean_losses(group), []
    for (edge, mask), predicted in zip(edges.items(), by_law):
        rule = loss_of_the_size_below if edge == 'largest' else extended_curve
        by_rule = np.array([rule(means, run) for run in group])
        known = mask & (by_rule > 0)        # else nan, or the curve was extended below 0
        if known.any():
            rows.append({'edge': edge, 'runs': int(known.sum()),
                         'law': rms(np.log(predicted[known] / loss[known])),
                         'rule': rms(np.log(by_rule[known] / loss[known]))})
    return rows


def mean_losses(group):
    """{(size, tokens in words): (tokens, mean loss over seeds)}."""
    cells = {}
    for run, words in zip(group, token_counts(group)):
        cells.setdefault((size_of(run), words), []).append((run['tokens'], run['loss']))
    return {cell: tuple(np.mean(values, axis=0)) for cell, values in cells.items()}


def loss_of_the_size_below(means, run):
    """The rule for a larger size: the loss of the next smaller one after as many tokens, or nan.

    means: of `mean_losses`.
    """
    smaller = [(size, loss) for (size, _), (tokens, loss) in means.items()
               if size < size_of(run) and abs(tokens / run['tokens'] - 1) < 0.02]
    return max(smaller)[1] if smaller else np.nan


def extended_curve(means, run):
    """The rule for more tokens, from the three longest shorter runs of the same size; else nan.

    The gain per log token shrinks by the same factor again: with three doublings of tokens,
    next gain = last gain x (last gain / gain before). means: of `mean_losses`.
    """
    own = sorted(point for (size, _), point in means.items()
                 if size == size_of(run) and point[0] < 0.98 * run['tokens'])
    if len(own) < 3:
        return np.nan
    (d1, loss1), (d2, loss2), (d3, loss3) = own[-3:]
    steps = np.log([d2 / d1, d3 / d2, run['tokens'] / d3])
    before, last = (loss1 - loss2) / steps[0], (loss2 - loss3) / steps[1]
    if before <= 0 or last <= 0:
        return loss3
    return loss3 - last * (last / before) ** (steps[2] / steps[1]) * steps[2]
