"""The law of repeated data: the loss of N parameters after `epochs` passes over few tunes.

    law = fit(rows)                             # of results/repeats.csv
    predict(law, n=1e5, tokens=94_000, copies=5, epochs=4)
    best_epochs(law, n=1e5, tokens=94_000, copies=5)

    L = E + A / N^alpha + B / D'^beta + C (epochs - 1)^delta N^gamma / U^eta

    D' = U (1 + R (1 - exp(-(epochs - 1) / R)))         what the passes together are worth
    U = tokens * (1 + worth * copies)                   unique data, transposed copies included

The first three terms are those of Muennighoff et al. 2023 (arXiv 2305.16264): a pass over data
seen before is worth less than new data, and after some R passes nothing. Their form cannot turn up
again; the last term, over-fitting, can. Losses far above the best of their curve are left out:
nobody stops there, and the form is not for them.
"""
import numpy as np
from scipy import optimize

FAR = 1.25                      # times the best loss of a curve: a run beyond is left out
NAMES = ('E', 'A', 'alpha', 'B', 'beta', 'R', 'C', 'delta', 'gamma', 'eta', 'worth')
# Of log E, log A, alpha, log B, beta, log R, log C, delta, gamma, eta, worth, with N and tokens in
# units of 100,000.
LOW = np.array([-5, -8, 0.02, -4, 0.05, -1, -12, 0.3, -1, -0.5, 0])
HIGH = np.array([0.7, 2, 1.5, 3, 1.5, 5, 2, 3, 2, 3, 1])
UNIT = 1e5
LOGS = [0, 1, 3, 5, 6]          # of the parameters that are positive
STARTS = 10
DELTA = 0.02                    # of the loss: beyond 2% a residual counts linearly


def columns(rows):
    """(n, tokens, copies, epochs, loss) of rows of the table, arrays."""
    n, tokens, copies, train, seen, loss = (
        np.array([float(row[key]) for row in rows])
        for key in ('n_non_embedding', 'unique_tokens', 'copies', 'train_tokens', 'tokens',
                    'loss_per_note'))
    return n, tokens, copies, np.maximum(1, seen / train), loss


def surface(theta, n, tokens, copies, epochs):
    """The loss of each run."""
    values = np.array(theta, float)
    values[LOGS] = np.exp(values[LOGS])
    E, A, alpha, B, beta, R, C, delta, gamma, eta, worth = values
    n, unique = n / UNIT, tokens * (1 + worth * copies) / UNIT
    again = np.maximum(epochs - 1, 0)
    effective = unique * (1 + R * (1 - np.exp(-again / R)))
    over_fitting = C * again ** delta * n ** gamma / unique ** eta
    return E + A / n ** alpha + B / effective ** beta + over_fitting


def near_the_best(rows):
    """Those whose loss is at most FAR times the best of their curve: one size on one part."""
    best = {}
    for row in rows:
        loss = float(row['loss_per_note'])
        best[curve_of(row)] = min(loss, best.get(curve_of(row), loss))
    return [row for row in rows if float(row['loss_per_note']) <= FAR * best[curve_of(row)]]


def curve_of(row):
    return row['name'].rpartition('-')[0]       # the last part of a name is its epochs


def fit(rows, bootstraps=0, seed=0):
    """The law of `rows`, as a dict with `theta`, `rms` (of the residuals of log L) and `draws`.

    The rows of a curve are resampled together. Raises ValueError where they are too few.
    """
    rows = near_the_best(rows)
    curves = np.unique([curve_of(row) for row in rows], return_inverse=True)[1]
    if len(rows) < len(NAMES) + 5 or curves.max() < 5:
        raise ValueError(f'{len(rows)} runs on {curves.max() + 1} parts are too few for the law of '
                         'repeated data')
    data = columns(rows)
    rng = np.random.default_rng(seed)
    starts = [rng.uniform(LOW, HIGH) for _ in range(STARTS)]
    found = [least(start, data, np.ones(len(rows))) for start in starts]
    best = min(found, key=lambda one: one.cost)
    residual = np.log(surface(best.x, *data[:4]) / data[4])

    draws = []
    for _ in range(bootstraps):
        k = curves.max() + 1
        weight = rng.multinomial(k, np.full(k, 1 / k))[curves]
        draws.append(least(best.x, data, weight).x)
    return {'theta': best.x, 'rms': float(np.sqrt(np.mean(residual ** 2))), 'runs': len(rows),
            'draws': np.array(draws)}


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


def predict(law, n, tokens, copies, epochs):
    """Loss in nats/note."""
    return float(surface(law['theta'], np.asarray(n, float), tokens, copies, epochs))


def best_epochs(law, n, tokens, copies, most=200.0):
    """(epochs, loss) where the loss is least, of at most `most` passes."""
    epochs = np.geomspace(1, max(1.0, most), 400)
    losses = surface(law['theta'], n, tokens, copies, epochs)
    best = int(losses.argmin())
    return float(epochs[best]), float(losses[best])
