"""Reading a checkpoint of train.py: plain types, and tensors that stay on the disk until used.

    checkpoint = read_checkpoint('out/gpt_micro/ckpt.pt')       # or one line and exit status 2
"""
import os

from configurator import fail

PARTS = {'model', 'config', 'meta'}        # of every checkpoint of train.py, an exported one too


def read_checkpoint(path, mmap=True):
    """The checkpoint at `path` as a dict; exits (2) with one line where there is none.

    `mmap=False` takes all of it into memory, for a run that goes on from it and will write over the
    file.
    """
    if not os.path.exists(path):
        fail(f'no checkpoint {path!r}')
    try:
        return load(path, mmap)
    except Exception as e:      # which error unpickling ends in depends on the bytes
        reason = (str(e).splitlines() or [''])[0][:100]
        fail(f'{path} is no checkpoint of train.py ({type(e).__name__}: {reason})')


def try_checkpoint(path):
    """The checkpoint at `path`, or None if it cannot be read: for a search among many."""
    try:
        return load(path, mmap=True)
    except Exception:
        return None


def load(path, mmap):
    import torch  # here, so that a script that may not need it (fitting a table) starts at once
    checkpoint = torch.load(path, map_location='cpu', mmap=mmap, weights_only=True)
    if not isinstance(checkpoint, dict) or PARTS - checkpoint.keys():
        raise ValueError('a file of another program')
    return checkpoint
