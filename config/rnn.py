"""A family of LSTMs with one dial: python train.py config/rnn.py --hidden_size=384

The LSTMs of the study. The learning rate follows from hidden_size and n_layer.
"""
arch = 'lstm'
n_layer = 1
hidden_size = 256

batch_size = 8                  # 2,048 tokens per step
max_tokens = 10_000_000
beta2 = 0.99

# The learning rate as measured for one layer (results/learning_rates.csv): 0.00082 (N / 1M)^-0.36,
# N = 8 hidden_size^2 being the weights of a layer.
learning_rate = 0.00082 * (8 * n_layer * hidden_size ** 2 / 1e6) ** -0.36

# The sizes of the study keep the rounded rates that they were trained with: rnn_1 to rnn_4.
_study = {64: 0.0028, 128: 0.0017, 256: 0.00103, 384: 0.00077}
if n_layer == 1:
    learning_rate = _study.get(hidden_size, learning_rate)

# Embeddings and head: the best of results/embedding_rates.csv, at vocabulary 5,000. At vocabulary
# 1,000 (data/bundled, 1.1M tokens, hidden_size 128) this also beats one learning rate for all
# weights, each at the best one tried: 1.906 against 2.081 nats/note (results/learning_rates.csv).
# The best one is twice the rule's, which is for longer runs and gives 1.936.
embedding_lr = 0.1
head_lr = 0.05

# Part of the run's name: out/rnn-256.
_size = hidden_size if n_layer == 1 else f'{n_layer}x{hidden_size}'
