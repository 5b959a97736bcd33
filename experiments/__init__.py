"""What we ran with all of it: `python -m experiments.study`, `python -m experiments.sweep`."""
