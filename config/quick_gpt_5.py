# quick family of `make`: GPT, 926,720 non-embedding parameters
arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 160
batch_size = 8                     # 1,216 steps: every window of the bundled corpus once
learning_rate = 0.004          # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
