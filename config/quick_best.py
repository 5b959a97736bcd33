# the model that writes the tunes of `make`, wider than the quick family: GPT, 930,563 non-embedding
# parameters
arch = 'gpt'
n_layer = 3
n_head = 5                     # of 32 channels
n_embd = 160
positions = 'rotary'           # as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
batch_size = 8
epochs = 3
max_tokens = 5_500_000         # the time that `make` has
anneal_fraction = 0.15         # at last the keys and the compass of the books
average_fraction = 0.1         # 1.224 nats a note instead of 1.239
beta2 = 0.99
learning_rate = 0.009          # 1.4 times the rule of results/quick_rates.csv: the mean of the last weights allows it
