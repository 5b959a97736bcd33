"""Foretell a run of the study before it is trained, by the law of the runs that the committed table holds.

    python -m experiments.forecast --size=gpt_7 --tokens=40_000_000 --by=sizes      # from no run of that size
    python -m experiments.forecast --size=gpt_7 --tokens=40_000_000 --by=runs       # from its shorter runs, too

The form of the law and its count of parameters are chosen on these runs (scaling/heldout.py). A row of results/
prediction.csv says what was foretold, and at which commit the table stood: commit the row before the run begins.
"""
import os
import subprocess
from dataclasses import dataclass

from configurator import configure, fail
from experiments.runner import ROOT, read_rows, write_row
from experiments.study import STEP
from scaling import frontier, heldout, runs
from train import Settings as Training
from train import build_model, load_meta


@dataclass
class Settings:
    size: str | None = None                     # such as gpt_7, of config/study_gpt_7.py
    tokens: int | None = None                   # of the run to come
    by: str = 'sizes'                           # sizes: no run of that size is used | runs: its shorter ones are
    data_dir: str = 'data/study'
    table: str = 'results/study.csv'            # as committed
    to: str = 'results/prediction.csv'


def known_runs(s, run):
    """The runs of the table that the forecast may use."""
    rows = runs.read_table(s.table)
    runs.choose_unit(rows)
    rows = [row for row in rows if row['arch'] == run['arch']
            and (row['tokens'] < 0.98 * run['tokens'] if row['n_total'] == run['n_total'] and s.by == 'runs'
                 else row['n_total'] != run['n_total'])]
    group = runs.choose_l_nd(rows) if rows else None
    if not group:
        fail(f'{s.table} holds too few runs for a law: 3 sizes at 3 token counts, 8 in all')
    return group


def commit_of(path):
    """The commit that holds the file as it is; exits (2) where none does."""
    def git(*words):
        return subprocess.run(['git', *words], cwd=folder, capture_output=True, text=True)
    folder, name = os.path.split(os.path.abspath(path))
    if git('ls-files', '--error-unmatch', name).returncode or git('diff', '--quiet', 'HEAD', '--', name).returncode:
        fail(f'{path} is not committed as it is: a forecast names the commit that holds its rows')
    return git('log', '-1', '--format=%H', '--', name).stdout.strip()


def main():
    s = configure(Settings)
    if s.size is None or s.tokens is None or s.by not in ('sizes', 'runs'):
        fail('give --size=gpt_7, --tokens=40_000_000 and --by=sizes or --by=runs')
    commit, meta = commit_of(s.table), load_meta(s.data_dir)
    config = vars(configure(Training, [os.path.join(ROOT, 'config', f'study_{s.size}.py')]))
    model = build_model(config['arch'], {**config, 'vocab_size': meta['vocab_size']})
    count, tokens = model.num_params(), min(s.tokens, meta['splits']['train']['tokens']) // STEP * STEP
    run = {'arch': config['arch'], 'tokens': tokens, 'flops': model.flops_per_token() * tokens,
           **{f'n_{which}': float(count[which]) for which in runs.SIZES}}
    name = f'{s.size}-{s.tokens}'
    if any(row['name'] == name for row in read_rows(s.table)):
        fail(f'{name} has been trained: it stands in {s.table}')
    group = known_runs(s, run)
    chosen = heldout.choose(heldout.compare(group))
    choices = [(chosen['size'], chosen['form']), ('non_embedding', 'hoffmann')]
    for which, form in dict.fromkeys(choices):                  # Hoffmann's beside it, in any case
        law = heldout.fit(group, which, form)
        words = f'{form} over {which}'
        predicted, low, high = frontier.forecast(law, heldout.counts([run])[which][0], tokens)
        row = {'name': name, **{f'n_{key}': int(count[key]) for key in runs.SIZES}, 'tokens': tokens, 'from': s.by,
               'predicted': round(predicted, 4), 'low': round(low, 4), 'high': round(high, 4),
               'law': words, 'git': commit}
        write_row(s.to, row, key=['name', 'from', 'law'])
        print(f'{name} by {s.by}: {predicted:.4f} [{low:.4f}, {high:.4f}] nats a note; {words}, '
              f'{len(law["residuals"])} runs -> {s.to}')


if __name__ == '__main__':
    main()
