"""The GPTs of `make`, quick to train: python train.py config/quick_gpt.py --n_embd=96

Heads and learning rate follow from the width, a multiple of 32, and from n_layer.
"""
from configurator import fail

arch = 'gpt'
n_layer = 3
n_embd = 128
n_head = n_embd / 32            # heads of 32 channels
if n_head % 1 or n_head < 1:
    fail(f"'n_embd' must be a multiple of 32, the channels of a head, not {n_embd}")
positions = 'rotary'            # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4

batch_size = 8                  # 2,048 tokens per step
max_tokens = 1_100_000          # half of the bundled corpus, once
beta2 = 0.99

# One learning rate for all weights (results/quick_rates.csv): 0.0062 (N / 1M)^-0.65,
# N = 12 n_layer width^2 being the weights of the blocks. The sizes of `make` keep rounded rates.
learning_rate = 0.0062 * (12 * n_layer * n_embd ** 2 / 1e6) ** -0.65
if n_layer == 3:
    learning_rate = {32: 0.05, 64: 0.021, 96: 0.013, 128: 0.0087}.get(n_embd, learning_rate)

# Part of the run's name: out/quick_gpt-96.
_size = n_embd if n_layer == 3 else f'{n_layer}x{n_embd}'
