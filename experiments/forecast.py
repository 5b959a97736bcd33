"""Forecast a run of the study before it is trained, by a law fitted to a committed table.

    python -m experiments.forecast --size=gpt_7 --tokens=40_000_000 --by=sizes
    python -m experiments.forecast --size=gpt_7 --tokens=40_000_000 --by=runs

--by=sizes uses no run of that size, --by=runs its shorter ones, too. The form of the law and its
count of parameters are those of the lowest held-out error on these runs (scaling/heldout.py). The
forecast goes into results/prediction.csv with the commit that holds the table: commit it before the
run begins.
"""
import os
import subprocess
from dataclasses import dataclass

from configurator import configure, fail
from experiments.runner import read_rows, write_row
from experiments.study import SIZES, STEP, model_options
from scaling import frontier, heldout, runs
from train import Settings as Training
from train import build_model, load_meta


@dataclass
class Settings:
    size: str | None = None                     # such as gpt_7, see SIZES in experiments/study.py
    tokens: int | None = None                   # of the run to come
    by: str = 'sizes'                           # sizes | runs: the runs to use, see above
    data_dir: str = 'data/study'
    table: str = 'results/study.csv'            # as committed
    to: str = 'results/prediction.csv'


def known_runs(s, run):
    """The runs of the table that the forecast may use: of its architecture, and as --by says."""
    rows = runs.read_table(s.table)
    runs.choose_unit(rows)
    used = []
    for row in rows:
        same_size = row['n_total'] == run['n_total']
        shorter = row['tokens'] < 0.98 * run['tokens']
        if row['arch'] == run['arch'] and (not same_size or s.by == 'runs' and shorter):
            used.append(row)
    group = runs.choose_l_nd(used) if used else None
    if not group:
        fail(f'{s.table} holds too few runs for a law: 3 sizes at 3 token counts, 8 in all')
    return group


def commit_of(path):
    """The commit that holds the file in its present state; exits (2) if none does."""
    folder, name = os.path.split(os.path.abspath(path))

    def git(*words):
        return subprocess.run(['git', *words], cwd=folder, capture_output=True, text=True)

    untracked = git('ls-files', '--error-unmatch', name).returncode
    changed = git('diff', '--quiet', 'HEAD', '--', name).returncode
    if untracked or changed:
        fail(f'{path} has changes that are not committed: '
             'a forecast names the commit that holds its rows')
    return git('log', '-1', '--format=%H', '--', name).stdout.strip()


def main():
    s = configure(Settings)
    if s.size is None or s.tokens is None or s.by not in ('sizes', 'runs'):
        fail('give --size=gpt_7, --tokens=40_000_000 and --by=sizes or --by=runs')
    if s.size not in SIZES:
        fail(f"'size' must be one of {', '.join(sorted(SIZES))}, not {s.size!r}")
    commit, meta = commit_of(s.table), load_meta(s.data_dir)

    # The run to come: its parameters, tokens and FLOPs.
    config = vars(configure(Training, model_options(s.size)))
    model = build_model(config['arch'], {**config, 'vocab_size': meta['vocab_size']})
    count = model.num_params()
    tokens = min(s.tokens, meta['splits']['train']['tokens']) // STEP * STEP
    run = {'arch': config['arch'], 'tokens': tokens, 'flops': model.flops_per_token() * tokens,
           **{f'n_{which}': float(count[which]) for which in runs.SIZES}}
    name = f'{s.size}-{s.tokens}'
    if any(row['name'] == name for row in read_rows(s.table)):
        fail(f'{name} has been trained: it is in {s.table}')

    # The form with the lowest held-out error and, in any case, Hoffmann's.
    group = known_runs(s, run)
    chosen = heldout.choose(heldout.compare(group))
    choices = [(chosen['size'], chosen['form']), ('non_embedding', 'hoffmann')]
    for which, form in dict.fromkeys(choices):
        law = heldout.fit(group, which, form)
        words = f'{form} over {which}'
        predicted, low, high = frontier.forecast(law, heldout.counts([run])[which][0], tokens)
        row = {'name': name, **{f'n_{key}': int(count[key]) for key in runs.SIZES},
               'tokens': tokens, 'from': s.by, 'predicted': round(predicted, 4),
               'low': round(low, 4), 'high': round(high, 4), 'law': words, 'git': commit}
        write_row(s.to, row, key=['name', 'from', 'law'])
        print(f'{name} by {s.by}: {predicted:.4f} [{low:.4f}, {high:.4f}] nats/note; {words}, '
              f'{len(law["residuals"])} runs -> {s.to}')


if __name__ == '__main__':
    main()
