# the study: GPT, 3,156,480 non-embedding parameters
arch = 'gpt'
n_layer = 4
n_head = 4
n_embd = 256
batch_size = 16                    # 4,096 tokens a step
max_tokens = 10_000_000
# Rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens),
# 0.0041 * (N / 1,000,000)^-0.32: extrapolated, not measured at this size.
learning_rate = 0.0029
embedding_lr = 0.1         # both as in results/embedding_rates.csv did best
head_lr = 0.05
