# LSTM of the original study: 7,226,248 parameters at vocabulary 5,000, 2,101,248 of them non-embedding
arch = 'lstm'
n_layer = 1
hidden_size = 512
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.02 * (N / 994,048)^-0.31: extrapolated, not measured at this size.
learning_rate = 0.016
