# Overlay: the recipe of the original study, to be given after a model's config. Its stated batch
# was 96; its 6,103 steps are one epoch of 100M tokens at 64.
learning_rate = 3e-4
embedding_lr = head_lr = None
min_lr = 3e-5
schedule = 'cosine'
warmup_steps = None         # a tenth of the steps, at most 500: 500 of its 6,103
weight_decay = 0.1
beta1, beta2 = 0.9, 0.95
grad_clip = 1.0
init = 'gpt2'
block_size = 256
batch_size = 64
max_tokens = 100_000_000
epochs = 1
