arch = 'gpt'
n_layer = 2
n_head = 2
n_embd = 40
