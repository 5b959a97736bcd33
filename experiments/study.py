"""The study: a plan of runs, and a table with a row of each. What the table lacks is trained, the longest first.

    python prepare.py --source=FOLDER --out_dir=data/dev
    OMP_NUM_THREADS=1 python -m experiments.study                       # one by one; goes on where it was stopped
    OMP_NUM_THREADS=1 python -m experiments.study --list | xargs -P 8 -d '\\n' -n 1 sh -c         # or eight at a time;
    python -m experiments.study                                         # then this reads them into the table
    python fit_scaling.py --table=out/study.csv

--list prints what is missing as shell commands, one job a line, for any scheduler. A run that is finished in out_dir,
also one from another machine, is read and not trained. Our own tables are results/study.csv and results/ablations.csv.
"""
import math
import os
import shlex
from dataclasses import dataclass

import numpy as np
from scipy import stats

from configurator import configure, fail
from experiments.runner import ROOT, command, finished, read_rows, train, write_row
from train import load_meta

SEEDS = {           # of each size (config/study_*.py) for L(N); the longest run first
    'rnn_5': (1,), 'gpt_6': (1,), 'rnn_4': (1,), 'gpt_5': (1,), 'gpt_4': (1,), 'rnn_3': (1, 2), 'gpt_3': (1, 2),
    'rnn_2': (1, 2, 3), 'gpt_2': (1, 2, 3), 'rnn_1': (1, 2, 3), 'gpt_1': (1, 2, 3)}
TRUNKS = ('gpt_4', 'gpt_2', 'gpt_1')                                # for L(N, D)
TOKENS = (10_000_000, 5_000_000, 2_500_000, 1_250_000)              # of a trunk, and of the runs that branch off it
COOLDOWN = 0.2                                                      # share of a run's tokens
ABLATED = ('rnn_2', 'gpt_2')                                        # each with seed 1
ABLATIONS = {       # an option of train.py; the data beside data_dir are prepare.py's with the option behind
    'muon': '--optimizer=muon',
    'midi2abc': '--data_dir={data_dir}-midi2abc',                   # --converter=midi2abc
    'characters': '--data_dir={data_dir}-char',                     # --tokenizer=char
    'near-duplicates kept': '--data_dir={data_dir}-copies'}         # --near_duplicates=False


@dataclass
class Settings:
    data_dir: str = 'data/dev'              # the prepared corpus
    out_dir: str = 'out/study'              # a folder a run
    part: str | None = None                 # data | sizes | ablations; None: all
    table: str = 'out/study.csv'
    ablations: str = 'out/ablations.csv'
    list: bool = False                      # print commands, train nothing


@dataclass
class Run:
    name: str                               # of its row in the table
    group: str                              # data | sizes | the ablation
    out_dir: str
    options: list[str]                      # of train.py


def plan(s):
    """{part: jobs}; a job is a list of runs that must be made one after another, such as a trunk and its branches.

    data: L(N, D), a trunk at a constant rate (schedule wsd), and from it a cool-down to each number of tokens.
    sizes: L(N), the config's tokens once, cosine. ablations: each differs from one of sizes in one thing.
    """
    def run(size, what, group, *options):
        config = os.path.join(ROOT, 'config', f'study_{size}.py')
        options = [config, f'--data_dir={s.data_dir}', '--compile=True', '--log_interval=20', *options]
        return Run(f'{size}-{what}', group, os.path.join(s.out_dir, f'{size}-{what}'), options)

    sizes = [[run(size, f'seed{seed}', 'sizes', f'--seed={seed}')] for size, seeds in SEEDS.items() for seed in seeds]
    ablations = [[run(size, f'{name.replace(" ", "_")}-seed1', name, option.format(data_dir=s.data_dir))]
                 for name, option in ABLATIONS.items() for size in ABLATED]
    data = []
    begins = {tokens: int((1 - COOLDOWN) * tokens) // 4096 * 4096 for tokens in TOKENS[1:]}       # of the cool-downs
    for size in TRUNKS:
        wsd = ['--schedule=wsd', f'--cooldown_fraction={COOLDOWN}', '--warmup_steps=100']
        job = [run(size, f'wsd-{TOKENS[0]}', 'data', *wsd, f'--max_tokens={TOKENS[0]}',
                   f'--snapshots={",".join(map(str, begins.values()))}')]
        for tokens, begin in begins.items():
            trunk = os.path.join(job[0].out_dir, f'trunk-{begin}.pt')
            job.append(run(size, f'wsd-{tokens}', 'data', *wsd, f'--max_tokens={tokens}', f'--trunk={trunk}'))
        data.append(job)
    return {'data': data, 'sizes': sizes, 'ablations': ablations}


def differences(sizes, ablations):
    """Print what each ablation changes, in nats a note, against the run of the same config and seed.

    The intervals (95%, t) take the noise of seeds from all models of an architecture that were trained more than once.
    """
    cells = {}                              # (ablation, size) -> {seed: loss}
    for row in [row for row in sizes if row['group'] == 'sizes'] + ablations:
        cells.setdefault((row['group'], row['name'].split('-')[0]), {})[row['seed']] = float(row['loss_per_note'])
    print(f'| ablation | model | nats a note without | with it | difference, each seed | 95% interval |\n|{"---|" * 6}')
    for (name, size), losses in cells.items():
        reference = cells.get(('sizes', size), {})
        seeds = sorted(losses.keys() & reference.keys())
        if name == 'sizes' or not seeds:
            continue
        same = [list(cell.values()) for (_, other), cell in cells.items() if other[:3] == size[:3]]     # architecture
        freedom = sum(len(cell) - 1 for cell in same)
        variance = sum(np.var(cell) * len(cell) for cell in same) / freedom if freedom else math.nan
        without, with_it = [np.array([losses[seed] for seed in seeds]) for losses in (reference, losses)]
        changes, half = with_it - without, stats.t.ppf(0.975, max(1, freedom)) * math.sqrt(2 * variance / len(seeds))
        print(f'| {name} | {size} | {without.mean():.3f} | {with_it.mean():.3f} '
              f'| {", ".join(f"{change:+.3f}" for change in changes)} '
              f'| {changes.mean() - half:+.3f} to {changes.mean() + half:+.3f} |')


def main():
    s = configure(Settings)
    jobs = plan(s)
    if s.part not in (None, *jobs):
        fail(f"'part' must be one of {', '.join(jobs)}, not {s.part!r}")
    known = {row['name'] for table in (s.table, s.ablations) for row in read_rows(table)}
    missing = [job for part in jobs if s.part in (None, part) for job in jobs[part]
               if any(run.name not in known for run in job)]
    missing.sort(key=lambda job: list(SEEDS).index(job[0].name.split('-')[0]))
    if s.list:
        for job in missing:
            todo = [command(run.out_dir, run.options) for run in job if not finished(run.out_dir, run.options)]
            print(' && '.join(map(shlex.join, todo)), end='\n' if todo else '')
        return
    if missing:
        load_meta(s.data_dir)               # says what is wrong before anything begins
    for run in (run for job in missing for run in job):
        row = train(run.name, run.out_dir, run.options)
        if row is None:
            fail(f'{run.name}: the loss diverged')
        table = s.ablations if run.group in ABLATIONS else s.table
        write_row(table, {'name': run.name, 'group': run.group, **row}, key=['name'])
    if s.part in (None, 'ablations'):
        differences(read_rows(s.table), read_rows(s.ablations))


if __name__ == '__main__':
    main()
