"""The statistics of scaling in one variable, L(N): numbers in, laws with intervals out (L(N, D) is in frontier.py).

    fit_pure(n, loss)              log L = log a - alpha log N        least squares, t-interval
    fit_offset(n, loss)            L = a N^-alpha + c                 least squares on log L, profile-F intervals of alpha and c
    diagnose(n, loss)              is it a straight line? which points stand out?
    efficiency(x1, l1, x2, l2)     x2/x1 at equal loss                profile-F interval, only where both were measured

    law = fit_pure([1e6, 1e7, 1e8], [0.9, 0.6, 0.4])
    law['alpha'], law['alpha_ci'], law['a']              # 0.176, [0.174, 0.178], 10.26

Residuals are taken in log loss throughout, so that 2% at a small model count as 2% at a large one, and so that the pure law
is the case c = 0 of the other (which an F-test needs). The unit that varies is the model size: callers average seeds first
(`fit_scaling.average_seeds`), because two seeds of one size share that size's departure from the law. An interval is a
list [low, high]; an end that the data leave open is None.
"""
import itertools
import math

import numpy as np
from scipy import stats

LEVEL = 0.95
ALPHA_MAX = 5.0         # exponents are sought in (0, 5]; an interval that reaches the end is open there
DECIDED = 4.0           # an exponent is called identified if its interval lies above zero and its ends differ less than so many fold
RATIO_MAX = 1e3        # ratios of sizes at equal loss are sought between 1/1000 and 1000
FLAG_P = 0.02           # each of the three tests of straightness flags at this level: a true law is flagged about 1 time in 20


def identified(interval):
    low, high = interval
    return bool(low is not None and high is not None and low > 0 and high < DECIDED * low)


def finite(low, high):
    """[low, high] with None for an end that is infinite or undefined."""
    return [float(v) if np.isfinite(v) else None for v in (low, high)]


def exp_or_none(value):
    return math.exp(value) if np.isfinite(value) else None


# ---- one solver for every nonlinear law: many least-squares (or Huber) problems at once ----

def huber(residual, delta):
    size = np.abs(residual)
    return np.where(size <= delta, residual ** 2 / 2, delta * (size - delta / 2)) if np.isfinite(delta) else residual ** 2 / 2


def minimise(model, theta_BP, low_P, high_P, y_BN, weight_BN=1.0, delta=np.inf, steps=60):
    """B problems of Levenberg-Marquardt side by side: minimise sum_n weight * huber(y - model(theta)) within a box.

    model: theta_BP -> (prediction_BN, jacobian_BNP). `low_P == high_P` (they broadcast to B, P) holds a parameter fixed.
    A finite `delta` reweights the squares at each step (IRLS). Returns (theta_BP, objective_B); the objective never rises.
    """
    theta = np.clip(theta_BP, low_P, high_P).astype(float)
    B, P = theta.shape
    low, high = np.broadcast_to(low_P, theta.shape), np.broadcast_to(high_P, theta.shape)
    prediction, jacobian = model(theta)
    y, weight = np.broadcast_to(y_BN, prediction.shape), np.broadcast_to(weight_BN, prediction.shape)
    cost = (weight * huber(y - prediction, delta)).sum(1)
    damping, idle, live = np.full(B, 1e-3), np.zeros(B, int), np.arange(B)
    for _ in range(steps):
        residual = y[live] - prediction[live]
        w = weight[live] * np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300))
        wj = jacobian[live] * w[..., None]
        gradient = np.einsum('bnp,bn->bp', wj, residual)
        hessian = wj.transpose(0, 2, 1) @ jacobian[live]
        at = theta[live]
        stuck = ((at <= low[live]) & (gradient <= 0)) | ((at >= high[live]) & (gradient >= 0))
        gradient[stuck] = 0
        hessian *= ~stuck[:, :, None] & ~stuck[:, None, :]
        diagonal = np.einsum('bpp->bp', hessian)
        hessian[:, range(P), range(P)] = diagonal * (1 + damping[live, None]) + stuck + 1e-12 * diagonal.max(1)[:, None] + 1e-300
        trial = np.clip(at + np.linalg.solve(hessian, gradient[..., None])[..., 0], low[live], high[live])
        new_prediction, new_jacobian = model(trial)
        new_cost = (weight[live] * huber(y[live] - new_prediction, delta)).sum(1)
        better = new_cost < cost[live]
        slow = new_cost > cost[live] * (1 - 1e-12)
        idle[live] = np.where(slow, idle[live] + 1, 0)
        damping[live] = np.clip(damping[live] * np.where(better, 0.2, 10), 1e-7, 1e6)
        moved = live[better]
        for array, new in ((theta, trial), (cost, new_cost), (prediction, new_prediction), (jacobian, new_jacobian)):
            array[moved] = new[better]
        live = live[idle[live] < 6]
        if not len(live):
            break
    return theta, cost


def resamples(n, rng, count=2000):
    """Bootstrap weights (R, n) and the probability of each row: every multiset of n out of n when n <= 6, else `count` draws."""
    if n > 6:
        return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float), np.full(count, 1 / count)
    rows = [np.bincount(chosen, minlength=n) for chosen in itertools.combinations_with_replacement(range(n), n)]
    ways = np.array([math.factorial(n) / np.prod([math.factorial(k) for k in row]) for row in rows])
    return np.array(rows, float), ways / n ** n


def percentile_interval(values, probability):
    """Central LEVEL interval of a discrete distribution; values that are nan (undefined resamples) are left out."""
    values, probability = values[~np.isnan(values)], probability[~np.isnan(values)]
    order = np.argsort(values)
    cumulative = np.cumsum(probability[order]) / probability.sum()
    index = np.minimum(np.searchsorted(cumulative, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), len(values) - 1)
    return finite(*values[order][index])


# ---- L(N), pure: log L = log a - alpha log N ----

def line(x, y, weight_RN=1.0):
    """Least squares y = intercept + slope x for each row of y (N or R, N) and of weights; (intercept_R, slope_R), nan if x does
    not vary."""
    w, y = np.broadcast_arrays(weight_RN, np.atleast_2d(y)) if np.ndim(weight_RN) < 2 else (weight_RN, y)
    total = w.sum(1)
    mean_x, mean_y = w @ x / total, (w * y).sum(1) / total
    dx = x - mean_x[:, None]
    with np.errstate(invalid='ignore', divide='ignore'):
        slope = np.where((w > 0).sum(1) > 1, (w * dx * (y - mean_y[:, None])).sum(1) / (w * dx ** 2).sum(1), np.nan)
    return mean_y - slope * mean_x, slope


def band(law, n, new_point=False):
    """(low, high) of the pure law's 95% t-band for the mean loss at sizes `n`, or for one new point; needs 3 sizes."""
    x = np.log(np.asarray(law['sizes']))
    at = np.log(np.asarray(n, float))
    df = len(x) - 2
    leverage = 1 / len(x) + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum() + new_point
    half = stats.t.ppf((1 + LEVEL) / 2, df) * law['sigma'] * np.sqrt(leverage)
    middle = math.log(law['a']) - law['alpha'] * at
    return np.exp(middle - half), np.exp(middle + half)


def fit_pure(n, loss, seed=0, hold_out=True):
    """L = a N^-alpha through at least 3 sizes (or 2, then without intervals), ordinary least squares in log-log.

    Keys: alpha, alpha_ci (t), alpha_ci_bootstrap (sizes resampled), a, a_ci, identified, sigma (residual sd of log loss), sizes,
    residuals ((seen - fitted) / fitted), ssr, and leave_largest_out_error/_interval: the law of all but the largest size,
    asked for that size, (predicted - seen) / seen, with the 95% interval of a new point.
    """
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    x, y = np.log(n), np.log(loss)
    intercept, slope = (float(v[0]) for v in line(x, y))
    residual = y - intercept - slope * x
    ssr, df = float((residual ** 2).sum()), len(n) - 2
    law = {'alpha': -slope, 'a': math.exp(intercept), 'ssr': ssr, 'sizes': n.tolist(), 'residuals': np.expm1(residual).tolist(),
           'sigma': math.sqrt(ssr / df) if df else None, 'alpha_ci': [None, None], 'a_ci': [None, None],
           'alpha_ci_bootstrap': [None, None], 'leave_largest_out_error': None, 'leave_largest_out_interval': [None, None]}
    if df:
        half = stats.t.ppf((1 + LEVEL) / 2, df) * law['sigma'] / math.sqrt(((x - x.mean()) ** 2).sum())
        law['alpha_ci'] = finite(-slope - half, -slope + half)
        half_a = half * math.sqrt((x ** 2).mean())
        law['a_ci'] = finite(*np.exp(np.clip([intercept - half_a, intercept + half_a], -700, 700)))
        weights, probability = resamples(len(n), np.random.default_rng(seed))
        law['alpha_ci_bootstrap'] = percentile_interval(-line(x, y, weights)[1], probability)
    law['identified'] = identified(law['alpha_ci'])
    if hold_out and len(n) > 2:
        kept = n < n.max()
        shorter = fit_pure(n[kept], loss[kept], hold_out=False)
        seen = loss[~kept][0]
        law['leave_largest_out_error'] = float(shorter['a'] * n.max() ** -shorter['alpha'] / seen - 1)
        if shorter['sigma'] is not None:
            law['leave_largest_out_interval'] = [float(v / seen - 1) for v in band(shorter, n.max(), new_point=True)]
    return law


# ---- L(N), with a floor: L = a N^-alpha + c ----

def offset_model(x):
    """Log loss and its derivatives for theta = (log a at the mean of x, alpha, c); x = log N, centred."""
    def model(theta_BP):
        power = np.exp(theta_BP[:, :1] - theta_BP[:, 1:2] * x)
        level = power + theta_BP[:, 2:]
        return np.log(level), np.stack([power / level, -x * power / level, 1 / level], axis=-1)
    return model


def solve_offset(x, y_BN, weight_BN=1.0, alpha=None, c=None, starts=6):
    """Best (theta_BP, ssr_B) from several floors c at once; `alpha` (B,) or `c` (B,) is held fixed where given."""
    y_BN = np.atleast_2d(y_BN)
    B = max(len(y_BN), *(len(v) for v in (alpha, c) if v is not None), len(weight_BN) if np.ndim(weight_BN) else 1)
    shares = np.linspace(0, 0.95, starts) if c is None else np.zeros(1)
    y, weight = (np.tile(np.broadcast_to(v, (B, len(x))), (len(shares), 1)) for v in (y_BN, weight_BN))       # starts above each other
    ceiling = np.exp(y.min(1)) * (1 - 1e-9)                     # c < lowest loss
    floor = ceiling * np.repeat(shares, B) if c is None else np.minimum(c, ceiling)
    intercept, slope = line(x, np.log(np.exp(y) - floor[:, None] * (1 - 1e-9)), weight)
    low, high = np.tile([-60, 1e-4, 0.0], (len(y), 1)), np.tile([60, ALPHA_MAX, 0.0], (len(y), 1))
    high[:, 2] = ceiling
    if alpha is not None:
        low[:, 1] = high[:, 1] = np.tile(alpha, len(shares))
    if c is not None:
        low[:, 2] = high[:, 2] = floor
    theta, cost = minimise(offset_model(x), np.stack([intercept, -np.nan_to_num(slope), floor], axis=1), low, high, y, weight)
    best = cost.reshape(-1, B).argmin(0) * B + np.arange(B)
    return theta[best], 2 * cost[best]


def profile_interval(grid, ssr, best, best_ssr, df, open_ends=(-np.inf, np.inf)):
    """[low, high] of {value: ssr(value) <= ssr_min (1 + F_{1,df} / df)}; an end beyond the grid becomes that of `open_ends`."""
    order = np.argsort(np.append(grid, best))
    grid, excess = np.append(grid, best)[order], np.append(ssr, best_ssr)[order]
    excess = excess - best_ssr * (1 + stats.f.ppf(LEVEL, 1, df) / df)
    first, last = np.flatnonzero(excess <= 0)[[0, -1]]
    low, high = open_ends
    if first > 0:
        low = np.interp(0, excess[[first, first - 1]], grid[[first, first - 1]])
    if last < len(grid) - 1:
        high = np.interp(0, excess[[last, last + 1]], grid[[last, last + 1]])
    return low, high


def fit_offset(n, loss, seed=0, hold_out=True):
    """L = a N^-alpha + c, 0 <= c < lowest loss, through at least 3 sizes (intervals from 4), least squares in log loss.

    Keys as fit_pure, further c, c_ci, and profile: {'c', 'alpha', 'p'}, the best exponent for each floor and the p value of that floor.
    Intervals are profile-F (Bates & Watts 1988, ch. 6): all values whose best fit is not significantly worse.
    """
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    log_n, y = np.log(n), np.log(loss)
    x, df = log_n - log_n.mean(), len(n) - 3
    (theta,), (ssr,) = solve_offset(x, y)
    alpha, c = float(theta[1]), float(theta[2])
    fitted = offset_model(x)(theta[None])[0][0]
    law = {'alpha': alpha, 'a': float(np.exp(theta[0] + alpha * log_n.mean())), 'c': c, 'ssr': float(ssr), 'sizes': n.tolist(),
           'residuals': np.expm1(y - fitted).tolist(), 'sigma': math.sqrt(ssr / df) if df > 0 else None, 'alpha_ci': [None, None],
           'c_ci': [None, None], 'alpha_ci_bootstrap': [None, None], 'profile': None,
           'leave_largest_out_error': None, 'leave_largest_out_interval': [None, None]}
    if df > 0:
        noise = max(ssr, 1e-24)
        alphas = np.geomspace(1e-3, ALPHA_MAX, 240)
        profile = solve_offset(x, y, alpha=alphas)[1]
        law['alpha_ci'] = finite(*profile_interval(alphas, profile, alpha, noise, df, open_ends=(0.0, np.inf)))
        floors = np.linspace(0, loss.min() * (1 - 1e-6), 161)
        at, profile = solve_offset(x, y, c=floors)
        law['c_ci'] = finite(*profile_interval(floors, profile, c, noise, df, open_ends=(0.0, loss.min())))
        p_value = stats.f.sf(np.maximum(profile - ssr, 0) / noise * df, 1, df)
        law['profile'] = {'c': floors.tolist(), 'alpha': at[:, 1].tolist(), 'p': p_value.tolist()}
        weights, probability = resamples(len(n), np.random.default_rng(seed))
        enough = (weights > 0).sum(1) >= 3
        boot = solve_offset(x, y, weights[enough], starts=3)[0][:, 1]
        law['alpha_ci_bootstrap'] = percentile_interval(boot, probability[enough])
    law['identified'] = identified(law['alpha_ci'])
    if hold_out and len(n) > 3:
        law.update(hold_out_offset(n, loss))
    return law


def hold_out_offset(n, loss):
    """Leave-largest-out of the law with a floor. The interval holds every loss of the largest size with which all sizes
    together would fit no worse than an F-test allows, which for a straight line is exactly the t-interval of a new point."""
    kept = n < n.max()
    seen = float(loss[~kept][0])
    law = fit_offset_point(n[kept], loss[kept])
    predicted = law['a'] * n.max() ** -law['alpha'] + law['c']
    result = {'leave_largest_out_error': float(predicted / seen - 1)}
    df = kept.sum() - 3
    if df > 0:
        candidates = predicted * np.exp(np.linspace(-1.5, 1.5, 301))
        y = np.tile(np.log(loss), (len(candidates), 1))
        y[:, ~kept] = np.log(candidates)[:, None]
        ssr = solve_offset(np.log(n) - np.log(n).mean(), y)[1]
        low, high = profile_interval(candidates, ssr, predicted, max(law['ssr'], 1e-24), df, open_ends=(0.0, np.inf))
        result['leave_largest_out_interval'] = finite(low / seen - 1, high / seen - 1)
    return result


def fit_offset_point(n, loss):
    """Only a, alpha, c and ssr of fit_offset."""
    x = np.log(n)
    (theta,), (ssr,) = solve_offset(x - x.mean(), np.log(loss))
    return {'a': float(np.exp(theta[0] + theta[1] * x.mean())), 'alpha': float(theta[1]), 'c': float(theta[2]), 'ssr': float(ssr)}


# ---- is it a straight line? ----

def runs_probability(positive):
    """P(so few runs of equal sign or fewer | the counts of both signs), exact (Wald & Wolfowitz 1940); 1 if all signs are equal."""
    m, k = int(np.sum(positive)), int(np.sum(~positive))
    if not m or not k:
        return 1.0
    seen = 1 + int(np.sum(positive[1:] != positive[:-1]))
    ways = 0
    for runs in range(2, seen + 1):
        half = runs // 2
        ways += (2 * math.comb(m - 1, half - 1) * math.comb(k - 1, half - 1) if runs % 2 == 0 else
                 math.comb(m - 1, half) * math.comb(k - 1, half - 1) + math.comb(m - 1, half - 1) * math.comb(k - 1, half))
    return ways / math.comb(m + k, m)


def diagnose(n, loss, offset_ssr=None):
    """Tests of the pure law. Keys (p values, None where there are too few sizes):
    p_offset: F-test of a floor c (`offset_ssr` from fit_offset) against c = 0; p_curved: t-test of a term (log N)^2;
    p_runs: too few changes of sign in the residuals; curvature: 'flattens' or 'steepens';
    flags: names of the tests below FLAG_P, with 'tail' where the largest size lies outside the 95% interval predicted for it;
    outliers: indices whose externally studentised residual is beyond the Bonferroni-corrected 5% point."""
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    order = np.argsort(n)
    x, y = np.log(n[order]) - np.log(n).mean(), np.log(loss[order])
    tests = {'p_offset': None, 'p_curved': None, 'p_runs': None, 'curvature': None, 'flags': [], 'outliers': []}
    if len(n) < 4:
        return tests
    design = np.stack([np.ones_like(x), x], axis=1)
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    ssr = float(residual @ residual)
    if ssr < 1e-20:                                     # exact data: rounding is no evidence
        return tests
    tests['p_runs'] = runs_probability(residual > 0)
    if offset_ssr is not None:
        tests['p_offset'] = float(stats.f.sf((ssr - offset_ssr) / (max(offset_ssr, 1e-24) / (len(n) - 3)), 1, len(n) - 3))
    square = np.stack([np.ones_like(x), x, x ** 2], axis=1)
    coefficients = np.linalg.lstsq(square, y, rcond=None)[0]
    rest = float(((y - square @ coefficients) ** 2).sum())
    tests['p_curved'] = float(stats.f.sf((ssr - rest) / (max(rest, 1e-24) / (len(n) - 3)), 1, len(n) - 3))
    tests['curvature'] = 'flattens' if coefficients[2] > 0 else 'steepens'
    tests['flags'] = [name for name, p in (('offset', tests['p_offset']), ('curved', tests['p_curved']), ('runs', tests['p_runs']))
                      if p is not None and p < FLAG_P]
    law = fit_pure(n, loss)
    low, high = law['leave_largest_out_interval']
    if low is not None and not low <= 0 <= high:
        tests['flags'].append('tail')
    leverage = np.einsum('ij,jk,ik->i', design, np.linalg.inv(design.T @ design), design)
    df = len(n) - 3
    without = np.maximum(ssr - residual ** 2 / (1 - leverage), 1e-24) / df
    t = residual / np.sqrt(without * (1 - leverage))
    tests['outliers'] = order[2 * stats.t.sf(np.abs(t), df) * len(n) < 1 - LEVEL].tolist()
    return tests


# ---- two architectures at equal loss ----

def line_through(x, y, at_x, at_y):
    """Residual sum of squares of the best falling line through each point (at_x, at_y)."""
    dx, dy = x - at_x[:, None], y - at_y
    slope = np.minimum((dx * dy).sum(1) / np.maximum((dx ** 2).sum(1), 1e-300), 0)
    return ((dy - slope[:, None] * dx) ** 2).sum(1)


def efficiency(x1, loss1, x2, loss2, points=15):
    """How much more of x (parameters, FLOPs, seconds) the second needs than the first for the same loss: x2(L) / x1(L).

    With one slope for both, the ratio r is the factor that x2 must be divided by to put all points on one line; with a slope
    each, it depends on the loss, and `curve` gives it where both lines are within their own data. Intervals are profile-F over
    the ratio (Fieller's, for the common slope). Keys: p_equal_slopes (F-test), common_slope_ratio, ci, curve: list of {'loss',
    'ratio', 'low', 'high'} (None is an open end), established: the interval excludes 1, that of the common slope or, if the slopes
    are shown unequal, those along the whole curve, on one side.
    """
    x1, x2 = np.log(np.asarray(x1, float)), np.log(np.asarray(x2, float))
    y1, y2 = np.log(np.asarray(loss1, float)), np.log(np.asarray(loss2, float))
    result = {'p_equal_slopes': None, 'common_slope_ratio': None, 'ci': [None, None], 'established': False, 'curve': []}
    total = len(x1) + len(x2)
    log_ratio = np.linspace(-math.log(RATIO_MAX), math.log(RATIO_MAX), 2001)
    y = np.concatenate([y1, y2])
    x = np.concatenate([np.tile(x1, (len(log_ratio), 1)), x2 - log_ratio[:, None]], axis=1)
    dx, dy = x - x.mean(1, keepdims=True), y - y.mean()
    ssr = (dy ** 2).sum() - (dx @ dy) ** 2 / (dx ** 2).sum(1)
    dx1, dx2 = x1 - x1.mean(), x2 - x2.mean()
    slope = (dx1 @ y1 + dx2 @ y2) / (dx1 @ dx1 + dx2 @ dx2)
    if slope >= 0:
        return result                                       # more of x does not lower the loss: no ratio to speak of
    best = float(x2.mean() - x1.mean() - (y2.mean() - y1.mean()) / slope)
    common = ((y1 - y1.mean() - slope * dx1) ** 2).sum() + ((y2 - y2.mean() - slope * dx2) ** 2).sum()
    low, high = profile_interval(log_ratio, ssr, best, max(common, 1e-24), total - 3)
    result['common_slope_ratio'], result['ci'] = math.exp(best), [exp_or_none(low), exp_or_none(high)]

    (a1, b1), (a2, b2) = ([float(v[0]) for v in line(x1, y1)], [float(v[0]) for v in line(x2, y2)])
    separate = ((y1 - a1 - b1 * x1) ** 2).sum() + ((y2 - a2 - b2 * x2) ** 2).sum()
    df = total - 4
    result['p_equal_slopes'] = float(stats.f.sf((common - separate) / (max(separate, 1e-24) / df), 1, df))
    if b1 >= 0 or b2 >= 0:
        return result                                       # one of the two does not fall: nothing is established
    top = min(a1 + b1 * x1.min(), a2 + b2 * x2.min())       # both lines, each within its own data
    bottom = max(a1 + b1 * x1.max(), a2 + b2 * x2.max())
    step = 0.02
    for loss in np.linspace(top, bottom, points) if top > bottom else []:
        at1, at2 = (loss - a1) / b1, (loss - a2) / b2
        offsets = np.arange(-700, 701) * step
        both = np.add.outer(line_through(x1, y1, at1 + offsets, loss), line_through(x2, y2, at2 + offsets, loss))
        shifts = np.arange(-1000, 1001, 5)                   # in grid steps: how much the ratio's log differs from the best
        shifts = shifts[np.abs(shifts * step + at2 - at1) <= math.log(RATIO_MAX)]
        profile = np.array([np.diagonal(both, s).min() for s in shifts])
        limits = profile_interval(shifts * step, profile, 0.0, max(separate, 1e-24), df)
        low, high = (exp_or_none(at2 - at1 + v) for v in limits)
        result['curve'].append({'loss': math.exp(loss), 'ratio': math.exp(at2 - at1), 'low': low, 'high': high})
    result['established'] = excludes_one([result['ci']] if result['p_equal_slopes'] >= 1 - LEVEL else
                                         [[c['low'], c['high']] for c in result['curve']])
    return result


def excludes_one(intervals):
    """Whether all intervals (None: an open end) lie above 1, or all below; False if there are none."""
    return bool(intervals) and (all((low or 0) > 1 for low, _ in intervals) or all((high or np.inf) < 1 for _, high in intervals))
