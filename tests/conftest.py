"""Where the repository is, one thread for torch (repeatable), and what happens where a program is missing."""
import os
import shutil

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault('OMP_NUM_THREADS', '1')


def need(*programs):
    """Path of the first of `programs` that is installed; without any the test is skipped (in CI it fails)."""
    return next(filter(None, map(shutil.which, programs)), None) or miss(f'none of {", ".join(programs)} is installed')


def miss(reason):
    """Skip the test; in CI (CI=true), which has all that users rely on, it fails instead."""
    pytest.fail(reason) if os.environ.get('CI') == 'true' else pytest.skip(reason)
