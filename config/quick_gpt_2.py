# quick family of `make`: GPT, 38,304 non-embedding parameters
arch = 'gpt'
n_layer = 1
n_head = 2
n_embd = 56
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.022          # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
