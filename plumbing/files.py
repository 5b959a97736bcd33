"""Files that are whole or not there.

    with atomic_write('out/table.csv', 'w', encoding='utf-8') as f:
        f.write(text)
"""
import os
from contextlib import contextmanager


@contextmanager
def atomic_write(path, mode='wb', **options):
    """A file to write to (as of `open`): a temporary one, which takes the place of `path` when the block ends.

    It is synced to the disk before. If the block fails it is removed, and a former file at `path` stays as it was.
    """
    temporary = f'{path}.tmp'
    try:
        with open(temporary, mode, **options) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise
