"""Find the learning rate of a few sizes by short runs of train.py, and the rule that carries it to other sizes.

    python -m experiments.sweep --configs=config/study_gpt_1.py,config/study_gpt_3.py,config/study_gpt_5.py --data_dir=data/dev --max_tokens=2_500_000
    python -m experiments.sweep --configs=config/gpt_micro.py,config/gpt_tiny.py --name=muon_lr --options='--optimizer=muon --batch_size=16'

From `start`, or the best rate of the size before, the rate is doubled and halved until the best one has a worse neighbour on
either side; the optimum is the vertex of the parabola through these three in log rate. Per architecture the rule is
rate = a * N^b, N the non-embedding parameters. Runs lie in out_dir, one folder each, and are never done twice: a sweep that was
stopped goes on. The table of all runs goes to `table`, to which the rates in config/ refer.
"""
import csv
import math
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import torch

from configurator import configure, fail
from plumbing.files import atomic_write


@dataclass
class Settings:
    configs: list[str] | None = None            # config files of models, a,b,c
    name: str = 'learning_rate'                 # the setting to sweep: learning_rate | muon_lr
    start: float = 3e-3                         # first value tried
    fixed: float | None = 3e-4                  # also tried: one rate for every size and all of its weights; None: none
    seeds: list[int] | None = None              # losses are means over them; None: 1
    data_dir: str = 'data/bundled'
    max_tokens: int = 400_000                   # of each run
    options: str = ''                           # further options for train.py
    out_dir: str = 'out/sweep'
    table: str = 'results/learning_rates.csv'   # rows of other sweeps in it are kept


COLUMNS = ('sweep', 'config', 'arch', 'n_total', 'n_non_embedding', 'tokens', 'rate', 'seed', 'loss', 'per_note')


def trial(s, config, rate, seed, for_all=False):
    """Row of one run, trained if it is not there yet. `for_all`: embeddings and head have this rate, too."""
    name = os.path.splitext(os.path.basename(config))[0]
    out_dir = os.path.join(s.out_dir, f'{name}-{s.name}-{rate:.3g}{"-all" * for_all}-{s.max_tokens}-{seed}')
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'train.py')
    command = [sys.executable, script, config, f'--data_dir={s.data_dir}', f'--out_dir={out_dir}', f'--max_tokens={s.max_tokens}',
               f'--{s.name}={rate!r}', f'--seed={seed}', '--eval_interval=1000000', '--resume', *shlex.split(s.options),
               *([f'--embedding_lr={rate!r}', f'--head_lr={rate!r}'] if for_all else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode and 'the loss is' in done.stderr:            # too high a rate is a result, too
        return {'config': name, 'rate': rate, 'seed': seed, 'loss': math.inf}
    if done.returncode:
        fail(f'{config} at {s.name}={rate:.3g}: {done.stderr.strip().splitlines()[-1]}')
    c = torch.load(os.path.join(out_dir, 'ckpt.pt'), map_location='cpu', weights_only=True)
    return {'sweep': f'{s.name}{" for all" * for_all} {c["config"]["train"]["optimizer"]} {s.max_tokens:,} tokens', 'config': name,
            'arch': c['config']['arch'], 'n_total': c['num_params']['total'], 'n_non_embedding': c['num_params']['non_embedding'], 'tokens': c['tokens'],
            'rate': rate, 'seed': seed, 'loss': round(c['val']['loss'], 5), 'per_note': round(c['val']['per_note'], 5)}


def sweep(s, config, start, rows):
    """{rate: mean loss}, tried until the best rate has both neighbours; `rows` gets every trial."""
    losses, best = {}, start

    def loss_at(rate):
        if rate not in losses:
            trials = [trial(s, config, rate, seed) for seed in s.seeds or [1]]
            rows.extend(t for t in trials if math.isfinite(t['loss']))
            losses[rate] = sum(t['loss'] for t in trials) / len(trials)
            print(f'{config} {s.name} {rate:.3g}: val loss {losses[rate]:.4f}', flush=True)
        return losses[rate]

    while True:
        around = [best / 2, best, best * 2]
        better = min(around, key=loss_at)
        if better == best:
            return losses
        best = better


def vertex(losses):
    """The best rate between the grid's: vertex of the parabola through the best grid point and its neighbours, in log rate."""
    best = min(losses, key=losses.get)
    low, mid, high = losses[best / 2], losses[best], losses[best * 2]
    if not math.isfinite(low + high):
        return best
    return best * 2 ** (0.5 * (low - high) / (low - 2 * mid + high))


def slope(n, y):
    """(a, b) of y = a * n^b by least squares on logs."""
    b, log_a = np.polyfit(np.log(n), np.log(y), 1)
    return math.exp(log_a), b


def write_table(path, rows):
    """All rows, of former sweeps too, where a new trial replaces its former self."""
    key = ('sweep', 'config', 'rate', 'seed')
    old = list(csv.DictReader(open(path))) if os.path.exists(path) else []
    merged = {tuple(str(r[k]) for k in key): r for r in [*old, *rows]}
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path, 'w', newline='') as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(merged.values())


def main():
    s = configure(Settings)
    if not s.configs:
        fail('nothing to sweep: give --configs=config/a.py,config/b.py')
    rows, found, start = [], [], s.start
    for config in s.configs:
        mine = []
        losses = sweep(s, config, start, mine)
        fixed = None
        if s.fixed:
            trials = [trial(s, config, s.fixed, seed, for_all=True) for seed in s.seeds or [1]]
            mine += [t for t in trials if math.isfinite(t['loss'])]
            fixed = sum(t['loss'] for t in trials) / len(trials)
        best = start = min(losses, key=losses.get)      # where the next size begins
        found.append({'arch': mine[0]['arch'], 'config': mine[0]['config'], 'n': mine[0]['n_non_embedding'], 'best': vertex(losses),
                      'loss': losses[best], 'all': losses, 'half': losses[best / 2], 'double': losses[best * 2], 'grid': best, 'fixed': fixed})
        rows += mine
        write_table(s.table, rows)

    print(f"\n{'config':<16}{'non-emb.':>12}{'best rate':>12}{'on grid':>12}{'loss':>9}{'at half':>9}{'double':>9}"
          + (f'{f"at {s.fixed:.0e}":>10}' if s.fixed else ''))
    for f in found:
        print(f"{f['config']:<16}{f['n']:>12,}{f['best']:>12.3g}{f['grid']:>12.3g}{f['loss']:>9.4f}{f['half']:>9.4f}{f['double']:>9.4f}"
              + (f"{f['fixed']:>10.4f}" if s.fixed else ''))
    for arch in sorted({f['arch'] for f in found}):
        mine = [f for f in found if f['arch'] == arch]
        if len({f['n'] for f in mine}) < 2:
            continue
        n = [f['n'] for f in mine]
        a, b = slope(n, [f['best'] for f in mine])
        common = [rate for rate in mine[0]['all'] if all(math.isfinite(f['all'].get(rate, math.inf)) for f in mine)]
        print(f'{arch}: {s.name} = {a:.3g} * N^{b:.3f}; exponent of the loss over N: {slope(n, [f["loss"] for f in mine])[1]:.4f} tuned'
              + ''.join(f', {slope(n, [f["all"][rate] for f in mine])[1]:.4f} with {rate:.3g} for all sizes' for rate in sorted(common))
              + (f', {slope(n, [f["fixed"] for f in mine])[1]:.4f} with {s.fixed:.0e} for all weights and sizes' if s.fixed else ''))


if __name__ == '__main__':
    main()
