arch = 'lstm'
n_layer = 2
hidden_size = 896
