# LSTM of the original study: 7,226,248 parameters at vocabulary 5,000, 2,101,248 of them non-embedding
arch = 'lstm'
n_layer = 1
hidden_size = 512
learning_rate = 0.016      # 0.02 * (N / 994,048)^-0.31, the rule of results/quick_rates.csv (batch 8, 2.4M tokens): extrapolated, not measured at this size
