arch = 'gpt'
n_layer = 12
n_head = 12
n_embd = 768
