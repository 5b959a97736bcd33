"""The statistics of L(N), the loss by model size: numbers in, laws with intervals out (L(N, D) is
in frontier.py).

    law = fit_pure([1e6, 1e7, 1e8], [0.9, 0.6, 0.4])     # L = a N^-alpha
    law['alpha'], law['alpha_ci'], law['a']              # 0.176, [0.174, 0.178], 10.26

Residuals are taken in log loss: 2% at a small model count as 2% at a large one, and the pure law is
the case c = 0 of L = a N^-alpha + c. The unit that varies is the model size, so callers average
seeds first (`runs.average_seeds`): two seeds of one size share its departure from the law. An
interval is a list [low, high]; None is an end that is open.
"""
import math

import numpy as np
from scipy import stats

LEVEL = 0.95
ALPHA_MAX = 5.0         # exponents are sought in (0, 5]; an interval that reaches 5 is open
DECIDED = 4.0           # an exponent is identified if its interval is above 0 and spans less
RATIO_MAX = 1e3         # ratios of sizes at equal loss are sought between 1/1000 and 1000
GAIN, MOST_DAMPED = 1e-10, 1e6      # where `minimise` stops: least gain of a step, shortest step
NO_NOISE = 1e-24        # least residual sum of squares of an interval: exact data leave rounding


def identified(interval):
    low, high = interval
    return bool(low is not None and high is not None and low > 0 and high < DECIDED * low)


def finite(low, high):
    """[low, high] with None for an end that is infinite or undefined."""
    return [float(v) if np.isfinite(v) else None for v in (low, high)]


def huber(residual, delta):
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return inner * (size - inner / 2)


def minimise(model, theta_BP, low_P, high_P, y_BN, weight_BN=1.0, delta=np.inf, steps=60,
             gain=GAIN):
    """B independent fits side by side by Levenberg-Marquardt, each within a box.

    Each minimises sum_n weight * huber(y - prediction).

    model: theta_BP -> (prediction_BN, jacobian_BNP). `low_P == high_P` (they broadcast to B, P)
    holds a parameter. A finite `delta` reweights the squares at each step (iteratively reweighted
    least squares). A problem is finished once a step gains less than the share `gain` of its
    objective, or once even the shortest step gains nothing. Returns (theta_BP, objective_B).
    """
    theta = np.clip(theta_BP, low_P, high_P).astype(float)
    B, P = theta.shape
    low, high = np.broadcast_to(low_P, theta.shape), np.broadcast_to(high_P, theta.shape)
    prediction, jacobian = model(theta)
    y = np.broadcast_to(y_BN, prediction.shape)
    weight = np.broadcast_to(weight_BN, prediction.shape)
    cost = (weight * huber(y - prediction, delta)).sum(1)
    damping = np.full(B, 1e-3)
    best_BP, best_B = theta.copy(), cost.copy()
    problem = np.arange(B)              # which of the B problems each remaining row is
    for _ in range(steps):
        # Gauss-Newton equations; a residual beyond delta has the weight delta / |residual|
        residual = y - prediction
        reweighted = weight * np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300))
        weighted_BNP = jacobian * reweighted[..., None]
        gradient = np.einsum('bnp,bn->bp', weighted_BNP, residual)
        hessian = weighted_BNP.transpose(0, 2, 1) @ jacobian

        # Active set: a parameter that is at an end of its box and would leave it takes no part
        stuck = ((theta <= low) & (gradient <= 0)) | ((theta >= high) & (gradient >= 0))
        gradient[stuck] = 0
        hessian *= ~stuck[:, :, None] & ~stuck[:, None, :]

        # Damping: a larger diagonal makes a shorter step, nearer to steepest descent
        diagonal = np.einsum('bpp->bp', hessian)
        ridge = 1e-12 * diagonal.max(1)[:, None] + 1e-300
        hessian[:, range(P), range(P)] = diagonal * (1 + damping[:, None]) + stuck + ridge
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        trial = np.clip(theta + step, low, high)

        # A step that gains is taken and the damping falls; otherwise the next step is shorter
        new_prediction, new_jacobian = model(trial)
        new_cost = (weight * huber(y - new_prediction, delta)).sum(1)
        better = new_cost < cost
        done = np.where(better, cost - new_cost < gain * cost, damping >= MOST_DAMPED)
        damping = np.clip(damping * np.where(better, 0.2, 10), 1e-7, MOST_DAMPED)
        theta[better], cost[better] = trial[better], new_cost[better]
        prediction[better], jacobian[better] = new_prediction[better], new_jacobian[better]
        best_BP[problem], best_B[problem] = theta, cost

        # Finished problems take no part in the next steps
        if done.all():
            break
        if done.any():
            theta, low, high, prediction, jacobian, y, weight, cost, problem, damping = (
                array[~done] for array in (theta, low, high, prediction, jacobian, y, weight, cost,
                                           problem, damping))
    return best_BP, best_B


def profile_interval(grid, ssr, best, best_ssr, df, open_ends):
    """(low, high) of all values whose best fit is not significantly worse (F-test; Bates & Watts
    1988, ch. 6).

    That is ssr(value) <= ssr_min (1 + F_{1,df} / df). An end beyond the grid becomes that of
    `open_ends`.
    """
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


def line(x, y):
    """Least squares y = intercept + slope x, for each row if y is (B, N): (intercept, slope)."""
    dx = x - x.mean()
    slope = (y - y.mean(-1, keepdims=True)) @ dx / (dx @ dx)
    return y.mean(-1) - slope * x.mean(), slope


def fit_pure(n, loss, hold_out=True):
    """L = a N^-alpha through at least 3 sizes (or 2, then without intervals), ordinary least
    squares in log-log.

    Keys: alpha, alpha_ci (t), a, identified, sigma (sd of log loss), sizes, residuals ((seen -
    fitted) / fitted), leave_largest_out_error ((predicted - seen) / seen of the largest size, by
    the law of all others) and its _interval.
    """
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    x, y, df = np.log(n), np.log(loss), len(n) - 2
    intercept, slope = line(x, y)
    residual = y - intercept - slope * x
    law = {'alpha': float(-slope), 'alpha_ci': [None, None], 'a': math.exp(intercept),
           'sigma': None,
           'sizes': n.tolist(), 'residuals': np.expm1(residual).tolist()}
    if df:
        law['sigma'] = math.sqrt(residual @ residual / df)
        error = law['sigma'] / math.sqrt(((x - x.mean()) ** 2).sum())
        half = stats.t.ppf((1 + LEVEL) / 2, df) * error
        law['alpha_ci'] = finite(-slope - half, -slope + half)
    law['identified'] = identified(law['alpha_ci'])
    if hold_out:
        kept = n < n.max()
        predicted, *ends = forecast(fit_pure(n[kept], loss[kept], hold_out=False), n.max())
        seen = float(loss[~kept][0])
        law['leave_largest_out_error'] = predicted / seen - 1
        law['leave_largest_out_interval'] = [end and end / seen - 1 for end in ends]
    return law


def band(law, n, new_point=False):
    """(low, high) of the pure law's 95% t-band for the mean loss at sizes `n`, or for one new
    point; needs 3 sizes."""
    x, at = np.log(law['sizes']), np.log(n)
    leverage = 1 / len(x) + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum() + new_point
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * law['sigma'] * np.sqrt(leverage)
    middle = math.log(law['a']) - law['alpha'] * at
    return np.exp(middle - half), np.exp(middle + half)


def forecast(law, n):
    """(loss, low, high) that the pure law predicts for one new size; None for the ends if it rests
    on two sizes."""
    ends = (None, None) if law['sigma'] is None else map(float, band(law, n, new_point=True))
    return float(law['a'] * n ** -law['alpha']), *ends


def forecast_offset(law, n):
    """(loss, low, high) that the law with a floor predicts for one new size.

    The 95% interval is t's with the linearised law (Seber & Wild 1989, section 5.1), in log loss;
    its ends are None if the law rests on three sizes, which leave no residual.
    """
    x, at = np.log(law['sizes']), math.log(n)
    theta_BP = np.array([[math.log(law['a']), law['alpha'], law['c']]])
    (y,), (jacobian_1P,) = offset_model(np.array([at]))(theta_BP)
    loss, df = math.exp(y[0]), len(x) - 3
    if df < 1:
        return loss, None, None
    _, (jacobian_NP,) = offset_model(x)(theta_BP)
    variance = law['ssr'] / df * (1 + jacobian_1P @ np.linalg.pinv(jacobian_NP.T @ jacobian_NP)
                                  @ jacobian_1P.T)
    half = stats.t.ppf((1 + LEVEL) / 2, df) * math.sqrt(variance.item())
    return loss, loss * math.exp(-half), loss * math.exp(half)


def offset_model(x):
    """Log loss and its derivatives for theta = (log a at the mean of log N, alpha, c); x (N,): log
    N, centred."""
    def model(theta_BP):
        power = np.exp(theta_BP[:, :1] - theta_BP[:, 1:2] * x)
        level = power + theta_BP[:, 2:]
        return np.log(level), np.stack([power / level, -x * power / level, 1 / level], axis=-1)
    return model


def solve_offset(x, y, column=0, held=None):
    """Best (theta_BP, ssr_B) for the log losses y (N,), one for each value at which theta[column]
    is `held`, if it is.

    Each is started from several floors, as from a bad one the solver ends in another basin.
    """
    ceiling = math.exp(y.min()) * (1 - 1e-9)            # c is below the lowest loss
    B = 1 if held is None else len(held)
    low_BP, high_BP = np.tile([-60, 1e-4, 0.0], (B, 1)), np.tile([60, ALPHA_MAX, ceiling], (B, 1))
    if held is not None:
        low_BP[:, column] = high_BP[:, column] = held
    tried = []
    for share in np.linspace(0, 0.95, 6):
        floor = np.clip(share * ceiling, low_BP[:, 2], high_BP[:, 2])
        intercept, slope = line(x, np.log(np.exp(y) - floor[:, None] * (1 - 1e-9)))
        start = np.stack([intercept, -slope, floor], axis=1)
        tried.append(minimise(offset_model(x), start, low_BP, high_BP, y))
    theta_SBP, cost_SB = (np.stack(values) for values in zip(*tried))
    best = cost_SB.argmin(0), np.arange(B)
    return theta_SBP[best], 2 * cost_SB[best]


def fit_offset(n, loss, hold_out=True):
    """L = a N^-alpha + c, 0 <= c < lowest loss, through at least 3 sizes (intervals, and a
    prediction, from 4).

    Keys as fit_pure, with profile-F intervals, without those of sigma and the prediction; further
    c, c_ci, ssr.
    """
    n, loss = np.asarray(n, float), np.asarray(loss, float)
    y, centre, df = np.log(loss), np.log(n).mean(), len(n) - 3
    x = np.log(n) - centre
    theta_BP, (ssr,) = solve_offset(x, y)
    log_a, alpha, c = map(float, theta_BP[0])
    residual = y - offset_model(x)(theta_BP)[0][0]
    law = {'alpha': alpha, 'alpha_ci': [None, None], 'a': math.exp(log_a + alpha * centre),
           'c': c, 'c_ci': [None, None], 'ssr': float(ssr), 'sizes': n.tolist(),
           'residuals': np.expm1(residual).tolist(), 'leave_largest_out_error': None}
    alphas = np.geomspace(1e-3, ALPHA_MAX, 240)
    floors = np.linspace(0, loss.min() * (1 - 1e-6), 161)
    profiles = (1, 'alpha', alphas, np.inf), (2, 'c', floors, loss.min())
    for column, key, grid, last in profiles if df > 0 else ():
        _, ssr_B = solve_offset(x, y, column, grid)
        ends = profile_interval(grid, ssr_B, law[key], max(ssr, NO_NOISE), df, (0.0, last))
        law[f'{key}_ci'] = finite(*ends)
    law['identified'] = identified(law['alpha_ci'])
    if hold_out and df > 0:
        kept = n < n.max()
        others = fit_offset(n[kept], loss[kept], hold_out=False)
        predicted = others['a'] * n.max() ** -others['alpha'] + others['c']
        law['leave_largest_out_error'] = float(predicted / loss[~kept][0] - 1)
    return law


def efficiency(x1, loss1, x2, loss2, points=15):
    """How much more of x (parameters, FLOPs, seconds) the second needs than the first for the same
    loss: x2(L) / x1(L).

    common_slope_ratio, ci: with one slope for both; p_equal_slopes: F-test of that. curve: with a
    slope each, where the ratio depends on the loss: list of {'loss', 'ratio', 'low', 'high'}.
    established: 1 is outside ci or, if the slopes are shown to differ, the whole curve lies on one
    side of it; never where the loss does not fall with x.
    """
    x1, y1, x2, y2 = (np.log(np.asarray(values, float)) for values in (x1, loss1, x2, loss2))
    result = {'common_slope_ratio': None, 'ci': [None, None], 'p_equal_slopes': None,
              'established': False, 'curve': []}
    dx1, dx2, dy1, dy2 = (v - v.mean() for v in (x1, x2, y1, y2))
    slope = (dx1 @ dy1 + dx2 @ dy2) / (dx1 @ dx1 + dx2 @ dx2)
    if slope >= 0:
        return result
    common = max(((dy1 - slope * dx1) ** 2).sum() + ((dy2 - slope * dx2) ** 2).sum(), NO_NOISE)
    log_ratio = x2.mean() - x1.mean() - (y2.mean() - y1.mean()) / slope
    result['common_slope_ratio'] = math.exp(log_ratio)
    result['ci'] = common_slope_interval(x1, y1, x2, y2, log_ratio, common)

    (a1, b1), (a2, b2), df = line(x1, y1), line(x2, y2), len(x1) + len(x2) - 4
    separate = max(((y1 - a1 - b1 * x1) ** 2).sum() + ((y2 - a2 - b2 * x2) ** 2).sum(), NO_NOISE)
    result['p_equal_slopes'] = float(stats.f.sf((common - separate) / (separate / df), 1, df))
    if b1 >= 0 or b2 >= 0:
        return result
    # The losses that both lines reach within their data
    top = min(a1 + b1 * x1.min(), a2 + b2 * x2.min())
    bottom = max(a1 + b1 * x1.max(), a2 + b2 * x2.max())
    for level in np.linspace(top, bottom, points) if top > bottom else []:
        at1, at2 = (level - a1) / b1, (level - a2) / b2
        low, high = ratio_interval(x1, y1, at1, x2, y2, at2, level, separate, df)
        result['curve'].append({'loss': math.exp(level), 'ratio': math.exp(at2 - at1),
                                'low': low, 'high': high})
    intervals = [result['ci']]
    if result['p_equal_slopes'] < 1 - LEVEL:
        intervals = [[point['low'], point['high']] for point in result['curve']]
    above = all((low or 0) > 1 for low, _ in intervals)
    below = all((high or np.inf) < 1 for _, high in intervals)
    result['established'] = bool(intervals) and (above or below)
    return result


def common_slope_interval(x1, y1, x2, y2, log_ratio, ssr):
    """95% interval (Fieller's) of the factor that x2 must be divided by to put all points on one
    line."""
    shifts = np.linspace(-math.log(RATIO_MAX), math.log(RATIO_MAX), 2001)
    x = np.concatenate([np.tile(x1, (2001, 1)), x2 - shifts[:, None]], axis=1)
    y = np.concatenate([y1, y2])
    dx, dy = x - x.mean(1, keepdims=True), y - y.mean()
    of_one_line = dy @ dy - (dx @ dy) ** 2 / (dx ** 2).sum(1)
    ends = profile_interval(shifts, of_one_line, log_ratio, ssr, len(y) - 3, (np.nan, np.inf))
    return finite(*np.exp(ends))


def ratio_interval(x1, y1, at1, x2, y2, at2, level, ssr, df):
    """95% interval of x2 / x1 at the log loss `level`, which the two lines reach at at1 and at2
    (logs)."""
    def ssr_through(x, y, at_x):            # of the best falling line through (at_x, level)
        dx, dy = x - at_x[:, None], y - level
        slope = np.minimum((dx * dy).sum(1) / np.maximum((dx ** 2).sum(1), 1e-300), 0)
        return ((dy - slope[:, None] * dx) ** 2).sum(1)
    step = 0.02
    offsets, shifts = step * np.arange(-700, 701), np.arange(-1000, 1001, 5)
    pairs = np.add.outer(ssr_through(x1, y1, at1 + offsets), ssr_through(x2, y2, at2 + offsets))
    shifts = shifts[np.abs(shifts * step + at2 - at1) <= math.log(RATIO_MAX)]
    # A diagonal of `pairs` holds all pairs of points that are so far apart
    profile = [np.diagonal(pairs, shift).min() for shift in shifts]
    ends = profile_interval(step * shifts, profile, 0.0, ssr, df, open_ends=(np.nan, np.inf))
    return finite(*np.exp([at2 - at1 + end for end in ends]))
