# LSTM of the original study: 72,024,968 parameters at vocabulary 5,000,
# 56,659,968 of them non-embedding.
arch = 'lstm'
n_layer = 3
hidden_size = 1536
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0022 * (N / 1,000,000)^-0.34, extrapolated, not measured at this size.
learning_rate = 0.00055
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
