"""Tests run from anywhere: the scripts of the repository root are importable, and torch keeps to one thread (repeatable)."""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
os.environ.setdefault('OMP_NUM_THREADS', '1')
