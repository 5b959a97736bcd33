# GPT of the original study: 30,463,880 parameters at vocabulary 5,000 and context 256, 25,207,808 of them non-embedding
arch = 'gpt'
n_layer = 8
n_head = 8
n_embd = 512
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.004 * (N / 926,720)^-0.53: extrapolated, not measured at this size.
learning_rate = 0.00069
