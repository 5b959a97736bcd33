arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 192
