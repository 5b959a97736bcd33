arch = 'gpt'
n_layer = 5
n_head = 4
n_embd = 128
