# GPT of the original study: 3,307,400 parameters at vocabulary 5,000 and context 256, 1,333,248 of them non-embedding
arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 192
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.004 * (N / 926,720)^-0.53: extrapolated, not measured at this size.
learning_rate = 0.0033
