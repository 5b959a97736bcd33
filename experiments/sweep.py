"""Find the best learning rate of a few sizes by short runs, and the rule that carries it to others.

    python -m experiments.sweep --configs=config/gpt.py --sizes=32,160 --max_tokens=2_500_000

From `start`, or from the best value of the size before, the learning rate is doubled and halved
until the best one has a worse neighbour on either side. The optimum is the vertex of the parabola
through these three losses over log(rate). Per architecture the rule is rate = a * N^b, with N the
non-embedding parameters. A diverged run is a result, too: its loss is infinite. Runs lie in out_dir
and are not trained twice. The comments in config/ refer to results/learning_rates.csv.
"""
import math
import os
import shlex
from dataclasses import dataclass

import numpy as np

from configurator import configure, fail
from experiments.runner import sized, train, write_row
from train import Settings as Training


@dataclass
class Settings:
    configs: list[str] | None = None            # config files of models, a,b,c
    sizes: list[int] | None = None              # widths of each family, a,b,c; None: its default
    name: str = 'learning_rate'                 # the setting to sweep, such as head_lr
    start: float = 3e-3                         # first value tried
    data_dir: str = 'data/bundled'
    max_tokens: int = 400_000                   # of each run
    options: str = ''                           # further options of train.py, such as --seed=2
    out_dir: str = 'out/sweep'                  # one for each set of options
    table: str = 'out/learning_rates.csv'       # rows of other sweeps in it are kept


def trial(s, model, rate):
    """The row of one run, also put into the table; of a diverged one only {'loss': inf}.

    `model`: the options of train.py that describe it.
    """
    options = [*model, f'--data_dir={s.data_dir}', f'--max_tokens={s.max_tokens}',
               f'--{s.name}={rate!r}', *shlex.split(s.options)]
    config = configure(Training, options).run_name          # family and size: gpt-96
    name = f'{config}-{s.name}-{rate:.3g}-{s.max_tokens}'
    trained = train(name, os.path.join(s.out_dir, name), options)
    if trained is None:
        print(f'{name}: diverged', flush=True)
        return {'loss': math.inf}
    run, _ = trained
    what = f'{s.name} {s.max_tokens:,} tokens of {s.data_dir} {s.options}'.strip()
    row = {'sweep': what, 'config': config,
           **{key: run[key] for key in ('arch', 'n_total', 'n_non_embedding', 'tokens')},
           'rate': rate, 'seed': run['seed'],
           'loss': round(run['loss'], 5), 'per_note': round(run['loss_per_note'], 5)}
    write_row(s.table, row, key=['sweep', 'config', 'rate', 'seed'])
    return row


def sweep(s, model, start):
    """(best rate, rows of its half, of itself and of its double), searching from `start` on."""
    rows, best = {}, start
    while True:
        around = (best / 2, best, best * 2)
        for rate in around:
            if rate not in rows:
                rows[rate] = trial(s, model, rate)
        better = min(around, key=lambda rate: rows[rate]['loss'])
        if better == best:
            return best, [rows[rate] for rate in around]
        best = better


def vertex(rate, low, mid, high):
    """The best rate between those of the grid, from the losses at rate / 2, rate and 2 rate."""
    if not math.isfinite(low + high):
        return rate
    return rate * 2 ** (0.5 * (low - high) / (low - 2 * mid + high))


def main():
    s = configure(Settings)
    if not s.configs:
        fail('nothing to sweep: give --configs=config/a.py,config/b.py')
    models = [[config] for config in s.configs]
    if s.sizes:
        models = [sized(config, size) for config in s.configs for size in s.sizes]

    # Each model in turn; the next one begins where the last one was best.
    found, rate = {}, s.start                   # {architecture: [(N, best rate)]}
    for model in models:
        rate, rows = sweep(s, model, rate)
        n, losses = rows[1]['n_non_embedding'], [row['loss'] for row in rows]
        best = vertex(rate, *losses)
        found.setdefault(rows[1]['arch'], []).append((n, best))
        print(f"{rows[1]['config']}: N {n:,.0f}, best {s.name} {best:.3g}; "
              f'loss {losses[1]:.4f} at {rate:.3g}, {losses[0]:.4f} at half, '
              f'{losses[2]:.4f} at double', flush=True)

    # The rule: a straight line through log(rate) over log(N).
    for arch, points in found.items():
        if len(points) > 1:
            b, log_a = np.polyfit(*np.log(points).T, 1)
            print(f'{arch}: {s.name} = {math.exp(log_a):.3g} * N^{b:.3f}')


if __name__ == '__main__':
    main()
