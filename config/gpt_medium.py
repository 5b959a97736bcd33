# GPT of the original study: 30,463,880 parameters at vocabulary 5,000 and context 256, 25,207,808 of them non-embedding
arch = 'gpt'
n_layer = 8
n_head = 8
n_embd = 512
learning_rate = 0.00069      # 0.004 * (N / 926,720)^-0.53, the rule of results/quick_rates.csv (batch 8, 2.4M tokens): extrapolated, not measured at this size
