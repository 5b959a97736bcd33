# the model of results/tunes.pt: deeper than quick_best, more keys, five epochs; GPT, 1.2M non-embedding parameters
arch = 'gpt'
data_dir = 'data/tunes'        # python prepare.py --transpose=5 --out_dir=data/tunes
n_layer = 4
n_head = 5                     # of 32 channels
n_embd = 160
positions = 'rotary'           # as config/modern.py
key_offset = True
qk_norm = True
conv_taps = 4
dropout = 0.1
batch_size = 8
epochs = 5
anneal_fraction = 0.15         # at last the keys and the compass of the books
beta2 = 0.99
learning_rate = 0.008
