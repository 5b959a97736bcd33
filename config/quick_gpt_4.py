arch = 'gpt'
n_layer = 4
n_head = 4
n_embd = 80
