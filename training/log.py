"""What a run says: its first lines, a line at a step or an evaluation, and the same as rows of log.jsonl."""
import json
import math
import os
import time

from configurator import fail
from plumbing.files import atomic_write

DIVERGED = 3        # exit status of a run whose loss is no longer a finite number


def introduce(s, meta, run, model, n_windows, n_steps, start):
    """The model, the machine and the budget, before the first step."""
    p, step_tokens = model.num_params(), s.batch_size * s.block_size
    per_epoch, left_out = divmod(n_windows, s.batch_size)
    run.print(f"{s.arch}: {p['total']:,} parameters ({p['non_embedding']:,} non-embedding), vocabulary "
              f"{meta['vocab_size']:,}; {run.device} {run.dtype}{' compiled' if run.compile else ''}; a step is "
              f"{run.world} x {run.n_micro} x {run.micro_batch_size} (ranks, micro-batches) windows of {s.block_size}")
    run.print(f'{n_steps:,} steps of {step_tokens:,} tokens = {n_steps * step_tokens:,} ({n_steps / per_epoch:.2f} '
              f'epochs); of {n_windows:,} windows an epoch leaves out {left_out} ({left_out * s.block_size:,} tokens)')
    if n_steps < 1000:
        run.print(f'note: only {n_steps} steps; the original recipe has 6,103: try a smaller batch, or more epochs')
    if start:
        run.print(f'resumed after step {start}' if start < n_steps else f'all {n_steps} steps are done')


def in_words(val):
    """A result of `evaluate` (nats), for a line on the console."""
    recalled, rest = (val.get(part, {'share': 0, 'loss': 0}) for part in ('recalled', 'rest'))     # older runs: none
    return (f"loss {val['loss']:.4f} ± {val['se']:.4f} per token, {val['per_note']:.4f} per note, "
            f"{val['per_char']:.4f} per character, perplexity {val['perplexity']:.2f}; {recalled['share']:.0%} of the "
            f"tokens stood in the window before: {recalled['loss']:.3f}, the rest {rest['loss']:.3f}")


class Log:
    """The run's history: rows of plain values, one of a step or one of an evaluation; each also a line of log.jsonl.

    time_s counts training steps only, over all sessions of a run.
    """

    def __init__(self, s, meta, run, model, n_steps, history):
        self.run, self.history, self.n_steps, self.step_tokens = run, history, n_steps, s.batch_size * s.block_size
        self.flops_per_token = model.flops_per_token()
        self.tokens_per_note = meta['splits']['train']['tokens'] / meta['splits']['train']['notes']
        self.time_s = history[-1]['time_s'] if history else 0.0
        self.last = None                # the step of the last line; None: there is no line yet
        self.clock = time.perf_counter()
        self.path = os.path.join(s.out_dir, 'log.jsonl')
        self.file = self.open_file()

    def open_file(self):
        """log.jsonl with the rows so far, ready for the next ones. Of a resumed run it may hold more than these."""
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
            fail(f'cannot write {self.path} ({e.strerror}); make room and go on from the last checkpoint '
                 'with --resume')

    def step(self, done, loss, norm, skipped, lr, keep):
        """A line on the console and, if keep, a row. The loss is the mean over the step's micro-batches and ranks."""
        run = self.run
        loss = float(run.sum(loss.double())) / run.world
        if not math.isfinite(loss):
            fail(f'the loss is {loss} at step {done}: lower the learning rate', status=DIVERGED)
        now = time.perf_counter()
        spent, self.clock = now - self.clock, now
        self.time_s += spent
        steps, self.last = done - (self.last or done - 1), done
        speed = steps * self.step_tokens / spent
        mfu, memory_gb = run.mfu(speed * self.flops_per_token), run.peak_memory_gb()
        row = {'step': done, 'tokens': done * self.step_tokens, 'loss': loss, 'lr': lr, 'grad_norm': float(norm),
               'skipped': skipped, 'time_s': self.time_s, 'tokens_per_s': speed, 'mfu': mfu, 'memory_gb': memory_gb}
        if keep:
            self.write(row)
        minutes, seconds = divmod(int((self.n_steps - done) * spent / steps), 60)
        run.print(f"step {done}/{self.n_steps}  loss {loss:.4f} ({loss * self.tokens_per_note:.3f} a note)  lr {lr:.2e}"
                  f"  norm {row['grad_norm']:.2f}  {speed / 1e3:.1f}k tok/s  mfu {f'{mfu:.1%}' if mfu else 'n/a'}"
                  f"  {f'{memory_gb:.2f} GB' if memory_gb else 'memory n/a'}  eta {minutes}:{seconds:02d}"
                  + (f'  {skipped} overflows skipped' if skipped else ''))

    def evaluated(self, done):
        return any('val' in row for row in self.history if row['step'] == done)

    def val(self, done, val):
        self.write({'step': done, 'tokens': done * self.step_tokens, 'time_s': self.time_s, 'val': val})
        self.run.print(f'step {done}/{self.n_steps}  val {in_words(val)}')
        self.clock = time.perf_counter()
