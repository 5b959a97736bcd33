"""From files to clean text: sources, conversion, exact and near-duplicates, what is kept. Used by
prepare.py.
"""
