# quick family of `make`: LSTM, 167,040 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 144
batch_size = 8                 # 2,048 tokens a step
max_tokens = 1_100_000         # half of the bundled corpus, once
beta2 = 0.99
learning_rate = 0.032          # the rule of results/quick_rates.csv
