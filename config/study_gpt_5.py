# the study: GPT of width 160, 620,482 non-embedding parameters
arch = 'gpt'
n_layer = 2
n_head = 5                     # of 32 channels
n_embd = 160
positions = 'rotary'           # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
batch_size = 8                 # 2,048 tokens a step
max_tokens = 10_000_000
beta2 = 0.99
learning_rate = 0.0054         # 0.0051 * (N / 1,000,000)^-0.125, results/learning_rates.csv
embedding_lr = 0.1
head_lr = 0.05
