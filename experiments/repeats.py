"""Runs on repeated data: parts of a corpus, from 50 tunes on, each trained on for many epochs.

    folder, about = part_of('data/books', tunes=200, copies=5)      # data/books-200-copies5

A part is a data folder of its own, with the first tunes of train, which are in the order of their
hashes and so a fair sample, and with the tokenizer, val and test of the whole.
"""
import json
import os
import shutil
from collections import Counter

import numpy as np

from bpe import Tokenizer
from configurator import fail
from music import notation
from music.notes import bar_starts
from music.transpose import transposed
from plumbing.files import atomic_write
from training.data import load_meta, load_split

BATCH, BLOCK = 2, 256           # a step of 512 tokens, a twelfth of an epoch of 50 tunes
FEWEST_STEPS = 24               # a shorter run has not learned anything
EPOCHS = 64, 32, 16, 8, 4, 2, 1
COOLDOWN = 0.2                  # the decay's share of a run's steps
OPTIONS = [f'--batch_size={BATCH}', '--schedule=wsd', f'--cooldown_fraction={COOLDOWN}',
           '--min_lr=0', '--warmup_steps=10', '--max_tokens=1_000_000_000', '--log_interval=20',
           '--embedding_lr=0.05', '--head_lr=0.025']    # half of the study's, for small batches

# Parts of the corpora, in tunes: up to 64 epochs, and up to 16.
TUNES = {'quick': {50: 64, 200: 64, 800: 64, 3200: 16}, 'study': {100: 16, 400: 16}}
# Of the base size, and in no law: forecast in results/repeats_prediction.csv before they were run.
FORECAST = {500: 16, 2000: 16}
SIZES = {'quick': ('gpt_2', 'gpt_1', 'gpt_4'), 'study': ('gpt_2',)}     # the first: the base
# One thing changed at a time, of the base size and of at most so many tunes.
CHANGES = {'copies5': [], 'one_rate': ['--embedding_lr=None', '--head_lr=None'],
           'dropout0.1': ['--dropout=0.1'], 'dropout0.2': ['--dropout=0.2'],
           'decay1': ['--weight_decay=1']}
CHANGED_TUNES = 800


def jobs(s, sized_options):
    """Yield lists of (name, folder of the data, options, about): a long run and its branches.

    `sized_options(size)`: options of train.py for a size. Of each part one run goes through all
    epochs at a constant learning rate; the shorter ones decay off snapshots of it.
    """
    base, *others = SIZES[s.family]

    def options_of(size):
        return [*sized_options(size), *OPTIONS]

    for tunes, epochs in TUNES[s.family].items():
        yield job(s, f'{base}-{tunes}', options_of(base), tunes, epochs)
    if s.family == 'quick':
        for change, options in CHANGES.items():
            for tunes, epochs in TUNES['quick'].items():
                if tunes <= CHANGED_TUNES:
                    copies = int(change.removeprefix('copies')) if 'copies' in change else 0
                    most = epochs // 4 if copies else epochs        # a pass is (1 + copies) as long
                    yield job(s, f'{base}-{tunes}-{change}', [*options_of(base), *options],
                              tunes, most, copies, change)
    for size in others:
        for tunes, epochs in TUNES[s.family].items():
            yield job(s, f'{size}-{tunes}', options_of(size), tunes, epochs)
    if s.family == 'quick':
        for tunes, epochs in FORECAST.items():
            yield job(s, f'{base}-{tunes}-forecast', options_of(base), tunes, epochs,
                      change='forecast')


def job(s, name, options, tunes, most_epochs, copies=0, change=None):
    """[(name, data folder, options, about)] of the runs on a part, the longest first."""
    folder, about = part_of(s.data_dir, tunes, copies)
    about['changed'] = change
    steps_per_epoch = (about['train_tokens'] - 1) // BLOCK // BATCH
    ends = [n for n in EPOCHS if n <= most_epochs and n * steps_per_epoch >= FEWEST_STEPS]
    begins = {}                             # where the decay of each begins, in tokens
    for epochs in ends[1:]:
        steps = epochs * steps_per_epoch
        begins[epochs] = (steps - max(1, round(COOLDOWN * steps))) * BATCH * BLOCK

    runs = []
    for epochs in ends:
        its_options = [*options, f'--epochs={epochs}']
        if epochs == ends[0] and begins:
            its_options.append(f'--snapshots={",".join(map(str, begins.values()))}')
        elif epochs != ends[0]:
            first = os.path.join(s.out_dir, runs[0][0])
            its_options.append(f'--trunk={os.path.join(first, f"trunk-{begins[epochs]}.pt")}')
        runs.append((f'{name}-{epochs}', folder, its_options, about))
    return runs


def part_of(data_dir, tunes, copies=0):
    """(folder, about) of the first `tunes` of train with so many transposed copies of each.

    The folder is made if it is not there. `about`: columns of a table of runs: unique_tunes,
    unique_tokens (of the tunes themselves), train_tokens (with the copies), copies. Exits (2) if
    the data have copies of their own, or fewer tunes.
    """
    folder = f'{data_dir}-{tunes}' + (f'-copies{copies}' if copies else '')
    if not os.path.exists(os.path.join(folder, 'meta.json')):
        make_part(data_dir, folder, tunes, copies)
    meta = load_meta(folder)
    return folder, {'unique_tunes': tunes, 'unique_tokens': meta['untransposed'],
                    'train_tokens': meta['splits']['train']['tokens'], 'copies': copies}


def make_part(data_dir, folder, n_tunes, copies):
    meta = load_meta(data_dir)
    ids = load_split(data_dir, 'train', meta)
    tokenizer = Tokenizer.load(os.path.join(data_dir, 'tokenizer.json'))
    if meta['untransposed'] != len(ids):
        fail(f'{data_dir} has transposed copies; prepare it with --transpose=0')
    starts = np.flatnonzero(ids == tokenizer.tune)
    if len(starts) < n_tunes:
        fail(f'{data_dir} has {len(starts):,} tunes to train on, fewer than {n_tunes:,}')

    originals = np.split(ids, starts[1:])[:n_tunes]
    texts = [tokenizer.decode(tune[1:].tolist()) for tune in originals]
    rng = np.random.default_rng(0)
    copied = []
    for text in texts:
        steps = rng.permutation([n for n in range(-5, 7) if n])[:copies]
        copied += [copy for n in steps.tolist() if (copy := transposed(text, n)) is not None]
    rng.shuffle(copied)                     # copies of a tune are not neighbours

    counts, tokens = Counter(), []
    for text in copied + texts:
        encoded = [tokenizer.tune, *tokenizer.encode(text)]
        tokens += encoded
        music = notation.decode(text)
        counts.update(tunes=1, tokens=len(encoded), characters=len(text),
                      notes=len(music.notes), bars=len(bar_starts(music)) - 1)
    part = {**meta, 'splits': {**meta['splits'], 'train': dict(counts)},
            'untransposed': sum(map(len, originals))}

    os.makedirs(folder, exist_ok=True)
    for name in ('tokenizer.json', 'val.bin', 'test.bin'):
        shutil.copy(os.path.join(data_dir, name), folder)
    with atomic_write(os.path.join(folder, 'train.bin')) as f:
        np.array(tokens, np.uint16).tofile(f)
    with atomic_write(os.path.join(folder, 'meta.json'), 'w', encoding='utf-8') as f:
        f.write(json.dumps(part, indent=1) + '\n')
