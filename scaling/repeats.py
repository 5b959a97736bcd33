"""The law of repeated data: the loss of N parameters after `epochs` passes over few tunes.

    law = fit(rows)                             # of results/repeats.csv
    predict(law, n=1e5, tokens=94_000, tunes=800, copies=5, epochs=4)
    enough_passes(law, n=1e5, tokens=94_000, tunes=800, copies=5)

    L = (learned^8 + overfitted^8)^(1/8)                nearly the larger of two curves

    learned = E + A / N^alpha + B / D'^beta
    overfitted = C epochs^delta N^gamma / T^eta
    D' = U (1 + R (1 - exp(-(epochs - 1) / R)))         what the passes together are worth
    U = tokens * (1 + worth * copies)                   unique data, transposed copies included
    T = (tokens * tunes)^(1/2) * (1 + worth * copies)

`learned` is the form of Muennighoff et al. 2023 (arXiv 2305.16264): a pass over data seen before
is worth less than new data, and after some R passes nothing. It cannot turn up again; over-fitting
can, and then it is all that counts: a sum of both has its minimum at 1.7 times the best number of
passes, this form within a factor of 1.2 (results/notebook.md). Losses far above the best of their
curve are left out: nobody stops there, and the form is not for them.

Unique data are counted in tokens where they are learned from, and half in tokens, half in tunes
where they are over-fitted: pieces of several tracks, 25 times as long as the tunes of a tune book,
are learned by heart after fewer passes than their tokens suggest (results/notebook.md).
"""
import numpy as np
from scipy import optimize

FAR = 1.25                      # times the best loss of a curve: a run beyond is left out
NAMES = ('E', 'A', 'alpha', 'B', 'beta', 'R', 'C', 'delta', 'gamma', 'eta', 'worth')
# Of log E, log A, alpha, log B, beta, log R, log C, delta, gamma, eta, worth, with N and tokens in
# units of 100,000, and tunes of 1,000.
LOW = np.array([-5, -8, 0.02, -4, 0.05, -1, -12, 0.02, -1, -0.5, 0])
HIGH = np.array([0.7, 2, 1.5, 3, 1.5, 5, 2, 3, 2, 3, 1])
UNIT, TUNES = 1e5, 1e3
LOGS = [0, 1, 3, 5, 6]          # of the parameters that are positive
STARTS = 10
DRAWS_OF_SIZES = 25             # a rough interval is enough to see that R is not identified
SHARPNESS = 8                   # of the turn from one curve to the other: best of 4, 8, 16
ENOUGH = 0.01                   # of the loss: more passes for less than that are not advised
DELTA = 0.02                    # of the loss: beyond 2% a residual counts linearly


def columns(rows):
    """(n, tokens, tunes, copies, epochs, loss) of rows of the table, arrays."""
    n, tokens, tunes, copies, train, seen, loss = (
        np.array([float(row[key]) for row in rows])
        for key in ('n_non_embedding', 'unique_tokens', 'unique_tunes', 'copies', 'train_tokens',
                    'tokens', 'loss_per_note'))
    return n, tokens, tunes, copies, np.maximum(1, seen / train), loss


def surface(theta, n, tokens, tunes, copies, epochs):
    """The loss of each run."""
    values = np.array(theta, float)
    values[LOGS] = np.exp(values[LOGS])
    E, A, alpha, B, beta, R, C, delta, gamma, eta, worth = values
    n, versions = n / UNIT, 1 + worth * copies
    effective = tokens / UNIT * versions * (1 + R * (1 - np.exp(-(epochs - 1) / R)))
    learned = E + A / n ** alpha + B / effective ** beta
    unique = np.sqrt(tokens / UNIT * tunes / TUNES) * versions
    overfitted = C * epochs ** delta * n ** gamma / unique ** eta
    return (learned ** SHARPNESS + overfitted ** SHARPNESS) ** (1 / SHARPNESS)


def near_the_best(rows):
    """Those whose loss is at most FAR times the best of their curve: one size on one part."""
    best = {}
    for row in rows:
        loss = float(row['loss_per_note'])
        best[curve_of(row)] = min(loss, best.get(curve_of(row), loss))
    return [row for row in rows if float(row['loss_per_note']) <= FAR * best[curve_of(row)]]


def curve_of(row):
    return row['name'].rpartition('-')[0]       # the last part of a name is its epochs


def unchanged(rows):
    """Those at the base setting, with transposed copies or without."""
    return [row for row in rows if not row.get('changed') or row['changed'].startswith('copies')]


def fit(rows, bootstraps=0, seed=0):
    """The law of the unchanged `rows`: `theta`, `rms` of the residuals of log L, `draws`, `runs`,
    and `R_of_sizes`: {N: (R, its interval)}, each from the runs of that N alone.

    The rows of a curve are resampled together. Raises ValueError where they are too few.
    """
    rows = near_the_best(unchanged(rows))
    curves = np.unique([curve_of(row) for row in rows], return_inverse=True)[1]
    if len(rows) < len(NAMES) + 5 or curves.max() < 5:
        raise ValueError(f'{len(rows)} runs on {curves.max() + 1} parts are too few for the law of '
                         'repeated data')
    data = columns(rows)
    rng = np.random.default_rng(seed)
    starts = [rng.uniform(LOW, HIGH) for _ in range(STARTS)]
    found = [least(start, data, np.ones(len(rows))) for start in starts]
    best = min(found, key=lambda one: one.cost)
    residual = np.log(surface(best.x, *data[:-1]) / data[-1])

    def drawn(some, times):
        """Parameters from the curves of `some` rows, resampled so many times."""
        own = np.unique(curves[some])
        weights = [np.bincount(rng.choice(own, len(own)), minlength=curves.max() + 1)[curves]
                   for _ in range(times)]
        return np.array([least(best.x, data, weight).x for weight in weights])

    draws = drawn(np.ones(len(rows), bool), bootstraps)
    R_of_sizes = {}
    for size in np.unique(data[0]) if bootstraps else ():
        own, R = data[0] == size, NAMES.index('R')
        R_of_sizes[size] = (np.exp(least(best.x, data, own).x[R]),
                            np.exp(np.quantile(drawn(own, min(bootstraps, DRAWS_OF_SIZES))[:, R],
                                               [0.025, 0.975])))
    return {'theta': best.x, 'rms': float(np.sqrt(np.mean(residual ** 2))), 'runs': len(rows),
            'draws': draws, 'R_of_sizes': R_of_sizes}


def least(start, data, weight):
    *given, loss = data

    def residuals(theta):
        return np.sqrt(weight) * np.log(surface(theta, *given) / loss)
    return optimize.least_squares(residuals, start, bounds=(LOW, HIGH), loss='huber', f_scale=DELTA,
                                  x_scale='jac')


def parameters(theta):
    """{name: value}, R in passes, E in nats/note."""
    values = np.array(theta, float)
    values[LOGS] = np.exp(values[LOGS])
    return dict(zip(NAMES, values.tolist()))


def predict(law, n, tokens, tunes, copies, epochs):
    """Loss in nats/note."""
    return float(surface(law['theta'], np.asarray(n, float), tokens, tunes, copies, epochs))


def enough_passes(law, n, tokens, tunes, copies, most=200.0):
    """(epochs, loss): the fewest passes whose loss is within ENOUGH of the least of `most` passes.

    Where much data meet a small model the loss is flat over many passes.
    """
    epochs = np.geomspace(1, max(1.0, most), 400)
    losses = surface(law['theta'], n, tokens, tunes, copies, epochs)
    best = int(np.argmax(losses <= losses.min() * (1 + ENOUGH)))
    return float(epochs[best]), float(losses[best])


def is_table(rows):
    """Whether the runs are of repeated data: all with the columns that `fit` needs."""
    return all('unique_tokens' in row and 'train_tokens' in row for row in rows)


def advice(law, rows, tunes):
    """What the law says of so many tunes, with and without the transposed copies of `rows`.

    A list of dicts: copies; n, the best of the sizes in the rows; epochs, loss, loss_ci and
    epochs_ci (95%, from the draws); beyond: how many times more or fewer tunes than any run had.
    """
    n, tokens, tunes_of_rows, copies, _, _ = columns(rows)
    tokens_of_tunes = tunes * float(np.mean(tokens / tunes_of_rows))
    beyond = max(1.0, tunes / tunes_of_rows.max(), tunes_of_rows.min() / tunes)
    found = []
    for c in np.unique(copies):
        found.append({'tunes': tunes, 'tokens': tokens_of_tunes, 'copies': int(c),
                      'beyond': beyond, **best_of(law, np.unique(n), tokens_of_tunes, tunes, c)})
    return found


def best_of(law, sizes, tokens, tunes, copies):
    """The best of `sizes` on so much data: n, epochs, epochs_ci, loss, loss_ci (see `advice`)."""
    (loss, epochs), size = min((enough_passes(law, size, tokens, tunes, copies)[::-1], size)
                               for size in sizes)
    drawn = np.array([enough_passes({'theta': theta}, size, tokens, tunes, copies)
                      for theta in law['draws']])
    ends = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {'n': size, 'epochs': epochs, 'epochs_ci': ends[:, 0].tolist(), 'loss': loss,
            'loss_ci': ends[:, 1].tolist()}


def page(law, rows, tunes):
    """Report of the law in Markdown, and its advice for each number of `tunes`."""
    values = parameters(law['theta'])
    drawn = [parameters(theta) for theta in law['draws']]
    lines = ['# The law of repeated data', '',
             f'{law["runs"]} of {len(unchanged(rows))} runs, those within {FAR - 1:.0%} of the '
             f'best of their curve; rms residual {law["rms"]:.1%}. N and tokens are in units of '
             '100,000, tunes of 1,000.',
             '',
             f'    L = (learned^{SHARPNESS} + overfitted^{SHARPNESS})^(1/{SHARPNESS})',
             "    learned = E + A / N^alpha + B / D'^beta",
             '    overfitted = C epochs^delta N^gamma / T^eta',
             "    D' = U (1 + R (1 - exp(-(epochs - 1) / R))),  U = tokens (1 + worth * copies)",
             '    T = (tokens tunes)^(1/2) (1 + worth * copies)',
             '',
             '| | value | 95% |', '|---|---|---|']
    for name in NAMES:
        low, high = np.quantile([one[name] for one in drawn], [0.025, 0.975])
        lines.append(f'| {name} | {values[name]:.3g} | {low:.3g} to {high:.3g} |')
    for size, (R, (low, high)) in law['R_of_sizes'].items():
        lines.append(f'| R from N = {size:,.0f} alone | {R:.3g} | {low:.3g} to {high:.3g} |')
    lines += ['', '| tunes | tokens | transposed copies | N | passes | loss, nats/note '
              '| beyond the data |', '|' + '---|' * 7]
    for one in (each for number in tunes for each in advice(law, rows, number)):
        beyond = f'{one["beyond"]:.1f} times' if one['beyond'] > 1 else 'no'
        lines.append(
            f'| {one["tunes"]:,} | {one["tokens"]:,.0f} | {one["copies"]} | {one["n"]:,.0f} '
            f'| {one["epochs"]:.1f} [{one["epochs_ci"][0]:.1f}, {one["epochs_ci"][1]:.1f}] '
            f'| {one["loss"]:.2f} [{one["loss_ci"][0]:.2f}, {one["loss_ci"][1]:.2f}] | {beyond} |')
    lines += ['', f'Passes: the fewest whose loss is within {ENOUGH:.0%} of the least.']
    return '\n'.join(lines)


def draw(law, rows):
    """Picture: loss against passes, a curve for each part of the data, a panel for each N."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    rows = [row for row in rows if not row.get('changed') and not float(row['copies'])]
    n, tokens, tunes, _, epochs, loss = columns(rows)
    sizes = np.unique(n)
    figure, axes = plt.subplots(1, len(sizes), figsize=(4.2 * len(sizes), 4), sharey=True,
                                squeeze=False)
    fine = np.geomspace(1, epochs.max(), 200)
    for axis, size in zip(axes[0], sizes):
        for k, part in enumerate(np.unique(tunes)):
            own = (n == size) & (tunes == part)
            axis.plot(epochs[own], loss[own], 'o', color=f'C{k}', label=f'{part:,.0f} tunes')
            if own.any():
                line = surface(law['theta'], size, tokens[own][0], part, 0, fine)
                axis.plot(fine, line, color=f'C{k}')
        axis.set(xscale='log', yscale='log', title=f'N = {size:,.0f}',
                 xlabel='passes over the tunes')
        axis.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
        axis.set_yticks([1, 1.5, 2, 3, 4, 6, 8], [1, 1.5, 2, 3, 4, 6, 8])
        axis.minorticks_off()
        axis.set_ylim(loss.min() / 1.1, 2 * np.median(loss))
    axes[0][0].set_ylabel('validation loss, nats/note')
    axes[0][-1].legend(title='points: runs\nlines: the law', loc='center left',
                       bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    return figure
