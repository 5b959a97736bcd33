"""How much of what a model writes is rests, beside how much of the held-out text is: for models of any text in ABC,
such as midi2abc's.

    python bench/rests.py out/study/gpt_2-seed1/ckpt.pt out/study/gpt_2-midi2abc-seed1/ckpt.pt

The samples are drawn without constraint. An event is a note, a chord or a rest; a bar is one voice's.
"""
import os
import re
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import torch

import sample
from configurator import configure, fail
from sampling.generate import generate
from sampling.tune import Tune


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # checkpoints
    num_samples: int = 50
    max_tokens: int = 1000                              # of a sample
    top_p: float = 0.9
    seed: int = 1


# Header and inline fields, comments, chord symbols.
NO_MUSIC = re.compile(r'^(?:[A-Za-z+]:|%).*$|"[^"\n]*"|![^!\n]*!|\[[A-Za-z]:[^\]\n]*\]|%.*$', re.M)
EVENT = re.compile(r"\[[^\]|]*\]|[\^_=]*[A-Ga-g][,']*|[zxZX]")


def rests(texts):
    """(share of events that are rests, share of bars that hold nothing else, events)."""
    n_events = n_rests = n_bars = n_silent = 0
    for text in texts:
        for bar in re.split(r'[|\n]', NO_MUSIC.sub('', text)):
            events = EVENT.findall(bar)
            silent = sum(event[0] in 'zxZX' for event in events)
            n_events, n_rests = n_events + len(events), n_rests + silent
            n_bars, n_silent = n_bars + bool(events), n_silent + (0 < len(events) == silent)
    return n_rests / max(1, n_events), n_silent / max(1, n_bars), n_events


def main():
    s = configure(Settings)
    if not s.paths:
        fail('no checkpoints: name some, such as out/study/gpt_2-seed1/ckpt.pt')
    print('| model | rests of events, samples | held out | bars of rests only, samples | held out |')
    print('|---|---|---|---|---|')
    for path in s.paths:
        model, tokenizer, checkpoint = sample.load(path, 'cpu')
        tunes = [Tune(tokenizer, (s.seed, i)) for i in range(s.num_samples)]
        with torch.inference_mode():
            generate(model, tokenizer, tunes, max_tokens=s.max_tokens, max_bars=10 ** 9, top_p=s.top_p)
        data_dir = checkpoint['config']['train']['data_dir']
        with open(os.path.join(data_dir, 'val.abc'), encoding='utf-8') as f:
            held_out = rests([f.read()])
        ours = rests([tune.text for tune in tunes])
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
        print(f'| {name} | {ours[0]:.1%} | {held_out[0]:.1%} | {ours[1]:.1%} | {held_out[1]:.1%} |')


if __name__ == '__main__':
    main()
