"""Tokens a second of sampling: a naive loop (one tune at a time, the whole context anew for each token) against the
cache, alone and ten tunes at a time, without and with the constraint. The naive loop calls the model as it is, which
gives the logits of all positions; the figure in brackets is for a loop that takes the head's product for the last one
only. Without a checkpoint, weights are random, with a head scaled such that the next token has the entropy that trained
models give it, ENTROPY; what the constraint costs needs a trained model.

    python bench/sample.py                                          # gpt_micro and gpt_small
    python bench/sample.py --ckpt=out/gpt_micro/best.pt
"""
import os
import sys
import time
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import torch

import sample
from configurator import configure, read_config
from model import GPT, GPTConfig
from sampling.constrain import Reader
from sampling.generate import Tune, draw, generate


@dataclass
class Settings:
    ckpt: str | None = None             # checkpoint; None: gpt_micro and gpt_small, random weights, no constraint
    tokens: int = 400                   # a tune
    tunes: int = 10
    vocab_size: int = 5000              # of random weights; that of the original models
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

    def rate(work):
        work()                                                       # warm
        start = time.perf_counter()
        n = work()
        return n / (time.perf_counter() - start)

    def cached(n):
        return generate(model, Endless, tunes(n), n, max_tokens=s.tokens, max_bars=10 ** 9, top_p=0.9)

    n_naive = min(s.tokens, 400)
    base = rate(lambda: naive(model, Endless, tunes(1)[0], n_naive) or n_naive)
    last = rate(lambda: naive(model, Endless, tunes(1)[0], n_naive, last_only=True) or n_naive)
    alone = rate(lambda: cached(1)['tokens'])
    together = rate(lambda: cached(s.tunes)['tokens'])
    print(f'{name:>12}  naive {base:.0f} ({last:.0f})  '
          f'cache, alone {alone:.0f}: {alone / base:.1f}x ({alone / last:.1f}x)  '
          f'{s.tunes} tunes {together:.0f}: {together / base:.1f}x ({together / last:.1f}x)', end='')
    if reader:          # tunes end where they will and others take their rows: nearly to the end, all rows are in use
        def whole_tunes(reader):
            new = [Tune(tokenizer, (1, i), reader) for i in range(10 * s.tunes)]
            counts.update(generate(model, tokenizer, new, s.tunes, max_tokens=s.tokens, top_p=0.9))
            return counts['tokens']

        for how, held in ('free', None), ('constrained', reader):
            counts = {}
            tokens_s = rate(lambda: whole_tunes(held))
            per_tune, dropped = counts['tokens'] / 10 / s.tunes, 100 * counts['dropped'] / counts['tokens']
            print(f'\n{how:>24}: {tokens_s:.0f} tokens/s, {tokens_s / per_tune:.1f} tunes/s; '
                  f'{per_tune:.0f} tokens a tune; {dropped:.0f} dropped for 100 kept', end='')
    print()


def main():
    s = configure(Settings)
    if s.threads:
        torch.set_num_threads(s.threads)
    print(f'tokens/s, {s.tokens} tokens a tune, torch {torch.__version__}, {torch.get_num_threads()} threads')
    if s.ckpt:
        model, tokenizer, _ = sample.load(s.ckpt, 'cpu')
        reader = Reader(alphabet={token for token in tokenizer.tokens if len(token) == 1})
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
