"""Which form of L(N, D), over which count of parameters: chosen by what it foretells, not by how well it fits.

    rows = compare(group)               # group: runs of one architecture, alike in all but size and tokens
    size, form = choose(rows)           # 'compute', 'hoffmann'
    law = fit(group, size, form)        # of frontier.py, with the data that it rests on
"""
import numpy as np

from scaling.frontier import FORMS, fit_l_nd, predict_left_out
from scaling.runs import SIZES, choose_l_nd, conditions, size_of

AS_GOOD = 1.1       # a form with fewer free numbers stays unless its misses are above the best's by this factor
MOST = 48           # sets of runs that are left out in turn: of more cells, several are left out together


def counts(group):
    """{count: its value for each run}: of total, non_embedding and compute those that all runs have.

    compute is training FLOPs / (6 tokens), so that C = 6 N D: the matrices, the head's included, and attention's share.
    """
    known = {which: np.array([run[f'n_{which}'] for run in group])
             for which in SIZES if all(f'n_{which}' in run for run in group)}
    if all('flops' in run for run in group):
        known['compute'] = np.array([run['flops'] / 6 / run['tokens'] for run in group])
    return known


def fit(group, size, form='hoffmann', bootstraps=1000, seed=0):
    """The law of `form` over a count of `counts`; runs of one size and seed (one trunk) are resampled together."""
    n = counts(group)[size]
    d, loss = (np.array([run[key] for run in group]) for key in ('tokens', 'loss'))
    trunks = [f'{size_of(run)} {run.get("seed")}' for run in group]
    flops = np.array([run.get('flops', 6 * n_i * run['tokens']) for run, n_i in zip(group, n)])
    law = fit_l_nd(n, d, loss, bootstraps, seed, trunks, form)
    return law | {'size': size, 'flops_per_n_d': float(np.median(flops / (n * d))),
                  'data': {'n': n, 'd': d, 'flops': flops, 'loss': loss}}


def left_out_sets(group):
    """({label: mask}, cell of each run): the sets of runs that are left out in turn.

    These are all of the same size and number of tokens, then those of the 'largest' size and of the most tokens, the
    'longest', if enough for a law remains.
    """
    sizes, tokens = np.array([size_of(run) for run in group]), np.array([c['tokens'] for c in conditions(group)])
    names = list(dict.fromkeys(zip(sizes, tokens)))
    cell = np.array([names.index(pair) for pair in zip(sizes, tokens)])
    masks = {fold: cell % MOST == fold for fold in range(min(MOST, len(names)))}
    most = group[int(np.argmax([run['tokens'] for run in group]))]
    edges = {'largest': sizes == sizes.max(), 'longest': tokens == tokens[group.index(most)]}
    for name, mask in edges.items():
        kept = [(size, words) for size, words, out in zip(sizes, tokens, mask) if not out]
        if min(len(set(values)) for values in zip(*kept)) >= 3 and len(set(kept)) >= 8:
            masks[name] = mask
    return masks, cell


def compare(group):
    """A row for each count and form: {'size', 'form', 'cells', 'worst', 'missed', 'largest', 'longest', 'misses'}.

    cells: the median miss of a size and number of tokens that is left out, worst the largest of these and missed the
    name of its run; largest and longest: root mean square of the misses of the largest size, and of the runs with most
    tokens, foretold from all others; None where too little would be left; misses: of both together, or of the cells.
    All are in log loss, so 0.01 is 1%.
    """
    masks, cell = left_out_sets(group)
    d, loss = (np.array([run[key] for run in group]) for key in ('tokens', 'loss'))
    rows = []
    for which, n in counts(group).items():
        for form in FORMS:
            miss = np.log(predict_left_out(n, d, loss, np.array(list(masks.values())), form) / loss)
            missed = {label: values[masks[label]] for label, values in zip(masks, miss)}
            edges = {edge: rms(missed[edge]) if edge in missed else None for edge in ('largest', 'longest')}
            own = miss[cell % MOST, np.arange(len(cell))]       # each run's, of the set that it is left out with
            of_cells = np.array([own[cell == k].mean() for k in range(cell.max() + 1)])
            worst = int(np.abs(of_cells).argmax())
            both = rms([miss for miss in edges.values() if miss is not None] or of_cells)
            rows.append({'size': which, 'form': form, **edges, 'misses': both,
                         'cells': float(np.median(np.abs(of_cells))), 'worst': float(of_cells[worst]),
                         'missed': group[int((cell == worst).argmax())]['name']})
    return rows


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def choose(rows):
    """(count, form) of the least misses of the largest size and the longest runs together.

    Of those that are as good the simplest form, and compute before other counts, as that law answers for budgets, too.
    """
    best = min(row['misses'] for row in rows)
    good = [row for row in rows if row['misses'] <= AS_GOOD * best + 1e-4]
    chosen = min(good, key=lambda row: (len(FORMS[row['form']]), row['size'] != 'compute', row['misses']))
    return chosen['size'], chosen['form']


def smaller(group):
    """The runs without the largest size and without the most tokens, if a law can be chosen on them, else all."""
    top, most = max(map(size_of, group)), max(run['tokens'] for run in group)
    inner = [run for run in group if size_of(run) < top and run['tokens'] < 0.98 * most]
    return inner if choose_l_nd(inner) else group
