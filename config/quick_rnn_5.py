# quick family of `make`: LSTM, 994,048 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 352
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.02           # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
