"""Forecasts: the losses of runs as laws predicted them before the runs, and what was seen then."""
import os

from configurator import fail
from scaling.runs import read_rows


def read(table):
    """The forecasts in prediction.csv beside a table, as dicts; [] if there is no such file."""
    path = os.path.join(os.path.dirname(table), 'prediction.csv')
    lines = read_rows(path)
    for number, line in enumerate(lines, 2):
        if not line.get('name') or not line.get('law') or line.get('from') not in ('sizes', 'runs'):
            fail(f'{path}, line {number}: needs a name, a law, and sizes or runs under from')
        try:
            line |= {key: float(line[key]) for key in ('predicted', 'low', 'high')}
        except (KeyError, TypeError, ValueError):
            fail(f'{path}, line {number}: needs the numbers predicted, low and high')
    return lines


def with_seen(forecasts, rows):
    """The forecasts of runs that are among `rows` by now.

    Each gets the run's arch, flops and loss (`seen`), `miss` = (predicted - seen) / seen, and
    `inside`: does its interval hold the loss?
    """
    runs = {run['name']: run for run in rows}
    known = []
    for one in forecasts:
        if one['name'] in runs:
            run = runs[one['name']]
            seen = run['loss']
            known.append({**one, 'arch': run['arch'], 'flops': run.get('flops'), 'seen': seen,
                          'miss': one['predicted'] / seen - 1,
                          'inside': one['low'] <= seen <= one['high']})
    return known
