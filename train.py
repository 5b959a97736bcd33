"""Train a GPT or an LSTM on tune tokens: one CPU, one GPU, many GPUs or nodes, the same command.

    python train.py config/gpt_micro.py                 # -> out/gpt_micro/{ckpt,best}.pt, log.jsonl
    python train.py config/gpt_micro.py config/original.py      # the original study's recipe
    python train.py config/gpt_micro.py --resume        # continues an interrupted run, bit for bit;
                                                        # without it the previous run is moved to
                                                        # out/gpt_micro/former-1
    python train.py config/gpt_micro.py --eval_only --split=test
    python train.py config/gpt_micro.py --dry_run       # steps, FLOPs, memory, time; trains nothing

Fine-tuning a model on other music, prepared with the model's own tokenizer:

    python train.py config/finetune.py --init_from=results/tunes.pt --data_dir=data/mine

A constant-learning-rate run (WSD schedule) with a snapshot, and a decay branch from it:

    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=50e6 --snapshots=8e6
    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=10e6 --out_dir=out/10M \\
        --trunk=out/gpt_tiny/trunk-8000000.pt
    python train.py config/gpt_tiny.py --schedule=wsd --max_tokens=80e6 --resume    # longer

Several GPUs, several nodes:

    torchrun --nproc_per_node=8 train.py config/gpt_large.py --batch_size=96
    torchrun --nnodes=2 --node_rank=0 --nproc_per_node=8 --master_addr=HOST --master_port=29500 \\
        train.py ...

The batch of a step is a pure function of (seed, step): every window of `block_size` tokens is used
once an epoch, whatever the number of ranks, and a resumed run needs nothing but the step. The steps
of `anneal_fraction` have epochs of their own, of the windows without transposed copies.

Exit status: 0 at the end, 2 a user's mistake (one line), 3 the loss is no longer finite,
128 + n stopped by signal n.
"""
import math
import os
import signal
import sys
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist

from configurator import configure, fail
from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from plumbing.checkpoint import read_checkpoint
from training.checkpoint import (
    DECAY_START,
    adopt_model_settings,
    config_of,
    prepare_out_dir,
    provenance,
    starting_point,
    write_checkpoint,
)
from training.checks import check_settings
from training.data import load_meta, load_split, load_tokenizer
from training.dry_run import print_dry_run
from training.evaluation import evaluate
from training.loader import batch, micro_batches
from training.log import Log, format_val, print_result, print_run_summary, without_improvement
from training.machine import Run, StopSignal
from training.optim import lr_factor, make_optimizer, running_mean, update
from training.plan import plan_run


@dataclass
class Settings:
    # data and output
    data_dir: str = 'data/bundled'      # folder written by prepare.py
    out_dir: str | None = None          # None: out/NAME of the config; of a family out/NAME-SIZE
    # model (vocab_size comes from the data)
    arch: str = 'gpt'                   # gpt | lstm
    n_layer: int = 2
    n_head: int = 4                     # gpt
    n_embd: int = 128                   # gpt: width
    hidden_size: int = 256              # lstm: width
    block_size: int = 256               # context in tokens
    dropout: float = 0.0
    positions: str = 'learned'          # gpt: learned | rotary (these four: config/modern.py)
    key_offset: bool = False            # gpt: half of each key comes from the previous token
    qk_norm: bool = False               # gpt: normalised queries and keys
    conv_taps: int = 0                  # gpt: tokens that the short convolutions see; 4 are usual
    init: str = 'width'                 # width | gpt2, see init_weights in model.py and lstm.py
    # budget
    max_tokens: int = 100_000_000       # training tokens, at most `epochs` passes over the data
    epochs: int = 1                     # passes allowed
    minutes: float | None = None        # config/gpt.py without n_embd: choose for so much time
    batch_size: int = 64                # windows of block_size tokens a step, over all ranks
    micro_batch_size: int | None = None     # a forward pass; None: at most 16 (CPU), 128 (GPU)
    # optimiser: AdamW
    learning_rate: float = 3e-4         # peak
    embedding_lr: float | None = None   # peak for the embeddings; None: learning_rate
    head_lr: float | None = None        # peak for the output layer's weight; None: learning_rate
    min_lr: float | None = None         # last learning_rate; None: a tenth of the peak
    schedule: str = 'cosine'            # cosine | wsd (constant, then linear decay)
    warmup_steps: int | None = None     # None: a tenth of the steps, at most 500
    cooldown_fraction: float = 0.2      # wsd: share of the steps in which the learning rate decays
    anneal_fraction: float = 0.0        # this last share of the steps uses untransposed tunes only
    average_fraction: float = 0.0       # final model: mean of the weights over this last share
    weight_decay: float = 0.1           # on matrices
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0              # largest gradient norm; 0: off
    # other starting points than a fresh model
    init_from: str | None = None        # a checkpoint: its weights and model settings (fine-tuning)
    trunk: str | None = None            # continue from such a snapshot: a decay branch of a wsd run
    # evaluation, logging, saving
    eval_interval: int | None = None    # steps between evaluations on val; None: five in a run
    log_interval: int = 10              # steps
    patience: int | None = None         # stop after so many evaluations without a better one
    save_minutes: float = 10.0          # at most so much work is lost if the run is killed
    snapshots: list[int] | None = None  # token counts at which to keep out_dir/trunk-TOKENS.pt
    resume: bool = False                # continue from out_dir/ckpt.pt, if there is one; a wsd run
                                        # also beyond its end, with a larger max_tokens
    dry_run: bool = False               # print what the run would take, train nothing
    eval_only: bool = False             # print the loss of out_dir/ckpt.pt on `split`
    split: str = 'val'                  # of eval_only: train | val | test
    # machine
    device: str = 'auto'                # auto | cpu | cuda | mps | whatever torch knows
    dtype: str = 'auto'                 # auto | bf16 | fp16 | fp32
    compile: bool | str = 'auto'        # auto: on a GPU, and on a CPU if the run repays compilation
    deterministic: bool = False         # a GPU run repeats bit for bit, as CPU runs always do; it
                                        # is slower, with another attention kernel than real runs
    seed: int = 1


ARCHS = {'gpt': (GPT, GPTConfig), 'lstm': (LSTM, LSTMConfig)}


def build_model(arch, values):
    """The model of an architecture; of `values` (such as all settings) it uses what it needs."""
    model, config = ARCHS[arch]
    try:
        fields = {k: v for k, v in values.items() if k in config.__dataclass_fields__}
        return model(config(**fields))
    except ValueError as e:
        fail(str(e))


def train(s, meta, run):
    """Train to the end of the budget, of patience, or until a signal.

    Leaves ckpt.pt, best.pt and log.jsonl in out_dir.
    """
    # ---- data
    ids, val_ids = load_split(s.data_dir, 'train', meta), load_split(s.data_dir, 'val', meta)
    tokenizer = load_tokenizer(s.data_dir)
    plan = plan_run(s, meta, len(ids))

    # ---- model and optimiser
    torch.manual_seed(s.seed)
    model = build_model(s.arch, {**vars(s), 'vocab_size': meta['vocab_size']})
    model.init_weights(s.init)
    model.to(run.device)
    run.resolve_compile_mode(model.flops_per_token() * plan.n_steps * plan.step_tokens)
    checkpoint, start_path = starting_point(s, model, meta, plan, run)     # None: from scratch
    if s.warmup_steps is None:
        s.warmup_steps = min(500, plan.n_steps // 10)
    optimizer = make_optimizer(model, s)
    scaler = torch.amp.GradScaler(run.device, enabled=run.dtype == 'fp16')

    # ---- resume
    n_done, history, result, skipped, mean_weights = 0, [], None, 0, None
    if checkpoint:
        model.load_state_dict(checkpoint['model'])
        optimizer.load_state_dict(checkpoint['optimizer'])
        scaler.load_state_dict(checkpoint['scaler'])
        n_done, history = checkpoint['step'], checkpoint['history']
        result, skipped = checkpoint['val'], checkpoint['skipped']
        if checkpoint.get('mean'):
            mean_weights = [weight.to(run.device) for weight in checkpoint['mean']]
    elif s.init_from:
        model.load_state_dict(read_checkpoint(s.init_from)['model'])
    wrapped = run.wrap(model)                   # compiled, and shared by the ranks

    def one_step(step):
        """Train on the windows of a step -> (loss, gradient norm, was the step taken)."""
        factor = lr_factor(step, plan.n_steps, s)
        for group in optimizer.param_groups:
            group['lr'] = group['peak_lr'] * factor
        # Dropout draws from torch's generator, so each step seeds it by itself
        torch.manual_seed((s.seed * 1_000_003 + step) * run.world + run.rank)
        batches = (batch(ids, windows, s.block_size, run.device)
                   for windows in windows_of_step(step, plan, s, run))
        loss = accumulate(wrapped, batches, scaler, run)
        norm, taken = update(model, optimizer, scaler, s.grad_clip)
        return loss, norm, taken

    interval = s.eval_interval or math.ceil(plan.n_steps / 5)
    evaluations = {*range(interval, plan.n_steps, interval), plan.n_steps}
    if s.init_from:
        evaluations.add(0)                      # the loss before fine-tuning
    print_run_summary(s, meta, run, model, plan, n_done)
    if s.dry_run:
        n_evaluations = sum(step >= n_done for step in evaluations)
        print_dry_run(s, meta, run, model, plan, one_step, val_ids, n_done, n_evaluations)
        return

    # ---- files: from here on something is written
    prepare_out_dir(s, start_path, run)
    best_path = os.path.join(s.out_dir, 'best.pt')
    log = Log(s, meta, run, model, plan, history)
    saved_step, saved_at = n_done, time.perf_counter()
    about = {'config': config_of(s, model, run), 'meta': meta, 'tokenizer': tokenizer,
             'n_steps': plan.n_steps, 'num_params': model.num_params(),
             'flops_per_token': model.flops_per_token(), **provenance()}

    def save(*names):
        nonlocal saved_step, saved_at
        if run.rank == 0:
            write_checkpoint({
                **about, 'model': model.state_dict(), 'optimizer': optimizer.state_dict(),
                'scaler': scaler.state_dict(), 'step': n_done, 'tokens': n_done * plan.step_tokens,
                'skipped': skipped, 'mean': mean_weights, 'val': result, 'history': log.history,
                'rng': {'seed': s.seed, 'step': n_done},    # all there is, see one_step
            }, *[os.path.join(s.out_dir, name) for name in names])
        if 'ckpt.pt' in names:                  # the one that --resume looks for
            saved_step, saved_at = n_done, time.perf_counter()

    # ---- loop
    stop = StopSignal(run)
    while True:
        if n_done == plan.n_steps and mean_weights:     # at the end the model becomes their mean
            with torch.no_grad():
                torch._foreach_copy_(list(model.parameters()), mean_weights)
            mean_weights = None

        # A resumed run may begin at a step that it has evaluated
        if n_done in evaluations and not log.evaluated(n_done):
            # An evaluation may be long: save first if a kill in it would lose too much. It takes no
            # longer than training on as many tokens.
            if n_done > saved_step:
                expected_s = len(val_ids) / log.tokens_per_s
                if time.perf_counter() - saved_at + expected_s > 60 * s.save_minutes:
                    save('ckpt.pt')
            result = evaluate(model, val_ids, meta['splits']['val'], run)
            losses = [row['val']['loss'] for row in log.history if 'val' in row]
            is_best = result['loss'] < min(losses, default=math.inf)
            is_best = is_best or not os.path.exists(best_path)
            log.val(n_done, result)
            if is_best:                         # one file with two names, best.pt first
                save('best.pt', 'ckpt.pt')
            else:
                save('ckpt.pt')
        if n_done == plan.n_steps:
            break
        if s.patience is not None and without_improvement(log.history) >= s.patience:
            run.print(f'ended after step {n_done}: patience is {s.patience}')
            break

        loss, norm, taken = one_step(n_done)
        if not taken:
            skipped += 1
        n_done += 1
        if n_done > plan.average_start:
            mean_weights = running_mean(mean_weights, model, n_done - plan.average_start)

        # Log, keep snapshots, save now and then, stop if asked to
        is_logged = n_done % s.log_interval == 0
        is_kept = is_logged or n_done in evaluations        # in the history, too
        if is_kept or log.last is None:
            log.step(n_done, loss, norm, skipped, optimizer.param_groups[0]['lr'], is_kept)
        for tokens in s.snapshots or []:        # each at the last whole step before it
            if tokens // plan.step_tokens == n_done:
                save(f'trunk-{tokens}.pt')
        if s.schedule == 'wsd' and n_done == plan.shared_steps < plan.n_steps and not s.trunk:
            save(DECAY_START)                   # from here the run can be made longer
        halt = stop.requested(is_logged)
        if halt or time.perf_counter() - saved_at > 60 * s.save_minutes:
            save('ckpt.pt')
        if halt:
            name = signal.Signals(halt).name
            run.print(f'stopped by {name} after step {n_done}; continue with --resume')
            sys.exit(128 + halt)
    print_result(s, run, log, n_done * plan.step_tokens, result)


def windows_of_step(step, plan, s, run):
    """Window numbers of this rank's share of a step, one array for each micro-batch."""
    share = run.rank, run.world, run.n_micro
    if step < plan.anneal_start:
        return micro_batches(step, plan.n_windows, s.batch_size, s.seed, *share)
    # The final steps use untransposed tunes only, in epochs of their own
    return micro_batches(step - plan.anneal_start, plan.n_windows, s.batch_size, s.seed, *share,
                         plan.first_untransposed)


def accumulate(model, batches, scaler, run):
    """Add up the gradients of a step's micro-batches of (inputs, targets) -> their mean loss."""
    loss = torch.zeros((), device=run.device)
    for i, (x, y) in enumerate(batches, 1):
        if run.world > 1:                       # ranks exchange gradients at the last one only
            model.require_backward_grad_sync = i == run.n_micro
        with run.autocast():
            micro_loss = model(x, y)[1] / run.n_micro
        scaler.scale(micro_loss).backward()
        loss += micro_loss.detach()
    return loss


def evaluate_only(s, meta, run):
    """Print the loss of out_dir/ckpt.pt on a split."""
    path = os.path.join(s.out_dir, 'ckpt.pt')
    checkpoint = read_checkpoint(path)
    if checkpoint['meta']['tokenizer'] != meta['tokenizer']:
        fail(f'{path} was trained with another tokenizer than {s.data_dir} has')
    model = build_model(checkpoint['config']['arch'], checkpoint['config']['model'])
    model.load_state_dict(checkpoint['model'])
    ids = load_split(s.data_dir, s.split, meta)
    val = evaluate(model.to(run.device), ids, meta['splits'][s.split], run)
    run.print(f'{path} on {s.data_dir}/{s.split}.bin: {format_val(val)}')


def main():
    s = configure(Settings)
    check_settings(s, ARCHS)
    if s.out_dir is None:
        s.out_dir = f'out/{s.run_name or s.arch}'
    meta = load_meta(s.data_dir)
    if s.init_from:
        adopt_model_settings(s, ARCHS, meta)
    run = Run(s)
    try:
        if s.eval_only:
            evaluate_only(s, meta, run)
        else:
            train(s, meta, run)
    except torch.OutOfMemoryError:
        fail(f'out of GPU memory with micro-batches of {run.micro_batch_size}: '
             'set a smaller micro_batch_size', of_this_rank=True)
    except RuntimeError as e:
        if 'could not create a primitive' not in str(e):
            raise
        fail(f'this CPU has no {run.dtype} kernel for the model ({s.arch}): use --dtype=fp32')
    if run.world > 1:
        dist.destroy_process_group()


if __name__ == '__main__':
    main()
