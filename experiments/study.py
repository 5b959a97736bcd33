"""The study: a plan of runs, and a table with a row of each. Missing runs are trained.

    python prepare.py --source=FOLDER --out_dir=data/study --val_fraction=0.03
    OMP_NUM_THREADS=1 python -m experiments.study           # one run after another; may be stopped
    OMP_NUM_THREADS=1 python -m experiments.study --list | xargs -P 8 -d '\\n' -n 1 sh -c
    python -m experiments.study --list                      # the eight at a time into the table
    python fit_scaling.py --table=out/study.csv
    python -m experiments.study --part=ablations --family=quick --data_dir=data/bundled \\
        --out_dir=out/tunes --ablations=out/ablations_tunes.csv         # on the bundled tune books
    python prepare.py --transpose=0 --out_dir=data/books
    python -m experiments.study --part=repeats --family=quick --data_dir=data/books
    python -m experiments.study --part=nine                 # the original's sizes, for a GPU

--list puts what is finished in out_dir, also what another machine has trained, into the table, and
prints what is missing as shell commands, one job a line, for any scheduler. Training curves go into
a second table, whose name ends in _curves.csv.
"""
import itertools
import math
import os
import shlex
import sys
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from configurator import configure, fail
from experiments import repeats as repeated_data
from experiments.runner import (
    ROOT,
    command,
    finished,
    read_rows,
    results,
    sized,
    train,
    write_row,
    write_rows,
)
from scaling.runs import curves_path
from train import Settings as Training
from train import build_model, load_meta

M = 1_000_000
STEP = 8 * 256                              # tokens per optimiser step, in every config

# Sizes of the families, {name in the table: width}, those whose runs take longest first.
SIZES = {'gpt_8': 384, 'gpt_7': 256, 'gpt_6': 192, 'rnn_4': 384, 'gpt_5': 160, 'gpt_4': 128,
         'rnn_3': 256, 'gpt_3': 96, 'gpt_2': 64, 'rnn_2': 128, 'rnn_1': 64, 'gpt_1': 32}

# The law: per size a run at a constant learning rate, the longest, and decays to 0 off it.
TOKENS = (40 * M, 20 * M, 10 * M, 5 * M, 5 * M // 2, 5 * M // 4)        # at the end of a decay
LONGEST = {'gpt': 40 * M, 'rnn': 20 * M}
FEWEST = 5 * M // 2         # of a run that a law may use: in shorter ones warm-up is a third
COOLDOWN = 0.2              # the decay's share of a run's tokens
WSD = ['--schedule=wsd', f'--cooldown_fraction={COOLDOWN}', '--min_lr=0', '--warmup_steps=200']
SECOND_SEED = {'gpt_5': TOKENS[2:5], 'gpt_7': TOKENS[2:5],              # {size: tokens}
               'gpt_8': TOKENS[2:3], 'gpt_6': TOKENS[2:3], 'gpt_2': TOKENS[2:3]}

# Depth: other layers, heads and widths at the parameters of gpt_4 and gpt_7, three learning rates.
DEPTHS = {'gpt_4x90': (4, 3, 90), 'gpt_6x72': (6, 3, 72),
          'gpt_4x180': (4, 6, 180), 'gpt_6x150': (6, 5, 150)}
DEPTH_RATES = 0.0036, 0.0018, 0.0072

# The original study's nine sizes; {size: learning rate} of its GPTs with modern blocks at batch 8:
# 0.0057 (160 / width) sqrt(2 / layers). Two differ: gpt_micro has that of gpt_4, which has its
# shape, and gpt_small the best of three that were tried at 2.5M tokens.
MODERN = {'gpt_large': 0.0005, 'gpt_medium': 0.0009, 'gpt_small': 0.0020, 'gpt_tiny': 0.0039,
          'gpt_micro': 0.0057}
ORIGINAL = ('gpt_large', 'rnn_large', 'rnn_medium', 'gpt_medium', 'rnn_small', 'gpt_small',
            'gpt_tiny', 'gpt_micro', 'rnn_tiny')

# Ablations: what differs from BASE -> options of train.py; the comment has those of prepare.py.
ABLATED, ABLATION_SEEDS = 'gpt_3', (1, 2)
ABLATION_TOKENS = {'study': 5 * M, 'quick': 1_300_000}
BASE = 'as it is'
ABLATIONS = {
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
FAR = 16        # a variance between seeds above so many times the median is no usual noise


@dataclass
class Settings:
    data_dir: str = 'data/study'            # the prepared corpus
    out_dir: str = 'out/study'              # with a folder for each run
    part: str | None = None                 # law | depth | rate | schedule | dropout | ablations
                                            # | repeats | nine; None: all but these two
    family: str = 'study'                   # study | quick (ablations, repeats: on the tune books)
    table: str = 'out/study.csv'
    ablations: str = 'out/ablations.csv'
    repeats: str = 'out/repeats.csv'
    nine: str = 'out/nine.csv'
    list: bool = False                      # print commands and read finished runs, train nothing


@dataclass
class Run:
    name: str                               # of its row in the table
    group: str                              # law; short (no law uses it); the part, or the ablation
    out_dir: str
    options: list[str]                      # of train.py
    about: dict = field(default_factory=dict)       # more columns of its row


def model_options(size, family='study'):
    """The options of train.py for a size of the plan: gpt_3 -> [config/gpt.py, '--n_embd=96']."""
    prefix = '' if family == 'study' else f'{family}_'
    return sized(os.path.join(ROOT, 'config', f'{prefix}{size[:3]}.py'), SIZES[size])


def make_run(s, name, group, model, *options):
    """The Run of a model, which is given by options of train.py."""
    options = [*model, f'--data_dir={s.data_dir}', '--compile=True', '--log_interval=20', *options]
    return Run(name, group, os.path.join(s.out_dir, name), options)


def law(s):
    """A job per size and seed: a run at a constant learning rate, and decays to 0 off it."""
    for size in SIZES:
        yield law_job(s, size, 1, [tokens for tokens in TOKENS if tokens <= LONGEST[size[:3]]])
    for size, ends in SECOND_SEED.items():
        yield law_job(s, size, 2, ends)


def law_job(s, size, seed, ends):
    """The runs of a size and seed that end after `ends` tokens, longest first.

    The first one keeps a snapshot where the decay of each other one begins; they start from these.
    """
    options, suffix = list(WSD), ''
    if seed > 1:
        options.append(f'--seed={seed}')
        suffix = f'-seed{seed}'
    begins = [int((1 - COOLDOWN) * tokens) // STEP * STEP for tokens in ends[1:]]
    snapshots = [f'--snapshots={",".join(map(str, begins))}'] if begins else []

    model = model_options(size)
    first = make_run(s, f'{size}-{ends[0]}{suffix}', 'law', model, *options,
                     f'--max_tokens={ends[0]}', *snapshots)
    job = [first]
    for tokens, begin in zip(ends[1:], begins):
        snapshot = os.path.join(first.out_dir, f'trunk-{begin}.pt')
        group = 'short' if tokens < FEWEST else 'law'
        job.append(make_run(s, f'{size}-{tokens}{suffix}', group, model, *options,
                            f'--max_tokens={tokens}', f'--trunk={snapshot}'))
    return job


def depth(s):
    """Four and six layers at the non-embedding parameters of gpt_4 and gpt_7, which have two.

    Each shape is trained on 2.5M tokens at each of DEPTH_RATES, then on 10M at the best of them.
    """
    for shape, (n_layer, n_head, n_embd) in DEPTHS.items():
        model = [os.path.join(ROOT, 'config', 'gpt.py'),
                 f'--n_layer={n_layer}', f'--n_head={n_head}', f'--n_embd={n_embd}', *WSD]
        short = {rate: make_run(s, f'{shape}-2500000-lr{rate}', 'depth', model,
                                f'--learning_rate={rate}', '--max_tokens=2500000')
                 for rate in DEPTH_RATES}
        for one in short.values():
            yield [one]

        # The long run follows as soon as the table has the short ones.
        losses = {row['name']: float(row['loss_per_note']) for row in read_rows(s.table)}
        if all(one.name in losses for one in short.values()):
            best = min(short, key=lambda rate: losses[short[rate].name])
            yield [make_run(s, f'{shape}-10000000', 'depth', model, f'--learning_rate={best}',
                            '--max_tokens=10000000')]


def dropout(s):
    """Does dropout close the gap between validation and training loss that grows with size?"""
    for size in ('rnn_4', 'gpt_7'):
        yield [make_run(s, f'{size}-20000000-dropout', 'dropout', model_options(size), *WSD,
                        '--dropout=0.1', '--max_tokens=20000000')]


def rate(s):
    """The smallest size at a half, twice and four times its learning rate."""
    for value in (0.00405, 0.0162, 0.0324):
        yield [make_run(s, f'gpt_1-5000000-lr{value}', 'rate', model_options('gpt_1'), *WSD,
                        f'--learning_rate={value}', '--max_tokens=5000000')]


def schedule(s):
    """A cosine decay to 0 instead of a constant learning rate with a linear decay."""
    for size in ('gpt_2', 'gpt_7'):
        yield [make_run(s, f'{size}-2500000-cosine', 'schedule', model_options(size),
                        '--schedule=cosine', '--min_lr=0', '--warmup_steps=200',
                        '--max_tokens=2500000')]


def ablations(s):
    """Each ablation at two seeds, and BASE. Those whose data are not prepared are left out.

    They get as many tokens as BASE; if the cost of a token changes, as many FLOPs; if the text
    does, as many notes.
    """
    model = model_options(ABLATED, s.family)
    for name, options in ABLATIONS.items():
        options = options.format(data_dir=s.data_dir).split()
        data_dir = configure(Training, [f'--data_dir={s.data_dir}', *options]).data_dir
        if data_dir != s.data_dir and not os.path.exists(os.path.join(data_dir, 'meta.json')):
            print(f'{name}: left out, there are no data in {data_dir}', file=sys.stderr)
            continue

        factor = 1
        if name.startswith(('vocabulary', 'context')):
            factor = flops_per_token(s.data_dir, model)
            factor /= flops_per_token(data_dir, [*model, *options])
        elif data_dir != s.data_dir:
            factor = tokens_per_note(data_dir) / tokens_per_note(s.data_dir)

        for seed in ABLATION_SEEDS:
            what = f'{name.replace(" ", "_").replace(",", "")}-seed{seed}'
            max_tokens = int(factor * ABLATION_TOKENS[s.family])
            yield [make_run(s, f'{ABLATED}-{what}', name, model, f'--max_tokens={max_tokens}',
                            f'--seed={seed}', *options)]


def repeats(s):
    """Parts of a corpus, trained on for many epochs: see repeats.py."""
    for job in repeated_data.jobs(s, model_options):
        yield [Run(name, 'repeats', os.path.join(s.out_dir, name),
                   [*options, f'--data_dir={folder}'], about)
               for name, folder, options, about in job]


def nine(s):
    """The original study's sizes: the GPTs with modern blocks by the study's recipe, then all nine
    by the original's; the longest runs first."""
    def config(name):
        return os.path.join(ROOT, 'config', f'{name}.py')

    for size, learning_rate in MODERN.items():
        yield [make_run(s, f'{size}-modern', 'modern', [config(size), config('modern')],
                        '--batch_size=8', '--beta2=0.99', *WSD, f'--max_tokens={TOKENS[0]}',
                        f'--learning_rate={learning_rate}')]
    for size in ORIGINAL:
        yield [make_run(s, f'{size}-original', 'original', [config(size), config('original')])]


def tokens_per_note(data_dir):
    """Of the training split."""
    train = load_meta(data_dir)['splits']['train']
    return train['tokens'] / train['notes']


def flops_per_token(data_dir, options):
    """Training FLOPs per token of the model that the options of train.py give on these data."""
    values = {**vars(configure(Training, options)), 'vocab_size': load_meta(data_dir)['vocab_size']}
    return build_model(values['arch'], values).flops_per_token()


PARTS = {'law': law, 'depth': depth, 'rate': rate, 'schedule': schedule, 'dropout': dropout,
         'ablations': ablations, 'repeats': repeats, 'nine': nine}
BY_NAME = 'repeats', 'nine'                 # parts that are trained only if they are asked for


def missing_jobs(s):
    """The jobs of the parts asked for: lists of runs that no table has yet, `law` longest first."""
    known = {row['name'] for table in (s.table, s.ablations, s.repeats, s.nine)
             for row in read_rows(table)}
    jobs = []
    for part, plan in PARTS.items():
        if part == s.part or s.part is None and part not in BY_NAME:
            jobs += [[run for run in job if run.name not in known] for job in plan(s)]
    return [job for job in jobs if job]


def keep(s, run, row, curve):
    """Put the result of a run into its tables."""
    table = s.table
    if run.group in ABLATIONS:
        table = s.ablations
    elif run.group == 'repeats':
        table = s.repeats
    elif run.group in ('modern', 'original'):
        table = s.nine
    write_row(table, {'name': run.name, 'group': run.group, **row, **run.about}, key=['name'])
    write_rows(curves_path(table), curve, key=['name', 'tokens'])


def differences(rows):
    """Print what each ablation changes, in nats/note, against BASE of the same size and seed.

    Each (ablation, size) pair has a loss per seed. The 95% intervals (t) take the noise between
    seeds from all pairs of a size that were trained more than once. Pairs whose seeds are FAR apart
    are not used for this: there one seed has learned to copy and another has not. Their own
    intervals come from the spread of their own differences.
    """
    losses_of = {}                          # {(ablation, size): {seed: loss}}
    for row in rows:
        pair = row['group'], row['name'].split('-')[0]
        losses_of.setdefault(pair, {})[row['seed']] = float(row['loss_per_note'])

    print('| what is changed | model | nats/note without | with it | difference, each seed '
          '| 95% interval |')
    print('|---' * 6 + '|')
    for (name, size), losses in losses_of.items():
        reference = losses_of.get((BASE, size), {})
        seeds = sorted(losses.keys() & reference.keys())
        if name == BASE or not seeds:
            continue

        # The variance of a difference: twice the pooled variance between seeds.
        repeated = [list(other.values()) for (_, other_size), other in losses_of.items()
                    if other_size == size and len(other) > 1]
        far = math.inf
        if repeated:
            far = FAR * np.median([np.var(values, ddof=1) for values in repeated])
        usual = [values for values in repeated if np.var(values, ddof=1) <= far]
        freedom = sum(len(values) - 1 for values in usual)
        variance = math.nan
        if freedom:
            variance = 2 * sum(np.var(values) * len(values) for values in usual) / freedom

        # The differences, seed by seed, and their interval.
        without = np.array([reference[seed] for seed in seeds])
        with_it = np.array([losses[seed] for seed in seeds])
        changes = with_it - without
        if len(seeds) > 1 and np.var(with_it, ddof=1) > far:
            freedom, variance = len(seeds) - 1, np.var(changes, ddof=1)
        half = stats.t.ppf(0.975, max(1, freedom)) * math.sqrt(variance / len(seeds))
        each = ', '.join(f'{change:+.3f}' for change in changes)
        print(f'| {name} | {size} | {without.mean():.3f} | {with_it.mean():.3f} | {each} '
              f'| {changes.mean() - half:+.3f} to {changes.mean() + half:+.3f} |')


def list_missing(s):
    """Put finished runs into the tables, and print the others: a shell command a job."""
    for job in missing_jobs(s):
        todo = []
        for run in job:
            checkpoint = finished(run.out_dir, run.options)
            if checkpoint:
                keep(s, run, *results(run.name, checkpoint))
            else:
                todo.append(command(run.out_dir, run.options))
        if todo:
            print(' && '.join(map(shlex.join, todo)))


def main():
    s = configure(Settings)
    if s.part not in (None, *PARTS):
        fail(f"'part' must be one of {', '.join(PARTS)}, not {s.part!r}")
    parts = 'ablations', 'repeats'          # that the quick family has
    if s.family not in ABLATION_TOKENS or s.family != 'study' and s.part not in parts:
        fail("'family' must be study, or quick with --part=ablations or --part=repeats, "
             f'not {s.family!r}')
    if s.list:
        list_missing(s)
        return

    if missing_jobs(s):
        load_meta(s.data_dir)               # says what is wrong before anything begins
    while jobs := missing_jobs(s):          # a second time: depth's long runs follow its short ones
        for run in itertools.chain(*jobs):
            trained = train(run.name, run.out_dir, run.options)
            if trained is None:
                fail(f'{run.name}: the loss diverged')
            keep(s, run, *trained)
    if s.part in (None, 'ablations'):
        differences(read_rows(s.ablations))


if __name__ == '__main__':
    main()
