"""The scaling law in two variables, L(N, D), its forms, and what it says about spending compute.

    law = fit_l_nd(n, d, loss)                    # parameters, training tokens, validation loss, one entry a run
    law['alpha'], law['ci']['alpha']              # 0.348, [0.30, 0.39]

In full it is L = E + (a^(1/kappa) + b^(1/kappa))^kappa with a = A / N^alpha and b = B / (D^beta N^gamma). The form of
Hoffmann et al. 2022 has gamma = 0 and kappa = 1, so that both shortages add up; that of Gadre et al. 2024, a law in
compute and tokens per parameter, has alpha = beta, too. Below 1, kappa makes the larger shortage hide the other, as in
Kaplan et al. 2020 (equation 1.5: E = 0, kappa = beta). The parametric fit of Hoffmann et al. (section 3.3): sum of
Huber losses (delta 1e-3) on log L. Besiroglu et al. 2024 found its pitfalls: a *mean* of losses this small meets an
optimiser's tolerances long before the optimum, and single starts end in other basins. So: sum, starts from a grid over
both exponents, intervals by bootstrap.
"""
import itertools
import math

import numpy as np
from scipy import optimize

from scaling.laws import LEVEL, huber, identified, minimise

DELTA = 1e-3            # of the Huber loss: beyond 0.1% of log loss, a residual counts linearly: outliers pull little
FLOPS_PER_N_D = 6.0     # training FLOPs per parameter and token (Kaplan et al. 2020), where the runs do not say
FEW_CLUSTERS = 6        # fewer are not resampled whole: most resamples would lack the three sizes that the law needs
# Columns: log E, log A, log B (at the centre of the data), alpha, beta, gamma, log kappa. Rows: what a form may choose.
EACH = np.eye(7)
FORMS = {'hoffmann': EACH[:5], 'gadre': np.vstack([EACH[:3], EACH[3] + EACH[4]]), 'coupled': EACH[:6],
         'kaplan': EACH[[0, 1, 2, 3, 4, 6]]}
LIMITS = np.array([[-30, -30, -30, 1e-3, 1e-3, -1.0, -2.0], [30, 60, 60, 3.0, 3.0, 1.0, 1.0]])
TO_LAST_DIGIT = {'ftol': 1e-15, 'xtol': 1e-15, 'gtol': 1e-15, 'max_nfev': 2000}


def percentile_interval(values):
    """Central 95% of the resamples."""
    return np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method='inverted_cdf').tolist()


def surface(x, z, form='hoffmann'):
    """Log loss and derivatives for theta, what `form` is free to choose; x, z = log N, log D, centred."""
    def model(theta_BP):
        e, a, b, alpha, beta, gamma, log_kappa = ((theta_BP @ FORMS[form])[:, i:i + 1] for i in range(7))
        kappa, floor = np.exp(log_kappa), np.exp(e)
        terms = np.stack([a - alpha * x, b - beta * z - gamma * x]) / kappa
        log_sum = np.logaddexp(*terms)
        rest = np.exp(kappa * log_sum)
        level = floor + rest
        by_a, by_b = rest / level * np.exp(terms - log_sum)
        by_kappa = kappa * (rest / level * log_sum - by_a * terms[0] - by_b * terms[1])
        jacobian = np.stack([floor / level, by_a, by_b, -x * by_a, -z * by_b, -x * by_b, by_kappa], axis=-1)
        return np.log(level), jacobian @ FORMS[form].T
    return model


def limits(form):
    """(low, high) of what the form is free to choose."""
    return LIMITS[:, FORMS[form].argmax(1)]


def grid_starts(x, z, y, form, best=24, fineness=20):
    """Starts (best, P): exponents on a grid, the rest by non-negative least squares of relative errors."""
    starts, exponents, weight = [], np.geomspace(0.03, 1.5, fineness), np.exp(-y)
    for alpha, beta in itertools.product(exponents, exponents):
        design = np.stack([np.ones_like(x), np.exp(-alpha * x), np.exp(-beta * z)], axis=1)
        if form != 'gadre' or alpha == beta:
            linear, _ = optimize.nnls(design * weight[:, None], np.ones_like(y))
            starts.append([*np.log(np.maximum(linear, 1e-6)), alpha, beta, 0.0, 0.0])
    starts = np.array(starts) @ np.linalg.pinv(FORMS[form])
    cost = huber(y - surface(x, z, form)(starts)[0], DELTA).sum(1)
    return starts[np.argsort(cost)[:best]]


def centred(n, d, loss):
    """x, z = log N, log D less their means, and y = log L."""
    x, z = np.log(np.asarray(n, float)), np.log(np.asarray(d, float))
    return x - x.mean(), z - z.mean(), np.log(np.asarray(loss, float))


def fit_l_nd(n, d, loss, bootstraps=1000, seed=0, clusters=None, form='hoffmann'):
    """The law, in one of FORMS, of at least 8 runs with 3 sizes and 3 token counts.

    clusters: a label a run; those of one label (a size's cool-downs of one seed share a trunk) are resampled together,
    unless there are fewer than FEW_CLUSTERS labels: then `too_few_trunks` is true, and the intervals are too narrow.
    Keys: E, A, B, alpha, beta, gamma, kappa; n_exponent, d_exponent, loss_exponent (N* ~ C^.., D* ~ C^..,
    L - E ~ C^-..); ci (95% bootstrap percentiles of these); identified (both exponents, by the rule of laws.py); form;
    objective (sum of Huber losses); residuals ((seen - fitted) / fitted); outliers (indices beyond 6 robust standard
    deviations); draws (rows of E, log A, log B, alpha, beta, gamma, kappa: the law's own, then one a resample).
    """
    x, z, y = centred(n, d, loss)
    model, (low, high) = surface(x, z, form), limits(form)
    starts, cost = minimise(model, grid_starts(x, z, y, form), low, high, y[None], delta=DELTA, steps=200)
    best = optimize.least_squares(lambda theta: model(theta[None])[0][0] - y, starts[cost.argmin()], loss='huber',
                                  jac=lambda theta: model(theta[None])[1][0], f_scale=DELTA, bounds=(low, high),
                                  x_scale='jac', **TO_LAST_DIGIT).x
    residual = y - model(best[None])[0][0]

    labels, member = np.unique(np.arange(len(y)) if clusters is None else clusters, return_inverse=True)
    too_few = len(labels) < min(FEW_CLUSTERS, len(y))
    if too_few:
        labels = member = np.arange(len(y))
    even = np.full(len(labels), 1 / len(labels))
    weight_BN = np.random.default_rng(seed).multinomial(len(labels), even, bootstraps)[:, member].astype(float)
    boot, _ = minimise(model, np.tile(best, (bootstraps, 1)), low, high, y[None], weight_BN, DELTA)

    draws = np.concatenate([best[None], boot]) @ FORMS[form]
    x_mean, z_mean = np.log(n).mean(), np.log(d).mean()
    draws[:, [0, 6]] = np.exp(draws[:, [0, 6]])
    draws[:, 1] += draws[:, 3] * x_mean                                 # undo the centring
    draws[:, 2] += draws[:, 4] * z_mean + draws[:, 5] * x_mean
    E, log_A, log_B, alpha, beta, gamma, kappa = draws.T
    n_exponent = beta / (alpha + beta - gamma)
    values = {'E': E, 'A': np.exp(log_A), 'B': np.exp(log_B), 'alpha': alpha, 'beta': beta, 'gamma': gamma,
              'kappa': kappa, 'n_exponent': n_exponent, 'd_exponent': 1 - n_exponent,
              'loss_exponent': alpha * n_exponent}
    ci = {key: percentile_interval(value[1:]) for key, value in values.items()}
    robust_sd = max(1.4826 * np.median(np.abs(residual)), 1e-6)
    return {key: float(value[0]) for key, value in values.items()} | {
        'ci': ci, 'identified': identified(ci['alpha']) and identified(ci['beta']), 'form': form,
        'objective': float(huber(residual, DELTA).sum()), 'residuals': np.expm1(residual).tolist(),
        'outliers': np.flatnonzero(np.abs(residual) > 6 * robust_sd).tolist(),
        'too_few_trunks': too_few, 'draws': draws}


def predict_left_out(n, d, loss, left_out_BN, form='hoffmann'):
    """For each of B sets of runs, True in `left_out_BN`, what the law of all other runs says: losses (B, N)."""
    x, z, y = centred(n, d, loss)
    model, (low, high) = surface(x, z, form), limits(form)
    of_all, cost = minimise(model, grid_starts(x, z, y, form, 4, 10), low, high, y[None], delta=DELTA, steps=30)
    starts = [of_all[[cost.argmin()]] if out.mean() < 0.1           # good enough where little is left out
              else grid_starts(x[~out], z[~out], y[~out], form, 8, 10) for out in left_out_BN]
    of_set = np.repeat(np.arange(len(starts)), [len(some) for some in starts])
    weight = (~left_out_BN[of_set]).astype(float)
    theta, cost = minimise(model, np.concatenate(starts), low, high, y[None], weight, DELTA)
    best = [np.flatnonzero(of_set == k)[cost[of_set == k].argmin()] for k in range(len(starts))]
    return np.exp(model(theta[best])[0])


def losses(draws, log_n, log_d):
    """The loss by each of the laws `draws` (rows as fit_l_nd's) at log N and log D, which broadcast to the rows."""
    E, log_A, log_B, alpha, beta, gamma, kappa = draws.T
    return E + np.exp(kappa * np.logaddexp((log_A - alpha * log_n) / kappa,
                                           (log_B - beta * log_d - gamma * log_n) / kappa))


def predict(law, n, d):
    own = np.array([law['E'], np.log(law['A']), np.log(law['B']), law['alpha'], law['beta'], law.get('gamma', 0.0),
                    law.get('kappa', 1.0)])
    return losses(own, np.log(np.asarray(n, float)), np.log(np.asarray(d, float)))


def forecast(law, n, d):
    """(loss, low, high) of a new run: the 95% interval is that of all sums of a resampled law and a run's residual."""
    mean = np.log(losses(law['draws'][1:], math.log(n), math.log(d)))
    residual, runs, fitted = np.log1p(law['residuals']), len(law['residuals']), len(FORMS[law['form']])
    residual = residual * math.sqrt(runs / (runs - fitted))         # numbers that are fitted make residuals too small
    return float(predict(law, n, d)), *np.exp(percentile_interval(np.add.outer(mean, residual).ravel())).tolist()


def compute_optimal(law, flops, flops_per_n_d=FLOPS_PER_N_D):
    """For each budget C = flops_per_n_d * N * D the best {'flops', 'n', 'd', 'd_per_n', 'loss'}, each with '<key>_ci'.

    Hoffmann et al. 2022, equation 4: N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)); where D's
    term has N^-gamma, too, beta - gamma stands for beta in all places but the exponent of C's numerator; where the sum
    is of powers 1 / kappa, so are A and B and all exponents.
    """
    _, log_A, log_B, alpha, beta, gamma, kappa = law['draws'].T
    rows = []
    for budget in flops:
        log_product = math.log(budget / flops_per_n_d)
        rise = np.maximum(beta - gamma, 1e-6)       # of D's term with N, at equal compute
        log_n = (kappa * np.log(alpha / rise) + log_A - log_B + beta * log_product) / (alpha + rise)
        log_d = log_product - log_n
        row = {'flops': float(budget)}
        best = {'n': np.exp(log_n), 'd': np.exp(log_d), 'd_per_n': np.exp(log_d - log_n),
                'loss': losses(law['draws'], log_n, log_d)}
        for key, values in best.items():
            row |= {key: float(values[0]), f'{key}_ci': percentile_interval(values[1:])}
        rows.append(row)
    return rows
