# LSTM of the original study: 7,226,248 parameters at vocabulary 5,000,
# 2,101,248 of them non-embedding.
arch = 'lstm'
n_layer = 1
hidden_size = 512
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0022 * (N / 1,000,000)^-0.34, extrapolated, not measured at this size.
learning_rate = 0.0017
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
