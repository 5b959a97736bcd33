"""The library of sample.py: drawing tunes, keeping them in the notation, and the page."""
