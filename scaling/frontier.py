"""The scaling law in two variables, L(N, D) = E + A / N^alpha + B / D^beta, and what it says about spending compute.

    law = fit_l_nd(n, d, loss)                    # parameters, training tokens, validation loss, one entry a run
    law['alpha'], law['ci']['alpha']              # 0.348, [0.30, 0.39]
    table = compute_optimal(law, [1e18, 1e19])    # best size N*, tokens D* and loss for each budget of FLOPs, with intervals

The parametric fit of Hoffmann et al. 2022 (section 3.3): sum of Huber losses (delta 1e-3) on log L. Its known pitfalls, found by
Besiroglu et al. 2024: a *mean* of Huber losses this small meets the optimiser's default tolerances long before the optimum,
and single starts end in other basins. So: sum; a grid over both exponents, where the rest of the problem is linear;
all good cells polished; intervals by bootstrap of the runs.
"""
import math

import numpy as np
from scipy import optimize

from scaling.laws import huber, identified, minimise, percentile_interval

DELTA = 1e-3            # of the Huber loss: beyond 0.1% of log loss, a residual counts linearly, so that outliers pull little
FLOPS_PER_N_D = 6.0     # training FLOPs per parameter and token (Kaplan et al. 2020), where the checkpoints do not say
LIMITS = ([-30, -30, -30, 1e-3, 1e-3], [30, 60, 60, 3.0, 3.0])      # of log E, log A, log B (at the centre of the data), alpha, beta
NAMES = ('E', 'A', 'B', 'alpha', 'beta')


def surface(x, z):
    """Log loss and derivatives for theta = (log E, log A, log B, alpha, beta); x, z = log N, log D, centred."""
    def model(theta_BP):
        e, a, b, alpha, beta = (theta_BP[:, i:i + 1] for i in range(5))
        terms = np.stack(np.broadcast_arrays(np.exp(e), np.exp(a - alpha * x), np.exp(b - beta * z)), axis=-1)
        level = terms.sum(-1)
        share = terms / level[..., None]
        return np.log(level), np.concatenate([share, -share[..., 1:2] * x[:, None], -share[..., 2:] * z[:, None]], axis=-1)
    return model


def grid_starts(x, z, y, best=48):
    """Starting points (best, 5): for exponents on a grid, the linear rest by non-negative least squares of relative error."""
    starts = []
    exponents = np.geomspace(0.03, 1.5, 20)
    weight = np.exp(-y)
    for alpha in exponents:
        for beta in exponents:
            design = np.stack([np.ones_like(x), np.exp(-alpha * x), np.exp(-beta * z)], axis=1)
            linear, _ = optimize.nnls(design * weight[:, None], np.ones_like(y))
            starts.append([*np.log(np.maximum(linear, 1e-6)), alpha, beta])
    starts = np.array(starts)
    cost = huber(y - surface(x, z)(starts)[0], DELTA).sum(1)
    return starts[np.argsort(cost)[:best]]


def polish(x, z, y, theta):
    """Quasi-Newton to the last digit: the reweighting solver nears the optimum of a nearly absolute loss only linearly."""
    model = surface(x, z)

    def objective(scaled):
        prediction, jacobian = model((scaled * scale)[None])
        residual = y - prediction[0]
        return huber(residual, DELTA).sum() / DELTA, -(np.clip(residual, -DELTA, DELTA) @ jacobian[0]) * scale / DELTA
    best = theta
    for _ in range(3):
        scale = np.maximum(np.abs(best), 0.1)
        result = optimize.minimize(objective, best / scale, jac=True, method='L-BFGS-B', bounds=list(zip(*(np.array(LIMITS) / scale))),
                                   options={'maxiter': 5000, 'maxfun': 20000, 'ftol': 1e-15, 'gtol': 1e-10, 'maxcor': 30})
        if huber(y - model((result.x * scale)[None])[0], DELTA).sum() < huber(y - model(best[None])[0], DELTA).sum():
            best = result.x * scale
    return best


def fit_l_nd(n, d, loss, bootstraps=1000, seed=0):
    """L = E + A/N^alpha + B/D^beta for at least 8 runs with 3 sizes and 3 token counts.

    Keys: E, A, B, alpha, beta, ci (95% bootstrap percentiles of each, of the exponents below, runs resampled), objective (sum of
    Huber losses), n_exponent and d_exponent (N* ~ C^.., D* ~ C^..), loss_exponent (L - E ~ C^-..), identified (both
    exponents, by the rule of laws.py), residuals ((seen - fitted) / fitted), outliers (indices beyond 6 robust standard
    deviations), runs, draws (bootstraps, (R, 5) array of E, log A, log B, alpha, beta; not for JSON).
    """
    n, d, loss = (np.asarray(v, float) for v in (n, d, loss))
    x, z, y = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean(), np.log(loss)
    low, high = LIMITS
    thetas, cost = minimise(surface(x, z), grid_starts(x, z, y), low, high, y[None], delta=DELTA, steps=80)
    best = min((polish(x, z, y, theta) for theta in thetas[np.argsort(cost)[:4]]),
               key=lambda theta: huber(y - surface(x, z)(theta[None])[0], DELTA).sum())
    residual = y - surface(x, z)(best[None])[0][0]

    weights = np.random.default_rng(seed).multinomial(len(n), np.full(len(n), 1 / len(n)), size=bootstraps).astype(float)
    boot = minimise(surface(x, z), np.tile(best, (bootstraps, 1)), low, high, y[None], weights, delta=DELTA, steps=60)[0]

    def natural(theta):                                     # undo the centring; A and B stay logs
        e, a, b, alpha, beta = theta.T
        return np.stack([np.exp(e), a + alpha * np.log(n).mean(), b + beta * np.log(d).mean(), alpha, beta], axis=-1)
    draws, (E, log_A, log_B, alpha, beta) = natural(boot), natural(best[None])[0]
    even = np.full(bootstraps, 1 / bootstraps)
    interval = {name: percentile_interval(draws[:, i], even) for i, name in enumerate(NAMES)}
    for name in ('A', 'B'):
        interval[name] = [math.exp(v) for v in interval[name]]
    law = {'E': E, 'A': math.exp(log_A), 'B': math.exp(log_B), 'alpha': alpha, 'beta': beta,
           'objective': float(huber(residual, DELTA).sum()), 'runs': len(n)}
    law = {key: float(value) if key != 'runs' else value for key, value in law.items()}
    for name, value in (('n_exponent', lambda a, b: b / (a + b)), ('d_exponent', lambda a, b: a / (a + b)),
                        ('loss_exponent', lambda a, b: a * b / (a + b))):
        law[name] = float(value(alpha, beta))
        interval[name] = percentile_interval(value(draws[:, 3], draws[:, 4]), even)
    robust_sd = 1.4826 * np.median(np.abs(residual))
    return law | {'ci': interval, 'identified': identified(interval['alpha']) and identified(interval['beta']),
                  'residuals': np.expm1(residual).tolist(), 'draws': draws,
                  'outliers': np.flatnonzero(np.abs(residual) > 6 * max(robust_sd, 1e-6)).tolist()}


def predict(law, n, d):
    return law['E'] + law['A'] * np.asarray(n, float) ** -law['alpha'] + law['B'] * np.asarray(d, float) ** -law['beta']


def compute_optimal(law, flops, flops_per_n_d=FLOPS_PER_N_D):
    """For each budget C = flops_per_n_d * N * D: {'flops', 'n', 'd', 'loss'} that minimise the law, each with '<key>_ci'.

    Hoffmann et al. 2022, equation 4: N* = G (C/6)^(beta/(alpha+beta)), D* = (C/6)/N*, G = (alpha A / (beta B))^(1/(alpha+beta)).
    """
    centre = np.array([[law['E'], math.log(law['A']), math.log(law['B']), law['alpha'], law['beta']]])
    E, log_A, log_B, alpha, beta = np.concatenate([centre, law['draws']]).T
    even = np.full(len(E) - 1, 1 / (len(E) - 1))
    rows = []
    for budget in flops:
        log_product = math.log(budget / flops_per_n_d)
        log_n = (np.log(alpha / beta) + log_A - log_B + beta * log_product) / (alpha + beta)
        log_d = log_product - log_n
        loss = E + np.exp(log_A - alpha * log_n) + np.exp(log_B - beta * log_d)
        row = {'flops': float(budget)}
        for key, values in (('n', log_n), ('d', log_d), ('loss', np.log(loss))):
            row[key] = math.exp(values[0])
            row[key + '_ci'] = [math.exp(v) for v in percentile_interval(values[1:], even)]
        rows.append(row)
    return rows
