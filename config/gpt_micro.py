# GPT of the original study: 1,713,800 parameters at vocabulary 5,000 and context 256,
# 396,032 of them non-embedding.
arch = 'gpt'
n_layer = 2
n_head = 4
n_embd = 128
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0041 * (N / 1,000,000)^-0.32, inside the measured sizes.
learning_rate = 0.0056
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
