# quick family of `make`: LSTM, 296,448 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 192
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.029          # a power of N through the best rates of results/quick_rates.csv (four GPTs, three LSTMs)
