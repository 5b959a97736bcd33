"""What models write without the constraint: how many of their bars are exact and their tunes
readable. For models of our notation.

    python bench/unconstrained.py out/quick_*/ckpt.pt

A bar is exact if it fills its meter. Its 95% interval is by bootstrap of tunes, for a tune that has
lost count has many wrong bars. `repeated` is the share of bars that occur among the eight before
them, divided by that of held-out tunes: above 1 a model loops.
"""
import os
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np

import sample
from configurator import configure, fail
from music.metrics import exact_bars, statistics
from sampling.generate import generate
from sampling.tune import Tune


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # checkpoints
    num_samples: int = 200
    temperature: float = 1.0
    top_p: float = 0.9
    seed: int = 1


def repeated(musics):
    """Mean share of bars that occur among the eight before them; NaN of no music."""
    shares = [statistics(music)['repeated_bar_share'] for music in musics
              if music is not None and len(music.notes)]
    return np.mean(shares) if shares else np.nan


def exact_share(texts, seed):
    """(share of exact bars, ends of its 95% interval) of texts in the notation."""
    counts = np.array([exact_bars(text) for text in texts])                 # (exact, all) of each
    rng = np.random.default_rng(seed)
    draws = counts[rng.integers(len(counts), size=(2000, len(counts)))].sum(1)
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
    n_exact, n_bars = counts.sum(0)
    return n_exact / n_bars, low, high


def repeated_in_held_out(data_dir):
    with open(os.path.join(data_dir, 'val.abc'), encoding='utf-8') as f:
        texts = [text.strip('\n') + '\n' for text in f.read().split('\n\n') if text.strip()]
    return repeated([sample.read_tune(text, 'builtin') for text in texts])


def main():
    s = configure(Settings)
    if not s.paths:
        fail('no checkpoints: name some, such as out/quick_best/ckpt.pt')
    print('| model | nats/note | bars exact | tunes readable | ended by the model | repeated |')
    print('|---' * 6 + '|')
    held_out = {}                                       # data_dir -> share of repeated bars
    for path in s.paths:
        model, tokenizer, checkpoint = sample.load(path, 'cpu')
        tunes = [Tune(tokenizer, (s.seed, i), key=sample.key_of(checkpoint, s.seed, i))
                 for i in range(s.num_samples)]
        generate(model, tokenizer, tunes, max_tokens=2000, temperature=s.temperature, top_p=s.top_p)
        texts = [sample.finish(tune) for tune in tunes]
        musics = [sample.read_tune(text, 'builtin') for text in texts]
        share, low, high = exact_share(texts, s.seed)
        readable = np.mean([music is not None for music in musics])
        ended = np.mean([tune.ended for tune in tunes])
        data_dir = checkpoint['config']['train']['data_dir']
        if data_dir not in held_out:
            held_out[data_dir] = repeated_in_held_out(data_dir)
        loss = checkpoint['val']['per_note']
        print(f'| {path.removesuffix(".pt")} | {loss:.3f} | {share:.1%} [{low:.1%}, {high:.1%}] '
              f'| {readable:.1%} | {ended:.1%} | {repeated(musics) / held_out[data_dir]:.2f} |',
              flush=True)


if __name__ == '__main__':
    main()
