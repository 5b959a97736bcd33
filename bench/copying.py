"""How well models copy: the loss of a token by the length of the matching passage before it, that
is, how many tokens directly before it occurred earlier in the context, too, followed by that very
token. A model that looks up only the one token before gains nothing from a longer passage.

    python bench/copying.py out/gpt-160/ckpt.pt out/rnn-256/ckpt.pt --table=copying.csv
    python bench/copying.py --table=results/copying.csv --picture=results/copying.png

The first line measures checkpoints, on random windows of the validation split that each was trained
beside, and adds them to the table; the second draws a table. Length 0: the pair of the token with
the one before it is new in the context.
"""
import csv
import os
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np
import torch

import sample
from configurator import configure, fail
from plumbing.files import atomic_write
from scaling.plots import LOOK, log_axis, plt
from scaling.report import short, spoken
from train import load_meta, load_split

LENGTHS = (0, 1, 2, 4, 8, 16, 32)       # of the passage: from each to below the next
BINS = [f'{a}' if b == a + 1 else f'{a}-{b - 1}' for a, b in zip(LENGTHS, LENGTHS[1:])]
BINS.append(f'{LENGTHS[-1]}+')
COLUMNS = ['name', 'arch', 'n_non_embedding', 'tokens', 'convolutions', *BINS]


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # checkpoints
    data_dir: str | None = None                         # None: the checkpoint's
    windows: int = 400
    seed: int = 1
    table: str | None = None                            # CSV to add rows to, or to draw
    picture: str | None = None                          # PNG to draw of the table


def lengths_of(windows):
    """For each token but the first of (B, T) windows, (B, T - 1): how many tokens directly before
    it form, with it, a passage that occurs earlier in its window; the longest such."""
    same = np.zeros(windows.shape, int)     # [b, j]: so many tokens up to j equal those up to now
    longest = np.zeros((len(windows), windows.shape[1] - 1), int)
    for i in range(1, windows.shape[1]):
        before = np.pad(same[:, :-1], ((0, 0), (1, 0)))
        same = np.where(windows == windows[:, i:i + 1], before + 1, 0)
        same[:, i:] = 0                     # only what is earlier
        longest[:, i - 1] = np.maximum(same.max(1) - 1, 0)
    return longest


def measure(path, s):
    """(row of the table, share of the targets in each of BINS) of a checkpoint."""
    model, _, checkpoint = sample.load(path, 'cpu')
    settings = checkpoint['config']['train']
    data_dir = s.data_dir or settings['data_dir']
    meta = load_meta(data_dir)
    if meta['tokenizer'] != checkpoint['meta']['tokenizer']:
        fail(f'{path} was trained with another tokenizer than {data_dir} has')
    ids, length = load_split(data_dir, 'val', meta), model.config.block_size + 1
    n = len(ids) - length
    if n < 1:
        fail(f'{data_dir}/val.bin holds no window of {length} tokens')

    starts = np.random.default_rng(s.seed).choice(n, min(s.windows, n), replace=False)
    windows = ids[starts[:, None] + np.arange(length)].astype(np.int64)
    with torch.no_grad():
        losses = np.concatenate([model(w[:, :-1], w[:, 1:], reduction='none')[1].numpy()
                                 for w in torch.from_numpy(windows).split(20)])
    bin_of = np.searchsorted(LENGTHS, lengths_of(windows), 'right') - 1
    row = {'name': os.path.basename(os.path.dirname(os.path.abspath(path))),
           'arch': checkpoint['config']['arch'],
           'n_non_embedding': model.num_params()['non_embedding'], 'tokens': checkpoint['tokens'],
           'convolutions': bool(getattr(model.config, 'conv_taps', 0))}
    for k, label in enumerate(BINS):
        row[label] = f'{losses[bin_of == k].mean():.3f}' if (bin_of == k).any() else ''
    return row, [np.mean(bin_of == k) for k in range(len(BINS))]


def draw(rows):
    """Figure: loss against the length of the passage, a line for each row. Colour and marker are of
    the kind of model, darker for more parameters."""
    kinds = {'GPT': ('Blues', 'o', '-'), 'GPT without convolutions': ('Greens', '^', '--'),
             'LSTM': ('Oranges', 's', '-')}
    with plt.rc_context(LOOK):
        figure, ax = plt.subplots(figsize=(11, 6), layout='constrained')
        for kind, (shades, marker, dash) in kinds.items():
            own = [row for row in rows if kind_of(row) == kind]
            for row, shade in zip(own, np.linspace(0.45, 0.95, len(own)) if own[1:] else [0.7]):
                label = f'{kind}, {short(float(row["n_non_embedding"]))}, {short(tokens_of(row))}'
                losses = [float(row[name]) if row[name] else np.nan for name in BINS[1:]]
                ax.plot(range(len(losses)), losses, dash, color=plt.get_cmap(shades)(shade),
                        marker=marker, ms=7, mec='white', lw=2, label=label)
        ax.set_xticks(range(len(BINS) - 1), [name.replace('-', '–') for name in BINS[1:]])
        log_axis(ax.yaxis, *ax.dataLim.intervaly * [0.9, 1.1])
        ax.set(xlabel='length of the matching passage before the target (tokens)',
               ylabel='loss, nats/token', title='Copying: loss on recalled targets')
        figure.legend(loc='outside right upper', title='model, non-embedding N,\ntraining tokens')
    return figure


def kind_of(row):
    plain = row['arch'] == 'gpt' and str(row['convolutions']) == 'False'
    return spoken(row['arch']) + (' without convolutions' if plain else '')


def tokens_of(row):
    return float(row['tokens'])


def main():
    s = configure(Settings)
    if not s.paths and not (s.table and s.picture):
        fail('name checkpoints, such as out/quick_best/ckpt.pt, or --table and --picture')
    if s.windows < 1:
        fail('--windows must be at least 1')
    rows = []
    if s.table and os.path.exists(s.table):
        with open(s.table, newline='', encoding='utf-8') as f:
            rows = list(csv.DictReader(f))
        if not rows or set(COLUMNS) - rows[0].keys():
            fail(f'{s.table} is not a table of this program: its columns are {", ".join(COLUMNS)}')
    elif s.table and not s.paths:
        fail(f'no table {s.table}')

    for i, path in enumerate(s.paths):
        row, shares = measure(path, s)
        if i == 0:
            print(f'| passage, tokens | {" | ".join(BINS)} |\n' + '|---' * (len(BINS) + 1) + '|')
            print(f'| share of the targets | {" | ".join(f"{share:.0%}" for share in shares)} |')
        print(f'| {row["name"]} | {" | ".join(row[name] for name in BINS)} |', flush=True)
        rows.append(row)
    if s.table and s.paths:
        with atomic_write(s.table, 'w') as f:
            writer = csv.DictWriter(f, COLUMNS, lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
    if s.picture:
        with atomic_write(s.picture) as f:
            draw(rows).savefig(f, format='png', dpi=80)


if __name__ == '__main__':
    main()
