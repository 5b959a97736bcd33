# quick family of `make`: GPT, 12,672 non-embedding parameters
arch = 'gpt'
n_layer = 1
n_head = 2
n_embd = 32
max_tokens = 2_400_000             # 1,171 steps: one pass, the same for the whole family
batch_size = 8
learning_rate = 0.04           # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
