"""Train a GPT or an LSTM on tune tokens: one CPU, one GPU, many GPUs or nodes, the same command.

    python train.py config/gpt_micro.py                         # -> out/gpt_micro/{ckpt,best}.pt, log.jsonl
    python train.py config/gpt_micro.py config/original.py      # the original study's recipe -> out/gpt_micro-original
    python train.py config/gpt_micro.py --resume                # goes on where it was stopped, bit for bit; without
                                                                # it a former run is put aside, in former-1 and so on
    python train.py config/gpt_micro.py --eval_only --split=test
    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=50e6 --snapshots=8e6      # a trunk, and from it
    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=10e6 --out_dir=out/10M \\
        --trunk=out/gpt_tiny/trunk-8000000.pt
    torchrun --nproc_per_node=8 train.py config/gpt_large.py --batch_size=96
    torchrun --nnodes=2 --node_rank=0 --nproc_per_node=8 --master_addr=HOST --master_port=29500 train.py ...

The batch of a step is a pure function of (seed, step): every window of `block_size` tokens is used once an epoch,
whatever the number of ranks, and a resumed run needs nothing but the step. Only the steps of `anneal_fraction` have
epochs of their own, of the windows without transposed copies.

Exit status: 0 at the end, 2 a user's mistake (one line), 3 the loss is no longer finite, 128 + n stopped by signal n.
"""
import math
import os
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from configurator import configure, fail
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from plumbing.checkpoint import read_checkpoint
from training.checks import check_settings
from training.checkpoint import config_of, make_out_dir, provenance, put_aside, starting_point, write_checkpoint
from training.data import first_untransposed_window, load_meta, load_split, load_tokenizer
from training.loader import batch, micro_batches, n_windows
from training.log import Log, in_words, introduce
from training.machine import Run, StopSignal
from training.optim import lr_factor, make_optimizer, running_mean, update


@dataclass
class Settings:
    # data and output
    data_dir: str = 'data/bundled'          # folder written by prepare.py
    out_dir: str | None = None              # None: out/NAME of the config; of several out/NAME-NAME
    # model (vocab_size comes from the data)
    arch: str = 'gpt'                       # gpt | lstm
    n_layer: int = 2
    n_head: int = 4                         # gpt
    n_embd: int = 128                       # gpt: width
    hidden_size: int = 256                  # lstm
    block_size: int = 256                   # context, tokens
    dropout: float = 0.0
    positions: str = 'learned'              # gpt: learned | rotary; this and the next three: see config/modern.py
    key_offset: bool = False                # gpt
    qk_norm: bool = False                   # gpt
    conv_taps: int = 0                      # gpt: 4 are usual
    init: str = 'width'                     # width | gpt2, see init_weights in model.py and lstm.py
    # budget
    max_tokens: int = 100_000_000           # training tokens, at most `epochs` passes over the data
    epochs: int = 1                         # passes allowed
    batch_size: int = 64                    # sequences an optimiser step, over all ranks
    micro_batch_size: int | None = None     # sequences a forward pass on a rank; None: at most 16 (CPU), 128 (CUDA)
    # optimiser: AdamW
    learning_rate: float = 3e-4             # peak rate
    embedding_lr: float | None = None       # the same for the embeddings; None: learning_rate
    head_lr: float | None = None            # the same for the weight of the output layer; None: learning_rate
    min_lr: float | None = None             # where learning_rate ends, others in proportion; None: a tenth of it
    schedule: str = 'cosine'                # cosine | wsd (constant, then linear over the last cooldown_fraction)
    warmup_steps: int | None = None         # None: a tenth of the steps, at most 500
    cooldown_fraction: float = 0.2
    anneal_fraction: float = 0.0            # the last share of the steps sees tunes as they stand, no transposed copies
    average_fraction: float = 0.0           # the run ends with the mean of the weights of the last share of its steps
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
    compile: bool | str = 'auto'            # torch.compile; auto: on CUDA, and on a CPU where the run repays it
    deterministic: bool = False             # on CUDA (a CPU run always is)
    seed: int = 1


ARCHS = {'gpt': (GPT, GPTConfig), 'lstm': (LSTM, LSTMConfig)}

def build_model(arch, values):
    """The model of an architecture; of `values`, such as all settings, it takes what its config has fields for."""
    model, config = ARCHS[arch]
    try:
        return model(config(**{k: v for k, v in values.items() if k in config.__dataclass_fields__}))
    except ValueError as e:
        fail(str(e))


def recalled(x_BT, y_BT):
    """Which targets a model could look up (B, T): the pair of input and target has stood in the window before."""
    pair_BT = x_BT * (int(y_BT.max()) + 1) + y_BT
    pair_BT, order_BT = pair_BT.sort(dim=1, stable=True)
    again_BT = torch.zeros_like(pair_BT, dtype=torch.bool)
    return again_BT.scatter(1, order_BT[:, 1:], pair_BT[:, 1:] == pair_BT[:, :-1])


@torch.no_grad()
def evaluate(model, ids, sizes, run):
    """Loss over a whole split, in nats: {'loss' per token, 'se', 'perplexity', 'per_note', 'per_char'}, and {'share',
    'loss' per token} of the targets that are 'recalled' and of the 'rest'.

    Read in windows of block_size, none overlapping, shared by the ranks; se is the standard error of the loss with
    windows as the sampling unit. `sizes`: the split's entry in meta.json (notes, characters).
    """
    block_size = model.config.block_size
    n = -(-(len(ids) - 1) // block_size)
    nats_NK, counts_NK = torch.zeros(2, n, 2, dtype=torch.float64)      # of each window: recalled targets, the rest
    mine = np.arange(run.rank, n, run.world)
    model.eval()
    for i in range(0, len(mine), run.micro_batch_size):
        windows = mine[i:i + run.micro_batch_size]
        x, y = batch(ids, windows, block_size, run.device)
        with run.autocast():
            losses = model(x, y.clamp(min=0), reduction='none')[1].double()
        again = recalled(x, y)
        for k, chosen in enumerate((again, ~again)):
            chosen &= y >= 0                                            # behind the end of the split there is no target
            nats_NK[windows, k] = (losses * chosen).sum(1).cpu()
            counts_NK[windows, k] = chosen.double().sum(1).cpu()
    model.train()
    nats_NK, counts_NK = run.sum(nats_NK), run.sum(counts_NK)
    total, tokens = float(nats_NK.sum()), float(counts_NK.sum())
    loss = total / tokens
    residuals = float((nats_NK.sum(1) - loss * counts_NK.sum(1)).square().sum())
    parts = [{'share': count / tokens, 'loss': nats / count if count else 0.0}
             for nats, count in zip(nats_NK.sum(0).tolist(), counts_NK.sum(0).tolist())]
    return {'loss': loss, 'se': math.sqrt(residuals * n / max(1, n - 1)) / tokens, 'perplexity': math.exp(loss),
            'per_note': total / sizes['notes'], 'per_char': total / sizes['characters'],
            'recalled': parts[0], 'rest': parts[1]}


def train(s, meta, run):
    """Train to the end of the budget, or until a signal; leaves out_dir/ckpt.pt, best.pt and log.jsonl."""
    ids, val_ids = [load_split(s.data_dir, split, meta) for split in ('train', 'val')]
    tokenizer = load_tokenizer(s.data_dir)
    n, step_tokens = n_windows(len(ids), s.block_size), s.batch_size * s.block_size
    n_steps = min(s.max_tokens // step_tokens, s.epochs * (n // s.batch_size))
    if n_steps < 1:
        fail(f'nothing to train on: a step takes {step_tokens:,} tokens, max_tokens is {s.max_tokens:,}, '
             f'{s.data_dir}/train.bin holds {len(ids):,}')
    if s.warmup_steps and s.warmup_steps >= n_steps:
        fail(f'warmup_steps is {s.warmup_steps}, but the run has {n_steps} steps')
    first = first_untransposed_window(s, meta, len(ids))
    until = lambda share, steps: steps - int(share * steps)             # the last share of so many steps
    anneal_share = s.anneal_fraction if first else 0.0
    annealed, averaged = until(anneal_share, n_steps), until(s.average_fraction, n_steps)
    make_out_dir(s.out_dir)

    # The model and its optimiser, fresh or as a checkpoint has them
    torch.manual_seed(s.seed)
    raw = build_model(s.arch, {**vars(s), 'vocab_size': meta['vocab_size']})
    raw.init_weights(s.init)
    raw.to(run.device)
    run.settle_compile(raw.flops_per_token() * n_steps * step_tokens)
    checkpoint = starting_point(s, raw, meta, run)
    if s.warmup_steps is None:
        s.warmup_steps = checkpoint['config']['train']['warmup_steps'] if checkpoint else min(500, n_steps // 10)
    optimizer = make_optimizer(raw, s)
    scaler = torch.amp.GradScaler(run.device, enabled=run.dtype == 'fp16')
    done, history, val, skipped, mean = 0, [], None, 0, None
    if checkpoint:
        raw.load_state_dict(checkpoint['model'])
        optimizer.load_state_dict(checkpoint['optimizer'])
        scaler.load_state_dict(checkpoint['scaler'])
        done, history, val, skipped = (checkpoint[k] for k in ('step', 'history', 'val', 'skipped'))
        mean = checkpoint.get('mean') and [weight.to(run.device) for weight in checkpoint['mean']]
        common = until(max(anneal_share, s.average_fraction), min(n_steps, checkpoint['n_steps']))
        if done > 0 and (lr_factor(done - 1, n_steps, s) != lr_factor(done - 1, checkpoint['n_steps'], s)
                         or (first or s.average_fraction) and n_steps != checkpoint['n_steps'] and done > common):
            fail(f'a run of {s.max_tokens:,} tokens cools down, anneals or averages elsewhere than {s.trunk} '
                 f'of step {done}')
    if run.rank == 0 and not s.resume:
        put_aside(s.out_dir, s.trunk)
    model = run.wrap(raw)
    introduce(s, meta, run, raw, n, n_steps, done)
    if first:
        run.print(f'after step {annealed:,} only the {n - first:,} windows without transposed copies')
    if averaged < n_steps:
        run.print(f'at the end the model is the mean of those after the last {n_steps - averaged:,} steps')
    about = {'config': config_of(s, raw, run), 'meta': meta, 'tokenizer': tokenizer, 'n_steps': n_steps,
             'num_params': raw.num_params(), 'flops_per_token': raw.flops_per_token(), **provenance()}

    def save(name='ckpt.pt'):
        if run.rank == 0:
            write_checkpoint({
                **about, 'model': raw.state_dict(), 'optimizer': optimizer.state_dict(),
                'scaler': scaler.state_dict(), 'step': done, 'tokens': done * step_tokens, 'skipped': skipped,
                'mean': mean,
                'rng': {'seed': s.seed, 'step': done},      # all there is: every step seeds its own draws from them
                'val': val, 'history': log.history}, os.path.join(s.out_dir, name))

    interval = s.eval_interval or -(-n_steps // 5)
    evaluations = {*range(interval, n_steps, interval), n_steps}
    stop, log, saved_at = StopSignal(run), Log(s, meta, run, raw, n_steps, history), time.perf_counter()
    while True:
        if done == n_steps and mean:
            with torch.no_grad():
                torch._foreach_copy_(list(raw.parameters()), mean)
            mean = None
        if done in evaluations and not log.evaluated(done):
            save()                                          # an evaluation may be long
            val = evaluate(raw, val_ids, meta['splits']['val'], run)
            is_best = all(val['loss'] < row['val']['loss'] for row in log.history if 'val' in row)
            log.val(done, val)
            save()
            if is_best:
                save('best.pt')
        if done == n_steps:
            break

        for group in optimizer.param_groups:
            group['lr'] = group['peak_lr'] * lr_factor(done, n_steps, s)
        torch.manual_seed((s.seed * 1_000_003 + done) * run.world + run.rank)       # for dropout
        late = done >= annealed
        windows = micro_batches(done - late * annealed, n, s.batch_size, s.seed, run.rank, run.world, run.n_micro,
                                late * first)
        loss = accumulate(model, (batch(ids, w, s.block_size, run.device) for w in windows), scaler, run)
        norm, taken = update(raw, optimizer, scaler, s.grad_clip)
        skipped += not taken
        done += 1
        if done > averaged:
            mean = running_mean(mean, raw, done - averaged)

        logs = done % s.log_interval == 0
        keep = logs or done in evaluations
        if keep or log.last is None:
            log.step(done, loss, norm, skipped, optimizer.param_groups[0]['lr'], keep)
        for tokens in s.snapshots or []:
            if tokens // step_tokens == done:
                save(f'trunk-{tokens}.pt')
        halt = stop.requested(logs)
        if halt or time.perf_counter() - saved_at > 60 * s.save_minutes:
            save()
            saved_at = time.perf_counter()
        if halt:
            run.print(f'stopped by {signal.Signals(halt).name} after step {done}; --resume goes on from there')
            sys.exit(128 + halt)
    run.print(f'{s.out_dir}/ckpt.pt: {done * step_tokens:,} tokens, val {in_words(val)}')


def accumulate(model, batches, scaler, run):
    """Add up the gradients of a step's micro-batches of (inputs, targets) -> their mean loss, a tensor."""
    loss = torch.zeros((), device=run.device)
    for i, (x, y) in enumerate(batches, 1):
        if run.world > 1:
            model.require_backward_grad_sync = i == run.n_micro     # ranks meet at the last one
        with run.autocast():
            micro_loss = model(x, y)[1] / run.n_micro
        scaler.scale(micro_loss).backward()
        loss += micro_loss.detach()
    return loss


def evaluate_only(s, meta, run):
    path = os.path.join(s.out_dir, 'ckpt.pt')
    checkpoint = read_checkpoint(path)
    if checkpoint['meta']['tokenizer'] != meta['tokenizer']:
        fail(f'{path} was trained with another tokenizer than {s.data_dir} has')
    model = build_model(checkpoint['config']['arch'], checkpoint['config']['model'])
    model.load_state_dict(checkpoint['model'])
    ids = load_split(s.data_dir, s.split, meta)
    loss = evaluate(model.to(run.device), ids, meta['splits'][s.split], run)
    run.print(f'{path} on {s.data_dir}/{s.split}.bin: {in_words(loss)} (nats)')


def main():
    s = configure(Settings)
    check_settings(s, ARCHS)
    if s.out_dir is None:
        names = [os.path.splitext(os.path.basename(path))[0] for path in s.config_files]
        s.out_dir = 'out/' + ('-'.join(names) or s.arch)
    meta = load_meta(s.data_dir)
    run = Run(s)
    try:
        evaluate_only(s, meta, run) if s.eval_only else train(s, meta, run)
    except torch.OutOfMemoryError:
        fail(f'out of GPU memory with micro-batches of {run.micro_batch_size}: set a smaller micro_batch_size',
             of_this_rank=True)
    except RuntimeError as e:
        if 'could not create a primitive' not in str(e):
            raise
        fail(f'this CPU has no {run.dtype} kernel for the model ({s.arch}): use --dtype=fp32')
    if run.world > 1:
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
