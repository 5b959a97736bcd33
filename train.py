"""Train a GPT or an LSTM on tune tokens: one CPU, one GPU, many GPUs or nodes, the same command.

    python train.py config/gpt_micro.py                                  # -> out/gpt_micro/{ckpt,best}.pt, log.jsonl
    python train.py config/gpt_large.py --batch_size=96
    python train.py config/gpt_micro.py config/original.py               # the original study's recipe
    python train.py config/gpt_micro.py --resume                         # goes on where it was stopped, bit for bit
    python train.py config/gpt_micro.py --eval_only --split=test
    torchrun --nproc_per_node=8 train.py config/gpt_large.py
    torchrun --nnodes=2 --node_rank=0 --nproc_per_node=8 --master_addr=HOST --master_port=29500 train.py config/gpt_large.py

Several decayed losses from one run (schedule 'wsd': warm-up, constant rate, linear cool-down over the last fifth):

    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=50e6 --snapshots=8e6,20e6
    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=10e6 --trunk=out/gpt_tiny/trunk-8000000.pt --out_dir=out/tiny-10M

The batch of a step is a pure function of (seed, step): every window of `block_size` tokens is used once an epoch, whatever the
number of ranks, and a resumed run needs nothing but the step.
"""
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from configurator import configure, fail
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from training.checkpoint import read_checkpoint, starting_point, write_checkpoint
from training.loader import batch, micro_batches, n_windows
from training.machine import DTYPES, Run, StopSignal
from training.optim import lr_factor, make_optimizers, update


@dataclass
class Settings:
    # data and output
    data_dir: str = 'data/bundled'          # folder written by prepare.py
    out_dir: str | None = None              # None: out/NAME-of-the-first-config
    # model (vocab_size comes from the data)
    arch: str = 'gpt'                       # gpt | lstm
    n_layer: int = 2
    n_head: int = 4                         # gpt
    n_embd: int = 128                       # gpt: width
    hidden_size: int = 256                  # lstm
    block_size: int = 256                   # context, tokens
    dropout: float = 0.0
    init: str = 'width'                     # width | gpt2, see init_weights in model.py and lstm.py
    # budget
    max_tokens: int = 100_000_000           # training tokens, at most `epochs` passes over the data
    epochs: int = 1                         # passes allowed
    batch_size: int = 64                    # sequences an optimiser step, over all ranks
    micro_batch_size: int | None = None     # sequences a forward pass on one rank; None: the largest divisor <= 16 (CPU), 128 (CUDA)
    # optimiser
    optimizer: str = 'adamw'                # adamw | muon (hidden matrices by Muon, the rest by AdamW)
    learning_rate: float = 3e-4             # peak rate of AdamW
    embedding_lr: float | None = None       # the same for the embeddings; None: learning_rate
    head_lr: float | None = None            # the same for the weight of the output layer; None: learning_rate
    muon_lr: float = 0.02                   # peak rate of Muon
    min_lr: float | None = None             # where learning_rate ends (the other rates in proportion); None: a tenth of it
    schedule: str = 'cosine'                # cosine | wsd (constant, then linear over the last cooldown_fraction)
    warmup_steps: int | None = None         # None: a tenth of the steps, at most 500
    cooldown_fraction: float = 0.2
    weight_decay: float = 0.1               # on matrices
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0                  # largest gradient norm; 0: off
    # branches of a wsd run
    snapshots: list[int] | None = None      # token counts at which to keep out_dir/trunk-TOKENS.pt
    trunk: str | None = None                # start from such a snapshot
    # evaluation, logging, saving
    eval_interval: int | None = None        # steps between evaluations on all of val; None: five in a run
    log_interval: int = 10                  # steps
    save_minutes: float = 10.0              # a checkpoint at least so often
    resume: bool = False                    # go on from out_dir/ckpt.pt (from the start if there is none)
    eval_only: bool = False                 # print the loss of out_dir/ckpt.pt on `split`
    split: str = 'val'                      # of eval_only: train | val | test
    # machine
    device: str = 'auto'                    # auto | cpu | cuda
    dtype: str = 'auto'                     # auto | bf16 | fp16 | fp32
    compile: bool | str = 'auto'            # torch.compile; auto: on CUDA, and on a CPU for runs that are long enough to repay it
    deterministic: bool = False             # on CUDA (a CPU run always is)
    seed: int = 1


ARCHS = {'gpt': (GPT, GPTConfig), 'lstm': (LSTM, LSTMConfig)}
CHOICES = {'arch': ARCHS, 'init': ('width', 'gpt2'), 'optimizer': ('adamw', 'muon'), 'schedule': ('cosine', 'wsd'),
           'device': ('auto', 'cpu', 'cuda'), 'dtype': ('auto', *DTYPES), 'compile': (True, False, 'auto'),
           'split': ('train', 'val', 'test')}
POSITIVE = ('max_tokens', 'epochs', 'batch_size', 'block_size', 'n_layer', 'n_head', 'n_embd', 'hidden_size', 'learning_rate',
            'embedding_lr', 'head_lr', 'muon_lr', 'log_interval', 'eval_interval', 'micro_batch_size')
COMPILE_FLOPS = 1e13        # a CPU run of fewer FLOPs ends before compiled code has repaid its compilation


# ---- data and model

def load_meta(data_dir):
    path = os.path.join(data_dir, 'meta.json')
    if not os.path.exists(path):
        fail(f'no prepared data in {data_dir!r} (no meta.json): run prepare.py first, or set --data_dir')
    with open(path) as f:
        return json.load(f)


def load_split(data_dir, split, vocab_size):
    """Memory-mapped uint16 token ids of a split, each below vocab_size."""
    path = os.path.join(data_dir, f'{split}.bin')
    if not os.path.exists(path) or os.path.getsize(path) < 4:
        fail(f'{path} is missing or holds no two tokens: run prepare.py again')
    ids = np.memmap(path, dtype=np.uint16, mode='r')
    top = max(int(ids[i:i + 2 ** 24].max()) for i in range(0, len(ids), 2 ** 24))
    if top >= vocab_size:
        fail(f'{path} holds the id {top}, but the vocabulary of meta.json has {vocab_size}: run prepare.py again')
    return ids


def build_model(arch, config):
    """The model of a checkpoint's config['arch'] and config['model']."""
    model, config_class = ARCHS[arch]
    try:
        return model(config_class(**config))
    except ValueError as e:
        fail(str(e))


@torch.no_grad()
def evaluate(model, ids, sizes, run):
    """Loss over a whole split, in nats: {'loss' per token, 'se', 'perplexity', 'per_note', 'per_char'}.

    The split is read in windows of block_size, none overlapping, shared by the ranks; se is the standard error of the loss
    with windows as the sampling unit. `sizes`: the split's entry in meta.json (notes, characters).
    """
    block_size = model.config.block_size
    n = -(-(len(ids) - 1) // block_size)
    nats, counts = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    mine = np.arange(run.rank, n, run.world)
    model.eval()
    for i in range(0, len(mine), run.micro_batch_size):
        windows = mine[i:i + run.micro_batch_size]
        x, y = batch(ids, windows, block_size, run.device)
        with run.autocast():
            losses = model(x, y.clamp(min=0), reduction='none')[1]
        nats[windows] = losses.double().mul(y >= 0).sum(1).cpu()
        counts[windows] = (y >= 0).double().sum(1).cpu()
    model.train()
    nats, counts = run.sum(nats), run.sum(counts)
    total, loss = float(nats.sum()), float(nats.sum() / counts.sum())
    residuals = float((nats - loss * counts).square().sum())
    return {'loss': loss, 'se': math.sqrt(residuals * n / max(1, n - 1)) / float(counts.sum()), 'perplexity': math.exp(loss),
            'per_note': total / sizes['notes'], 'per_char': total / sizes['characters']}


def git_commit():
    here = os.path.dirname(os.path.abspath(__file__))
    if not shutil.which('git'):
        return None
    return subprocess.run(['git', '-C', here, 'rev-parse', 'HEAD'], capture_output=True, text=True).stdout.strip() or None


# ---- training

def train(s, meta, run):
    """Train to the end of the budget, or until a signal; leaves out_dir/ckpt.pt, best.pt and log.jsonl."""
    ids, val_ids = [load_split(s.data_dir, split, meta['vocab_size']) for split in ('train', 'val')]
    with open(os.path.join(s.data_dir, 'tokenizer.json')) as f:
        tokenizer = f.read()
    n, step_tokens = n_windows(len(ids), s.block_size), s.batch_size * s.block_size
    n_steps = min(s.max_tokens // step_tokens, s.epochs * (n // s.batch_size))
    if n_steps < 1:
        fail(f'nothing to train on: a step takes {step_tokens:,} tokens, max_tokens is {s.max_tokens:,}, '
             f'{s.data_dir}/train.bin holds {len(ids):,}')
    os.makedirs(s.out_dir, exist_ok=True)

    torch.manual_seed(s.seed)
    fields = [f.name for f in dataclasses.fields(ARCHS[s.arch][1])]
    raw = build_model(s.arch, {k: v for k, v in {**vars(s), 'vocab_size': meta['vocab_size']}.items() if k in fields})
    raw.init_weights(s.init)
    raw.to(run.device)
    if run.compile == 'auto':
        worth = raw.flops_per_token() * n_steps * step_tokens > COMPILE_FLOPS and shutil.which(os.environ.get('CXX', 'g++'))
        run.compile = run.device == 'cuda' or bool(worth)
    config = {'arch': s.arch, 'model': dataclasses.asdict(raw.config), 'train': {
        **dataclasses.asdict(s), 'device': run.device, 'dtype': run.dtype, 'compile': run.compile,
        'micro_batch_size': run.micro_batch_size, 'ranks': run.world}}
    checkpoint = starting_point(s, config, meta, run)
    if s.warmup_steps is None:
        s.warmup_steps = checkpoint['config']['train']['warmup_steps'] if checkpoint else min(500, n_steps // 10)
        config['train']['warmup_steps'] = s.warmup_steps
    optimizers, row_blocks = make_optimizers(raw, s)
    scaler = torch.amp.GradScaler(run.device, enabled=run.dtype == 'fp16')
    start, history, val, skipped = 0, [], None, 0
    if checkpoint:
        raw.load_state_dict(checkpoint['model'])
        for optimizer, state in zip(optimizers, checkpoint['optimizer']):
            optimizer.load_state_dict(state)
        scaler.load_state_dict(checkpoint['scaler'])
        start, history, val, skipped = (checkpoint[k] for k in ('step', 'history', 'val', 'skipped'))
        if start > 0 and lr_factor(start - 1, n_steps, s) != lr_factor(start - 1, checkpoint['n_steps'], s):
            fail(f'the cool-down of a run of {s.max_tokens:,} tokens begins before step {start}, where {s.trunk} was taken')
    model = torch.compile(raw) if run.compile else raw
    if run.world > 1:
        if run.compile:
            torch._dynamo.config.optimize_ddp = False       # do not cut the graph: the chunked loss is one operator of it
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    introduce(s, meta, run, raw, n, n_steps, start)

    def save(name='ckpt.pt'):
        if run.rank == 0:
            write_checkpoint({
                'model': raw.state_dict(), 'optimizer': [o.state_dict() for o in optimizers], 'scaler': scaler.state_dict(),
                'rng': {'seed': s.seed, 'step': done},      # all there is: every step seeds its own draws from them
                'step': done, 'n_steps': n_steps, 'tokens': done * step_tokens, 'skipped': skipped, 'config': config,
                'meta': meta, 'tokenizer': tokenizer, 'num_params': raw.num_params(), 'flops_per_token': raw.flops_per_token(),
                'val': val, 'history': log.history,
                'versions': {'torch': str(torch.__version__), 'numpy': np.__version__, 'python': sys.version.split()[0]},
                'git': commit}, os.path.join(s.out_dir, name))

    def evaluate_and_save():
        nonlocal val
        save()                                              # an evaluation may be long
        val = evaluate(raw, val_ids, meta['splits']['val'], run)
        is_best = all(val['loss'] < row['val']['loss'] for row in log.history if 'val' in row)
        log.val(done, val)
        save()
        if is_best:
            save('best.pt')

    stop, log, commit = StopSignal(run), Log(s, meta, run, raw, n_steps, history), git_commit()
    eval_interval = s.eval_interval or -(-n_steps // 5)
    done, saved_at = start, time.perf_counter()
    if start and (start % eval_interval == 0 or start == n_steps) and not any('val' in r for r in history if r['step'] == start):
        evaluate_and_save()                                 # stopped between a step and its evaluation
    log.start_clock()
    for step in range(start, n_steps):
        for group in (g for o in optimizers for g in o.param_groups):
            group['lr'] = group['peak_lr'] * lr_factor(step, n_steps, s)
        torch.manual_seed((s.seed * 1_000_003 + step) * run.world + run.rank)       # for dropout
        windows = micro_batches(step, n, s.batch_size, s.seed, run.rank, run.world, run.n_micro)
        loss = accumulate(model, (batch(ids, w, s.block_size, run.device) for w in windows), scaler, run)
        norm, stepped = update(raw, optimizers, row_blocks, scaler, s.grad_clip)
        skipped += not stepped
        done = step + 1

        evaluates = done % eval_interval == 0 or done == n_steps
        logs = done % s.log_interval == 0
        if step == start or logs or evaluates:
            log.step(done, loss, norm, skipped, optimizers[0].param_groups[0]['lr'], keep=logs or evaluates)
        for tokens in s.snapshots or []:
            if tokens // step_tokens == done:
                save(f'trunk-{tokens}.pt')
        halt = stop.requested(logs)
        if evaluates:
            evaluate_and_save()
        elif halt or time.perf_counter() - saved_at > 60 * s.save_minutes:
            save()
            saved_at = time.perf_counter()
        if halt:
            run.print(f'stopped by {signal.Signals(halt).name} after step {done}; --resume goes on from there')
            sys.exit(128 + halt)
        if evaluates:
            log.start_clock()
    run.print(f"{s.out_dir}/ckpt.pt: {done * step_tokens:,} tokens, val loss {val['loss']:.4f} ± {val['se']:.4f} per token, "
              f"{val['per_note']:.4f} per note, {val['per_char']:.4f} per character")


def accumulate(model, batches, scaler, run):
    """Add up the gradients of a step's micro-batches of (inputs, targets) -> their mean loss, a tensor. Ranks meet at the last one."""
    loss = torch.zeros((), device=run.device)
    for i, (x, y) in enumerate(batches, 1):
        if run.world > 1:
            model.require_backward_grad_sync = i == run.n_micro
        with run.autocast():
            micro_loss = model(x, y)[1] / run.n_micro
        scaler.scale(micro_loss).backward()
        loss += micro_loss.detach()
    return loss


def introduce(s, meta, run, raw, n, n_steps, start):
    p, step_tokens = raw.num_params(), s.batch_size * s.block_size
    run.print(f"{s.arch}: {p['total']:,} parameters ({p['non_embedding']:,} non-embedding), vocabulary {meta['vocab_size']:,}; "
              f"{run.device} {run.dtype}{' compiled' if run.compile else ''}, {run.world} rank{'s' * (run.world > 1)}, "
              f"{run.n_micro} x {run.micro_batch_size} sequences of {s.block_size} each a step")
    per_epoch = n // s.batch_size
    left_out = n - per_epoch * s.batch_size
    run.print(f'{n_steps:,} steps of {step_tokens:,} tokens = {n_steps * step_tokens:,} ({n_steps / per_epoch:.2f} epochs); '
              f'of {n:,} windows an epoch leaves out {left_out} ({left_out * s.block_size:,} tokens, less than a step)')
    if n_steps < 1000:
        run.print(f'note: only {n_steps} steps; the original recipe was made for 6,103: consider a smaller batch, or more epochs')
    if start:
        run.print(f'resumed after step {start}' if start < n_steps else f'all {n_steps} steps are done')


class Log:
    """The run's history: rows of plain values, one of a step or one of an evaluation; each also a line of log.jsonl.

    The clock counts the time of training steps only, over all sessions of a run.
    """

    def __init__(self, s, meta, run, model, n_steps, history):
        self.run, self.history, self.n_steps, self.step_tokens = run, history, n_steps, s.batch_size * s.block_size
        self.flops_per_token = model.flops_per_token()
        self.tokens_per_note = meta['splits']['train']['tokens'] / meta['splits']['train']['notes']
        self.time_s, self.last, self.first = (history[-1]['time_s'] if history else 0.0), None, True
        if run.rank == 0:
            self.file = open(os.path.join(s.out_dir, 'log.jsonl'), 'w')
            for row in history:
                print(json.dumps(row), file=self.file, flush=True)

    def start_clock(self):
        self.clock = time.perf_counter()

    def write(self, row):
        self.history.append(row)
        if self.run.rank == 0:
            print(json.dumps(row), file=self.file, flush=True)

    def step(self, done, loss, norm, skipped, lr, keep):
        """A line on the console and, if keep, a row. The loss is the mean over the step's micro-batches and ranks."""
        run = self.run
        loss = float(run.sum(loss.double())) / run.world
        if not math.isfinite(loss):
            fail(f'the loss is {loss} at step {done}: lower the learning rate')
        now = time.perf_counter()
        spent, self.clock = now - self.clock, now
        self.time_s += spent
        steps, self.last = done - (self.last or done - 1), done
        speed = steps * self.step_tokens / spent
        mfu = run.mfu(speed * self.flops_per_token)
        row = {'step': done, 'tokens': done * self.step_tokens, 'loss': loss, 'lr': lr, 'grad_norm': float(norm), 'skipped': skipped,
               'time_s': self.time_s, 'tokens_per_s': speed, 'mfu': mfu, 'memory_gb': run.peak_memory_gb()}
        if keep:
            self.write(row)
        eta_s = (self.n_steps - done) * spent / steps
        run.print(f"step {done}/{self.n_steps}  loss {loss:.4f} ({loss * self.tokens_per_note:.3f} a note)  lr {lr:.2e}  "
                  f"norm {row['grad_norm']:.2f}  {speed / 1e3:.1f}k tok/s  mfu {f'{mfu:.1%}' if mfu else 'n/a'}  "
                  f"{row['memory_gb']:.2f} GB  eta {int(eta_s) // 60}:{int(eta_s) % 60:02d}"
                  + (f'  {skipped} overflows skipped' if skipped else '')
                  + (f'  (first step: {spent:.1f} s)' if self.first else ''))
        self.first = False

    def val(self, done, val):
        self.write({'step': done, 'tokens': done * self.step_tokens, 'time_s': self.time_s, 'val': val})
        self.run.print(f"step {done}/{self.n_steps}  val loss {val['loss']:.4f} ± {val['se']:.4f} per token, {val['per_note']:.4f} "
                       f"per note, {val['per_char']:.4f} per character, perplexity {val['perplexity']:.2f}")


# ---- main

def evaluate_only(s, meta, run):
    path = os.path.join(s.out_dir, 'ckpt.pt')
    checkpoint = read_checkpoint(path)
    if checkpoint['meta']['tokenizer'] != meta['tokenizer']:
        fail(f'{path} was trained with another tokenizer than {s.data_dir} has')
    model = build_model(checkpoint['config']['arch'], checkpoint['config']['model'])
    model.load_state_dict(checkpoint['model'])
    ids = load_split(s.data_dir, s.split, meta['vocab_size'])
    loss = evaluate(model.to(run.device), ids, meta['splits'][s.split], run)
    run.print(f"{path} on {s.data_dir}/{s.split}.bin: loss {loss['loss']:.4f} ± {loss['se']:.4f} per token, {loss['per_note']:.4f} "
              f"per note, {loss['per_char']:.4f} per character (nats), perplexity {loss['perplexity']:.2f}")


def main():
    s = configure(Settings)
    for name, choices in CHOICES.items():
        if getattr(s, name) not in choices:
            fail(f'{name!r} must be one of {", ".join(map(str, choices))}, not {getattr(s, name)!r}')
    for name in POSITIVE:
        if getattr(s, name) is not None and getattr(s, name) <= 0:
            fail(f'{name!r} must be above 0, not {getattr(s, name)!r}')
    if s.out_dir is None:
        s.out_dir = 'out/' + (os.path.splitext(os.path.basename(s.config_files[0]))[0] if s.config_files else s.arch)
    meta = load_meta(s.data_dir)
    run = Run(s)
    try:
        evaluate_only(s, meta, run) if s.eval_only else train(s, meta, run)
    except torch.OutOfMemoryError:
        fail(f'out of GPU memory with micro-batches of {run.micro_batch_size}: set a smaller micro_batch_size', of_this_rank=True)
    if run.world > 1:
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
