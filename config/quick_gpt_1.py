# quick family of `make`: GPT, 12,672 non-embedding parameters
arch = 'gpt'
n_layer = 1
n_head = 2
n_embd = 32
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.04           # a power of N through the best rates of results/quick_rates.csv (four GPTs, three LSTMs)
