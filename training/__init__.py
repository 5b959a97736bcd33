"""What the training loop stands on: batches, optimisers, checkpoints, the machine, the log. Behind train.py."""
