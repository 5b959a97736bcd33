arch = 'lstm'
n_layer = 1
hidden_size = 200
