"""The folder that prepare.py wrote: meta.json, tokenizer.json, and token ids, memory-mapped.

    meta = load_meta('data/bundled')
    ids = load_split('data/bundled', 'val', meta)       # uint16 (tokens,)

What is missing, damaged or from elsewhere ends in one line that names the file and says what to do.
"""
import json
import os

import numpy as np

from configurator import fail
from training.loader import n_windows


def load_meta(data_dir):
    """meta.json as a dict that has 'vocab_size', 'tokenizer' and the counts of 'splits'."""
    path = os.path.join(data_dir, 'meta.json')
    if not os.path.exists(path):
        fail(f'no prepared data in {data_dir!r} (no meta.json): run prepare.py first, '
             'or set --data_dir')
    try:
        with open(path, encoding='utf-8') as f:
            meta = json.load(f)
    except (OSError, ValueError) as e:          # not readable, not JSON, not UTF-8
        fail(f'{path} cannot be read ({e}): run prepare.py again')
    try:
        counts = [meta['vocab_size']]
        for split in ('train', 'val'):
            counts += [meta['splits'][split][unit] for unit in ('tokens', 'notes', 'characters')]
        whole = isinstance(meta['tokenizer'], dict)
        whole = whole and all(type(n) is int and n >= 0 for n in counts)
    except (KeyError, TypeError):
        whole = False
    if not whole or not 0 < meta['vocab_size'] <= 2 ** 16:
        fail(f'{path} is not one that prepare.py wrote: run prepare.py again, or set --data_dir')
    return meta


def load_tokenizer(data_dir):
    """The text of tokenizer.json, which goes into every checkpoint."""
    path = os.path.join(data_dir, 'tokenizer.json')
    try:
        with open(path, encoding='utf-8') as f:
            return f.read()
    except (OSError, ValueError) as e:
        reason = 'is missing' if isinstance(e, FileNotFoundError) else f'cannot be read ({e})'
        fail(f'{path} {reason}: run prepare.py again')


def load_split(data_dir, split, meta):
    """Memory-mapped token ids of a split, uint16 (tokens,), each below the vocabulary's size."""
    path = os.path.join(data_dir, f'{split}.bin')
    try:
        size = os.path.getsize(path)
        if size < 4 and split == 'train':
            fail(f'{path} holds no two tokens: run prepare.py again')
        if size < 4:
            fail(f'{path} holds no two tokens: prepare more tunes, or set prepare.py '
                 f'--{split}_fraction to more')
        if size % 2:
            fail(f'{path} is damaged, it has an odd number of bytes ({size:,}): '
                 'run prepare.py again')
        ids = np.memmap(path, dtype=np.uint16, mode='r')
    except OSError as e:
        missing = isinstance(e, FileNotFoundError)
        reason = 'is missing' if missing else f'cannot be read ({e.strerror})'
        fail(f'{path} {reason}: run prepare.py again')

    sizes = meta['splits'].get(split, {})
    if sizes.get('tokens') != len(ids):
        fail(f'{path} holds {len(ids):,} tokens, but meta.json says {sizes.get("tokens", 0):,}: '
             'run prepare.py again')
    if not sizes.get('notes') or not sizes.get('characters'):
        fail(f'{path}: meta.json counts no notes in it: run prepare.py again')
    largest = max(int(ids[i:i + 2 ** 24].max()) for i in range(0, len(ids), 2 ** 24))
    if largest >= meta['vocab_size']:
        fail(f'{path} holds the id {largest}, but the vocabulary of meta.json has '
             f'{meta["vocab_size"]}: run prepare.py again')
    return ids


def first_untransposed_window(s, meta, n_tokens):
    """Number of the first window of train.bin after the transposed copies.

    0 where a run does not end on untransposed tunes, or where there are no copies.
    """
    copies = n_tokens - meta.get('untransposed', n_tokens)
    if not s.anneal_fraction or not copies:         # without copies all tunes are untransposed
        return 0
    first = -(-copies // s.block_size)
    if n_windows(n_tokens, s.block_size) - first < s.batch_size:
        fail(f'anneal_fraction: {s.data_dir} holds fewer than {s.batch_size} windows without '
             'transposed copies')
    return first
