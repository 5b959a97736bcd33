# GPT of the original study: 30,463,880 parameters at vocabulary 5,000 and context 256,
# 25,207,808 of them non-embedding.
arch = 'gpt'
n_layer = 8
n_head = 8
n_embd = 512
# Learning rate by the rule of results/learning_rates.csv (batch 16, 2.5M tokens):
# 0.0041 * (N / 1,000,000)^-0.32, extrapolated, not measured at this size.
learning_rate = 0.0015
embedding_lr = 0.1         # both: the best in results/embedding_rates.csv
head_lr = 0.05
