"""Time to quality: how soon other recipes reach the final validation loss of the original one, same model and data.

    python bench/recipes.py --configs=config/gpt_micro.py,config/gpt_tiny.py --data_dir=data/dev --max_tokens=10e6

original  the overlay config/original.py (AdamW at 3e-4, weights N(0, 0.02)), eager, fp32
plain     AdamW at the rates of the model's own config, width-aware weights, bf16, compiled, half as many tokens a step
modern    the same with the attention of config/modern.py and beta2 0.99

The other recipes get ever larger shares of the original's tokens, each a whole run with its own warm-up (a tenth of the
steps, as in the original) and decay; the first one that reaches the original's loss ends it. Time is that of training
steps, compilation included, evaluation not. Runs lie in out_dir and are not done twice.
"""
import os
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure, fail
from experiments import runner


@dataclass
class Settings:
    configs: list[str] | None = None    # config files of models, a,b,c
    data_dir: str = 'data/bundled'
    max_tokens: int = 10_000_000        # of the original recipe
    batch_size: int = 16                # sequences of 256 tokens a step
    recipes: list[str] = field(default_factory=lambda: ['plain', 'modern'])
    out_dir: str = 'out/recipes'


def train(s, name, config, share, *options):
    """(final validation loss per token, training seconds, tokens) of one run."""
    run = f'{os.path.splitext(os.path.basename(config))[0]}-{name}-{share:.2f}'
    row = runner.train(run, os.path.join(s.out_dir, run), [
        config, f'--batch_size={s.batch_size}', *options, f'--data_dir={s.data_dir}',
        f'--max_tokens={int(s.max_tokens * share)}'])
    if row is None:
        fail(f'{run}: the loss diverged')
    return row['loss'], row['seconds'], row['tokens']


def main():
    s = configure(Settings)
    if not s.configs:
        fail('nothing to compare: give --configs=config/a.py,config/b.py')
    ours = ('--compile=True', f'--batch_size={s.batch_size // 2}')
    recipes = {'plain': ours, 'modern': (os.path.join(ROOT, 'config', 'modern.py'), *ours, '--beta2=0.99')}
    if set(s.recipes) - set(recipes):
        fail(f"'recipes' are {', '.join(recipes)}, not {', '.join(s.recipes)}")
    print(f"{'model':<12}{'recipe':<10}{'tokens':>12}{'val loss':>10}{'seconds':>9}{'of the original':>17}")
    for config in s.configs:
        name = os.path.splitext(os.path.basename(config))[0]
        original = os.path.join(ROOT, 'config', 'original.py')
        target, target_s, tokens = train(s, 'original', config, 1.0, original, '--dtype=fp32', '--compile=False')
        print(f"{name:<12}{'original':<10}{tokens:>12,.0f}{target:>10.4f}{target_s:>9.1f}", flush=True)
        for recipe, options in ((name, recipes[name]) for name in s.recipes):
            for share in (0.025, 0.05, 0.1, 0.2, 1 / 3, 1.0):
                loss, time_s, tokens = train(s, recipe, config, share, *options)
                print(f"{name:<12}{recipe:<10}{tokens:>12,.0f}{loss:>10.4f}{time_s:>9.1f}"
                      f"{time_s / target_s:>17.3f}", flush=True)
                if loss <= target:
                    break


if __name__ == '__main__':
    main()
