# quick family of `make`: LSTM, 101,248 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 112
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.037          # a power of N through the best rates of results/quick_rates.csv (four GPTs, three LSTMs)
