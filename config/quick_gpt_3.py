# quick family of `make`: GPT, 99,712 non-embedding parameters
arch = 'gpt'
n_layer = 2
n_head = 4
n_embd = 64
max_tokens = 2_400_000             # 1,171 steps: one pass, the same for the whole family
batch_size = 8
learning_rate = 0.013          # its rate by the rule of results/quick_rates.csv: measured at three sizes, a power of N in between
