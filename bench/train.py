"""Training speed: tokens/s of train.py's own path beside a plain loop, in one process, so that
ratios are fair.

    python bench/train.py                           # all four models, about 5 minutes on two cores
    python bench/train.py --models=gpt_micro --rounds=5

plain    the module, fp32, eager; torch's cross_entropy on all logits, torch's AdamW: a loop that
         anyone would write
written  the same with attention written out (masked_fill, softmax), as before fused kernels
ours     what train.py runs: bf16 where the chip has it, compiled, chunked loss, fused AdamW, and
         its own accumulation and update

Loops take turns, one step each in every round, and the best step of each counts: the machine may be
shared. On a busy one use OMP_NUM_THREADS=1: then CPU time of the one thread is measured, which
other users do not lengthen. The peak is that of a 2048 x 2048 bf16 matrix product (on CUDA 8192),
taken in the same rounds.
"""
import os
import runpy
import sys
import time
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import model as model_module
import train
from configurator import configure
from training.optim import make_optimizer, update


@dataclass
class Settings:
    models: list[str] = field(          # names of configs
        default_factory=lambda: ['gpt_micro', 'gpt_tiny', 'gpt_small', 'rnn_tiny'])
    rounds: int = 5                     # steps of each loop, after one to warm up
    batch_size: int = 16                # sequences of 256 tokens per step
    vocab_size: int = 5000
    device: str = 'auto'                # auto | cpu | cuda
    compile: bool = True                # of our own path


def build(name, vocab_size, device):
    values = runpy.run_path(os.path.join(ROOT, 'config', f'{name}.py'))
    torch.manual_seed(1)
    return train.build_model(values['arch'], {**values, 'vocab_size': vocab_size}).to(device)


def plain(model, x, y):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def step():
        F.cross_entropy(model(x)[0].flatten(0, 1), y.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return step


def written(model, x, y):
    def attention(q, k, v, dropout):
        scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
        future = torch.ones_like(scores, dtype=torch.bool).triu(1)
        return scores.masked_fill(future, float('-inf')).softmax(3) @ v
    inner = plain(model, x, y)

    def step():
        flash, model_module.flash_attention = model_module.flash_attention, attention
        inner()
        model_module.flash_attention = flash
    return step


def ours(model, x, y, s, run):
    optimizer = make_optimizer(model, train.Settings())
    scaler = torch.amp.GradScaler(run.device, enabled=run.dtype == 'fp16')
    compiled = torch.compile(model) if s.compile else model
    micro = list(zip(x.split(run.micro_batch_size), y.split(run.micro_batch_size)))

    def step():
        train.accumulate(compiled, micro, scaler, run)
        update(model, optimizer, scaler, 1.0)
    return step


def matmul(device):
    n = 2048 if device == 'cpu' else 8192
    a = torch.randn(n, n, device=device).bfloat16()
    return lambda: a @ a, 2 * n ** 3


def seconds(step, device):
    one_thread = device == 'cpu' and torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    if device == 'cuda':
        torch.cuda.synchronize()
    start = clock()
    step()
    if device == 'cuda':
        torch.cuda.synchronize()
    return clock() - start


def main():
    s = configure(Settings)
    run = train.Run(train.Settings(batch_size=s.batch_size, device=s.device))
    device = run.device
    print(f'torch {torch.__version__}, {torch.get_num_threads()} threads, {device} {run.dtype}, '
          f'{s.batch_size} x 256 tokens per step')
    print(f"{'k tokens/s':<12}{'plain':>9}{'written':>9}{'ours':>9}{'ours/plain':>14}"
          f"{'/written':>10}{'of peak':>9}{'first step':>12}")
    for name in s.models:
        model = build(name, s.vocab_size, device)
        tokens = torch.randint(0, s.vocab_size, (s.batch_size, 257), device=device)
        x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
        product, flops = matmul(device)
        loops = {'plain': plain(model, x, y), 'peak': product, 'ours': ours(model, x, y, s, run)}
        if name.startswith('gpt'):
            loops['written'] = written(model, x, y)
        start = time.perf_counter()
        loops['ours']()
        first_s = time.perf_counter() - start       # wall time: compilation runs in other processes
        best = {key: seconds(step, device) for key, step in loops.items()}
        for _ in range(s.rounds):
            for key, step in loops.items():
                best[key] = min(best[key], seconds(step, device))
        rate = {key: s.batch_size * 256 / t for key, t in best.items()}
        share = rate['ours'] * model.flops_per_token() / (flops / best['peak'])
        speeds = [f'{rate[key] / 1e3:.1f}' if key in rate else '-'
                  for key in ('plain', 'written', 'ours')]
        ratios = [f"{rate['ours'] / rate[key]:.2f}" if key in rate else '-'
                  for key in ('plain', 'written')]
        print(f'{name:<12}' + ''.join(f'{speed:>9}' for speed in speeds)
              + f'{ratios[0]:>14}{ratios[1]:>10}{share:>9.0%}{first_s:>10.1f} s', flush=True)


if __name__ == '__main__':
    main()
