# The model that writes the tunes of `make`, wider than its other GPTs: 930,563 non-embedding
# parameters.
arch = 'gpt'
n_layer = 3
n_head = 5                     # of 32 channels
n_embd = 160
positions = 'rotary'           # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
batch_size = 8
epochs = 3
max_tokens = 5_500_000         # the time that `make` has
anneal_fraction = 0.15         # the final steps use untransposed tunes only
average_fraction = 0.1         # 1.224 nats/note instead of 1.239
beta2 = 0.99
learning_rate = 0.009          # 1.4 times the rule of config/quick_gpt.py, thanks to the average
