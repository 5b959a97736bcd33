"""Do training curves of one budget coincide, once each is measured by where it ends? Those that do not are named.

    for curve in collapse(curves, rows, l_nd):      # curves: name -> training curve, as runs.read_curves gives them
        curve['name'], curve['share'], curve['relative'], curve['off']

What a run of T tokens is above the floor E of the law, over what it is at its end: (L(t) - E) / (L(T) - E) by t / T
(Qiu et al. 2025, "supercollapse"). Runs that saw the same batches in the same order share their noise, so each is
compared with the median of its like: an ill chosen learning rate bends a curve away from it.
"""
import numpy as np

SHARES = np.linspace(0.1, 1, 19)
FEW = 3             # curves of one architecture, number of tokens and seed: fewer are not compared
FAR = 0.05          # mean departure from the median from which a curve is named


def collapse(curves, rows, l_nd):
    """A list of {'name', 'arch', 'n', 'tokens', 'share', 'relative', 'median', 'off'}; off is the root mean square of
    log(relative / median) over the shares of the run; curves alike in tokens and seed belong together."""
    groups = {}
    for run in rows:
        if run['name'] in curves and run['arch'] in l_nd and 'tokens' in run:
            key = run['arch'], round(np.log(run['tokens']) / 0.02), run.get('seed')
            groups.setdefault(key, []).append(run)
    found = []
    for group in groups.values():
        if len(group) < FEW:
            continue
        relative = [above_the_floor(curves[run['name']], run, l_nd[run['arch']]['chosen']['E']) for run in group]
        median = np.median(relative, axis=0)
        for run, values in zip(group, relative):
            off = float(np.sqrt(np.mean(np.log(values / median) ** 2)))
            found.append({'name': run['name'], 'arch': run['arch'], 'n': curves[run['name']]['n'],
                          'tokens': run['tokens'], 'share': SHARES, 'relative': values, 'median': median, 'off': off})
    return found


def above_the_floor(curve, run, floor):
    """(L - E) / (its end) at SHARES of the run; the curve is per token and the floor in the unit of the fit."""
    points = [point for point in curve['history'] if 'loss' in point]
    tokens, loss = (np.array([point[key] for point in points]) for key in ('tokens', 'loss'))
    floor = floor * run.get('loss_per_token', run['loss']) / run['loss']
    at = np.interp(SHARES, tokens / tokens[-1], loss) - floor
    return np.maximum(at, 1e-3) / max(run.get('loss_per_token', run['loss']) - floor, 1e-3)
