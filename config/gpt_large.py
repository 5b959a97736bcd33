# GPT of the original study: 92,909,960 parameters at vocabulary 5,000 and context 256,
# 85,028,352 of them non-embedding.
arch = 'gpt'
n_layer = 12
n_head = 12
n_embd = 768
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0041 * (N / 1,000,000)^-0.32, extrapolated, not measured at this size.
learning_rate = 0.001
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
