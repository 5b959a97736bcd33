"""Runs of train.py as processes, and one table with a row of each: what the study and the sweep are made of.

    row, curve = train('gpt_2-seed1', 'out/study/gpt_2-seed1', ['config/study_gpt_2.py', '--seed=1'])
    write_row('out/study.csv', row, key=['name'])
"""
import csv
import os
import subprocess
import sys

from configurator import configure, fail
from plumbing.checkpoint import try_checkpoint
from plumbing.files import atomic_write
from scaling.runs import curve_of, run_of
from train import Settings as Training
from training.checkpoint import MACHINE, UNRELATED
from training.log import DIVERGED

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command(out_dir, options):
    """The words of a command that trains a run from wherever it stands to its end; only there it is evaluated."""
    return [sys.executable, os.path.join(ROOT, 'train.py'), *options, f'--out_dir={out_dir}', '--resume',
            '--eval_interval=1000000000']


def finished(out_dir, options):
    """The checkpoint of a run that has ended, on this machine or on another; None if it has not."""
    checkpoint = try_checkpoint(os.path.join(out_dir, 'ckpt.pt'))
    if checkpoint is None or all(checkpoint['n_steps'] != row['step'] for row in checkpoint['history'] if 'val' in row):
        return None
    theirs, wanted = checkpoint['config']['train'], vars(configure(Training, options))
    for name in theirs.keys() & wanted.keys() - UNRELATED - MACHINE - {'warmup_steps'}:
        if theirs[name] != wanted[name]:
            fail(f'{out_dir} holds another run: {name} is {theirs[name]!r} there and {wanted[name]!r} here')
    return checkpoint


def train(name, out_dir, options):
    """The row and the curve of a run, which is trained first unless it is finished; None if its loss diverged."""
    checkpoint = finished(out_dir, options)
    if checkpoint is None:
        print(f'{name}: begins', flush=True)
        process = subprocess.Popen(command(out_dir, options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            said = process.communicate()[1].decode().splitlines() or [f'exit status {process.returncode}']
        except KeyboardInterrupt:
            process.wait()              # the same Ctrl-C ends it after its step, saved
            raise
        if process.returncode == DIVERGED:
            return None
        if process.returncode:
            fail(f'{name}: {said[-1].removeprefix("error: ")}')
        checkpoint = finished(out_dir, options)
    row, curve = results(name, checkpoint)
    print(f"{name}: {row['loss_per_note']:.4f} nats a note, {row['seconds']:.0f} s", flush=True)
    return row, curve


def results(name, checkpoint):
    """Of a finished run the row of a table, and its training curve: rows of name, tokens and loss."""
    row = {**run_of(checkpoint, name), 'git': checkpoint['git']}
    return row, [{'name': name, **point} for point in curve_of(checkpoint['history'])]


def read_rows(path):
    """The rows of a table as dicts of text; none if there is no table."""
    if not os.path.exists(path):
        return []
    with open(path, newline='', encoding='utf-8') as f:
        return list(csv.DictReader(f))


def write_row(path, row, key):
    write_rows(path, [row], key)


def write_rows(path, rows, key):
    """Put rows into the table, in place of those that have the same in the columns `key`. New columns come last."""
    rows = [{k: f'{v:.10g}' if isinstance(v, float) else str(v) for k, v in row.items() if v is not None}
            for row in rows]
    rows = {tuple(r[k] for k in key): r for r in [*read_rows(path), *rows]}
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, list(dict.fromkeys(k for r in rows.values() for k in r)), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows.values())
