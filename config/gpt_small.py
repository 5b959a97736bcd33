# GPT of the original study: 8,948,552 parameters at vocabulary 5,000 and context 256,
# 5,989,824 of them non-embedding.
arch = 'gpt'
n_layer = 6
n_head = 6
n_embd = 288
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0041 * (N / 1,000,000)^-0.32, extrapolated, not measured at this size.
learning_rate = 0.0023
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
