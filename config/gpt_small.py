# GPT of the original study: 8,948,552 parameters at vocabulary 5,000 and context 256, 5,989,824 of them non-embedding
arch = 'gpt'
n_layer = 6
n_head = 6
n_embd = 288
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.004 * (N / 926,720)^-0.53: extrapolated, not measured at this size.
learning_rate = 0.0015
