"""Settings that no run could use, said in one line before anything is read, built or written."""
import dataclasses
import math

from configurator import fail


def check_settings(s, archs):
    """Exit (2) with one line if a setting of train.py has a value that makes no sense.

    `archs`: names of architectures.
    """
    one_of(s, 'arch', archs)
    one_of(s, 'positions', ('learned', 'rotary'))
    one_of(s, 'init', ('width', 'gpt2'))
    one_of(s, 'schedule', ('cosine', 'wsd'))
    one_of(s, 'dtype', ('auto', 'bf16', 'fp16', 'fp32'))
    one_of(s, 'compile', (True, False, 'auto'))
    one_of(s, 'split', ('train', 'val', 'test'))

    # 1e999 is read as inf, which passes every comparison below
    for field in dataclasses.fields(s):
        value = getattr(s, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            fail(f'{field.name!r} must be a finite number, not {value!r}')

    # Counts
    for name in ('n_layer', 'n_head', 'n_embd', 'hidden_size', 'block_size', 'max_tokens', 'epochs',
                 'batch_size', 'micro_batch_size', 'eval_interval', 'log_interval', 'patience'):
        value = getattr(s, name)
        if value is not None and value < 1:
            fail(f'{name!r} must be at least 1, not {value!r}')
    if not 0 <= s.conv_taps <= s.block_size:
        fail(f"'conv_taps' must be between 0 and block_size ({s.block_size}), not {s.conv_taps!r}")
    if s.warmup_steps is not None and s.warmup_steps < 0:
        fail(f"'warmup_steps' must be at least 0, not {s.warmup_steps!r}")
    if not 0 <= s.seed < 2 ** 32:
        fail(f"'seed' must be between 0 and 4,294,967,295, not {s.seed!r}")
    for tokens in s.snapshots or []:
        if tokens < s.batch_size * s.block_size:
            fail("'snapshots' must each be at least a step, "
                 f'{s.batch_size * s.block_size:,} tokens, not {tokens:,}')

    if s.minutes is not None and s.minutes <= 0:
        fail(f"'minutes' must be above 0, not {s.minutes!r}")

    # Two starting points
    if s.init_from and s.trunk:
        fail("'init_from' and 'trunk' are two starting points: give one")

    # Learning rates
    for name in ('learning_rate', 'embedding_lr', 'head_lr'):
        value = getattr(s, name)
        if value is not None and value <= 0:
            fail(f'{name!r} must be above 0, not {value!r}')
    if s.min_lr is not None and not 0 <= s.min_lr <= s.learning_rate:
        fail(f"'min_lr' must be between 0 and learning_rate ({s.learning_rate}), not {s.min_lr!r}")

    # Other numbers. beta = 1 would divide by zero, a share of 1 would leave no step before it.
    for name in ('dropout', 'anneal_fraction', 'average_fraction', 'beta1', 'beta2'):
        if not 0 <= getattr(s, name) < 1:
            fail(f'{name!r} must be in [0, 1), not {getattr(s, name)!r}')
    if not 0 <= s.cooldown_fraction <= 1:
        fail(f"'cooldown_fraction' must be in [0, 1], not {s.cooldown_fraction!r}")
    for name in ('weight_decay', 'grad_clip', 'save_minutes'):
        if getattr(s, name) < 0:
            fail(f'{name!r} must be at least 0, not {getattr(s, name)!r}')


def one_of(s, name, choices):
    if getattr(s, name) not in choices:
        fail(f'{name!r} must be one of {", ".join(map(str, choices))}, not {getattr(s, name)!r}')
