"""Reliability of training: does a killed run continue bit for bit, do several ranks compute what
one does, is a checkpoint ever damaged?

    python bench/reliability.py                     # makes its own data; 15 minutes on two cores
    python bench/reliability.py --only=ranks

resume    GPT, plain and modern, and LSTM, one or two micro-batches, compiled or not, with dropout,
          in bf16 if the chip has it: killed (SIGKILL) in the middle and resumed, against
          undisturbed. Compared are weights, optimiser state, validation loss, and each logged loss,
          learning rate and gradient norm
kills     one run killed ten times at random moments while it saves after every step, and then
          resumed to its end
ranks     two ranks (gloo), and two torchrun "nodes" on the loopback, against one rank: fp32,
          20 steps, one or two micro-batches
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure, fail
from plumbing.checkpoint import read_checkpoint, try_checkpoint

TRAIN = os.path.join(ROOT, 'train.py')
TIMES = ('time_s', 'tokens_per_s', 'mfu', 'memory_gb')      # what may differ between two runs
SMALL = ['--block_size=64', '--n_layer=2', '--n_head=2', '--n_embd=64', '--hidden_size=64',
         '--batch_size=8', '--log_interval=1', '--learning_rate=3e-3', '--device=cpu',
         '--save_minutes=0']


@dataclass
class Settings:
    only: str | None = None             # resume | kills | ranks; None: all
    kills: int = 10
    seed: int = 1                       # of the moments


def make_data(folder, vocab_size=500, sizes=(400_000, 5_000)):
    """A prepared folder of tokens that count up, with a random jump now and then."""
    rng = np.random.default_rng(0)
    splits = {}
    for split, n in zip(('train', 'val'), sizes):
        steps = np.where(rng.random(n) < 0.1, rng.integers(0, vocab_size, n), 1)
        ids = np.cumsum(steps) % vocab_size
        ids.astype(np.uint16).tofile(os.path.join(folder, f'{split}.bin'))
        splits[split] = {'tokens': n, 'characters': n, 'notes': n}
    tokenizer = {'kind': 'none', 'hash': '', 'tune': 0}
    with open(os.path.join(folder, 'meta.json'), 'w') as f:
        json.dump({'vocab_size': vocab_size, 'tokenizer': tokenizer, 'splits': splits}, f)
    with open(os.path.join(folder, 'tokenizer.json'), 'w') as f:
        f.write('{}')


def command(folder, out, options):
    out_dir = os.path.join(folder, out)
    return [TRAIN, f'--data_dir={folder}', f'--out_dir={out_dir}', *SMALL, *options]


def start(folder, out, *options):
    return subprocess.Popen([sys.executable, *command(folder, out, options)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(*processes):
    for process in processes:
        if process.wait():
            fail(process.stderr.read().strip().splitlines()[-1])


def load(folder, out):
    return read_checkpoint(os.path.join(folder, out, 'ckpt.pt'))


def flat(x, path=''):
    """{path: leaf} of nested dicts and lists."""
    if isinstance(x, (dict, list)):
        items = x.items() if isinstance(x, dict) else enumerate(x)
        return {k: v for key, value in items for k, v in flat(value, f'{path}/{key}').items()}
    return {path: x}


def differences(a, b):
    """Names of all that is not bit for bit the same in two checkpoints."""
    parts = ('model', 'optimizer', 'scaler', 'history', 'val', 'step', 'tokens')
    a, b = (flat({part: c[part] for part in parts}) for c in (a, b))

    def same(key):
        if key not in a or key not in b:
            return False
        return torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key]
    compared = [key for key in sorted(a.keys() | b.keys()) if key.rsplit('/', 1)[-1] not in TIMES]
    return [key for key in compared if not same(key)]


def wait_for_steps(folder, out, process, n):
    """Until the run has logged n steps."""
    log = os.path.join(folder, out, 'log.jsonl')
    while process.poll() is None:
        if os.path.exists(log) and sum('"loss"' in line for line in open(log)) >= n:
            return
        time.sleep(0.002)


def kill(process):
    """True if it was still running."""
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return running


def resume(folder):
    print(f"{'arch':<6}{'attention':<11}{'micro-batches':>14}{'compiled':>10}{'killed at':>11}"
          f"{'of':>5}   differences")
    modern = ('--positions=rotary', '--key_offset=True', '--qk_norm=True', '--conv_taps=4')
    models = (('gpt', 'plain', ()), ('gpt', 'modern', modern), ('lstm', '', ()))
    for (arch, attention, more), n_micro, compiled in product(models, (1, 2), (False, True)):
        options = (f'--arch={arch}', *more, f'--micro_batch_size={8 // n_micro}',
                   f'--compile={compiled}', '--dropout=0.1', '--max_tokens=20480')
        whole, parts = start(folder, 'whole', *options), start(folder, 'parts', *options)
        wait_for_steps(folder, 'parts', parts, 15)
        running = kill(parts)
        at = load(folder, 'parts')['step']
        finish(whole, start(folder, 'parts', *options, '--resume'))
        a, b = load(folder, 'whole'), load(folder, 'parts')
        too_late = '' if running else ' (had ended before)'
        print(f"{arch:<6}{attention:<11}{n_micro:>14}{str(compiled):>10}{at:>11}{a['step']:>5}   "
              f"{', '.join(differences(a, b)) or 'none'}{too_late}", flush=True)
        for out in ('whole', 'parts'):
            shutil.rmtree(os.path.join(folder, out))


def kills(folder, n):
    options = '--max_tokens=358400', '--compile=False'
    unreadable, steps = 0, []
    finish(start(folder, 'whole', *options))
    for i in range(n):
        process = start(folder, 'parts', *options, '--resume')
        wait_for_steps(folder, 'parts', process, 700 * i // n + 5)
        time.sleep(random.random() * 0.3)
        if not kill(process):
            break
        checkpoint = try_checkpoint(os.path.join(folder, 'parts', 'ckpt.pt'))
        if checkpoint:
            steps.append(checkpoint['step'])
        else:
            unreadable += 1
    finish(start(folder, 'parts', *options, '--resume'))
    a, b = load(folder, 'whole'), load(folder, 'parts')
    print(f"{len(steps) + unreadable} kills, at steps {', '.join(map(str, steps))} of {a['step']}: "
          f"{unreadable} unreadable, "
          f"differences at the end: {', '.join(differences(a, b)) or 'none'}", flush=True)


def ranks(folder):
    def torchrun(out, options, *how):
        words = [sys.executable, '-m', 'torch.distributed.run', *how,
                 *command(folder, out, options)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, 'OMP_NUM_THREADS': '1'})

    def free_port():
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            return s.getsockname()[1]

    print(f"{'ranks':<26}{'micro-batches':>14}{'compiled':>10}   "
          'largest relative difference of loss, gradient norm')
    for n_micro, compiled in product((1, 2), (False, True)):
        options = (f'--micro_batch_size={4 // n_micro}', f'--compile={compiled}', '--dtype=fp32',
                   '--max_tokens=10240')
        finish(start(folder, 'one', *options))
        group = '--nproc_per_node=2', f'--master_port={free_port()}'
        finish(torchrun('two', options, *group))
        nodes = ('--nnodes=2', '--nproc_per_node=1', '--master_addr=127.0.0.1',
                 f'--master_port={free_port()}')
        finish(*[torchrun('nodes', options, *nodes, f'--node_rank={i}') for i in range(2)])

        one = load(folder, 'one')
        for name, out in (('2 in one process group', 'two'), ('2 "nodes" of one', 'nodes')):
            other = load(folder, out)
            assert other['config']['train']['ranks'] == 2 and other['step'] == one['step'] == 20
            worst = {}
            for key in ('loss', 'grad_norm'):
                pairs = [(a[key], b[key])
                         for a, b in zip(one['history'], other['history']) if key in a]
                worst[key] = max(abs(a / b - 1) for a, b in pairs)
            print(f"{name:<26}{n_micro:>14}{str(compiled):>10}   {worst['loss']:.1e}, "
                  f"{worst['grad_norm']:.1e}", flush=True)
        for out in ('one', 'two', 'nodes'):
            shutil.rmtree(os.path.join(folder, out))


def main():
    s = configure(Settings)
    if s.only not in (None, 'resume', 'kills', 'ranks'):
        fail(f"'only' must be resume, kills or ranks, not {s.only!r}")
    random.seed(s.seed)
    with tempfile.TemporaryDirectory() as folder:
        make_data(folder)
        if s.only in (None, 'resume'):
            resume(folder)
        if s.only in (None, 'kills'):
            kills(folder, s.kills)
        if s.only in (None, 'ranks'):
            ranks(folder)


if __name__ == '__main__':
    main()
