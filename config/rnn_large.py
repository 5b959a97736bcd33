arch = 'lstm'
n_layer = 3
hidden_size = 1536
