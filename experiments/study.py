"""The study: a plan of runs, and a table with a row of each. What the table lacks is trained, the longest first.

    python prepare.py --source=FOLDER --out_dir=data/study --val_fraction=0.03
    OMP_NUM_THREADS=1 python -m experiments.study                       # one by one; goes on where it was stopped
    OMP_NUM_THREADS=1 python -m experiments.study --list | xargs -P 8 -d '\\n' -n 1 sh -c         # or eight at a time;
    python -m experiments.study --list                                  # then this reads them into the table
    python fit_scaling.py --table=out/study.csv
    python -m experiments.study --part=ablations --family=quick --data_dir=data/bundled --out_dir=out/tunes \\
        --ablations=out/ablations_tunes.csv                             # the same ablations on the tune books

--list puts what is finished in out_dir, also what another machine has trained, into the table, and prints what is
missing as shell commands, one job a line, for any scheduler. Training curves lie beside the table, in _curves.csv.
"""
import math
import os
import shlex
import sys
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from configurator import configure, fail
from experiments.runner import ROOT, command, finished, read_rows, results, train, write_row, write_rows
from scaling.runs import curves_path
from train import Settings as Training
from train import build_model, load_meta

M = 1_000_000
STEP = 8 * 256                                                                  # tokens, of every config
SIZES = ('gpt_8', 'gpt_7', 'gpt_6', 'rnn_4', 'gpt_5', 'gpt_4', 'rnn_3', 'gpt_3', 'gpt_2', 'rnn_2', 'rnn_1', 'gpt_1')
LONGEST = {'gpt': 40 * M, 'rnn': 20 * M}                                        # tokens of a trunk
TOKENS = (40 * M, 20 * M, 10 * M, 5 * M, 5 * M // 2, 5 * M // 4)                # cool-downs end after so many
FEWEST = 5 * M // 2         # tokens of a run that a law may use: of fewer, the 200 steps of warm-up are a third
COOLDOWN = 0.2                                                                  # share of a run's tokens
WSD = ['--schedule=wsd', f'--cooldown_fraction={COOLDOWN}', '--min_lr=0', '--warmup_steps=200']
SECOND_SEED = {'gpt_5': TOKENS[2:5], 'gpt_7': TOKENS[2:5],                      # tokens of a size's second seed
               'gpt_8': TOKENS[2:3], 'gpt_6': TOKENS[2:3], 'gpt_2': TOKENS[2:3]}
DEPTHS = {'gpt_4x90': ('gpt_4', 4, 3, 90), 'gpt_6x72': ('gpt_4', 6, 3, 72),     # base, layers, heads, width
          'gpt_4x180': ('gpt_7', 4, 6, 180), 'gpt_6x150': ('gpt_7', 6, 5, 150)}
DEPTH_RATES = 0.0036, 0.0018, 0.0072
ABLATED, ABLATION_SEEDS = 'gpt_3', (1, 2)
ABLATION_TOKENS = {'study': 5 * M, 'quick': 1_300_000}
BASE = 'as it is'
FAR = 16                    # a variance of seeds above so many times the median is another noise than the others'
ABLATIONS = {       # what differs from BASE -> options of train.py; behind it that of prepare.py
    BASE: '',
    'original attention': '--positions=learned --key_offset=False --qk_norm=False --conv_taps=0',
    'learned positions': '--positions=learned',
    'no key offset': '--key_offset=False',
    'no norm of queries and keys': '--qk_norm=False',
    'no convolutions': '--conv_taps=0',
    'neither key offset nor convolutions': '--key_offset=False --conv_taps=0',
    'context 512': '--block_size=512 --batch_size=4',
    'context 1,024': '--block_size=1024 --batch_size=2',
    'vocabulary 1,000': '--data_dir={data_dir}-v1000',            # --vocab_size=1000
    'vocabulary 2,000': '--data_dir={data_dir}-v2000',            # --vocab_size=2000
    'characters': '--data_dir={data_dir}-char',                   # --tokenizer=char
    'midi2abc': '--data_dir={data_dir}-midi2abc',                 # --converter=midi2abc
    'near-duplicates kept': '--data_dir={data_dir}-copies'}       # --near_duplicates=False


@dataclass
class Settings:
    data_dir: str = 'data/study'            # the prepared corpus
    out_dir: str = 'out/study'              # a folder a run
    part: str | None = None                 # law | depth | rate | schedule | dropout | ablations; None: all
    family: str = 'study'                   # of configs; quick: those of the tune books, ablations alone
    table: str = 'out/study.csv'
    ablations: str = 'out/ablations.csv'
    list: bool = False                      # print commands, train nothing; what is finished goes into the tables


@dataclass
class Run:
    name: str                               # of its row in the table
    group: str                              # law; short, which no law uses; or what an ablation changes
    out_dir: str
    options: list[str]                      # of train.py


def run(s, size, what, group, *options, name=None):
    """The Run of a config's size, called after it unless `name` says otherwise."""
    config = os.path.join(ROOT, 'config', f'{s.family}_{size}.py')
    options = [config, f'--data_dir={s.data_dir}', '--compile=True', '--log_interval=20', *options]
    name = f'{name or size}-{what}'
    return Run(name, group, os.path.join(s.out_dir, name), options)


def law(s):
    """A job per size and seed: one run at a constant rate, and from it a decay to 0 per token count."""
    for size in SIZES:
        yield law_job(s, size, 1, [tokens for tokens in TOKENS if tokens <= LONGEST[size[:3]]])
    for size, ends in SECOND_SEED.items():
        yield law_job(s, size, 2, ends)


def law_job(s, size, seed, ends):
    """The runs of a size and seed that end after `ends` tokens (longest first); all branch off the first one."""
    options, suffix = list(WSD), ''
    if seed > 1:
        options.append(f'--seed={seed}')
        suffix = f'-seed{seed}'
    begins = [int((1 - COOLDOWN) * tokens) // STEP * STEP for tokens in ends[1:]]
    snapshots = [f'--snapshots={",".join(map(str, begins))}'] if begins else []
    trunk = run(s, size, f'{ends[0]}{suffix}', 'law', *options, f'--max_tokens={ends[0]}', *snapshots)
    job = [trunk]
    for tokens, begin in zip(ends[1:], begins):
        snapshot = os.path.join(trunk.out_dir, f'trunk-{begin}.pt')
        group = 'short' if tokens < FEWEST else 'law'
        job.append(run(s, size, f'{tokens}{suffix}', group, *options, f'--max_tokens={tokens}', f'--trunk={snapshot}'))
    return job


def depth(s):
    """Four and six layers at the non-embedding parameters of gpt_4 and gpt_7, which have two.

    Each shape is trained on 2.5M tokens at each of DEPTH_RATES, then on 10M at the best of them.
    """
    for name, (base, *shape) in DEPTHS.items():
        options = [*WSD, *(f'--{key}={value}' for key, value in zip(('n_layer', 'n_head', 'n_embd'), shape))]
        short = {rate: run(s, base, f'2500000-lr{rate}', 'depth', *options, f'--learning_rate={rate}',
                           '--max_tokens=2500000', name=name) for rate in DEPTH_RATES}
        for one in short.values():
            yield [one]
        losses = {row['name']: float(row['loss_per_note']) for row in read_rows(s.table)}
        if all(one.name in losses for one in short.values()):
            best = min(short, key=lambda rate: losses[short[rate].name])
            yield [run(s, base, '10000000', 'depth', *options, f'--learning_rate={best}', '--max_tokens=10000000',
                       name=name)]


def dropout(s):
    """Does dropout close the gap between validation and training loss that grows with size?"""
    for size in ('rnn_4', 'gpt_7'):
        yield [run(s, size, '20000000-dropout', 'dropout', *WSD, '--dropout=0.1', '--max_tokens=20000000')]


def rate(s):
    """The learning rate of the smallest size, a half, twice and four times the study's."""
    for value in (0.00405, 0.0162, 0.0324):
        yield [run(s, 'gpt_1', f'5000000-lr{value}', 'rate', *WSD, f'--learning_rate={value}', '--max_tokens=5000000')]


def schedule(s):
    """Cosine to 0 instead of a constant rate with a linear decay."""
    for size in ('gpt_2', 'gpt_7'):
        yield [run(s, size, '2500000-cosine', 'schedule', '--schedule=cosine', '--min_lr=0', '--warmup_steps=200',
                   '--max_tokens=2500000')]


def ablations(s):
    """Pairs with BASE at equal tokens; at equal compute where a token costs another sum, at equal notes where the text
    is another. Those without data are left out."""
    config, tokens = os.path.join(ROOT, 'config', f'{s.family}_{ABLATED}.py'), ABLATION_TOKENS[s.family]

    def tokens_a_note(data_dir):
        train = load_meta(data_dir)['splits']['train']
        return train['tokens'] / train['notes']

    def flops_a_token(data_dir, *options):
        values = {**vars(configure(Training, [config, *options])), 'vocab_size': load_meta(data_dir)['vocab_size']}
        with torch.device('meta'):          # shapes alone
            return build_model(values['arch'], values).flops_per_token()

    for name, options in ABLATIONS.items():
        options = options.format(data_dir=s.data_dir).split()
        data_dir = next((o.split('=')[1] for o in options if o.startswith('--data_dir=')), s.data_dir)
        if data_dir != s.data_dir and not os.path.exists(os.path.join(data_dir, 'meta.json')):
            print(f'{name}: left out, there are no data in {data_dir}', file=sys.stderr)
            continue
        factor = 1
        if name.startswith(('vocabulary', 'context')):
            factor = flops_a_token(s.data_dir) / flops_a_token(data_dir, *options)
        elif data_dir != s.data_dir:
            factor = tokens_a_note(data_dir) / tokens_a_note(s.data_dir)
        for seed in ABLATION_SEEDS:
            what = f'{name.replace(" ", "_").replace(",", "")}-seed{seed}'
            yield [run(s, ABLATED, what, name, f'--max_tokens={int(factor * tokens)}', f'--seed={seed}', *options)]


def keep(s, run, row, curve):
    """Put what a run has come to into its tables."""
    table = s.ablations if run.group in ABLATIONS else s.table
    write_row(table, {'name': run.name, 'group': run.group, **row}, key=['name'])
    write_rows(curves_path(table), curve, key=['name', 'tokens'])


PARTS = {'law': law, 'depth': depth, 'rate': rate, 'schedule': schedule, 'dropout': dropout,
         'ablations': ablations}


def differences(rows):
    """Print what each ablation changes, in nats a note, against BASE of the same size and seed.

    The intervals (95%, t) take the noise of seeds from all cells of the size that were trained more than once, but
    from those whose seeds are FAR apart, such as where one has learned to copy and the other has not yet: these have a
    noise of their own, that of their differences.
    """
    cells = {}                              # (ablation, size) -> {seed: loss}
    for row in rows:
        cells.setdefault((row['group'], row['name'].split('-')[0]), {})[row['seed']] = float(row['loss_per_note'])
    print('| what is changed | model | nats a note without | with it | difference, each seed | 95% interval |')
    print('|---' * 6 + '|')
    for (name, size), losses in cells.items():
        reference = cells.get((BASE, size), {})
        seeds = sorted(losses.keys() & reference.keys())
        if name == BASE or not seeds:
            continue
        same = [list(cell.values()) for (_, other), cell in cells.items() if other == size and len(cell) > 1]
        far = FAR * np.median([np.var(cell, ddof=1) for cell in same]) if same else math.inf
        usual = [cell for cell in same if np.var(cell, ddof=1) <= far]
        freedom = sum(len(cell) - 1 for cell in usual)
        variance = 2 * sum(np.var(cell) * len(cell) for cell in usual) / freedom if freedom else math.nan
        without, with_it = [np.array([losses[seed] for seed in seeds]) for losses in (reference, losses)]
        changes = with_it - without
        if len(seeds) > 1 and np.var(with_it, ddof=1) > far:
            freedom, variance = len(seeds) - 1, np.var(changes, ddof=1)
        half = stats.t.ppf(0.975, max(1, freedom)) * math.sqrt(variance / len(seeds))
        print(f'| {name} | {size} | {without.mean():.3f} | {with_it.mean():.3f} '
              f'| {", ".join(f"{change:+.3f}" for change in changes)} '
              f'| {changes.mean() - half:+.3f} to {changes.mean() + half:+.3f} |')


def main():
    s = configure(Settings)
    if s.part not in (None, *PARTS):
        fail(f"'part' must be one of {', '.join(PARTS)}, not {s.part!r}")
    if s.family not in ABLATION_TOKENS or s.family != 'study' and s.part != 'ablations':
        fail(f"'family' must be study, or quick with --part=ablations, not {s.family!r}")
    if s.list:
        for job in missing_jobs(s):
            todo = []
            for run in job:
                if checkpoint := finished(run.out_dir, run.options):
                    keep(s, run, *results(run.name, checkpoint))
                else:
                    todo.append(command(run.out_dir, run.options))
            print(' && '.join(map(shlex.join, todo)), end='\n' if todo else '')
        return
    if missing_jobs(s):
        load_meta(s.data_dir)               # says what is wrong before anything begins
    while jobs := missing_jobs(s):          # again after each job, since depth's last runs follow from its first
        for run in jobs[0]:
            trained = train(run.name, run.out_dir, run.options)
            if trained is None:
                fail(f'{run.name}: the loss diverged')
            keep(s, run, *trained)
    if s.part in (None, 'ablations'):
        differences(read_rows(s.ablations))


def missing_jobs(s):
    """The jobs of the parts asked for, each a list of the runs that no table has yet, the longest of `law` first."""
    known = {row['name'] for table in (s.table, s.ablations) for row in read_rows(table)}
    jobs = []
    for part, plan in PARTS.items():
        if s.part in (None, part):
            jobs += [[run for run in job if run.name not in known] for job in plan(s)]
    return [job for job in jobs if job]


if __name__ == '__main__':
    main()
