"""Tokens a second of sampling: a naive loop (one tune at a time, the whole context anew for each
token) against the cache, alone and ten tunes at a time, without and with the constraint. The naive
loop calls the model as it is, which gives the logits of all positions; the figure in brackets is
for a loop that takes the head's product for the last one only. Without a checkpoint, weights are
random, with a head scaled such that the next token has the entropy that trained models give it,
ENTROPY; what the constraint costs needs a trained model.

    python bench/sample.py                                          # gpt_micro and gpt_small
    python bench/sample.py --ckpt=out/gpt_micro/best.pt
"""
import os
import sys
import time
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np
import torch

import sample
from configurator import configure, fail, read_config
from model import GPT, GPTConfig
from sampling.constrain import Reader
from sampling.generate import Tune, draw, generate
from sampling.prompt import marks_of


@dataclass
class Settings:
    ckpt: str | None = None             # checkpoint; None: gpt_micro and gpt_small, random weights, no constraint
    tokens: int = 400                   # a tune
    tunes: int = 10
    vocab_size: int = 5000              # of random weights; that of the original models
    rounds: int = 5                     # the median counts
    threads: int | None = None          # None: torch's default


ENTROPY = 2.5           # nats


@torch.inference_mode()
def sharpen(model):
    """Scale the head until the next token has about the entropy ENTROPY."""
    ids = torch.randint(0, model.config.vocab_size, (4, 64))
    while torch.distributions.Categorical(logits=model(ids)[0]).entropy().mean() > ENTROPY:
        model.head.weight *= 1.1


class Nonsense:
    """Stands in for a tokenizer where the text does not matter."""

    def __init__(self, vocab_size):
        self.tokens, self.tune = ['x'] * (vocab_size - 1), vocab_size - 1

    def encode(self, text):
        return []


@torch.inference_mode()
def naive(model, tokenizer, tune, n, last_only=False):
    """n tokens for one tune, the last block_size tokens through the whole model for each."""
    counts = dict.fromkeys(('tried', 'refused'), 0)
    for _ in range(n):
        ids_BT = torch.tensor([tune.ids[-model.config.block_size:]])
        logits_BTV, _ = model(ids_BT, cache=model.init_cache(1) if last_only else None)
        tune.ids.append(draw(logits_BTV[:, -1], [tune], tokenizer, 1.0, 0.9, None, 0, counts)[0][0])


def measure(name, model, tokenizer, s, reader):
    def tunes(n):
        new = [Tune(tokenizer, (1, i)) for i in range(n)]
        for tune in new:
            tune.tokens = ['x'] * model.config.vocab_size           # no tune ends by itself: each has its full length
        return new

    class Endless:
        tokens, tune = tokenizer.tokens + ['x'], -1

    def rates(*works):
        """Tokens a second of each work, a row a round: they take turns, so that a slow minute slows
        them all."""
        for work in works:
            work()                                                   # warm
        rows = np.empty((s.rounds, len(works)))
        for row in rows:
            for i, work in enumerate(works):
                start = time.perf_counter()
                n = work()
                row[i] = n / (time.perf_counter() - start)
        return rows

    def ratio(a, b):
        return f'{np.median(a / b):.1f}x'

    def cached(n):
        return generate(model, Endless, tunes(n), n, max_tokens=s.tokens, max_bars=10 ** 9, top_p=0.9)

    rows = rates(lambda: naive(model, Endless, tunes(1)[0], s.tokens) or s.tokens,
                 lambda: naive(model, Endless, tunes(1)[0], s.tokens, last_only=True) or s.tokens,
                 lambda: cached(1)['tokens'], lambda: cached(s.tunes)['tokens'])
    base, last, alone, together = rows.T
    print(f'{name:>12}  naive {np.median(base):.0f} ({np.median(last):.0f})  '
          f'cache, alone {np.median(alone):.0f}: {ratio(alone, base)} ({ratio(alone, last)})  '
          f'{s.tunes} tunes {np.median(together):.0f}: {ratio(together, base)} ({ratio(together, last)})', flush=True)
    if reader:          # tunes end where they will and others take their rows: nearly to the end, all rows are in use
        def whole_tunes(counts, reader):
            new = [Tune(tokenizer, (1, i), reader) for i in range(10 * s.tunes)]
            counts.update(generate(model, tokenizer, new, s.tunes, max_tokens=s.tokens, top_p=0.9))
            return counts['tokens']

        free, held = {}, {}
        rows = rates(lambda: whole_tunes(free, None), lambda: whole_tunes(held, reader))
        for how, counts, tokens_s in zip(('free', 'constrained'), (free, held), np.median(rows, 0)):
            per_tune, dropped = counts['tokens'] / 10 / s.tunes, 100 * counts['dropped'] / counts['tokens']
            print(f'{how:>24}: {tokens_s:.0f} tokens/s, {tokens_s / per_tune:.1f} tunes/s; '
                  f'{per_tune:.0f} tokens a tune; {dropped:.0f} dropped for 100 kept')
        print(f'the constraint leaves {np.median(rows[:, 1] / rows[:, 0]):.2f} of the tokens/s')


def main():
    s = configure(Settings)
    if min(s.tokens, s.tunes, s.rounds) < 1:
        fail('tokens, tunes and rounds must be at least 1')
    if s.threads:
        torch.set_num_threads(s.threads)
    print(f'tokens/s, {s.tokens} tokens a tune, torch {torch.__version__}, {torch.get_num_threads()} threads')
    if s.ckpt:
        model, tokenizer, checkpoint = sample.load(s.ckpt, 'cpu')
        alphabet = {token for token in tokenizer.tokens if len(token) == 1}
        reader = Reader(alphabet=alphabet, **marks_of(checkpoint['meta']))
        return measure(os.path.basename(os.path.dirname(s.ckpt)), model, tokenizer, s, reader)
    for name in ('gpt_micro', 'gpt_small'):
        config = read_config(os.path.join(ROOT, 'config', f'{name}.py'), {})
        torch.manual_seed(1)
        sizes = {k: v for k, v in config.items() if k in ('n_layer', 'n_head', 'n_embd')}
        model = GPT(GPTConfig(vocab_size=s.vocab_size, **sizes)).eval()
        model.head.weight.data = model.head.weight.data.t().contiguous().t()             # as sample.load does
        sharpen(model)
        measure(name, model, Nonsense(s.vocab_size), s, None)


if __name__ == '__main__':
    main()
