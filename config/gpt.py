"""A family of GPTs with one dial: python train.py config/gpt.py --n_embd=256

The GPTs of the study, and what to begin with on your own data. Heads and learning rate follow from
the width, a multiple of 32, and from n_layer. Without --n_embd the width, the number of passes over
the data and the dropout are those that suit the data and the time: --minutes=30.
"""
from configurator import fail

arch = 'gpt'
n_layer = 2
n_embd = None                   # the dial
minutes = 10                    # of training, where n_embd is not given
_chosen = {}
if n_embd is None:
    from experiments.choice import choose
    _folder = out_dir or 'out/gpt'
    _chosen = choose(data_dir, minutes, device, _folder if resume else None)
    n_embd = _chosen['n_embd']
n_head = n_embd / 32            # heads of 32 channels
if n_head % 1 or n_head < 1:
    fail(f"'n_embd' must be a multiple of 32, the channels of a head, not {n_embd}")
positions = 'rotary'            # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4

batch_size = _chosen.get('batch_size', 8)       # 8: 2,048 tokens per step
max_tokens = _chosen.get('max_tokens', 10_000_000)
epochs = _chosen.get('epochs', 1)
dropout = _chosen.get('dropout', 0.0)
eval_interval = _chosen.get('eval_interval')
patience = _chosen.get('patience')
beta2 = 0.99

# The learning rate as measured for two layers (results/learning_rates.csv): 0.0051 (N / 1M)^-0.125,
# N = 24 width^2 being the weights of the blocks. Deeper models need less: at 6 x 288 the best of
# three rates was 0.0020.
learning_rate = 0.0051 * (24 * n_embd ** 2 / 1e6) ** -0.125 * (2 / n_layer) ** 0.8

# The sizes of the study keep the rounded rates that they were trained with: gpt_1 to gpt_8.
_study = {32: 0.0081, 64: 0.0068, 96: 0.0062, 128: 0.0057,
          160: 0.0054, 192: 0.0052, 256: 0.0048, 384: 0.0044}
if n_layer == 2:
    learning_rate = _study.get(n_embd, learning_rate)

# Embeddings and head learn faster than the blocks: the best of results/embedding_rates.csv, at
# vocabulary 5,000. At vocabulary 1,000 (data/bundled, 1.1M tokens) this also beats one learning
# rate for all weights, each at the best one tried: 1.594 against 1.700 nats/note at width 96, 1.536
# against 1.624 at width 160 (results/learning_rates.csv). These best ones are twice the rule's,
# which is for longer runs: at 1.1M tokens it gives 1.640 and 1.562.
embedding_lr = 0.1 if batch_size >= 8 else 0.05
head_lr = embedding_lr and embedding_lr / 2         # None: the rate of the blocks

# Part of the run's name: out/gpt-256, out/gpt-6x288; out/gpt where the width was chosen.
if not _chosen:
    _size = n_embd if n_layer == 2 else f'{n_layer}x{n_embd}'
