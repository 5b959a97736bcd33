"""Runs, laws, pictures, report. Used by fit_scaling.py."""
