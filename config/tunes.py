# The model of results/tunes.pt, a GPT of 1.2M non-embedding parameters: deeper than quick_best,
# trained on more keys and for five epochs.
arch = 'gpt'
data_dir = 'data/tunes'        # python prepare.py --transpose=5 --out_dir=data/tunes
n_layer = 4
n_head = 5                     # of 32 channels
n_embd = 160
positions = 'rotary'           # this and the next three: as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
dropout = 0.1
batch_size = 8
epochs = 5
anneal_fraction = 0.15         # the final steps use untransposed tunes only
beta2 = 0.99
learning_rate = 0.008
