# quick family of `make`: GPT, 926,720 non-embedding parameters
arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 160
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.004          # a power of N through the best rates of results/quick_rates.csv (four GPTs, three LSTMs)
