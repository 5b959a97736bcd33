# the study: LSTM of width 64, 33,280 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 64
batch_size = 8                 # 2,048 tokens a step
max_tokens = 10_000_000
beta2 = 0.99
learning_rate = 0.0028         # 0.00082 * (N / 1,000,000)^-0.36, results/learning_rates.csv
embedding_lr = 0.1
head_lr = 0.05
