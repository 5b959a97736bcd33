"""What models write by themselves: free of the constraint, how many of their bars are exact and
their tunes readable, and how this falls with the validation loss. For models of our notation.

    python bench/free.py out/quick_*/ckpt.pt --to=results/free.png

Bars: with the 95% interval by bootstrap of tunes, for a tune that is lost has many wrong ones.
`repeated` is the share of bars that were heard in the eight before, over that of held-out tunes:
above 1 a model loops.
"""
import os
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import matplotlib
import numpy as np

import sample
from configurator import configure, fail
from music.metrics import exact_bars, statistics
from plumbing.files import atomic_write
from sampling.generate import Tune, generate

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (after the choice of backend)


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # checkpoints
    num_samples: int = 200
    temperature: float = 1.0
    top_p: float = 0.9
    seed: int = 1
    to: str | None = None                               # also a picture


def repeated(musics):
    """Mean share of bars that were heard in the eight before; NaN of no music."""
    shares = [statistics(music)['repeated_bar_share'] for music in musics if music is not None and len(music.notes)]
    return np.mean(shares) if shares else np.nan


def main():
    s = configure(Settings)
    if not s.paths:
        fail('no checkpoints: name some, such as out/quick_best/ckpt.pt')
    print('| model | nats a note | bars exact | tunes readable | ended by the model | repeated |\n' + '|---' * 6 + '|')
    rows, held_out = [], {}
    for path in s.paths:
        model, tokenizer, checkpoint = sample.load(path, 'cpu')
        tunes = [Tune(tokenizer, (s.seed, i), key=sample.key_of(checkpoint, s.seed, i)) for i in range(s.num_samples)]
        generate(model, tokenizer, tunes, max_tokens=2000, temperature=s.temperature, top_p=s.top_p)
        texts = [sample.finish(tune) for tune in tunes]
        musics = [sample.read_tune(text, 'builtin') for text in texts]
        counts = np.array([exact_bars(text) for text in texts])
        draws = counts[np.random.default_rng(s.seed).integers(len(counts), size=(2000, len(counts)))].sum(1)
        low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
        good, n = counts.sum(0)
        data_dir = checkpoint['config']['train']['data_dir']
        if data_dir not in held_out:
            with open(os.path.join(data_dir, 'val.abc'), encoding='utf-8') as f:
                held_out[data_dir] = repeated(sample.read_tune(text.strip('\n') + '\n', 'builtin')
                                              for text in f.read().split('\n\n') if text.strip())
        arch, loss = checkpoint['config']['arch'], checkpoint['val']['per_note']
        readable = np.mean([music is not None for music in musics])
        rows.append((arch, loss, good / n))
        name, ended = path.removesuffix('.pt'), np.mean([tune.ended for tune in tunes])
        print(f'| {name} | {loss:.3f} | {good / n:.1%} [{low:.1%}, {high:.1%}] | {readable:.1%} | {ended:.1%} '
              f'| {repeated(musics) / held_out[data_dir]:.2f} |', flush=True)
    if s.to:
        figure, axes = plt.subplots(figsize=(6, 4), layout='constrained')
        for arch, marker in (('gpt', 'o'), ('lstm', 's')):
            points = sorted((loss, share) for kind, loss, share in rows if kind == arch)
            axes.plot(*zip(*points), marker + '-', label=arch.upper()) if points else None
        axes.set(xlabel='validation loss, nats a note', ylabel='bars that fill their meter, no constraint')
        axes.legend(frameon=False)
        with atomic_write(s.to) as f:
            figure.savefig(f, format='png', dpi=100)


if __name__ == '__main__':
    main()
