"""Bars in the middle of held-out tunes are infilled: does the filling suit the bars after the gap?

It is weighted by the first two bars after the gap. Compared are the log-likelihoods of these two
bars, and of the next two, which had no part in the choice, in nats per tune: after our filling,
after a plain continuation (one draw of the same sampler) and after the true bars, by the model
itself and by others that took no part (--judge).

    python train.py config/quick_rnn.py --hidden_size=64 --out_dir=out/quick_rnn_1 --compile=True
    python bench/fill.py --ckpt=out/quick_best/ckpt.pt --judge=out/quick_rnn_1/ckpt.pt
"""
import os
import sys
import time
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np

import sample
from configurator import configure, fail
from music.metrics import exact_bars
from music.notation import decode, encode
from sampling.constrain import Reader
from sampling.fill import CANDIDATES, WEIGHTED_BARS, fill, find_gap, log_likelihoods
from sampling.prompt import marks_of
from sampling.tune import Tune


@dataclass
class Settings:
    ckpt: str = 'out/quick_best/ckpt.pt'
    judge: list[str] | None = None      # other checkpoints with the same tokenizer
    data_dir: str = 'data/bundled'
    tunes: int = 100
    bars: int = 4                       # in the gap
    candidates: int = CANDIDATES
    seed: int = 1


def held_out(data_dir):
    """Texts of the validation and test tunes."""
    texts = []
    for split in ('val', 'test'):
        with open(os.path.join(data_dir, f'{split}.abc'), encoding='utf-8') as f:
            texts += [text.strip('\n') + '\n' for text in f.read().split('\n\n') if text.strip()]
    return texts


def gaps(s, marks):
    """[(text, number of its first bar, line of it)] of the first tunes that are long enough,
    repeats played out."""
    found = []
    for text in held_out(s.data_dir):
        music = decode(text)
        text = encode(music, **marks)
        n_header = 4 + len(music.voices)
        n_bars = text.count('\n') - n_header
        if n_bars >= 4 + s.bars + 2 * WEIGHTED_BARS and len(found) < s.tunes:
            first = (n_bars - s.bars) // 2
            found.append((text, first if music.pickup else first + 1, n_header + first))
    return found


def judged(models, tokenizer, text, line):
    """Log-likelihoods that each model gives to WEIGHTED_BARS bars from a line of the text on, and
    to as many after these, given all before."""
    lines, values = text.splitlines(keepends=True), []
    for model in models:
        for first in (line, line + WEIGHTED_BARS):
            tune = Tune(tokenizer, (0,), None, ''.join(lines[:first]))
            ids = tokenizer.encode(''.join(lines[first:first + WEIGHTED_BARS]))
            values.append(log_likelihoods(model, [tune], ids)[0])
    return values


def row(name, values):
    mean, half = values.mean(), 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return f'{name:>44} {mean:8.2f} [{mean - half:.2f}, {mean + half:.2f}]'


def main():
    s = configure(Settings)
    model, tokenizer, checkpoint = sample.load(s.ckpt, 'cpu')
    models = {'the model itself': model}
    for path in s.judge or []:
        models[path], its_tokenizer, _ = sample.load(path, 'cpu')
        if its_tokenizer.hash != tokenizer.hash:
            fail(f'{path} reads other tokens than {s.ckpt}')
    marks = {**marks_of(checkpoint['meta']), 'repeats': False}              # played out
    alphabet = {token for token in tokenizer.tokens if len(token) == 1}
    reader = Reader(alphabet=alphabet, **marks)
    counts = sorted({n for n in (1, 8, s.candidates) if n <= s.candidates})

    # Each tune's gap is filled with each number of candidates.
    scores, sizes = {n: [] for n in (*counts, 'true')}, {n: [] for n in counts}
    exact, seconds = np.zeros(2, int), 0.0
    for i, (text, bar, line) in enumerate(gaps(s, marks)):
        gap, after = find_gap(text, f'{bar}-{bar + s.bars - 1}', reader), line + s.bars
        old = text.splitlines()
        scores['true'].append(judged(models.values(), tokenizer, text, after))
        for n in counts:
            start = time.perf_counter()
            (tune,), _, size = fill(model, tokenizer, gap, reader, [(s.seed, i)], n, top_p=0.9)
            if n == s.candidates:
                seconds += time.perf_counter() - start
            new = tune.text.splitlines()
            assert new[:line] + new[after:] == old[:line] + old[after:], 'a bar outside has changed'
            exact += exact_bars(tune.text)
            scores[n].append(judged(models.values(), tokenizer, tune.text, after))
            sizes[n] += size
    print(f'{s.ckpt}: {len(scores[1])} tunes, {s.bars} bars each, {exact[0]} of {exact[1]} bars '
          f'exact, nothing else changed; {seconds / len(scores[1]):.1f} s per tune')

    scores = {n: np.array(values) for n, values in scores.items()}
    spans = [f'bars 1 to {WEIGHTED_BARS}', f'bars {WEIGHTED_BARS + 1} to {2 * WEIGHTED_BARS}']
    columns = [(name, span) for name in models for span in spans]
    for m, (name, span) in enumerate(columns):
        print(f'log-likelihood of {span} after the gap, by {name}, nats per tune [95%]')
        print(row('after a plain continuation', scores[1][:, m]))
        print(row('after our filling', scores[s.candidates][:, m]))
        print(row('after the true bars', scores['true'][:, m]))
        for n in counts[1:]:
            print(row(f'gain, {n} fillings', scores[n][:, m] - scores[1][:, m]) +
                  f'  effective sample size {np.mean(sizes[n]):.1f}')
        print(row('gain of the true bars', scores['true'][:, m] - scores[1][:, m]))


if __name__ == '__main__':
    main()
