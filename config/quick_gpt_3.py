arch = 'gpt'
n_layer = 3
n_head = 2
n_embd = 56
