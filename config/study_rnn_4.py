# the study: LSTM of width 384, 1,182,720 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 384
batch_size = 8                 # 2,048 tokens a step
max_tokens = 10_000_000
beta2 = 0.99
learning_rate = 0.00077        # 0.00082 * (N / 1,000,000)^-0.36, results/learning_rates.csv
embedding_lr = 0.1
head_lr = 0.05
