"""What the preparation of a corpus costs and gives, on a folder of MIDI files, as tables in markdown.

    python bench/corpus.py midis/                               # all tables
    python bench/corpus.py midis/ --what=speed,tokens --files=500

speed   conversion beside midi2abc (Debian's abcmidi), the same files and processes, reading and writing included
tokens  tokens a note of held-out tunes, by notation and vocabulary; the tokenizer sees other tunes only
copies  how many planted copies are found as near-duplicates, and how alike different files are
memory  peak of all processes of prepare.py together, for a part of the folder and for all of it
"""
import glob
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import numpy as np
import symusic

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import bpe
from configurator import configure, fail
from corpus import convert, dedupe, pool
from music import notation
from music.midi import read_midi
from music.quantise import MidiError


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # a folder of MIDI files
    what: str = 'speed,tokens,copies,memory'            # tables to make
    files: int = 1000                                   # so many files, drawn by seed
    copies: int = 100                                   # planted copies of each kind
    workers: int = 2                                    # processes
    seed: int = 0                                       # of the draw


# ---------------------------------------------------------------------------------------------------------------- speed

def full(path):
    return sum(record.get('notes', 0) for record in convert.convert((path, path, convert.Form())))


def codec(path):
    """Without what the corpus needs beside the text: checks, hash, sketch."""
    try:
        music, _ = read_midi(path)
    except MidiError:
        return 0
    notation.encode(music)
    return len(music.notes)


def abcmidi(path):
    subprocess.run(convert.MIDI2ABC + [path], capture_output=True, timeout=convert.MIDI2ABC_LIMIT_S)


def timed(job):
    """(result, CPU seconds of this process and the programs it started) of job = (function, path)."""
    function, path = job
    before = sum(os.times()[:4])
    return function(path), sum(os.times()[:4]) - before


def speed(paths, s):
    """Wall time of all processes, and CPU time, which other work on the machine disturbs less."""
    rows, notes = [], 0
    functions = {'builtin, codec alone': codec, 'builtin, as prepare.py runs it': full, 'midi2abc': abcmidi}
    for name, function in functions.items():
        jobs = [(function, os.devnull)] * s.workers + [(function, path) for path in paths]
        answers = pool.run(timed, jobs, s.workers, 600)
        for _ in range(s.workers):                              # the start of the workers is not timed
            next(answers)
        start = time.perf_counter()
        outcomes = [outcome for _, outcome in answers if isinstance(outcome, tuple)]
        rows.append((name, time.perf_counter() - start, sum(cpu for _, cpu in outcomes)))
        notes = notes or sum(n for n, _ in outcomes)
    print(f'\n{len(paths)} files, {notes:,} notes, {s.workers} processes\n')
    print('| conversion | wall s | files/s | notes/s | CPU s | notes per CPU second |\n|---|---|---|---|---|---|')
    for name, wall, cpu in rows:
        print(f'| {name} | {wall:.2f} | {len(paths) / wall:.0f} | {notes / wall:,.0f} | {cpu:.2f} '
              f'| {notes / cpu:,.0f} |')


# --------------------------------------------------------------------------------------------------------------- tokens

def texts(path):
    """(notes, our text, our text with gate times, midi2abc's text) of a file, or None."""
    with open(path, 'rb') as f:
        data = f.read()
    try:
        music, _ = read_midi(data)
        gates, _ = read_midi(data, close_gaps=False)
    except MidiError:
        return None
    foreign, reason = convert.midi2abc(data)
    return None if reason else (len(music.notes), notation.encode(music), notation.encode(gates), foreign)


def tokens(paths, s):
    rows = sorted(outcome for _, outcome in pool.run(texts, paths, s.workers, 60) if isinstance(outcome, tuple))
    random.Random(s.seed).shuffle(rows)
    val, train = rows[:len(rows) // 10], rows[len(rows) // 10:]
    notes = sum(row[0] for row in val)
    print(f'\ntokenizer from {len(train)} files, counted on {len(val)} others of {notes:,} notes\n')
    print('| notation | vocabulary | tokens/note | characters/token |\n|---|---|---|---|')
    plans = [('notated durations', 1, v) for v in (1000, 2000, 5000, 8000, 16000, 'char')]
    plans += [('gate times', 2, 5000), ('midi2abc', 3, 5000), ('midi2abc', 3, 'char')]
    for name, column, vocabulary in plans:
        kind = 'char' if vocabulary == 'char' else 'bpe'
        tokenizer = bpe.train((row[column] for row in train), 0 if kind == 'char' else vocabulary, kind)
        counted = sum(len(ids) for ids in tokenizer.encode_batch([row[column] for row in val], s.workers))
        characters = sum(len(row[column]) for row in val)
        label = vocabulary if kind == 'bpe' else f'char ({tokenizer.vocab_size})'
        print(f'| {name} | {label} | {counted / notes:.3f} | {characters / counted:.2f} |', flush=True)


# --------------------------------------------------------------------------------------------------------------- copies

def planted(data, draw):
    """Dict: kind of copy -> MIDI bytes."""
    def score():
        return symusic.Score.from_midi(data)
    kinds = ('retitled', 'transposed', 'another tempo', 'note values doubled', 'tracks reordered', 'first 80%',
             'other programs')
    copies = {kind: score() for kind in kinds}
    for track in copies['retitled'].tracks:
        track.name = 'another name'
    shift = draw.choice([n for n in range(-5, 7) if n])
    for track in copies['transposed'].tracks:
        for note in track.notes:
            note.pitch = note.pitch if track.is_drum else min(127, max(0, note.pitch + shift))
    for tempo in copies['another tempo'].tempos:
        tempo.qpm *= 1.3
    doubled = copies['note values doubled']
    notes = [track.notes for track in doubled.tracks]
    for events in [*notes, doubled.tempos, doubled.time_signatures, doubled.key_signatures]:
        for event in events:
            event.time *= 2
    for track in doubled.tracks:
        for note in track.notes:
            note.duration *= 2
    reordered = copies['tracks reordered']
    reordered.tracks = draw.sample(list(reordered.tracks), len(reordered.tracks))
    end = max(note.time for track in copies['first 80%'].tracks for note in track.notes)
    for track in copies['first 80%'].tracks:
        track.notes = [note for note in track.notes if note.time < 0.8 * end]
    for track in copies['other programs'].tracks:
        track.program = track.program if track.is_drum else draw.randrange(128)
    return {kind: copy.dumps_midi() for kind, copy in copies.items()}


def copies(paths, s):
    draw = random.Random(s.seed)
    found, originals, tried = {}, [], 0
    for path in paths:
        with open(path, 'rb') as f:
            data = f.read()
        try:
            record = convert.describe(*read_midi(data))
            variants = planted(data, draw) if tried < s.copies and 'sketch' in record else {}
        except (MidiError, RuntimeError, ValueError):           # unreadable, or nothing that symusic writes
            continue
        if 'sketch' in record:
            originals.append(record['sketch'])
        tried += bool(variants)
        for kind, copy in variants.items():
            music, _ = read_midi(copy)
            found.setdefault(kind, []).append(dedupe.similarity(record['sketch'], dedupe.sketch(music)))
    print(f'\n{tried} copies of each kind; a near-duplicate has similarity {dedupe.THRESHOLD}\n')
    print('| planted copy | found | lowest similarity | 5% quantile | median |\n|---|---|---|---|---|')
    for kind, values in found.items():
        share, low, middle = np.mean(np.array(values) >= dedupe.THRESHOLD), *np.quantile(values, (0.05, 0.5))
        print(f'| {kind} | {share:.1%} | {min(values):.2f} | {low:.2f} | {middle:.2f} |')
    near = dedupe.Near(originals)
    pairs = sum(len(near.of(sketch)) - 1 for sketch in originals) // 2
    everything = len(originals) * (len(originals) - 1) // 2
    print(f'\nof {everything:,} pairs of the {len(originals)} files themselves, {pairs} are near-duplicates '
          f'({pairs / everything:.4%})')


# --------------------------------------------------------------------------------------------------------------- memory

def tree(pid):
    """The process and all its descendants."""
    found = [pid]
    try:
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/children') as f:
                for child in f.read().split():
                    found += tree(int(child))
    except OSError:                                             # it has ended meanwhile
        pass
    return found


def proportional_set_size(pid):
    """KiB of memory, pages that are shared counted in parts."""
    try:
        with open(f'/proc/{pid}/smaps_rollup') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('Pss:'))
    except (OSError, StopIteration):
        return 0


def memory(folder, paths, s):
    print('\n| files | seconds | files/s | peak memory, all processes |\n|---|---|---|---|')
    for part in (paths, None):
        with tempfile.TemporaryDirectory() as scratch:
            source = folder
            if part:
                source = os.path.join(scratch, 'part')
                os.mkdir(source)
                for i, path in enumerate(part):
                    os.symlink(os.path.abspath(path), os.path.join(source, f'{i:06}.mid'))
            start = time.perf_counter()
            prepare = os.path.join(ROOT, 'prepare.py')
            process = subprocess.Popen([sys.executable, prepare, f'--source={source}', f'--out_dir={scratch}/out',
                                        f'--workers={s.workers}'], stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(proportional_set_size, tree(process.pid))))
                time.sleep(0.25)
            seconds = time.perf_counter() - start
            n = len(part) if part else len(files_of(folder))
            print(f'| {n:,} | {seconds:.0f} | {n / seconds:.0f} | {peak / 2 ** 20:.2f} GiB |', flush=True)


def files_of(folder):
    paths = glob.glob(os.path.join(folder, '**', '*'), recursive=True)
    return sorted(path for path in paths if path.lower().endswith(('.mid', '.midi')))


def main():
    s = configure(Settings)
    if len(s.paths) != 1 or not os.path.isdir(s.paths[0]):
        fail('say which folder of MIDI files: python bench/corpus.py FOLDER')
    everything = files_of(s.paths[0])
    paths = random.Random(s.seed).sample(everything, min(s.files, len(everything)))
    for what in s.what.split(','):
        if what == 'memory':
            memory(s.paths[0], paths, s)
        elif what in ('speed', 'tokens', 'copies'):
            {'speed': speed, 'tokens': tokens, 'copies': copies}[what](paths, s)
        else:
            fail(f"what: {what!r} is none of speed, tokens, copies, memory")


if __name__ == '__main__':
    main()
