# quick family of `make`: LSTM, 994,048 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 352
max_tokens = 2_400_000             # 1,171 steps: one pass, the same for the whole family
batch_size = 8
learning_rate = 0.02           # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
