# the study: LSTM, 132,096 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 128
batch_size = 16                    # 4,096 tokens a step
max_tokens = 10_000_000
embedding_lr = 0.1
head_lr = 0.05
