"""How well models copy: the loss of a token by how long a passage before it stood earlier in the window, too, followed
by that very token. A model that looks up the token before alone gains nothing from a longer one.

    python bench/copying.py out/study/gpt_*-20000000/ckpt.pt --to=results/copying.png

Windows are drawn at random from the val split that a checkpoint was trained beside. 0: the pair of tokens is new in it.
"""
import os
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import matplotlib
import numpy as np
import torch

import sample
from configurator import configure, fail
from plumbing.files import atomic_write
from train import load_meta, load_split

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (after the choice of backend)

LENGTHS = (0, 1, 2, 4, 8, 16, 32)           # of what stood before: from each to below the next


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # checkpoints
    data_dir: str | None = None                         # None: the checkpoint's
    windows: int = 400
    seed: int = 1
    to: str | None = None                               # also a picture


def lengths_of(windows):
    """For each token but the first of (B, T) windows, (B, T - 1): how many tokens right before it form, with it, a
    passage that occurs earlier in its window; the longest such."""
    same = np.zeros(windows.shape, int)     # [b, j]: how many tokens up to j equal those up to the current one
    longest = np.zeros((len(windows), windows.shape[1] - 1), int)
    for i in range(1, windows.shape[1]):
        before = np.pad(same[:, :-1], ((0, 0), (1, 0)))
        same = np.where(windows == windows[:, i:i + 1], before + 1, 0)
        same[:, i:] = 0                     # only what is earlier
        longest[:, i - 1] = np.maximum(same.max(1) - 1, 0)
    return longest


def main():
    s = configure(Settings)
    if not s.paths:
        fail('no checkpoints: name some, such as out/quick_best/ckpt.pt')
    rows = []
    for path in s.paths:
        model, _, checkpoint = sample.load(path, 'cpu')
        data_dir = s.data_dir or checkpoint['config']['train']['data_dir']
        meta = load_meta(data_dir)
        if meta['tokenizer'] != checkpoint['meta']['tokenizer']:
            fail(f'{path} was trained with another tokenizer than {data_dir} has')
        ids, length = load_split(data_dir, 'val', meta), model.config.block_size + 1
        n = len(ids) - length
        if s.windows < 1 or n < 1:
            fail(f'{data_dir}/val.bin holds no window of {length} tokens' if n < 1 else '--windows must be at least 1')
        starts = np.random.default_rng(s.seed).choice(n, min(s.windows, n), replace=False)
        windows = ids[starts[:, None] + np.arange(length)].astype(np.int64)
        with torch.no_grad():
            losses = np.concatenate([model(w[:, :-1], w[:, 1:], reduction='none')[1].numpy()
                                     for w in torch.from_numpy(windows).split(20)])
        which = np.searchsorted(LENGTHS, lengths_of(windows), 'right') - 1
        shares = [np.mean(which == k) for k in range(len(LENGTHS))]
        rows.append((path, [losses[which == k].mean() if shares[k] else np.nan for k in range(len(LENGTHS))]))
        if len(rows) == 1:
            names = [f'{a}' if b == a + 1 else f'{a}–{b - 1}' for a, b in zip(LENGTHS, LENGTHS[1:])]
            names.append(f'{LENGTHS[-1]}+')
            print(f'| passage before, tokens | {" | ".join(names)} |\n' + '|---' * (len(LENGTHS) + 1) + '|')
            print(f'| share of the targets | {" | ".join(f"{share:.0%}" for share in shares)} |')
        print(f'| {path.removesuffix(".pt")} | {" | ".join(f"{loss:.3f}" for loss in rows[-1][1])} |', flush=True)
    if s.to:
        figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
        for path, losses in rows:
            axes.plot(range(1, len(LENGTHS)), losses[1:], 'o-', label=os.path.basename(os.path.dirname(path)))
        axes.set_xticks(range(1, len(LENGTHS)), names[1:])
        axes.set(xlabel='tokens before it that stood in the window with it', ylabel='loss of a token, nats')
        axes.legend(frameon=False)
        with atomic_write(s.to) as f:
            figure.savefig(f, format='png', dpi=120)


if __name__ == '__main__':
    main()
