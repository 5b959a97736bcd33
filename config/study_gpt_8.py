# the study: GPT of width 384, 3,553,538 non-embedding parameters
arch = 'gpt'
n_layer = 2
n_head = 12                    # of 32 channels
n_embd = 384
positions = 'rotary'           # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
batch_size = 8                 # 2,048 tokens a step
max_tokens = 10_000_000
beta2 = 0.99
learning_rate = 0.0044         # 0.0051 * (N / 1,000,000)^-0.125, results/learning_rates.csv
embedding_lr = 0.1
head_lr = 0.05
