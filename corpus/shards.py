"""A corpus converted in shards, each written whole and once, so that an interrupted run goes on where it was.

    paths = convert_all(['midis/', 'more.zip'], 'data/mine/shards', 'builtin', shard_files=200, workers=4, time_limit_s=60)
    for record in records_of(paths[0]): ...
    text = read_text(paths[0], record['at'], record['size'])

A shard is PATH.abc, the texts one after the other, and PATH.json, which is written last: a line for each tune (see convert.py),
with the place of its text. PATH holds a hash of the shard's files (name, size, time or content) and of the code that converts
them, so a shard that is there is right.
"""
import base64
import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np

from corpus import convert, dedupe, pool, sources
from music import midi, notation, notes, quantise, tunebook, unfold
from plumbing import files
from plumbing.progress import Progress


@dataclass
class Job:
    arguments: tuple                # of convert.convert
    path: str                       # shard
    index: int                      # of the file in the shard


def convert_all(all_sources, folder, converter, shard_files, workers, time_limit_s):
    """Convert all files of the sources; returns the paths (without suffix) of the shards, in the order of the files."""
    os.makedirs(folder, exist_ok=True)
    version = f'{code_version()}:{converter}:{time_limit_s}'
    paths, pending = {}, {}         # path -> number of files; path -> [outcome of each file]
    with Progress('convert', 'files') as progress:
        state = {'fraction': 0.0, 'reused': 0}

        def jobs():
            for number, source in enumerate(all_sources):
                for batch in batches(sources.items(source), shard_files):
                    state['fraction'] = (number + batch[-1].fraction) / len(all_sources)
                    names = '\n'.join(f'{item.name}\t{item.stamp}' for item in batch)
                    identity = f'{version}\n{source}\n{names}'.encode('utf-8', 'surrogateescape')       # names are any bytes
                    path = os.path.join(folder, hashlib.sha256(identity).hexdigest()[:24])
                    if path in paths:                           # the same source, named twice
                        continue
                    paths[path] = len(batch)
                    if os.path.exists(path + '.json'):
                        state['reused'] += len(batch)
                        progress.show(state['reused'], state['fraction'], 'done before')
                        continue
                    pending[path] = [None] * len(batch)
                    for i, item in enumerate(batch):
                        yield Job((item.name, item.data, converter), path, i)

        done = lost = 0
        for job, outcome in pool.run(run_job, jobs(), workers, time_limit_s):
            if isinstance(outcome, pool.Lost):
                outcome = [{'file': job.arguments[0], 'reason': outcome.reason}]
            lost += sum('reason' in record for record in outcome)
            outcomes = pending[job.path]
            outcomes[job.index] = outcome
            if None not in outcomes:
                save(job.path, [record for records in outcomes for record in records])
                del pending[job.path]
            done += 1
            before = f', {state["reused"]:,} done before' if state['reused'] else ''
            progress.show(done, state['fraction'], f'{lost:,} left out{before}')
    for name in os.listdir(folder):                             # of older runs, or half written
        if os.path.join(folder, name.split('.')[0]) not in paths or name.endswith('.tmp'):
            os.remove(os.path.join(folder, name))
    return list(paths)


def code_version():
    """Hash of the code that decides what a conversion gives: shards of other code are not taken for ours."""
    digest = hashlib.sha256()
    for module in (convert, dedupe, midi, notes, notation, quantise, tunebook, unfold):
        with open(module.__file__, 'rb') as f:
            digest.update(f.read())
    return digest.hexdigest()


def batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def run_job(job):
    return convert.convert(job.arguments)


def save(path, records):
    texts, at = [], 0
    for record in records:
        if 'text' in record:
            text = record.pop('text').encode()
            texts.append(text)
            record['at'], record['size'] = at, len(text)
            record['sketch'] = base64.b64encode(record['sketch'].tobytes()).decode()
            at += len(text)
    with files.atomic_write(path + '.abc') as f:
        f.writelines(texts)
    with files.atomic_write(path + '.json', 'w', encoding='utf-8') as f:
        f.write('\n'.join(map(json.dumps, records)))


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
