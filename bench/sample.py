"""Speed of sampling in tokens/s: a naive loop (one tune at a time, the whole context through the
model for each token) against the cache, for one tune and for ten side by side, without and with the
constraint.

The naive loop calls the model without a cache, which gives the logits of all positions; the figure
in brackets is for a loop that computes those of the last position only. Without a checkpoint,
weights are random, with a head scaled such that the next token has the entropy of trained models,
ENTROPY; what the constraint costs needs a trained model.

    python bench/sample.py                                          # gpt_micro and gpt_small
    python bench/sample.py --ckpt=out/gpt_micro/best.pt
"""
import os
import sys
import time
import types
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np
import torch

import sample
from configurator import configure, fail, read_config
from model import GPT, GPTConfig
from sampling.constrain import Reader
from sampling.draw import Options, draw
from sampling.generate import generate
from sampling.prompt import marks_of
from sampling.tune import Tune


@dataclass
class Settings:
    ckpt: str | None = None             # None: gpt_micro and gpt_small, random, no constraint
    tokens: int = 400                   # per tune
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


class Endless:
    """In place of a tokenizer, where the text does not matter: no token ends a tune, so that each
    has its full length."""

    def __init__(self, vocab_size):
        self.tokens, self.tune = ['x'] * vocab_size, vocab_size - 1

    def encode(self, text):
        return []


@torch.inference_mode()
def naive(model, tune, n, last_only=False):
    """n tokens of one tune, the last block_size tokens through the whole model for each."""
    counts = dict.fromkeys(('tried', 'refused'), 0)
    for _ in range(n):
        ids_BT = torch.tensor([tune.ids[-model.config.block_size:]])
        logits_BTV, _ = model(ids_BT, cache=model.init_cache(1) if last_only else None)
        (step, _), = draw(logits_BTV[:, -1], [tune], Options(top_p=0.9), counts)
        tune.ids.append(step.ids[0])
    return n


def rates(works, rounds):
    """Tokens/s of each work, a row a round. They take turns: a slow minute slows them all."""
    for work in works:
        work()                                                      # to warm up
    rows = np.empty((rounds, len(works)))
    for row in rows:
        for i, work in enumerate(works):
            start = time.perf_counter()
            n_tokens = work()
            row[i] = n_tokens / (time.perf_counter() - start)
    return rows


def ratio(a, b):
    return f'{np.median(a / b):.1f}x'


def measure_cache(name, model, s):
    """Print the naive loops beside the cache."""
    tokenizer, no_end = Endless(model.config.vocab_size), types.SimpleNamespace(tune=None)

    def cached(n):
        tunes = [Tune(tokenizer, (1, i)) for i in range(n)]
        settings = {'max_tokens': s.tokens, 'max_bars': 10 ** 9, 'top_p': 0.9}
        return generate(model, no_end, tunes, n, **settings)['tokens']

    def naive_loop(last_only):
        return naive(model, Tune(tokenizer, (1, 0)), s.tokens, last_only)

    works = [lambda: naive_loop(last_only=False), lambda: naive_loop(last_only=True),
             lambda: cached(1), lambda: cached(s.tunes)]
    full, last, one, many = rates(works, s.rounds).T
    print(f'{name:>12}  naive {np.median(full):.0f} ({np.median(last):.0f})  '
          f'cache, one tune {np.median(one):.0f}: {ratio(one, full)} ({ratio(one, last)})  '
          f'{s.tunes} tunes {np.median(many):.0f}: {ratio(many, full)} ({ratio(many, last)})',
          flush=True)


def measure_constraint(model, tokenizer, reader, s):
    """Print the speed without and with the constraint. Tunes end where they will and others take
    their rows: nearly to the end, all rows are in use."""
    counts = {'unconstrained': {}, 'constrained': {}}

    def whole_tunes(how, reader):
        tunes = [Tune(tokenizer, (1, i), reader) for i in range(10 * s.tunes)]
        counts[how] = generate(model, tokenizer, tunes, s.tunes, max_tokens=s.tokens, top_p=0.9)
        return counts[how]['tokens']

    rows = rates([lambda: whole_tunes('unconstrained', None),
                  lambda: whole_tunes('constrained', reader)], s.rounds)
    for (how, count), rate in zip(counts.items(), np.median(rows, 0)):
        per_tune = count['tokens'] / 10 / s.tunes
        dropped = 100 * count['dropped'] / count['tokens']
        print(f'{how:>24}: {rate:.0f} tokens/s, {rate / per_tune:.1f} tunes/s; '
              f'{per_tune:.0f} tokens per tune; {dropped:.0f} dropped for 100 kept')
    share = np.median(rows[:, 1] / rows[:, 0])
    print(f'with the constraint {share:.2f} of the tokens/s without it')


def main():
    s = configure(Settings)
    if min(s.tokens, s.tunes, s.rounds) < 1:
        fail('tokens, tunes and rounds must be at least 1')
    if s.threads:
        torch.set_num_threads(s.threads)
    print(f'tokens/s, {s.tokens} tokens per tune, torch {torch.__version__}, '
          f'{torch.get_num_threads()} threads')
    if s.ckpt:
        model, tokenizer, checkpoint = sample.load(s.ckpt, 'cpu')
        alphabet = {token for token in tokenizer.tokens if len(token) == 1}
        reader = Reader(alphabet=alphabet, **marks_of(checkpoint['meta']))
        measure_cache(os.path.basename(os.path.dirname(s.ckpt)), model, s)
        return measure_constraint(model, tokenizer, reader, s)
    for name in ('gpt_micro', 'gpt_small'):
        config = read_config(os.path.join(ROOT, 'config', f'{name}.py'), {})
        torch.manual_seed(1)
        sizes = {k: v for k, v in config.items() if k in ('n_layer', 'n_head', 'n_embd')}
        model = GPT(GPTConfig(vocab_size=s.vocab_size, **sizes)).eval()
# As sample.load does.
        model.head.weight.data = model.head.weight.data.t().contiguous().t()
        sharpen(model)
        measure_cache(name, model, s)


if __name__ == '__main__':
    main()
