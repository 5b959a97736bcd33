"""Files that are whole or not there.

    with atomic_write('out/table.csv', 'w', encoding='utf-8') as f:
        f.write(text)
"""
import os
import shutil
from contextlib import contextmanager


@contextmanager
def atomic_write(path, mode='wb', **options):
    """A file to write to (as of `open`), which takes the place of `path` when the block ends.

    It is synced to the disk before. If the block fails it is removed, and a former file at `path`
    stays as it was.
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


def link_or_copy(source, path):
    """`path` becomes the file at `source` as it is now, whole or not at all.

    A hard link where the file system has them, which costs no space and no time; else a copy. For
    files that nobody writes into, only replaces (atomic_write): a change inside of one would be a
    change of the other.
    """
    temporary = f'{path}.tmp'
    if os.path.lexists(temporary):          # left by a process that was killed
        os.remove(temporary)
    try:
        os.link(source, temporary)
    except OSError:                         # FAT, some network drives
        with open(source, 'rb') as original, atomic_write(path) as copy:
            shutil.copyfileobj(original, copy)
    else:
        os.replace(temporary, path)
