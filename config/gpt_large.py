# GPT of the original study: 92,909,960 parameters at vocabulary 5,000 and context 256, 85,028,352 of them non-embedding
arch = 'gpt'
n_layer = 12
n_head = 12
n_embd = 768
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.004 * (N / 926,720)^-0.53: extrapolated, not measured at this size.
learning_rate = 0.00036
