# the study: GPT, 223,296 non-embedding parameters
arch = 'gpt'
n_layer = 2
n_head = 3
n_embd = 96
batch_size = 16                    # 4,096 tokens a step
max_tokens = 10_000_000
embedding_lr = 0.1
head_lr = 0.05
