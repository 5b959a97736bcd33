"""The best size for a budget of compute without any law: isoFLOP curves (Hoffmann et al. 2022,
approach 2).

    for curve in isoflops(n, d, loss):      # of runs that differ only in size and tokens
        curve['flops'], curve['n_best'], curve['n_best_ci'], curve['d_per_n']

Each size's loss is interpolated between its runs, in log loss against log tokens, never beyond
them, at the tokens that the budget C = 6 N D allows it; a parabola through log loss against log N
has the best size at its vertex.
"""
import numpy as np
from scipy import interpolate

from scaling.frontier import percentile_interval

BUDGETS = 4         # a curve for each
LEAST = 5           # sizes a curve
DRAWS = 2000        # resamples of a curve's residuals


def losses_by_size(n, d, loss):
    """{size: (log tokens, log losses)}, seeds averaged, of sizes with at least three numbers of
    tokens."""
    by_size = {}
    for size in np.unique(n):
        points = {}
        for tokens, value in zip(d[n == size], loss[n == size]):
            near = next((known for known in points if abs(np.log(known / tokens)) < 0.02), tokens)
            points.setdefault(near, []).append(np.log(value))
        if len(points) >= 3:
            tokens = sorted(points)
            by_size[float(size)] = np.log(tokens), np.array([np.mean(points[t]) for t in tokens])
    return by_size


def isoflops(n, d, loss, seed=0):
    """A curve for each of BUDGETS that at least LEAST sizes were trained around.

    n: effective parameters (training FLOPs per token / 6). Each curve is {'flops', 'n', 'd',
    'loss', 'n_best', 'd_best', 'd_per_n', 'loss_best', 'parabola'} with '<key>_ci', 95% by
    resampled residuals, for the best; n_best and the rest are None where the curve has no minimum
    within its sizes.
    """
    by_size, curves = losses_by_size(n, d, loss), []
    for flops in budgets(by_size):
        sizes, losses = [], []
        for size, (log_tokens, log_loss) in by_size.items():
            at = np.log(flops / 6 / size)
            if log_tokens[0] - 1e-9 <= at <= log_tokens[-1] + 1e-9:
                sizes.append(size)
                curve = interpolate.PchipInterpolator(log_tokens, log_loss, extrapolate=True)
                losses.append(curve(at))
        if len(sizes) >= LEAST:
            curves.append(one_curve(flops, np.array(sizes), np.array(losses), seed))
    return curves


def budgets(by_size):
    """Evenly spaced in the widest stretch where LEAST sizes have runs on both sides."""
    ends = [(np.log(6 * size) + tokens[0], np.log(6 * size) + tokens[-1])
            for size, (tokens, _) in by_size.items()]
    if len(ends) < LEAST:
        return []
    grid = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), 400)
    covered = grid[[sum(low <= at <= high for low, high in ends) >= LEAST for at in grid]]
    return np.exp(np.linspace(covered[0], covered[-1], BUDGETS)) if len(covered) else []


def one_curve(flops, n, log_loss, seed):
    x = np.log(n)
    centre = x.mean()
    parabola = np.polyfit(x - centre, log_loss, 2)
    fitted = np.polyval(parabola, x - centre)
    sd = np.sqrt(((log_loss - fitted) ** 2).sum() / max(1, len(n) - 3))
    noise = np.random.default_rng(seed).normal(size=(DRAWS, len(n))) * sd
    draws = np.polyfit(x - centre, (fitted + noise).T, 2)               # (3, DRAWS)
    curve = {'flops': float(flops), 'n': n.tolist(), 'd': (flops / 6 / n).tolist(),
             'loss': np.exp(log_loss).tolist(),
             'parabola': [*parabola.tolist(), float(centre)]}
    best = dict.fromkeys(('n_best', 'd_best', 'd_per_n', 'loss_best'))
    vertex = -parabola[1] / 2 / parabola[0] + centre if parabola[0] > 0 else np.inf
    if x[0] <= vertex <= x[-1]:
        vertices = np.where(draws[0] > 0, -draws[1] / 2 / draws[0], np.inf) + centre
        shifted = np.clip(vertices, x[0], x[-1])
        every = np.concatenate([[vertex], shifted])
        lows = np.polyval(np.concatenate([parabola[:, None], draws], axis=1), every - centre)
        values = {'n_best': np.exp(every), 'd_best': flops / 6 / np.exp(every),
                  'd_per_n': flops / 6 / np.exp(2 * every), 'loss_best': np.exp(lows)}
        best = {key: float(v[0]) for key, v in values.items()}
        best |= {f'{key}_ci': percentile_interval(v[1:]) for key, v in values.items()}
    return curve | best
