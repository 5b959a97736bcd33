"""Find the learning rate of a few sizes by short runs of train.py, and the rule that carries it to other sizes.

    python -m experiments.sweep --configs=config/gpt_micro.py,config/gpt_tiny.py --max_tokens=2_500_000

From `start`, or the best rate of the size before, the rate is doubled and halved until the best one has a worse
neighbour on either side. The optimum is the vertex of the parabola through these three in log rate. Per architecture
the rule is rate = a * N^b, N the non-embedding parameters. A diverged run is a result, too: its loss is infinite.
Runs lie in out_dir and are not done twice. The rates in config/ refer to results/learning_rates.csv.
"""
import math
import os
import shlex
from dataclasses import dataclass

import numpy as np

from configurator import configure, fail
from experiments.runner import train, write_row


@dataclass
class Settings:
    configs: list[str] | None = None            # config files of models, a,b,c
    name: str = 'learning_rate'                 # the setting to sweep, such as head_lr
    start: float = 3e-3                         # first value tried
    data_dir: str = 'data/bundled'
    max_tokens: int = 400_000                   # of each run
    options: str = ''                           # further options for train.py, such as --seed=2 (with another out_dir)
    out_dir: str = 'out/sweep'
    table: str = 'out/learning_rates.csv'       # rows of other sweeps in it are kept


def trial(s, config, rate):
    """The row of one run, also put into the table; of a diverged one only {'loss': inf}."""
    model = os.path.splitext(os.path.basename(config))[0]
    name = f'{model}-{s.name}-{rate:.3g}-{s.max_tokens}'
    options = [config, f'--data_dir={s.data_dir}', f'--max_tokens={s.max_tokens}', f'--{s.name}={rate!r}']
    trained = train(name, os.path.join(s.out_dir, name), [*options, *shlex.split(s.options)])
    if trained is None:
        print(f'{name}: diverged', flush=True)
        return {'loss': math.inf}
    run, _ = trained
    row = {'sweep': f'{s.name} {s.max_tokens:,} tokens', 'config': model,
           **{key: run[key] for key in ('arch', 'n_total', 'n_non_embedding', 'tokens')}, 'rate': rate,
           'seed': run['seed'], 'loss': round(run['loss'], 5), 'per_note': round(run['loss_per_note'], 5)}
    write_row(s.table, row, key=['sweep', 'config', 'rate', 'seed'])
    return row


def sweep(s, config, start):
    """(rate, rows of its half, of itself and of its double): the best of all that were tried, from `start` on."""
    rows, best = {}, start
    while True:
        around = (best / 2, best, best * 2)
        for rate in around:
            if rate not in rows:
                rows[rate] = trial(s, config, rate)
        better = min(around, key=lambda rate: rows[rate]['loss'])
        if better == best:
            return best, [rows[rate] for rate in around]
        best = better


def vertex(rate, low, mid, high):
    """The best rate between the grid's, by the losses at half of `rate`, at itself and at its double."""
    if not math.isfinite(low + high):
        return rate
    return rate * 2 ** (0.5 * (low - high) / (low - 2 * mid + high))


def main():
    s = configure(Settings)
    if not s.configs:
        fail('nothing to sweep: give --configs=config/a.py,config/b.py')
    found, rate = {}, s.start                   # {arch: [(N, best rate)]}; where the next size begins
    for config in s.configs:
        rate, rows = sweep(s, config, rate)
        n, losses = rows[1]['n_non_embedding'], [row['loss'] for row in rows]
        best = vertex(rate, *losses)
        found.setdefault(rows[1]['arch'], []).append((n, best))
        print(f'{config}: N {n:,.0f}, best {s.name} {best:.3g}; loss {losses[1]:.4f} at {rate:.3g}, '
              f'{losses[0]:.4f} at half, {losses[2]:.4f} at double', flush=True)
    for arch, points in found.items():
        if len(points) > 1:
            b, log_a = np.polyfit(*np.log(points).T, 1)
            print(f'{arch}: {s.name} = {math.exp(log_a):.3g} * N^{b:.3f}')


if __name__ == '__main__':
    main()
