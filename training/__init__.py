"""Used by train.py: data, batches, optimiser, evaluation, checkpoints, the machine, the log."""
