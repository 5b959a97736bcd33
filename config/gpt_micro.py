# GPT of the original study: 1,713,800 parameters at vocabulary 5,000 and context 256, 396,032 of them non-embedding
arch = 'gpt'
n_layer = 2
n_head = 4
n_embd = 128
# Rate by the rule of results/quick_rates.csv (batch 8, 2.4M tokens), 0.004 * (N / 926,720)^-0.53: inside the measured sizes.
learning_rate = 0.0063
