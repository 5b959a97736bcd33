"""Which form of L(N, D), over which count of parameters: chosen by what it foretells, not by how well it fits.

    chosen = choose(compare(group))     # group: runs of one architecture, alike in all but size and tokens
    chosen['size'], chosen['form']      # 'compute', 'hoffmann'; chosen['sizes'] is 'all', or 'without the smallest'
    law = fit(used(group, chosen['sizes']), chosen['size'], chosen['form'])     # of frontier.py, with its data
"""
import numpy as np

from scaling.frontier import FORMS, fit_l_nd, predict, predict_left_out
from scaling.laws import offset_model, solve_offset
from scaling.runs import SIZES, choose_l_nd, conditions, size_of

AS_GOOD = 1.1       # a form with fewer free numbers stays unless its misses are above the best's by this factor
MOST, FOLDS = 60, 20        # more cells than that are not left out one by one, but in so many sets


def counts(group):
    """{count: its value for each run}: of total, non_embedding and compute those that all runs have.

    compute is training FLOPs / (6 tokens), so that C = 6 N D: the matrices, the head's included, and attention's share.
    """
    known = {which: np.array([run[f'n_{which}'] for run in group])
             for which in SIZES if all(f'n_{which}' in run for run in group)}
    if all('flops' in run for run in group):
        known['compute'] = np.rint([run['flops'] / 6 / run['tokens'] for run in group])
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


def used(group, sizes):
    """The runs that a law rests on: `sizes` is 'all', or 'without the smallest'."""
    least = min(map(size_of, group)) if sizes != 'all' else 0
    return [run for run in group if size_of(run) > least]


def at_each_d(group, law):
    """L(N) = a N^-alpha + c through the sizes of each number of tokens alone, where at least four have it.

    A list of dicts: tokens (as spoken), sizes, alpha, c, apart: (L(N) - law) / law at the size where it is furthest.
    """
    tokens, rows = np.array([c['tokens'] for c in conditions(group)]), []
    for words in dict.fromkeys(tokens[np.argsort(law['data']['d'], kind='stable')]):
        n, d, loss = (law['data'][key][tokens == words] for key in ('n', 'd', 'loss'))
        sizes = np.unique(n)
        if len(sizes) >= 4:
            y, x = np.array([np.log(loss[n == size]).mean() for size in sizes]), np.log(sizes)
            theta_BP, _ = solve_offset(x - x.mean(), y)
            fitted = np.exp(offset_model(x - x.mean())(theta_BP)[0][0])
            apart = fitted / np.array([predict(law, size, d[n == size]).mean() for size in sizes]) - 1
            rows.append({'tokens': words, 'sizes': len(sizes), 'alpha': float(theta_BP[0, 1]),
                         'c': float(theta_BP[0, 2]), 'apart': float(max(apart, key=abs))})
    return rows


def left_out_sets(group):
    """({label: mask}, cell and set of each run): the sets of runs that are left out in turn.

    These are all of the same size and number of tokens, then those of the 'largest' size, and the 'longest': of the
    most tokens that three sizes have, and of more. The last two only if enough for a law remains.
    """
    sizes, tokens = np.array([size_of(run) for run in group]), np.array([c['tokens'] for c in conditions(group)])
    names = list(dict.fromkeys(zip(sizes, tokens)))
    cell = np.array([names.index(pair) for pair in zip(sizes, tokens)])
    fold = cell if len(names) <= MOST else cell % FOLDS
    masks = {k: fold == k for k in range(fold.max() + 1)}
    d = np.array([run['tokens'] for run in group])
    shared = [d[tokens == words].min() for words in set(tokens) if len(set(sizes[tokens == words])) >= 3]
    edges = {'largest': sizes == sizes.max(), 'longest': d >= max(shared, default=d.max())}
    for name, mask in edges.items():
        if choose_l_nd([run for run, out in zip(group, mask) if not out]):
            masks[name] = mask
    return masks, cell, fold


def compare(group):
    """A row for each count, form and choice of sizes.

    Keys: size, form, sizes; largest, longest, misses, cells, worst, missed.

    largest and longest: root mean square of the misses of the largest size, and of the longest runs, foretold from all
    others, None where too little would be left; the smallest size is no part of either, so that laws with and without
    it compare. misses: both together, or cells, the median miss of a size and number of tokens that is left out; worst
    is the largest of these and missed the name of its run. All are in log loss, so 0.01 is 1%.
    """
    rows, least = [], min(map(size_of, group))
    for sizes in ('all', 'without the smallest'):
        kept = used(group, sizes)
        if sizes != 'all' and len({size_of(run) for run in kept}) < 4:
            continue
        masks, cell, fold = left_out_sets(kept)
        d, loss = (np.array([run[key] for run in kept]) for key in ('tokens', 'loss'))
        larger = np.array([size_of(run) > least for run in kept])
        for which, n in counts(kept).items():
            for form in FORMS:
                miss = np.log(predict_left_out(n, d, loss, np.array(list(masks.values())), form) / loss)
                missed = {label: values[masks[label] & larger] for label, values in zip(masks, miss)}
                edges = {edge: rms(missed[edge]) if len(missed.get(edge, ())) else None
                         for edge in ('largest', 'longest')}
                own = miss[fold, np.arange(len(fold))]              # each run's, of the set that it is left out with
                of_cells = np.array([own[cell == k].mean() for k in range(cell.max() + 1)])
                worst = int(np.abs(of_cells).argmax())
                both = rms([value for value in edges.values() if value is not None] or of_cells)
                rows.append({'size': which, 'form': form, 'sizes': sizes, **edges, 'misses': both,
                             'cells': float(np.median(np.abs(of_cells))), 'worst': float(of_cells[worst]),
                             'missed': kept[int((cell == worst).argmax())]['name']})
    return rows


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def choose(rows):
    """The row of the least misses of the largest size and the longest runs together.

    Of those that are as good the simplest form, all sizes before a choice of them, and compute before other counts, as
    that law answers for budgets, too.
    """
    best = min(row['misses'] for row in rows)
    good = [row for row in rows if row['misses'] <= AS_GOOD * best + 1e-4]
    return min(good, key=lambda row: (len(FORMS[row['form']]), row['sizes'] != 'all', row['size'] != 'compute',
                                      row['misses']))


def smaller(group):
    """The runs without the largest size and without the most tokens, if a law can be chosen on them, else all."""
    top, most = max(map(size_of, group)), max(run['tokens'] for run in group)
    inner = [run for run in group if size_of(run) < top and run['tokens'] < 0.98 * most]
    return inner if choose_l_nd(inner) else group
