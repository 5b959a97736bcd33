# quick family of `make`: GPT, 334,848 non-embedding parameters
arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 96
max_tokens = 2_400_000             # 1,171 steps: one pass, the same for the whole family
batch_size = 8
learning_rate = 0.0068         # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
