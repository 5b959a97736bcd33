# LSTM of the original study: 53,138,312 parameters at vocabulary 5,000, 37,773,312 of them non-embedding
arch = 'lstm'
n_layer = 2
hidden_size = 1536
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.02 * (N / 994,048)^-0.31: extrapolated, not measured at this size.
learning_rate = 0.0065
