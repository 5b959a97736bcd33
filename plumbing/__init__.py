"""What every script needs to behave well: files that are whole or not there, the progress line, reading checkpoints."""
