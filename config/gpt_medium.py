arch = 'gpt'
n_layer = 8
n_head = 8
n_embd = 512
