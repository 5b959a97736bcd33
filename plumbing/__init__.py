"""What every script needs: files that are whole or not there, a progress line, checkpoints read."""
