# quick family of `make`: GPT, 99,712 non-embedding parameters
arch = 'gpt'
n_layer = 2
n_head = 4
n_embd = 64
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.013          # a power of N through the best rates of results/quick_rates.csv (four GPTs, three LSTMs)
