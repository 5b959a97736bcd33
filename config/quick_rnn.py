"""The LSTMs of `make`, quick to train: python train.py config/quick_rnn.py --hidden_size=96

The learning rate follows from hidden_size and n_layer.
"""
arch = 'lstm'
n_layer = 1
hidden_size = 144

batch_size = 8                  # 2,048 tokens per step
max_tokens = 1_100_000          # half of the bundled corpus, once
beta2 = 0.99

# One learning rate for all weights (results/quick_rates.csv): 0.0195 (N / 1M)^-0.28,
# N = 8 hidden_size^2 being the weights of a layer. The sizes of `make` keep their rounded rates.
learning_rate = 0.0195 * (8 * n_layer * hidden_size ** 2 / 1e6) ** -0.28
if n_layer == 1:
    learning_rate = {64: 0.05, 96: 0.04, 144: 0.032}.get(hidden_size, learning_rate)

# Part of the run's name: out/quick_rnn-96.
_size = hidden_size if n_layer == 1 else f'{n_layer}x{hidden_size}'
