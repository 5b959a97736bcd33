"""From a law's answer to a run of train.py: its width, tokens, command, and time on this machine.

    lines = of_budget(answer, runs)                 # an answer of fit_scaling.forecasts
    lines = of_tunes(law, rows, tunes=[300])        # the law of repeated data and its table
    lines = of_folder(law, rows, 'data/mine', meta)

The runs of the law must be of a family with one dial: config/gpt.py or config/rnn.py. The time is
that of the training steps; evaluations, which depend on the data, come on top.
"""
import bisect
import functools
import math
import os
import shlex

import numpy as np
import torch

from configurator import configure
from plumbing.progress import clock
from scaling import repeats
from scaling.report import interval, listed, short
from scaling.runs import tokenizer_of, val_set_of
from train import Settings, build_model
from training.loader import n_windows
from training.machine import Run
from training.speed import step_time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIALS = {'gpt': ('config/gpt.py', 'n_embd'), 'lstm': ('config/rnn.py', 'hidden_size')}
WIDTHS = range(32, 16385, 32)   # whole heads of 32 channels; no model of two layers is wider
WIDEST_TIMED = 768              # the time of a wider model follows from this one's, by FLOPs

# On data seen more than once, as measured for config/gpt.py
FEW = 1_500_000                 # in so few tokens a model learns more from steps of 2 windows
FEW_PASSES = 2                  # over the tunes or copies of them: with more there is dropout
DROPOUT = 0.1


def recipe_of_passes(passes, train_tokens, copies):
    """(batch size, dropout) of so many passes over `train_tokens`, which hold each tune and so many
    copies of it.
    """
    batch_size = 2 if passes * train_tokens < FEW else 8
    return batch_size, DROPOUT if passes * (1 + copies) > FEW_PASSES else 0.0


# The family of a law's runs

def options_of(arch, width):
    """What selects a width on the command line: ['config/gpt.py', '--n_embd=96']."""
    config, dial = DIALS[arch]
    return [config, f'--{dial}={width}']


def settings_of(options):
    """The settings of train.py with such options, from any directory."""
    config, *flags = options
    return configure(Settings, [os.path.join(ROOT, config), *flags])


def model_of(s, vocab_size):
    return build_model(s.arch, {**vars(s), 'vocab_size': vocab_size})


@functools.cache
def counts_of(arch, width, vocab_size):
    """Sizes of a model of the family: total, non_embedding, compute (training FLOPs / 6)."""
    with torch.device('meta'):          # no memory, no time
        model = model_of(settings_of(options_of(arch, width)), vocab_size)
    return {**model.num_params(), 'compute': model.flops_per_token() / 6}


def nearest_width(arch, n, count, vocab_size):
    """The one of WIDTHS whose size, in this `count`, is nearest to n in logs.

    Raises ValueError where it is out of reach.
    """
    def size(width):
        return counts_of(arch, width, vocab_size)[count]

    above = bisect.bisect_left(WIDTHS, n, key=size)
    if above == len(WIDTHS):
        raise ValueError(f'{DIALS[arch][0]} would need the width {WIDTHS[-1]} or more')
    nearest = WIDTHS[max(0, above - 1):above + 1]
    return min(nearest, key=lambda width: abs(math.log(size(width) / n)))


def vocabulary_of(arch, runs):
    """The vocabulary of a law's runs. Raises ValueError: why no command gives such runs."""
    if arch not in DIALS:
        raise ValueError(f'config/gpt.py and config/rnn.py have no {arch!r}')
    words = {tuple(str(run.get('tokenizer', '')).split()[1:2]) for run in runs}
    word, = words.pop() or ('',)
    if words or not word.isdigit():
        raise ValueError('the column tokenizer does not give one vocabulary ("bpe 5000 …")')
    config, vocab_size = DIALS[arch][0], int(word)
    count = 'total' if 'n_total' in runs[0] else 'non_embedding'
    for n, name in {run[f'n_{count}']: run['name'] for run in runs}.items():
        width = nearest_width(arch, n, count, vocab_size)
        if abs(counts_of(arch, width, vocab_size)[count] / n - 1) > 0.001:
            raise ValueError(f'{config} gives no model of the size of {name}')
    return vocab_size


# Runs, in words

def data_of(runs):
    """Training tokens that the data of the runs have at least: the most that one saw in a pass."""
    return max((run['tokens'] for run in runs
                if 'tokens' in run and str(run.get('epochs', 1)) == '1'), default=math.inf)


def of_budget(answer, runs, data_tokens):
    """Two lines: the run that spends a budget as the law says, and its command; else why none.

    `answer`: arch, size (the count of n), n and d; `runs`: those of the law; `data_tokens`: see
    data_of.
    """
    arch = answer['arch']
    try:
        vocab_size = vocabulary_of(arch, runs)
        width = nearest_width(arch, answer['n'], answer['size'], vocab_size)
    except ValueError as e:
        return [f'    no train.py command: {e}']
    options = options_of(arch, width)
    s = settings_of(options)

    # The budget buys a model that is a little larger fewer tokens
    step_tokens = s.batch_size * s.block_size
    n = counts_of(arch, width, vocab_size)[answer['size']]
    tokens = step_tokens * max(1, round(answer['n'] * answer['d'] / n / step_tokens))
    options.append(f'--max_tokens={tokens}')

    # The law is of new tokens; where the data may be fewer, they are passed over more than once
    passes = math.ceil(tokens / data_tokens)
    needs = f' of vocabulary {vocab_size:,}'
    if passes > 1:
        options.append(f'--epochs={passes}')
        needs += f' in {passes} passes over the {short(data_tokens)} of the longest run'
    return described(options, vocab_size, tokens, f' (N {short(n)})', needs)


def of_passes(arch, n, passes, train_tokens, copies, vocab_size, data_dir=None):
    """Two lines: the run of n non-embedding parameters on repeated data, and its command."""
    width = nearest_width(arch, n, 'non_embedding', vocab_size)
    batch_size, dropout = recipe_of_passes(passes, train_tokens, copies)
    options = options_of(arch, width)
    block_size = settings_of(options).block_size
    steps_of_pass = n_windows(round(train_tokens), block_size) // batch_size
    if not steps_of_pass:
        return ['    no train.py command: the data are fewer than one training step']
    steps = max(1, round(passes * train_tokens / batch_size / block_size))
    tokens = steps * batch_size * block_size
    options += [f'--epochs={math.ceil(steps / steps_of_pass)}', f'--max_tokens={tokens}',
                f'--dropout={dropout}', f'--batch_size={batch_size}']
    if data_dir:
        options.append(f'--data_dir={data_dir}')
    return described(options, vocab_size, tokens)


def described(options, vocab_size, tokens, size='', needs=''):
    """What a run is and how long it takes on this machine, and its command: two lines."""
    s = settings_of(options)
    dial = DIALS[s.arch][1]
    step_s = step_seconds(options, vocab_size, tokens)
    total_s = tokens / s.batch_size / s.block_size * step_s
    return [f'    {dial} {getattr(s, dial)}{size}, {tokens:,} tokens{needs}: about '
            f'{clock(total_s)} on this machine, {step_s:.2g} s a step',
            f'    python train.py {shlex.join(options)}']


def step_seconds(options, vocab_size, tokens):
    """Seconds of a training step of a run, measured; compiled where train.py compiles it."""
    s = settings_of(options)
    width = getattr(s, DIALS[s.arch][1])
    flops = 6 * tokens * counts_of(s.arch, width, vocab_size)['compute']
    wider = 1.0
    if width > WIDEST_TIMED:
        s = settings_of([*options_of(s.arch, WIDEST_TIMED), *options[2:]])
        wider = flops / 6 / tokens / counts_of(s.arch, WIDEST_TIMED, vocab_size)['compute']

    run = Run(s)
    model = model_of(s, vocab_size)
    model.init_weights(s.init)
    model.to(run.device)
    run.resolve_compile_mode(flops)
    trained = run.wrap(model)
    return wider * step_time(trained, vocab_size, run.device, s.batch_size, s.block_size)


# Tables of repeated data

def of_tunes(law, rows, tunes):
    """Lines: for each number of tunes, with and without copies, the run, its time and command."""
    arch = rows[0]['arch']
    try:
        vocab_size = vocabulary_of(arch, rows)
    except ValueError as e:
        return [f'No train.py command: {e}.']
    lines = ['Commands for a folder of so many tunes, to be given as --data_dir=…:']
    for one in (each for number in tunes for each in repeats.advice(law, rows, number)):
        lines += [f'{one["tunes"]:,} tunes, {one["copies"]} transposed copies',
                  *of_passes(arch, one['n'], one['epochs'], one['tokens'] * (1 + one['copies']),
                             one['copies'], vocab_size)]
    return lines


def of_folder(law, rows, data_dir, meta):
    """Lines: size and passes for a prepared folder, the run, its time and command.

    meta: the folder's (training/data.py). The loss is given only if it has the tokenizer and the
    validation music of the table: losses of other music are others.
    """
    train = meta['splits']['train']
    tokens = meta.get('untransposed', train['tokens'])
    copies = train['tokens'] / tokens - 1
    sizes, unique = (np.array([row[key] for row in rows], float)
                     for key in ('n_non_embedding', 'unique_tokens'))
    one = repeats.best_of(law, np.unique(sizes), tokens, train['tunes'] / (1 + copies), copies)
    answer = (f'{data_dir}, {tokens:,} tokens, {copies:.1f} transposed copies: N {one["n"]:,.0f}, '
              f'passes {one["epochs"]:.1f} {interval(one["epochs_ci"], ".1f")}')
    far = max(tokens / unique.max(), unique.min() / tokens)
    if far > 1:
        answer += f', {far:.1f} times beyond the data'

    theirs = {f'{row.get("tokenizer", "unknown")}, {row.get("val_set", "unknown")}' for row in rows}
    if theirs == {f'{tokenizer_of(meta)}, {val_set_of(meta)}'}:
        answer += f', loss {one["loss"]:.2f} {interval(one["loss_ci"], ".2f")} nats/note'
    else:
        answer += ('; no loss, as the runs of the table have another tokenizer or other validation '
                   f'music ({listed(sorted(theirs))})')
    try:
        vocabulary_of(rows[0]['arch'], rows)
    except ValueError as e:
        return [answer, f'    no train.py command: {e}']
    return [answer, *of_passes(rows[0]['arch'], one['n'], one['epochs'], train['tokens'], copies,
                               meta['vocab_size'], data_dir)]
