"""A corpus converted in shards, each written whole and once, so that an interrupted run goes on
where it was.

    paths, not_read = convert_all(['midis/', 'more.zip'], 'data/x/shards', Form(), shard_files=200,
                                  workers=4, time_limit_s=60)
    for record in records_of(paths[0]): ...
    text = read_text(paths[0], record['at'], record['size'])

A shard is PATH.abc, the texts one after the other, and PATH.json, written last: a line for each
tune (see convert.py) with the place of its text. PATH is a hash of the shard's files (name, size,
time or content) and of the code and the libraries that convert them, so a shard that is there is
right. A shard that has lost a file by chance (pool.py) goes by another name, so that the next run
converts it again.
"""
import base64
import glob
import hashlib
import importlib.metadata
import json
import os
from collections import Counter
from itertools import islice

import numpy as np

import music
from corpus import convert, pool, sources
from plumbing.files import atomic_write
from plumbing.progress import Progress

LIBRARIES = 'numpy',                # of which a conversion depends


def convert_all(all_sources, folder, form, shard_files, workers, time_limit_s):
    """Convert all files of the sources.

    Returns the paths (without suffix) of the shards, in the order of the files, and a Counter of
    the files that are no music, by suffix.
    """
    not_read = Counter()
    os.makedirs(folder, exist_ok=True)
    paths = {}                                  # path of a shard -> that under which it is saved
    pending = {}  # path of a shard -> [records of a file, None until they are there]
    done = reused = left_out = fraction = 0

    def jobs():
        nonlocal reused, fraction
        for path, items, fraction in planned(all_sources, folder, form, shard_files, not_read):
            if path in paths:                                   # the same source, named twice
                continue
            paths[path] = path
            if os.path.exists(path + '.json'):
                reused += len(items)
                progress.show(reused, fraction, 'done before')
                continue
            pending[path] = [None] * len(items)
            for i, item in enumerate(items):
                yield item.name, item.data, form, path, i

    with Progress('convert', 'files') as progress:
        outcomes = pool.run(convert.convert, jobs(), workers, time_limit_s)
        for (name, _, _, path, i), outcome in outcomes:
            if isinstance(outcome, pool.Lost):
                outcome = [{'file': name, 'reason': outcome.reason, 'by_chance': outcome.by_chance}]
            pending[path][i] = outcome
            if None not in pending[path]:
                records = [record for of_file in pending.pop(path) for record in of_file]
                paths[path] = save(path, records)
            done += 1
            left_out += sum('reason' in record for record in outcome)
            before = f', {reused:,} done before' if reused else ''
            progress.show(done, fraction, f'{left_out:,} left out{before}')
    saved = list(paths.values())
    names = {os.path.basename(path) + suffix for path in saved for suffix in ('.abc', '.json')}
    for name in set(os.listdir(folder)) - names:                # of older runs, or half written
        os.remove(os.path.join(folder, name))
    return saved, not_read


def planned(all_sources, folder, form, shard_files, not_read=None):
    """Yield (path, list of Items, how much of everything is read with them) of each shard.
    `not_read` as in sources.
    """
    here = os.path.dirname(__file__), os.path.dirname(music.__file__)
    code = [path for room in here for path in glob.glob(os.path.join(glob.escape(room), '*.py'))]
    version = hash_of([form, *map(importlib.metadata.version, LIBRARIES)], sorted(code))
    for number, source in enumerate(all_sources):
        items = sources.items(source, not_read)
        while batch := list(islice(items, shard_files)):
            identity = hash_of([version, source, [(item.name, item.stamp) for item in batch]])
            fraction = (number + batch[-1].fraction) / len(all_sources)
            yield os.path.join(folder, identity[:24]), batch, fraction


def hash_of(data, files=()):
    """SHA-256 of plain data (strings may hold any bytes) and of the content of files."""
    digest = hashlib.sha256(json.dumps(data).encode())
    for path in files:
        with open(path, 'rb') as f:
            digest.update(f.read())
    return digest.hexdigest()


def save(path, records):
    """Write a shard. Returns its path, which is another one if files were lost by chance, and
    tells which.
    """
    lost = [record['file'] for record in records if record.get('by_chance')]
    if lost:
        path += '-lost-' + hash_of(lost)[:8]
    with atomic_write(path + '.abc') as f:
        for record in records:
            if 'text' in record:
                record['at'], record['size'] = f.tell(), f.write(record.pop('text').encode())
                record['sketch'] = base64.b64encode(record['sketch'].tobytes()).decode()
    with atomic_write(path + '.json', 'w', encoding='utf-8') as f:
        f.write('\n'.join(map(json.dumps, records)))
    return path


def records_of(path):
    """Yield the records of a shard, with their sketches as arrays."""
    with open(path + '.json', encoding='utf-8') as f:
        for line in f:
            record = json.loads(line)
            if 'sketch' in record:
                record['sketch'] = np.frombuffer(base64.b64decode(record['sketch']), np.uint64)
            yield record


def read_text(path, at, size):
    with open(path + '.abc', 'rb') as f:
        f.seek(at)
        return f.read(size).decode()
