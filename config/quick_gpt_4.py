# quick family of `make`: GPT, 596,995 non-embedding parameters
arch = 'gpt'
n_layer = 3
n_head = 4                     # of 32 channels
n_embd = 128
positions = 'rotary'           # as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
batch_size = 8                 # 2,048 tokens a step
max_tokens = 1_100_000         # half of the bundled corpus, once
beta2 = 0.99
learning_rate = 0.0087         # 0.0062 * (N / 1,000,000)^-0.65, results/quick_rates.csv
