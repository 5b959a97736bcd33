"""What a run prints: a summary, a line for a step or an evaluation; and the rows of log.jsonl."""
import json
import math
import os
import time

from configurator import fail
from plumbing.files import atomic_write
from plumbing.progress import clock

DIVERGED = 3        # exit status of a run whose loss is no longer a finite number


def print_run_summary(s, meta, run, model, plan, done):
    """The model, the machine, the budget and the phases of the run, before the first step."""
    p = model.num_params()
    run.print(f"{s.arch}: {p['total']:,} parameters ({p['non_embedding']:,} non-embedding), "
              f"vocabulary {meta['vocab_size']:,} | {run.device} {run.dtype}"
              + (' compiled' if run.compile else ''))
    run.print(f'a step: {s.batch_size} windows of {s.block_size} tokens, {run.micro_batch_size} '
              'at a time' + (f' on each of {run.world} ranks' if run.world > 1 else ''))
    steps_per_epoch, left_out = divmod(plan.n_windows, s.batch_size)
    run.print(f'{plan.n_steps:,} steps of {plan.step_tokens:,} tokens = '
              f'{plan.n_steps * plan.step_tokens:,} ({plan.n_steps / steps_per_epoch:.2f} epochs); '
              f'of {plan.n_windows:,} windows an epoch leaves out {left_out} '
              f'({left_out * s.block_size:,} tokens)')
    if plan.n_steps < 500 and not s.init_from:
        train = meta['splits']['train']
        run.print(f"note: only {plan.n_steps} steps; {train.get('tunes', 0):,} tunes are "
                  f"{train['tokens']:,} tokens, an epoch is {max(1, steps_per_epoch)} steps: try "
                  '--epochs=20 with --patience=3, --batch_size=2, or config/finetune.py')

    if done == plan.n_steps:
        run.print(f'all {plan.n_steps} steps are done')
    elif done:
        run.print(f'resumed after step {done}')
    if plan.anneal_start < plan.n_steps:
        n_untransposed = plan.n_windows - plan.first_untransposed
        run.print(f'after step {plan.anneal_start:,} only the {n_untransposed:,} windows without '
                  'transposed copies')
    if plan.average_start < plan.n_steps:
        run.print(f'the final model is the mean of the weights after each of the last '
                  f'{plan.n_steps - plan.average_start:,} steps')


def format_val(val):
    """A result of `evaluate` as text: 2.629 nats/note (3.807/token ± 0.030, perplexity 45.0)..."""
    text = (f"{val['per_note']:.3f} nats/note ({val['loss']:.3f}/token ± {val['se']:.3f}, "
            f"perplexity {val['perplexity']:.1f})")
    if 'recalled' in val:                       # older runs have none
        text += (f" | recalled {val['recalled']['loss']:.2f} ({val['recalled']['share']:.0%}), "
                 f"new {val['rest']['loss']:.2f}")
    return text


def without_improvement(history):
    """How many of the last evaluations were no better than the best one before them."""
    losses = [row['val']['loss'] for row in history if 'val' in row]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def print_result(s, run, log, tokens, val):
    """The last lines of a run: its files, their losses, the time of training."""
    run.print(f'{s.out_dir}/ckpt.pt: {tokens:,} tokens, val {format_val(val)}')
    rows = [row for row in log.history if 'val' in row]
    best = min(rows, key=lambda row: row['val']['loss'])
    if best is not rows[-1]:
        run.print(f"{s.out_dir}/best.pt: step {best['step']}, val {format_val(best['val'])}")
    if rows[0]['step'] == 0:        # of --init_from
        before, after = rows[0]['val']['per_note'], rows[-1]['val']['per_note']
        run.print(f"nats/note: {before:.3f} before, {best['val']['per_note']:.3f} best, "
                  f'{after:.3f} after')
    run.print(f'{clock(log.time_s)} of training')


class Log:
    """The run's history: a row of plain values for a step or an evaluation, also in log.jsonl.

    time_s counts the time of training steps only, over all sessions of a run.
    """

    def __init__(self, s, meta, run, model, plan, history):
        self.run, self.history, self.plan = run, history, plan
        self.flops_per_token = model.flops_per_token()
        self.tokens_per_note = meta['splits']['train']['tokens'] / meta['splits']['train']['notes']
        self.time_s = history[-1]['time_s'] if history else 0.0
        self.last = None                # the step of the last line; None: there is no line yet
        self.tokens_per_s = None        # between the last two lines
        self.clock = time.perf_counter()
        self.path = os.path.join(s.out_dir, 'log.jsonl')
        self.file = self.open_file()

    def open_file(self):
        """log.jsonl with the rows so far, ready for more. It may have held later ones."""
        if self.run.rank:
            return open(os.devnull, 'w')
        try:
            with atomic_write(self.path, 'w', encoding='utf-8') as f:
                f.writelines(json.dumps(row) + '\n' for row in self.history)
            return open(self.path, 'a', encoding='utf-8')
        except OSError as e:
            fail(f'cannot write {self.path} ({e.strerror}): nothing is trained')

    def write(self, row):
        self.history.append(row)
        try:
            print(json.dumps(row), file=self.file, flush=True)
        except OSError as e:
            fail(f'cannot write {self.path} ({e.strerror}); make room and continue from the last '
                 'checkpoint with --resume')

    def step(self, done, loss, norm, skipped, lr, keep):
        """A line on the console and, if keep, a row. `loss`: of this rank; the mean is logged."""
        run, plan = self.run, self.plan
        loss = float(run.sum(loss.cpu().double())) / run.world
        if not math.isfinite(loss):
            fail(f'the loss is {loss} at step {done}: lower the learning rate', status=DIVERGED)

        # Speed since the last line
        now = time.perf_counter()
        spent_s, self.clock = now - self.clock, now
        self.time_s += spent_s
        steps = 1 if self.last is None else done - self.last
        self.last = done
        self.tokens_per_s = steps * plan.step_tokens / spent_s
        mfu, memory_gb = run.mfu(self.tokens_per_s * self.flops_per_token), run.peak_memory_gb()
        row = {'step': done, 'tokens': done * plan.step_tokens, 'loss': loss, 'lr': lr,
               'grad_norm': float(norm), 'skipped': skipped, 'time_s': self.time_s,
               'tokens_per_s': self.tokens_per_s, 'mfu': mfu, 'memory_gb': memory_gb}
        if keep:
            self.write(row)

        cells = [f'step {done}/{plan.n_steps}',
                 f'loss {loss:.4f}/token ({loss * self.tokens_per_note:.3f} nats/note)',
                 f'lr {lr:.2e}',
                 f'grad norm {float(norm):.2f}',
                 f'{self.tokens_per_s / 1e3:.1f}k tokens/s',
                 f'MFU {mfu:.1%}' if mfu else 'MFU n/a',
                 f'{memory_gb:.2f} GB' if memory_gb else 'memory n/a',
                 f'{clock((plan.n_steps - done) * spent_s / steps)} left']
        if skipped:
            cells.append(f'{skipped} steps skipped (fp16 overflow)')
        run.print(' | '.join(cells))

    def evaluated(self, done):
        return any('val' in row for row in self.history if row['step'] == done)

    def val(self, done, val):
        self.write({'step': done, 'tokens': done * self.plan.step_tokens, 'time_s': self.time_s,
                    'val': val})
        self.run.print(f'step {done}/{self.plan.n_steps} | val {format_val(val)}')
        self.clock = time.perf_counter()
