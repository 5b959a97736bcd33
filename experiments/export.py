"""Export a trained model to a small file: weights in bf16, tokenizer, settings; no optimizer state.

    python prepare.py --transpose=5 --out_dir=data/tunes && python train.py config/tunes.py
    python -m experiments.export --ckpt=out/tunes/best.pt --to=results/tunes.pt

sample.py reads it as it reads a checkpoint. results/tunes.pt is such a file, trained on the bundled
tune books alone.
"""
import os
from dataclasses import dataclass

import torch

from configurator import configure, fail
from plumbing.checkpoint import read_checkpoint
from plumbing.files import atomic_write

KEPT = 'config', 'tokenizer', 'meta', 'num_params', 'val', 'tokens', 'git', 'versions'


@dataclass
class Settings:
    ckpt: str | None = None         # checkpoint of train.py
    to: str | None = None           # the file to write


def main():
    s = configure(Settings)
    if not s.ckpt or not s.to:
        fail('give --ckpt=out/RUN/best.pt and --to=FILE.pt')
    checkpoint = read_checkpoint(s.ckpt)
    if not checkpoint['val']:
        fail(f'{s.ckpt} has not been evaluated')
    model = {name: weight.bfloat16() for name, weight in checkpoint['model'].items()}
    with atomic_write(s.to) as f:
        torch.save({**{name: checkpoint[name] for name in KEPT}, 'model': model}, f)
    print(f"{s.to}: {os.path.getsize(s.to) / 1e6:.1f} MB, "
          f"{checkpoint['num_params']['total']:,} parameters, "
          f"{checkpoint['val']['per_note']:.3f} nats/note")


if __name__ == '__main__':
    main()
