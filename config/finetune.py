# Fine-tuning on a few dozen to a few hundred tunes, to be given with --init_from=CKPT: the model's
# size comes from that checkpoint. best.pt is the best of frequent evaluations; the run ends soon
# after it. Transposed copies come from the data (prepare.py --transpose).
batch_size = 8                 # 2,048 tokens per step
learning_rate = 0.001          # an eighth of results/tunes.pt's own
schedule = 'wsd'
warmup_steps = 10
cooldown_fraction = 0.5
epochs = 20                    # at most; patience ends it earlier
dropout = 0.1
eval_interval = 10
patience = 5
log_interval = 10
