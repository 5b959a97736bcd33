"""The scaling law in two variables, L(N, D) = E + A / N^alpha + B / D^beta, and what it says about spending compute.

    law = fit_l_nd(n, d, loss)                    # parameters, training tokens, validation loss, one entry a run
    law['alpha'], law['ci']['alpha']              # 0.348, [0.30, 0.39]

The parametric fit of Hoffmann et al. 2022 (section 3.3): sum of Huber losses (delta 1e-3) on log L. Besiroglu et al.
2024 found its pitfalls: a *mean* of losses this small meets an optimiser's tolerances long before the optimum, and
single starts end in other basins. So: sum, starts from a grid over both exponents, intervals by bootstrap.
"""
import itertools
import math

import numpy as np
from scipy import optimize

from scaling.laws import LEVEL, huber, identified, minimise

DELTA = 1e-3            # of the Huber loss: beyond 0.1% of log loss, a residual counts linearly: outliers pull little
FLOPS_PER_N_D = 6.0     # training FLOPs per parameter and token (Kaplan et al. 2020), where the runs do not say
FEW_CLUSTERS = 6        # fewer are not resampled whole: most resamples would lack the three sizes that the law needs
# of log E, log A, log B (at the centre of the data), alpha, beta
LIMITS = np.array([[-30, -30, -30, 1e-3, 1e-3], [30, 60, 60, 3.0, 3.0]])


def percentile_interval(values):
    """Central 95% of the resamples."""
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method='inverted_cdf').tolist()


def surface(x, z):
    """Log loss and derivatives for theta = (log E, log A, log B, alpha, beta); x, z = log N, log D, centred."""
    def model(theta_BP):
        e, a, b, alpha, beta = (theta_BP[:, i:i + 1] for i in range(5))
        terms = np.stack(np.broadcast_arrays(np.exp(e), np.exp(a - alpha * x), np.exp(b - beta * z)), axis=-1)
        level = terms.sum(-1)
        share = terms / level[..., None]
        by_exponents = -share[..., 1:] * np.stack([x, z], axis=-1)
        return np.log(level), np.concatenate([share, by_exponents], axis=-1)
    return model


def grid_starts(x, z, y, best=24):
    """Starts (best, 5): exponents on a grid, the rest by non-negative least squares of relative errors."""
    starts, exponents, weight = [], np.geomspace(0.03, 1.5, 20), np.exp(-y)
    for alpha, beta in itertools.product(exponents, exponents):
        design = np.stack([np.ones_like(x), np.exp(-alpha * x), np.exp(-beta * z)], axis=1)
        linear, _ = optimize.nnls(design * weight[:, None], np.ones_like(y))
        starts.append([*np.log(np.maximum(linear, 1e-6)), alpha, beta])
    cost = huber(y - surface(x, z)(np.array(starts))[0], DELTA).sum(1)
    return np.array(starts)[np.argsort(cost)[:best]]


def fit_l_nd(n, d, loss, bootstraps=1000, seed=0, clusters=None):
    """L = E + A/N^alpha + B/D^beta for at least 8 runs with 3 sizes and 3 token counts.

    clusters: a label a run; those of one label (a size's cool-downs of one seed share a trunk) are resampled together,
    unless there are fewer than FEW_CLUSTERS labels: then `too_few_trunks` is true, and the intervals are too narrow.
    Keys: E, A, B, alpha, beta; n_exponent, d_exponent, loss_exponent (N* ~ C^.., D* ~ C^.., L - E ~ C^-..); ci (95%
    bootstrap percentiles of these); identified (both exponents, by the rule of laws.py); objective (sum of Huber
    losses); residuals ((seen - fitted) / fitted); outliers (indices beyond 6 robust standard deviations); draws (rows
    of E, log A, log B, alpha, beta: the law's own, then one a resample).
    """
    n, d, loss = (np.asarray(v, float) for v in (n, d, loss))
    x, z, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean(), np.log(loss)
    model, to_last_digit = surface(x, z), {'ftol': 1e-15, 'xtol': 1e-15, 'gtol': 1e-15, 'max_nfev': 2000}
    fits = [optimize.least_squares(lambda theta: model(theta[None])[0][0] - y, start, loss='huber', f_scale=DELTA,
                                   jac=lambda theta: model(theta[None])[1][0], bounds=LIMITS, x_scale='jac',
                                   **to_last_digit) for start in grid_starts(x, z, y)]
    best = min(fits, key=lambda fit: fit.cost).x
    residual = y - model(best[None])[0][0]

    labels, member = np.unique(np.arange(len(n)) if clusters is None else clusters, return_inverse=True)
    too_few = len(labels) < min(FEW_CLUSTERS, len(n))
    if too_few:
        labels = member = np.arange(len(n))
    even = np.full(len(labels), 1 / len(labels))
    weight_BN = np.random.default_rng(seed).multinomial(len(labels), even, bootstraps)[:, member].astype(float)
    boot, _ = minimise(model, np.tile(best, (bootstraps, 1)), *LIMITS, y[None], weight_BN, DELTA)

    e, a, b, alpha, beta = np.concatenate([best[None], boot]).T
    E, log_A, log_B = np.exp(e), a + alpha * np.log(n).mean(), b + beta * np.log(d).mean()       # undo the centring
    values = {'E': E, 'A': np.exp(log_A), 'B': np.exp(log_B), 'alpha': alpha, 'beta': beta,
              'n_exponent': beta / (alpha + beta), 'd_exponent': alpha / (alpha + beta),
              'loss_exponent': alpha * beta / (alpha + beta)}
    ci = {key: percentile_interval(value[1:]) for key, value in values.items()}
    robust_sd = max(1.4826 * np.median(np.abs(residual)), 1e-6)
    return {key: float(value[0]) for key, value in values.items()} | {
        'ci': ci, 'identified': identified(ci['alpha']) and identified(ci['beta']),
        'objective': float(huber(residual, DELTA).sum()), 'residuals': np.expm1(residual).tolist(),
        'outliers': np.flatnonzero(np.abs(residual) > 6 * robust_sd).tolist(),
        'too_few_trunks': too_few, 'draws': np.stack([E, log_A, log_B, alpha, beta], axis=1)}


def predict(law, n, d):
    return law['E'] + law['A'] * np.asarray(n, float) ** -law['alpha'] + law['B'] * np.asarray(d, float) ** -law['beta']


def forecast(law, n, d):
    """(loss, low, high) of a new run: the 95% interval is that of all sums of a resampled law and a run's residual."""
    E, log_A, log_B, alpha, beta = law['draws'][1:].T
    mean = np.log(E + np.exp(log_A - alpha * math.log(n)) + np.exp(log_B - beta * math.log(d)))
    residual, runs = np.log1p(law['residuals']), len(law['residuals'])
    residual = residual * math.sqrt(runs / (runs - 5))          # five fitted numbers make the residuals too small
    return float(predict(law, n, d)), *np.exp(percentile_interval(np.add.outer(mean, residual).ravel())).tolist()


def compute_optimal(law, flops, flops_per_n_d=FLOPS_PER_N_D):
    """For each budget C = flops_per_n_d * N * D the best {'flops', 'n', 'd', 'd_per_n', 'loss'}, each with '<key>_ci'.

    Hoffmann et al. 2022, equation 4: N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)).
    """
    E, log_A, log_B, alpha, beta = law['draws'].T
    rows = []
    for budget in flops:
        log_product = math.log(budget / flops_per_n_d)
        log_n = (np.log(alpha / beta) + log_A - log_B + beta * log_product) / (alpha + beta)
        log_d = log_product - log_n
        loss = E + np.exp(log_A - alpha * log_n) + np.exp(log_B - beta * log_d)
        row = {'flops': float(budget)}
        best = {'n': np.exp(log_n), 'd': np.exp(log_d), 'd_per_n': np.exp(log_d - log_n), 'loss': loss}
        for key, values in best.items():
            row |= {key: float(values[0]), f'{key}_ci': percentile_interval(values[1:])}
        rows.append(row)
    return rows
