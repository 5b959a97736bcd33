"""Runs, laws, pictures, report. Behind fit_scaling.py."""
