# the study: GPT, 1,333,248 non-embedding parameters
arch = 'gpt'
n_layer = 3
n_head = 4
n_embd = 192
batch_size = 16                    # 4,096 tokens a step
max_tokens = 10_000_000
embedding_lr = 0.1
head_lr = 0.05
