"""Does another program hear the same music? Our stand-alone ABC of a corpus, read by abc2midi (Debian: abcmidi).

    python bench/abc2midi.py ../corpus --files=500

A note is found if abc2midi's MIDI has one of its pitch, program and drum flag within a tenth of a quarter of its onset.
The table counts files by their share of found notes, and the notes that were not found by what became of them.
"""
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from configurator import configure, fail
from music import abcfile, midi
from music.notes import UNITS
from music.quantise import MidiError


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # MIDI files and folders of them
    files: int = 500            # so many, drawn at random
    seed: int = 0
    workers: int = 2            # processes
    music21: int = 0            # so many of the files are also opened with music21


TOLERANCE = UNITS / 10


def find(paths):
    """All MIDI files below the paths, sorted."""
    found = [p for p in paths if os.path.isfile(p)]
    for path in paths:
        for folder, _, names in os.walk(path):
            found += [os.path.join(folder, name) for name in names if name.lower().endswith(('.mid', '.midi'))]
    return sorted(found)


def compare(path):
    """(path, share of notes found or None, Counter of what became of the others)."""
    try:
        music, _ = midi.read_midi(path)
    except MidiError:
        return path, None, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        abc, mid = os.path.join(folder, 'a.abc'), os.path.join(folder, 'a.mid')
        with open(abc, 'w') as f:
            f.write(abcfile.write_abc(music))
        try:
            subprocess.run(['abc2midi', abc, '-o', mid], capture_output=True, timeout=120)
            theirs = midi.raw_midi(mid)
        except subprocess.TimeoutExpired:
            return path, 0.0, collections.Counter({'file: abc2midi does not end': len(music.notes)})
        except (OSError, MidiError):
            return path, 0.0, collections.Counter({'file: abc2midi writes no notes': len(music.notes)})
    kinds = [(v.program, v.is_drum) for v in theirs['voices']]
    left = collections.defaultdict(list)                # (pitch, program, drum) -> onsets not yet matched
    for onset, pitch, voice in zip(theirs['onset'], theirs['pitch'], theirs['voice']):
        left[(int(pitch), *kinds[voice])].append(float(onset))
    for onsets in left.values():
        onsets.sort()
    missing = []
    for onset, _, pitch, voice in music.notes.tolist():
        key = pitch, music.voices[voice].program, music.voices[voice].is_drum
        if not take(left, key, onset, TOLERANCE):
            missing.append((key, onset))
    fates = collections.Counter(fate(left, key, onset) for key, onset in missing)
    return path, 1 - len(missing) / len(music.notes), fates


def take(left, key, onset, tolerance):
    """Remove the nearest onset of this key within the tolerance; was there one?"""
    onsets = left[key]
    i = int(np.searchsorted(onsets, onset))
    near = [j for j in (i - 1, i) if 0 <= j < len(onsets) and abs(onsets[j] - onset) <= tolerance]
    if near:
        onsets.pop(min(near, key=lambda j: abs(onsets[j] - onset)))
    return bool(near)


def fate(left, key, onset):
    """What became of a note that was not found."""
    if take(left, key, onset, UNITS / 2):
        return 'note: up to half a quarter off'
    for other in list(left):
        if other[0] == key[0] and take(left, other, onset, TOLERANCE):
            return 'note: with another program' if other[2] == key[2] else 'note: with another drum flag'
    return 'note: not there' if key[0] >= 12 else 'note: not there, pitch below 12'


def open_with_music21(path):
    """(notes that music21 finds in our file, notes that are there); tied notes count once."""
    import music21
    music, _ = midi.read_midi(path)
    score = music21.converter.parse(abcfile.write_abc(music), format='abc')
    heads = [note for element in score.recurse().notes for note in (element.notes if element.isChord else [element])]
    return sum(note.tie is None or note.tie.type == 'start' for note in heads), len(music.notes)


def main():
    settings = configure(Settings)
    if not shutil.which('abc2midi'):
        fail('abc2midi is not installed (Debian: apt install abcmidi)')
    paths = find(settings.paths)
    if not paths:
        fail('no MIDI files below the paths given; usage: python bench/abc2midi.py FOLDER')
    random.Random(settings.seed).shuffle(paths)
    paths = paths[:settings.files]
    with ProcessPoolExecutor(settings.workers) as pool:
        results = list(pool.map(compare, paths, chunksize=4))
    shares = np.array([share for _, share, _ in results if share is not None])
    print(f'{len(shares)} files read, {len(results) - len(shares)} not')
    for limit in (1.0, 0.999, 0.99, 0.95, 0.9, 0.5):
        print(f'  at least {limit:6.1%} of the notes found: {np.mean(shares >= limit):6.1%} of the files')
    fates, files = collections.Counter(), collections.Counter()
    for _, _, counts in results:
        fates += counts
        files.update(counts.keys())
    for name, count in fates.most_common():
        print(f'  {name}: {count} notes in {files[name]} files')
    if settings.music21:
        read = [path for path, share, _ in results if share is not None]
        with ProcessPoolExecutor(settings.workers) as pool:
            pairs = list(pool.map(open_with_music21, read[:settings.music21]))
        close = np.mean([abs(theirs - ours) <= 0.01 * ours for theirs, ours in pairs])
        print(f'music21 opened {len(pairs)} files; {close:.0%} of them with our number of notes, within 1%')


if __name__ == '__main__':
    main()
