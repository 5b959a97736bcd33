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
    name: str = 'learning_rate'                 # the setting to sweep, such as muon_lr
    start: float = 3e-3                         # first value tried
    seeds: list[int] | None = None              # losses are means over them; None: 1
    data_dir: str = 'data/bundled'
    max_tokens: int = 400_000                   # of each run
    options: str = ''                           # further options for train.py
    out_dir: str = 'out/sweep'
    table: str = 'out/learning_rates.csv'       # rows of other sweeps in it are kept


def trial(s, config, rate, seed):
    """The row of one run, also put into the table; of a diverged one only {'loss': inf}."""
    model = os.path.splitext(os.path.basename(config))[0]
    name = f'{model}-{s.name}-{rate:.3g}-{s.max_tokens}-{seed}'
    options = [config, f'--data_dir={s.data_dir}', f'--max_tokens={s.max_tokens}', f'--{s.name}={rate!r}',
               f'--seed={seed}', *shlex.split(s.options)]
    run = train(name, os.path.join(s.out_dir, name), options)
    if run is None:
        print(f'{name}: diverged', flush=True)
        return {'loss': math.inf}
    row = {'sweep': f"{s.name} {run['optimizer']} {s.max_tokens:,} tokens", 'config': model,
           **{key: run[key] for key in ('arch', 'n_total', 'n_non_embedding', 'tokens')}, 'rate': rate, 'seed': seed,
           'loss': round(run['loss'], 5), 'per_note': round(run['loss_per_note'], 5)}
    write_row(s.table, row, key=['sweep', 'config', 'rate', 'seed'])
    return row


def sweep(s, config, start):
    """(model's row, {rate: mean loss}), tried until the best rate has both neighbours."""
    losses, best, model = {}, start, None
    while True:
        around = (best / 2, best, best * 2)
        for rate in around:
            if rate not in losses:
                trials = [trial(s, config, rate, seed) for seed in s.seeds or [1]]
                losses[rate] = sum(row['loss'] for row in trials) / len(trials)
                model = next((row for row in trials if 'arch' in row), model)
        if best == min(around, key=losses.get):
            return model, losses
        best = min(around, key=losses.get)


def vertex(losses, best):
    """The best rate between the grid's: vertex of the parabola through `best` and its neighbours, in log rate."""
    low, mid, high = losses[best / 2], losses[best], losses[best * 2]
    if not math.isfinite(low + high):
        return best
    return best * 2 ** (0.5 * (low - high) / (low - 2 * mid + high))


def main():
    s = configure(Settings)
    if not s.configs:
        fail('nothing to sweep: give --configs=config/a.py,config/b.py')
    found, best = {}, s.start                   # {arch: [(N, best rate)]}; where the next size begins
    for config in s.configs:
        model, losses = sweep(s, config, best)
        best = min(losses, key=losses.get)
        found.setdefault(model['arch'], []).append((model['n_non_embedding'], vertex(losses, best)))
        print(f"{config}: N {model['n_non_embedding']:,.0f}, best {s.name} {found[model['arch']][-1][1]:.3g}; loss "
              f'{losses[best]:.4f} at {best:.3g}, {losses[best / 2]:.4f} at half, {losses[best * 2]:.4f} at double')
    for arch, points in found.items():
        if len(points) > 1:
            b, log_a = np.polyfit(*np.log(points).T, 1)
            print(f'{arch}: {s.name} = {math.exp(log_a):.3g} * N^{b:.3f}')


if __name__ == '__main__':
    main()
