"""Runs of train.py as processes, and a table with a row of each: for the study and the sweep.

    options = ['config/gpt.py', '--n_embd=64', '--seed=1']
    row, curve = train('gpt_2-seed1', 'out/study/gpt_2-seed1', options)
    write_row('out/study.csv', row, key=['name'])
"""
import csv
import math
import os
import subprocess
import sys

from configurator import configure, fail
from plumbing.checkpoint import try_checkpoint
from plumbing.files import atomic_write
from scaling.runs import curve_of, read_rows, run_of
from train import Settings as Training
from training.checkpoint import MACHINE, UNRELATED
from training.log import DIVERGED, without_improvement

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sized(config, size):
    """Options of train.py for a size of a family: [config, '--n_embd=96'], or --hidden_size."""
    arch = configure(Training, [config, f'--n_embd={size}']).arch
    dial = 'hidden_size' if arch == 'lstm' else 'n_embd'
    return [config, f'--{dial}={size}']


def command(out_dir, options):
    """The words of a command that trains a run to its end, from its checkpoint if it has one.

    It is evaluated at the end only, unless `options` say more.
    """
    interval = ['--eval_interval=1000000000']
    if any(option.startswith('--eval_interval=') for option in options):
        interval = []
    return [sys.executable, os.path.join(ROOT, 'train.py'), *options, f'--out_dir={out_dir}',
            '--resume', *interval]


def finished(out_dir, options):
    """The checkpoint of a run that has ended, here or on another machine; None if it has not.

    Exits (2) if the checkpoint is of other settings than `options` give.
    """
    checkpoint = try_checkpoint(os.path.join(out_dir, 'ckpt.pt'))
    if checkpoint is None:
        return None
    theirs, wanted = checkpoint['config']['train'], vars(configure(Training, options))
    evaluated = [row['step'] for row in checkpoint['history'] if 'val' in row]
    patience = theirs.get('patience') or math.inf
    has_lost_patience = without_improvement(checkpoint['history']) >= patience
    if checkpoint['n_steps'] not in evaluated and not has_lost_patience:
        return None

    for name in theirs.keys() & wanted.keys() - UNRELATED - MACHINE - {'warmup_steps'}:
        if theirs[name] != wanted[name]:
            fail(f'{out_dir} holds another run: '
                 f'{name} is {theirs[name]!r} there and {wanted[name]!r} here')
    return checkpoint


def train(name, out_dir, options):
    """(row, curve) of a run, which is trained unless it is finished; None if its loss diverged.

    Exits (2) with the message of train.py if that fails.
    """
    checkpoint = finished(out_dir, options)
    if checkpoint is None:
        print(f'{name}: begins', flush=True)
        process = subprocess.Popen(command(out_dir, options), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        try:
            errors = process.communicate()[1].decode().splitlines()
        except KeyboardInterrupt:
            process.wait()              # the same Ctrl-C makes it save and end after its step
            raise
        if process.returncode == DIVERGED:
            return None
        if process.returncode:
            message = errors[-1] if errors else f'exit status {process.returncode}'
            fail(f'{name}: {message.removeprefix("error: ")}')
        checkpoint = finished(out_dir, options)

    row, curve = results(name, checkpoint)
    print(f"{name}: {row['loss_per_note']:.4f} nats/note, {row['seconds']:.0f} s", flush=True)
    return row, curve


def results(name, checkpoint):
    """(row, curve) of a finished run; the curve is a list of rows with name, tokens and loss."""
    row = {**run_of(checkpoint, name), 'git': checkpoint['git']}
    return row, [{'name': name, **point} for point in curve_of(checkpoint['history'])]


def write_row(path, row, key):
    """Put one row into the table, see `write_rows`."""
    write_rows(path, [row], key)


def write_rows(path, rows, key):
    """Put rows into the table, each in place of one that is equal in the columns `key`.

    Columns that the table does not have yet come last. None is an empty cell.
    """
    table = {tuple(row[k] for k in key): row for row in read_rows(path)}
    for row in rows:
        row = {k: f'{v:.10g}' if isinstance(v, float) else str(v)
               for k, v in row.items() if v is not None}
        table[tuple(row[k] for k in key)] = row

    columns = list(dict.fromkeys(k for row in table.values() for k in row))
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(table.values())
