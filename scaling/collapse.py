"""Do the training curves of one budget coincide, each measured from where it ends?

    for curve in collapse(curves, rows):        # curves as runs.read_curves gives them
        curve['name'], curve['share'], curve['above'], curve['off']

By a law that adds a term of N to one of D, the loss at t of T tokens above the loss at T is the
same for every size. Runs that saw the same batches in the same order share their noise, too, so
each curve is compared with the median of comparable runs: a badly chosen learning rate holds the
loss up until the decay. (Qiu et al. 2025 divide by the end, along compute-optimal runs.)
"""
import numpy as np

from scaling.runs import conditions

SHARES = np.linspace(0.2, 0.95, 16)
FEW = 3             # curves of one architecture, number of tokens and seed: fewer are not compared
FAR = 0.05          # nats/token: a curve that departs further from the median is named


def collapse(curves, rows):
    """A list of {'name', 'arch', 'n', 'tokens', 'share', 'above', 'off'}.

    above: nats/token above the end, at shares of the training; off: the root mean square departure
    of `above` from the median of the runs that share tokens and seed.
    """
    groups = {}
    for run, shared in zip(rows, conditions(rows)):
        if run['name'] in curves and 'tokens' in run:
            groups.setdefault((run['arch'], shared['tokens'], run.get('seed')), []).append(run)
    found = []
    for group in (group for group in groups.values() if len(group) >= FEW):
        above = np.array([above_the_end(curves[run['name']], run) for run in group])
        off = np.sqrt(((above - np.median(above, axis=0)) ** 2).mean(1))
        for run, own, distance in zip(group, above, off):
            found.append({'name': run['name'], 'arch': run['arch'], 'n': curves[run['name']]['n'],
                          'tokens': run['tokens'], 'share': SHARES, 'above': own,
                          'off': float(distance)})
    return found


def above_the_end(curve, run):
    """The training loss at SHARES of the run, less the validation loss at its end; per token."""
    points = [point for point in curve['history'] if 'loss' in point]
    tokens, loss = (np.array([point[key] for point in points]) for key in ('tokens', 'loss'))
    return np.interp(SHARES, tokens / run['tokens'], loss) - run.get('loss_per_token', run['loss'])
