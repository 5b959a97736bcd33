# the study: LSTM, 3,281,920 non-embedding parameters
arch = 'lstm'
n_layer = 1
hidden_size = 640
batch_size = 16                    # 4,096 tokens a step
max_tokens = 10_000_000
# Rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens),
# 0.0022 * (N / 1,000,000)^-0.34: extrapolated, not measured at this size.
learning_rate = 0.0015
embedding_lr = 0.1         # both as in results/embedding_rates.csv did best
head_lr = 0.05
