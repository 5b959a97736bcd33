arch = 'gpt'
n_layer = 6
n_head = 6
n_embd = 288
