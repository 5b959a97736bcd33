"""Which form of L(N, D), over which count of parameters: chosen by its error on runs left out.

    chosen = choose(compare(group))     # group: runs of one law, which differ in size and tokens
    chosen['size'], chosen['form']      # 'compute', 'kaplan'
    law = fit(group, chosen['size'], chosen['form'])        # of frontier.py, with its data
"""
import numpy as np

from scaling.frontier import FORMS, MOST_ROUNDS, fit_l_nd, predict, predict_left_out
from scaling.laws import offset_model, solve_offset
from scaling.runs import SIZES, choose_l_nd, conditions, size_of

AS_GOOD = 1.1       # a form with fewer parameters is as good if its error is at most 1.1 times
MOST, FOLDS = 60, 20        # more (size, tokens) pairs than that are left out in so many sets


def counts(group):
    """{count: its value for each run}: of total, non_embedding and compute what all runs have.

    compute is the number of effective parameters N_C = training FLOPs per token / 6, so that
    C = 6 N_C D: the weights of matrix products, the head's included, and attention's share.
    """
    known = {which: np.array([run[f'n_{which}'] for run in group])
             for which in SIZES if all(f'n_{which}' in run for run in group)}
    if all('flops' in run for run in group):
        known['compute'] = np.rint([run['flops'] / 6 / run['tokens'] for run in group])
    return known


def fit(group, size, form='hoffmann', bootstraps=1000, seed=0, rounds=MOST_ROUNDS):
    """The law of `form` over a count of `counts`, with `data`; a size is resampled as a whole."""
    n = counts(group)[size]
    d, loss = (np.array([run[key] for run in group]) for key in ('tokens', 'loss'))
    flops = np.array([run.get('flops', 6 * n_i * run['tokens']) for run, n_i in zip(group, n)])
    clusters = [size_of(run) for run in group]
    law = fit_l_nd(n, d, loss, bootstraps, seed, clusters, form, rounds)
    return law | {'size': size, 'flops_per_n_d': float(np.median(flops / (n * d))),
                  'data': {'n': n, 'd': d, 'flops': flops, 'loss': loss}}


def token_counts(group):
    """The number of tokens of each run in words, one word for counts within 2% of each other."""
    return np.array([shared['tokens'] for shared in conditions(group)])


def at_each_d(group, law):
    """L(N) = a N^-alpha + c through the sizes of each token count alone, where at least 4 have it.

    A list of dicts: tokens (in words), sizes, alpha, c, apart: (L(N) - law) / law at the size where
    it is largest.
    """
    tokens, rows = token_counts(group), []
    by_tokens = tokens[np.argsort(law['data']['d'], kind='stable')]
    for words in dict.fromkeys(by_tokens):
        n, d, loss = (law['data'][key][tokens == words] for key in ('n', 'd', 'loss'))
        sizes = np.unique(n)
        if len(sizes) < 4:
            continue
        y, x = np.array([np.log(loss[n == size]).mean() for size in sizes]), np.log(sizes)
        theta_BP, _ = solve_offset(x - x.mean(), y)
        fitted = np.exp(offset_model(x - x.mean())(theta_BP)[0][0])
        of_law = np.array([predict(law, size, d[n == size]).mean() for size in sizes])
        rows.append({'tokens': words, 'sizes': len(sizes), 'alpha': float(theta_BP[0, 1]),
                     'c': float(theta_BP[0, 2]), 'apart': float(max(fitted / of_law - 1, key=abs))})
    return rows


def edge_sets(group):
    """{name: mask} of the runs at both edges of the data, where a law of the others can be fitted.

    'largest': all runs of the largest size. 'longest': the runs of the most tokens that three sizes
    have, and of more.
    """
    sizes, tokens = np.array([size_of(run) for run in group]), token_counts(group)
    d = np.array([run['tokens'] for run in group])
    shared = [d[tokens == words].min() for words in set(tokens)
              if len(set(sizes[tokens == words])) >= 3]
    edges = {'largest': sizes == sizes.max(), 'longest': d >= max(shared, default=d.max())}
    return {name: mask for name, mask in edges.items()
            if choose_l_nd([run for run, out in zip(group, mask) if not out])}


def pair_sets(group):
    """(index of each run's (size, tokens) pair, index of the set with which it is left out)."""
    sizes, tokens = [size_of(run) for run in group], token_counts(group)
    names = list(dict.fromkeys(zip(sizes, tokens)))
    pair = np.array([names.index(one) for one in zip(sizes, tokens)])
    return pair, pair if len(names) <= MOST else pair % FOLDS


def compare(group):
    """The errors of each form over each count of parameters on runs left out: a list of dicts.

    Keys: size, form, sizes ('all'); largest and longest: root mean square error of the runs of
    `edge_sets`, predicted from all others, None where too few would be left; cells: the median
    error of a (size, tokens) pair that is left out; worst: the largest of these, and missed: the
    name of its run; misses: largest and longest together, or that of the pairs where there is
    neither. All are log(predicted / seen), so 0.01 is 1%.
    """
    edges, (pair, fold) = edge_sets(group), pair_sets(group)
    masks = np.array([*edges.values(), *(fold == k for k in range(fold.max() + 1))])
    d, loss = (np.array([run[key] for run in group]) for key in ('tokens', 'loss'))
    rows = []
    for which, n in counts(group).items():
        for form in FORMS:
            error_BN = np.log(predict_left_out(n, d, loss, masks, form) / loss)
            of_edge = dict(zip(edges, error_BN))        # the first laws are those without an edge
            # The error of each run by the law without the pair that it belongs to
            of_run = error_BN[len(edges) + fold, np.arange(len(fold))]
            rows.append({'size': which, 'form': form, 'sizes': 'all',
                         **score(group, edges, of_edge, pair, of_run)})
    return rows


def score(group, edges, of_edge, pair, of_run):
    """The errors of one law for `compare`.

    of_edge: {edge: errors of all runs without it}; of_run: each run's error without its pair.
    """
    edge = {name: rms(of_edge[name][edges[name]]) if name in edges else None
            for name in ('largest', 'longest')}
    of_pair = np.array([of_run[pair == k].mean() for k in range(pair.max() + 1)])
    worst = int(np.abs(of_pair).argmax())
    known = [value for value in edge.values() if value is not None]
    return {**edge, 'misses': rms(known or of_pair), 'cells': float(np.median(np.abs(of_pair))),
            'worst': float(of_pair[worst]), 'missed': group[int((pair == worst).argmax())]['name']}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def choose(rows):
    """The row of `compare` with the least error at both edges together.

    Of those as good as it, the form with the fewest parameters; then compute before other counts,
    as that law answers for budgets, too.
    """
    best = min(row['misses'] for row in rows)
    good = [row for row in rows if row['misses'] <= AS_GOOD * best + 1e-4]
    return min(good, key=lambda row: (len(FORMS[row['form']]), row['size'] != 'compute',
                                      row['misses']))


def smaller(group):
    """The runs without the largest size and without the most tokens; all if these are too few."""
    top, most = max(map(size_of, group)), max(run['tokens'] for run in group)
    inner = [run for run in group if size_of(run) < top and run['tokens'] < 0.98 * most]
    return inner if choose_l_nd(inner) else group
