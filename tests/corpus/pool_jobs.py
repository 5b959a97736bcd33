"""Jobs for test_pool.py. Each worker imports this module, so it does without what takes long to import."""
import importlib
import os
import signal
import time

from corpus import pool


def work(job):
    kind, n = job
    if kind == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 'exit':
        os._exit(3)
    if kind == 'hang':
        time.sleep(600)
    if kind == 'raise':
        raise KeyError('no such thing')
    if kind == 'eat':
        return len(bytearray(pool.MEMORY_LIMIT + 1))
    if kind == 'big':
        return b'x' * n
    if kind.endswith('with numpy'):     # as in the workers of the conversion
        importlib.import_module('numpy')
    if kind == 'big with numpy':
        return b'x' * n
    if kind == 'pid':
        time.sleep(0.2)
        return os.getpid()
    if kind == 'address space with numpy':
        with open('/proc/self/statm') as f:
            return int(f.read().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    if kind in ('log', 'slow', 'die once', 'raise and log'):
        return logged(kind, *n)
    return n * n


def logged(kind, n, folder):
    """Note in `folder` that the job was begun."""
    is_first = not any(name.startswith(f'{n} ') for name in os.listdir(folder))
    open(os.path.join(folder, f'{n} {time.monotonic()}'), 'w').close()
    if kind == 'raise and log':
        raise ValueError('again')
    if kind == 'die once' and is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 'slow':
        time.sleep(3)
    return n
