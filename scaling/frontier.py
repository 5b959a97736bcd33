"""The scaling law in two variables, L(N, D), in four forms, and what it says about spending
compute.

    law = fit_l_nd(n, d, loss)      # of each run: parameters, training tokens, validation loss
    law['alpha'], law['ci']['alpha']

The general form is L = E + (a^(1/kappa) + b^(1/kappa))^kappa, a = A / N^alpha, b = B / (D^beta
N^gamma).

| form     | fixed                | in words                                                      |
|----------|----------------------|---------------------------------------------------------------|
| hoffmann | gamma = 0, kappa = 1 | Hoffmann et al. 2022: shortages of parameters and data add up |
| gadre    | ... and alpha = beta | Gadre et al. 2024: a law in compute and tokens per parameter  |
| coupled  | kappa = 1            | the coefficient of D's term depends on N                      |
| kaplan   | gamma = 0            | Kaplan et al. 2020, equation 1.5 (there kappa = beta), and a  |
|          |                      | floor E; towards kappa = 0 only the larger term counts        |

The fit follows section 3.3 of Hoffmann et al.: the sum of Huber losses (delta 1e-3) on log L.
Besiroglu et al. 2024 found the pitfalls: a *mean* of losses this small meets an optimiser's
tolerances long before the optimum, and a single start can end in a local minimum. So: a sum, starts
from a grid over both exponents, intervals by bootstrap.
"""
import itertools
import math

import numpy as np
from scipy import optimize

from scaling.laws import LEVEL, huber, identified, minimise

DELTA = 1e-3            # of the Huber loss: beyond 0.1% a residual counts linearly
FLOPS_PER_N_D = 6.0     # training FLOPs per parameter and token, where the runs do not say
FEW_CLUSTERS = 6        # fewer sizes are not resampled whole: a resample would often lack three
AGREE = 0.1             # resamples are added until two seeds agree to this share of an interval,
MOST_ROUNDS = 8         # at most so many times `bootstraps`
GAIN = 1e-7             # least relative gain of a step of a resample's fit: 1e-4 in an exponent
# Columns: log E, log A, log B (at the centre of the data), alpha, beta, gamma, log kappa.
# Rows of a form: what it is free to choose. The last parameter of 'gadre' is both alpha and beta.
EACH = np.eye(7)
FORMS = {'hoffmann': EACH[:5],
         'gadre': np.vstack([EACH[:3], EACH[3] + EACH[4]]),
         'coupled': EACH[:6],
         'kaplan': EACH[[0, 1, 2, 3, 4, 6]]}
LIMITS = np.array([[-30, -30, -30, 1e-3, 1e-3, -1.0, -2.0], [30, 60, 60, 3.0, 3.0, 1.0, 1.0]])
TO_LAST_DIGIT = {'ftol': 1e-15, 'xtol': 1e-15, 'gtol': 1e-15, 'max_nfev': 2000}
PARAMETERS = 'E', 'A', 'B', 'alpha', 'beta', 'gamma', 'kappa'


def percentile_interval(values):
    """Central 95% of the resamples."""
    ends = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method='inverted_cdf')
    return ends.tolist()


def surface(x, z, form='hoffmann'):
    """A model for `minimise`: theta_BP, the free parameters of `form` -> log loss (B, N), its
    Jacobian (B, N, P).

    x, z: log N and log D of the runs, less their means, (N,).
    """
    def model(theta_BP):
        all_B7 = theta_BP @ FORMS[form]
        e, log_a, log_b, alpha, beta, gamma, log_kappa = (all_B7[:, i:i + 1] for i in range(7))
        kappa, floor = np.exp(log_kappa), np.exp(e)

        # L = floor + rest with rest = (sum of both terms, each to the power 1 / kappa)^kappa, in
        # logs
        term_n, term_d = (log_a - alpha * x) / kappa, (log_b - beta * z - gamma * x) / kappa
        log_sum = np.logaddexp(term_n, term_d)
        rest = np.exp(kappa * log_sum)
        level = floor + rest

        # Derivatives of log L
        share = rest / level
        by_a, by_b = share * np.exp(term_n - log_sum), share * np.exp(term_d - log_sum)
        by_kappa = kappa * (share * log_sum - by_a * term_n - by_b * term_d)
        columns = [floor / level, by_a, by_b, -x * by_a, -z * by_b, -x * by_b, by_kappa]
        return np.log(level), np.stack(columns, axis=-1) @ FORMS[form].T
    return model


def limits(form):
    """(low, high) of the free parameters of `form`."""
    return LIMITS[:, FORMS[form].argmax(1)]


def grid_starts(x, z, y, form, best=12, fineness=14):
    """The `best` starts (best, P) of a grid over both exponents.

    With the exponents fixed and kappa = 1 the law is linear in E, A and B: non-negative least
    squares of relative errors finds these.
    """
    starts, weight = [], np.exp(-y)
    exponents = np.geomspace(0.03, 1.5, fineness)
    for alpha, beta in itertools.product(exponents, exponents):
        if form == 'gadre' and alpha != beta:
            continue
        design = np.stack([np.ones_like(x), np.exp(-alpha * x), np.exp(-beta * z)], axis=1)
        linear, _ = optimize.nnls(design * weight[:, None], np.ones_like(y))
        starts.append([*np.log(np.maximum(linear, 1e-6)), alpha, beta, 0.0, 0.0])
    free = np.array(starts) @ np.linalg.pinv(FORMS[form])
    cost = huber(y - surface(x, z, form)(free)[0], DELTA).sum(1)
    return free[np.argsort(cost)[:best]]


def centred(n, d, loss):
    """x, z = log N, log D less their means, and y = log L."""
    x, z = np.log(np.asarray(n, float)), np.log(np.asarray(d, float))
    return x - x.mean(), z - z.mean(), np.log(np.asarray(loss, float))


def fit_l_nd(n, d, loss, bootstraps=1000, seed=0, clusters=None, form='hoffmann',
             rounds=MOST_ROUNDS):
    """The law, in one of FORMS, of at least 8 runs with 3 sizes and 3 token counts.

    clusters: a label for each run. Runs of one label are resampled together: all runs of a size,
    whatever their seed, share its departure from the law, and the token counts of one seed share
    most of their training. Without labels, or with fewer than FEW_CLUSTERS of them, runs are taken
    as independent (`too_few_trunks`: the intervals are too narrow).

    Keys: E, A, B, alpha, beta, gamma, kappa; n_exponent, d_exponent, loss_exponent (N* ~ C^.., D* ~
    C^.., L - E ~ C^-..); ci (95% bootstrap percentiles of these); identified (both exponents, by
    the rule of laws.py); form; objective (sum of Huber losses); residuals ((seen - fitted) /
    fitted); outliers (indices beyond 6 robust standard deviations); resamples; draws (rows of E,
    log A, log B, alpha, beta, gamma, kappa: the law's own, then one a resample).
    """
    x, z, y = centred(n, d, loss)
    model, (low, high) = surface(x, z, form), limits(form)
    best = best_fit(x, z, y, form)
    residual = y - model(best[None])[0][0]

    clusters = np.arange(len(y)) if clusters is None else clusters
    labels, member = np.unique(clusters, return_inverse=True)
    too_few = len(labels) < min(FEW_CLUSTERS, len(y))       # of a few single runs none are shared
    if too_few:
        member = np.arange(len(y))
    rng = np.random.default_rng(seed)
    boot = resample(model, best, low, high, y, member, bootstraps, rounds, rng)

    draws = np.concatenate([best[None], boot]) @ FORMS[form]        # the free ones -> all seven
    draws = uncentred(draws, np.log(n).mean(), np.log(d).mean())
    E, log_A, log_B, alpha, beta, gamma, kappa = draws.T
    n_exponent = beta / (alpha + beta - gamma)
    values = {'E': E, 'A': np.exp(log_A), 'B': np.exp(log_B), 'alpha': alpha, 'beta': beta,
              'gamma': gamma, 'kappa': kappa, 'n_exponent': n_exponent,
              'd_exponent': 1 - n_exponent, 'loss_exponent': alpha * n_exponent}
    ci = {key: percentile_interval(value[1:]) for key, value in values.items()}
    robust_sd = max(1.4826 * np.median(np.abs(residual)), 1e-6)
    return {key: float(value[0]) for key, value in values.items()} | {
        'ci': ci, 'identified': identified(ci['alpha']) and identified(ci['beta']), 'form': form,
        'objective': float(huber(residual, DELTA).sum()), 'residuals': np.expm1(residual).tolist(),
        'outliers': np.flatnonzero(np.abs(residual) > 6 * robust_sd).tolist(),
        'too_few_trunks': too_few, 'resamples': len(boot), 'draws': draws}


def best_fit(x, z, y, form):
    """The free parameters of `form` with the least sum of Huber losses, to the last digit."""
    model, (low, high) = surface(x, z, form), limits(form)
    starts, cost = minimise(model, grid_starts(x, z, y, form), low, high, y[None], delta=DELTA)
    return optimize.least_squares(
        lambda theta: model(theta[None])[0][0] - y, starts[cost.argmin()],
        jac=lambda theta: model(theta[None])[1][0], loss='huber', f_scale=DELTA,
        bounds=(low, high), x_scale='jac', **TO_LAST_DIGIT).x


def estimate(n, d, loss, form='hoffmann'):
    """The parameters of fit_l_nd without intervals: E, A, B, alpha, beta, gamma, kappa."""
    x, z, y = centred(n, d, loss)
    free = best_fit(x, z, y, form) @ FORMS[form]
    E, log_A, log_B, *rest = uncentred(free[None], np.log(n).mean(), np.log(d).mean())[0]
    values = E, math.exp(log_A), math.exp(log_B), *rest
    return dict(zip(PARAMETERS, map(float, values)))


def uncentred(draws_B7, x_mean, z_mean):
    """Rows of the general form's parameters, as the fit has them -> rows of `draws`.

    The fit has logs of E and kappa, and A and B at the centre of the data.
    """
    draws = draws_B7.copy()
    draws[:, [0, 6]] = np.exp(draws[:, [0, 6]])
    draws[:, 1] += draws[:, 3] * x_mean
    draws[:, 2] += draws[:, 4] * z_mean + draws[:, 5] * x_mean
    return draws


def resample(model, best, low, high, y, member, bootstraps, rounds, rng):
    """The free parameters of the law of each resample, (at least `bootstraps`, P).

    member: the cluster of each run. As many resamples again are drawn, at most `rounds` times,
    until another seed would give nearly the same intervals (see AGREE).
    """
    k = member.max() + 1
    found = np.empty((0, len(best)))
    for _ in range(rounds):
        weight_BN = rng.multinomial(k, np.full(k, 1 / k), bootstraps)[:, member].astype(float)
        start = np.tile(best, (bootstraps, 1))
        theta, cost = minimise(model, start, low, high, y[None], weight_BN, DELTA, gain=GAIN)

        # Several starts: where the law of another resample fits a resample better than its own
        # law does, that was a local minimum, and the fit starts again from there
        loss_BN = huber(y - model(theta)[0], DELTA)
        cost_BB = weight_BN @ loss_BN.T             # of resample i by the law of resample j
        again = np.flatnonzero(cost_BB.min(1) < cost * (1 - 1e-6))
        if len(again):
            start = theta[cost_BB[again].argmin(1)]
            theta[again], _ = minimise(model, start, low, high, y[None], weight_BN[again], DELTA,
                                       gain=GAIN)
        found = np.concatenate([found, theta])
        if exact_enough(found[:, 3:]):
            break
    return found


def exact_enough(draws_BP, batches=10):
    """Do the ends of an interval by another seed differ by less than AGREE of its width?

    The standard error of an end is that of the mean of the ends of batches of the draws; ends by
    two seeds differ by sqrt(2) times that (root mean square).
    """
    if len(draws_BP) < 10 * batches:            # too few to tell; too few for an interval, too
        return True
    ends = np.array([[percentile_interval(values) for values in batch.T]
                     for batch in np.array_split(draws_BP, batches)])
    error_P2 = ends.std(axis=0, ddof=1) / math.sqrt(batches)
    width_P = np.array([np.ptp(percentile_interval(values)) for values in draws_BP.T])
    return bool((math.sqrt(2) * error_P2.max(1) <= AGREE * width_P + 1e-9).all())


def predict_left_out(n, d, loss, left_out_BN, form='hoffmann'):
    """For each of B sets of runs, True in `left_out_BN`, the losses (B, N) by the law of all other
    runs."""
    x, z, y = centred(n, d, loss)
    model, (low, high) = surface(x, z, form), limits(form)
    of_all, cost = minimise(model, grid_starts(x, z, y, form, 4, 10), low, high, y[None],
                            delta=DELTA, steps=30)
    starts = []
    for out in left_out_BN:
        if out.mean() < 0.1:        # where little is left out, the law of all runs is a good start
            starts.append(of_all[[cost.argmin()]])
        else:
            starts.append(grid_starts(x[~out], z[~out], y[~out], form, 8, 10))
    of_set = np.repeat(np.arange(len(starts)), [len(some) for some in starts])
    weight = (~left_out_BN[of_set]).astype(float)
    theta, cost = minimise(model, np.concatenate(starts), low, high, y[None], weight, DELTA)
    best = [np.flatnonzero(of_set == k)[cost[of_set == k].argmin()] for k in range(len(starts))]
    return np.exp(model(theta[best])[0])


def losses(draws, log_n, log_d):
    """The loss by each of the laws `draws` (rows as fit_l_nd's) at log N and log D, which broadcast
    to the rows."""
    E, log_A, log_B, alpha, beta, gamma, kappa = draws.T
    return E + np.exp(kappa * np.logaddexp((log_A - alpha * log_n) / kappa,
                                           (log_B - beta * log_d - gamma * log_n) / kappa))


def predict(law, n, d):
    """The loss by the law at N and D, which broadcast."""
    own = np.array([law['E'], np.log(law['A']), np.log(law['B']), law['alpha'], law['beta'],
                    law.get('gamma', 0.0), law.get('kappa', 1.0)])
    return losses(own, np.log(np.asarray(n, float)), np.log(np.asarray(d, float)))


def forecast(law, n, d):
    """(loss, low, high) of a new run: the 95% interval is that of all sums of a resampled law and a
    run's residual."""
    mean = np.log(losses(law['draws'][1:], math.log(n), math.log(d)))
    runs, fitted = len(law['residuals']), len(FORMS[law['form']])
    # Residuals are smaller than the noise, as the parameters were fitted to it.
    residual = np.log1p(law['residuals']) * math.sqrt(runs / (runs - fitted))
    low, high = np.exp(percentile_interval(np.add.outer(mean, residual).ravel()))
    return float(predict(law, n, d)), float(low), float(high)


def compute_optimal(law, flops, flops_per_n_d=FLOPS_PER_N_D):
    """The best use of each budget C = flops_per_n_d * N * D.

    A list of {'flops', 'n', 'd', 'd_per_n', 'loss'}, each but the first with '<key>_ci'. Hoffmann
    et al. 2022, equation 4: N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)).
    Where D's term has N^-gamma, too, beta - gamma takes the place of beta, except in the exponent
    of C's numerator; where the sum is of powers 1 / kappa, A, B and all exponents are powers 1 /
    kappa, too.
    """
    _, log_A, log_B, alpha, beta, gamma, kappa = law['draws'].T
    rows = []
    for budget in flops:
        log_product = math.log(budget / flops_per_n_d)
        rise = np.maximum(beta - gamma, 1e-6)       # of D's term with N, at equal compute
        log_n = (kappa * np.log(alpha / rise) + log_A - log_B + beta * log_product) / (alpha + rise)
        log_n = np.clip(log_n, 0, log_product)      # a parameter and a token at least
        log_d = log_product - log_n
        best = {'n': np.exp(log_n), 'd': np.exp(log_d), 'd_per_n': np.exp(log_d - log_n),
                'loss': losses(law['draws'], log_n, log_d)}
        row = {'flops': float(budget)}
        for key, values in best.items():
            row[key] = float(values[0])
            row[f'{key}_ci'] = percentile_interval(values[1:])
        rows.append(row)
    return rows
