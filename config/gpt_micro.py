arch = 'gpt'
n_layer = 2
n_head = 4
n_embd = 128
