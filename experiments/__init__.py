"""The study and what it needs: `python -m experiments.study`, `python -m experiments.sweep`."""
