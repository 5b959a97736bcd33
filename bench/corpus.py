"""What the preparation of a corpus costs and gives, on a folder of MIDI files, as tables in
markdown.

    python bench/corpus.py midis/                               # all tables
    python bench/corpus.py midis/ --what=speed,tokens --files=500

notes   note-ons as mido, an independent reader, sees them, and how many are notes of ours
speed   conversion beside midi2abc (Debian's abcmidi): same files and processes, with in- and output
tokens  tokens/note of held-out tunes, by notation and vocabulary; the tokenizer sees other tunes
copies  how many planted copies are found as near-duplicates, and how similar different files are
memory  peak of all processes of prepare.py together, for a part of the folder and for all of it
"""
import glob
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import mido
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)
import bpe
from configurator import configure, fail
from corpus import convert, dedupe, pool
from music import notation
from music.midi import raw_midi, read_midi, write_midi
from music.notes import UNITS, Voice
from music.quantise import MidiError


@dataclass
class Settings:
    paths: list[str] = field(default_factory=list)      # a folder of MIDI files
    what: str = 'notes,speed,tokens,copies,memory'      # tables to make
    files: int = 1000                                   # so many files, drawn by seed
    copies: int = 100                                   # planted copies of each kind
    workers: int = 2                                    # processes
    seed: int = 0                                       # of the draw


# -------------------------------------------------------------------------------------------- notes

def compared(path):
    """(how the file was read, note-ons that mido sees, how many of them are no notes of ours)."""
    try:
        file = mido.MidiFile(path, clip=True)
    except (EOFError, OSError, ValueError, LookupError, TypeError, mido.KeySignatureError):
        return 'mido refuses it', 0, 0
    theirs = Counter()
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == 'note_on' and message.velocity:
                theirs[tick, message.note] += 1
    total = sum(theirs.values())
    try:
        raw = raw_midi(path)
    except MidiError as e:
        return f'refused: {e}', total, total
    ticks = np.rint(raw['onset'] * abs(file.ticks_per_beat) / UNITS).astype(int)
    missing = sum((theirs - Counter(zip(ticks.tolist(), raw['pitch'].tolist()))).values())
    return 'read, with remarks' if raw['remarks'] else 'read', total, missing


def notes(paths, s):
    """What is missing in files without a remark is lost in silence."""
    rows = {}
    for _, outcome in pool.run(compared, paths, s.workers, 120):
        how, total, missing = outcome if isinstance(outcome, tuple) else (outcome.reason, 0, 0)
        row = rows.setdefault(how, Counter())
        row.update(files=1, notes=total, missing=missing, files_with_missing=missing > 0)
    print('\n| how it was read | files | note-ons | not among ours | in so many files |')
    print('|---|---|---|---|---|')
    for how, row in sorted(rows.items()):
        print(f"| {how} | {row['files']:,} | {row['notes']:,} | {row['missing']:,} "
              f"| {row['files_with_missing']:,} |")


# -------------------------------------------------------------------------------------------- speed

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
    """(result, CPU seconds of this process and the programs it started) of job = (function,
    path).
    """
    function, path = job
    before = sum(os.times()[:4])
    return function(path), sum(os.times()[:4]) - before


def speed(paths, s):
    """Wall time of all processes, and CPU time, which other work on the machine disturbs less."""
    rows, notes = [], 0
    functions = {'builtin, codec alone': codec, 'builtin, as prepare.py runs it': full,
                 'midi2abc': abcmidi}
    for name, function in functions.items():
        jobs = [(function, os.devnull)] * s.workers + [(function, path) for path in paths]
        answers = pool.run(timed, jobs, s.workers, 600)
        for _ in range(s.workers):  # the start of the workers is not timed
            next(answers)
        start = time.perf_counter()
        outcomes = [outcome for _, outcome in answers if isinstance(outcome, tuple)]
        rows.append((name, time.perf_counter() - start, sum(cpu for _, cpu in outcomes)))
        notes = notes or sum(n for n, _ in outcomes)
    print(f'\n{len(paths)} files, {notes:,} notes, {s.workers} processes\n')
    print('| conversion | wall s | files/s | notes/s | CPU s | notes per CPU second |')
    print('|---|---|---|---|---|---|')
    for name, wall, cpu in rows:
        print(f'| {name} | {wall:.2f} | {len(paths) / wall:.0f} | {notes / wall:,.0f} | {cpu:.2f} '
              f'| {notes / cpu:,.0f} |')


# ------------------------------------------------------------------------------------------- tokens

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
    if reason:
        return None
    return len(music.notes), notation.encode(music), notation.encode(gates), foreign


def tokens(paths, s):
    rows = sorted(outcome for _, outcome in pool.run(texts, paths, s.workers, 60)
                  if isinstance(outcome, tuple))
    random.Random(s.seed).shuffle(rows)
    val, train = rows[:len(rows) // 10], rows[len(rows) // 10:]
    notes = sum(row[0] for row in val)
    print(f'\ntokenizer from {len(train)} files, counted on {len(val)} others of {notes:,} notes\n')
    print('| notation | vocabulary | tokens/note | characters/token |\n|---|---|---|---|')
    plans = [('notated durations', 1, v) for v in (1000, 2000, 5000, 8000, 16000, 'char')]
    plans += [('gate times', 2, 5000), ('midi2abc', 3, 5000), ('midi2abc', 3, 'char')]
    for name, column, vocabulary in plans:
        kind = 'char' if vocabulary == 'char' else 'bpe'
        size = 0 if kind == 'char' else vocabulary
        tokenizer = bpe.train((row[column] for row in train), size, kind)
        encoded = tokenizer.encode_batch([row[column] for row in val], s.workers)
        counted = sum(len(ids) for ids in encoded)
        characters = sum(len(row[column]) for row in val)
        label = vocabulary if kind == 'bpe' else f'char ({tokenizer.vocab_size})'
        print(f'| {name} | {label} | {counted / notes:.3f} | {characters / counted:.2f} |',
              flush=True)


# ------------------------------------------------------------------------------------------- copies

def planted(music, draw):
    """Dict: kind of copy -> Music."""
    onset, duration, pitch, voice = music.notes.T
    is_drum = np.array([v.is_drum for v in music.voices])[voice]
    shift = draw.choice([n for n in range(-5, 7) if n])
    higher, doubled = music.notes.copy(), music.notes * np.array([2, 2, 1, 1], np.int32)
    higher[:, 2] = np.where(is_drum, pitch, np.clip(pitch + shift, 0, 127))
    meters, tempos, keys = ([(2 * time, *event) for time, *event in events]
                            for events in (music.meters, music.tempos, music.keys))
    order = draw.sample(range(len(music.voices)), len(music.voices))
    reordered = music.notes.copy()
    reordered[:, 3] = np.argsort(order)[voice]
    others = [v if v.is_drum else Voice(draw.randrange(128)) for v in music.voices]
    faster = [(time, round(1.3 * tempo)) for time, tempo in music.tempos]
    is_early = onset < 0.8 * (onset + duration).max()
    return {'retitled': replace(music, title='another name'),
            'transposed': replace(music, notes=higher),
            'another tempo': replace(music, tempos=faster),
            'note values doubled': replace(music, notes=doubled, meters=meters, tempos=tempos,
                                           keys=keys),
            'tracks reordered': replace(music, notes=reordered,
                                        voices=[music.voices[v] for v in order]),
            'first 80%': replace(music, notes=music.notes[is_early]),
            'other programs': replace(music, voices=others)}


def copies(paths, s):
    draw = random.Random(s.seed)
    found, originals, tried = {}, [], 0
    for path in paths:
        try:
            music, report = read_midi(path)
        except MidiError:
            continue
        record = convert.describe(music, report, None)
        if 'sketch' not in record:
            continue
        originals.append(record['sketch'])
        if tried == s.copies:
            continue
        tried += 1
        for kind, copy in planted(music, draw).items():
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, 'copy.mid')
                write_midi(copy, path)
                copied, _ = read_midi(path)
            similarity = dedupe.similarity(record['sketch'], dedupe.sketch(copied))
            found.setdefault(kind, []).append(similarity)
    print(f'\n{tried} copies of each kind; a near-duplicate has similarity {dedupe.THRESHOLD}\n')
    print('| planted copy | found | lowest similarity | 5% quantile | median |')
    print('|---|---|---|---|---|')
    for kind, values in found.items():
        share = np.mean(np.array(values) >= dedupe.THRESHOLD)
        low, middle = np.quantile(values, (0.05, 0.5))
        print(f'| {kind} | {share:.1%} | {min(values):.2f} | {low:.2f} | {middle:.2f} |')
    near = dedupe.Near(originals)
    pairs = sum(len(near.of(sketch)) - 1 for sketch in originals) // 2
    everything = len(originals) * (len(originals) - 1) // 2
    print(f'\nof {everything:,} pairs of the {len(originals)} files themselves, {pairs} are '
          f'near-duplicates ({pairs / everything:.4%})')


# ------------------------------------------------------------------------------------------- memory

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
            process = subprocess.Popen(
                [sys.executable, prepare, f'--source={source}', f'--out_dir={scratch}/out',
                 f'--workers={s.workers}'], stdout=subprocess.DEVNULL)
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(proportional_set_size, tree(process.pid))))
                time.sleep(0.25)
            seconds = time.perf_counter() - start
            n = len(part) if part else len(files_of(folder))
            print(f'| {n:,} | {seconds:.0f} | {n / seconds:.0f} | {peak / 2 ** 20:.2f} GiB |',
                  flush=True)


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
        elif what in ('notes', 'speed', 'tokens', 'copies'):
            {'notes': notes, 'speed': speed, 'tokens': tokens, 'copies': copies}[what](paths, s)
        else:
            fail(f"what: {what!r} is none of notes, speed, tokens, copies, memory")


if __name__ == '__main__':
    main()
