arch = 'gpt'
n_layer = 1
n_head = 2
n_embd = 32
