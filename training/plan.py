"""The plan of a run: how many steps its budget allows, and where its phases begin."""
from dataclasses import dataclass

from configurator import fail
from training.data import first_untransposed_window
from training.loader import n_windows
from training.optim import decay_steps


@dataclass
class Plan:
    n_windows: int              # of block_size tokens in train.bin
    step_tokens: int
    n_steps: int
    first_untransposed: int     # window; 0: the run does not end on untransposed tunes
    anneal_start: int           # from this step on only untransposed tunes; n_steps: never
    average_start: int          # the final model is the mean of those after it; n_steps: no mean
    decay_start: int            # schedule='wsd': from this step on the learning rate falls

    @property
    def shared_steps(self):
        """So many first steps are those of every longer run, too (schedule='wsd')."""
        return min(self.decay_start, self.anneal_start, self.average_start)


def plan_run(s, meta, n_tokens):
    """The Plan of settings `s` for `n_tokens` of training data; exits (2) if it has no step."""
    windows, step_tokens = n_windows(n_tokens, s.block_size), s.batch_size * s.block_size
    n_steps = min(s.max_tokens // step_tokens, s.epochs * (windows // s.batch_size))
    if n_steps < 1:
        fail(f'nothing to train on: a step takes {step_tokens:,} tokens, max_tokens is '
             f'{s.max_tokens:,}, {s.data_dir}/train.bin holds {n_tokens:,}')
    if s.warmup_steps and s.warmup_steps >= n_steps:
        fail(f'warmup_steps is {s.warmup_steps}, but the run has {n_steps} steps')

    first = first_untransposed_window(s, meta, n_tokens)
    return Plan(
        n_windows=windows, step_tokens=step_tokens, n_steps=n_steps, first_untransposed=first,
        anneal_start=phase_start(s.anneal_fraction, n_steps) if first else n_steps,
        average_start=phase_start(s.average_fraction, n_steps),
        decay_start=n_steps - decay_steps(s, n_steps))


def phase_start(share, n_steps):
    """The step at which the last `share` of the steps begins."""
    return n_steps - int(share * n_steps)
