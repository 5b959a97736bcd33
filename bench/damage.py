"""Damaged MIDI files: real files cut off, with bits flipped, bytes replaced or a broken header,
and noise.

Each must be read and come through the notation note for note, or be refused with a reason. Nothing
may crash or hang.

    python bench/damage.py FOLDER --mutations=10000
"""
import glob
import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure, fail  # noqa: E402
from corpus import pool  # noqa: E402
from music.midi import read_midi  # noqa: E402
from music.notation import decode, encode  # noqa: E402
from music.quantise import MidiError  # noqa: E402

KINDS = ('cut off', 'bits flipped', 'bytes replaced', 'header changed', 'noise')
BATCH = 50                                          # mutations a job


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # folders of MIDI files
    files: int = 150                                    # chosen among those below 40 kB
    mutations: int = 10_000
    time_limit_s: float = 60.0                          # for BATCH mutations
    seed: int = 1


def damage(data, kind, rng):
    data = bytearray(data)
    if kind == 'cut off':
        return bytes(data[:rng.randrange(len(data))])
    if kind == 'bits flipped':
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 'bytes replaced':
        at = rng.randrange(len(data))
        data[at:at + rng.randint(1, 50)] = rng.randbytes(rng.randint(0, 50))
    elif kind == 'header changed':
        data[rng.randrange(min(60, len(data)))] = rng.randrange(256)
    else:
        data = b'MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\1\0' + rng.randbytes(rng.randint(0, 500))
    return bytes(data)


def outcomes(job):
    """Counter of (kind, outcome) over BATCH mutations of `paths`."""
    paths, seed = job
    rng, counts = random.Random(seed), Counter()
    for _ in range(BATCH):
        kind = rng.choice(KINDS)
        with open(rng.choice(paths), 'rb') as f:
            data = damage(f.read(), kind, rng)
        try:
            music, about = read_midi(data)
            same = (decode(encode(music)).notes == music.notes).all()
            how = 'repaired' if about['repaired'] else 'read'
            counts[kind, how if same else 'CHANGED BY THE NOTATION'] += 1
        except MidiError:
            counts[kind, 'refused'] += 1
        except Exception as e:
            counts[kind, f'CRASH: {type(e).__name__}'] += 1
    return counts


def main():
    s = configure(Settings)
    found = [path for folder in s.paths
             for path in glob.glob(os.path.join(folder, '**', '*.mid'), recursive=True)]
    paths = sorted(path for path in found if 0 < os.path.getsize(path) < 40_000)
    if not paths:
        fail('give a folder with MIDI files below 40 kB')
    rng = random.Random(s.seed)
    paths = rng.sample(paths, min(s.files, len(paths)))
    total, lost = Counter(), 0
    jobs = [(paths, rng.random()) for _ in range(-(-s.mutations // BATCH))]
    for _, counts in pool.run(outcomes, jobs, os.cpu_count(), s.time_limit_s):
        if isinstance(counts, pool.Lost):
            lost += 1
            print(f'a job of {BATCH} mutations was lost: {counts.reason}')
        else:
            total.update(counts)
    columns = sorted({outcome for _, outcome in total},
                     key=lambda outcome: (outcome.isupper(), outcome))
    print(f"{'':<16}" + ''.join(f'{column:>12}' for column in columns))
    for kind in KINDS:
        print(f'{kind:<16}' + ''.join(f'{total[kind, column]:>12,}' for column in columns))
    print(f'{sum(total.values()):,} mutations of {len(paths)} files, {lost} jobs lost')


if __name__ == '__main__':
    main()
