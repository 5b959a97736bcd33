"""Writing checkpoints, and deciding whether a run may go on from one."""
import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import torch

from configurator import fail
from plumbing.checkpoint import read_checkpoint
from plumbing.files import atomic_write

# What a resumed run may change: the first do not touch its weights, the second only their last bits.
UNRELATED = {'resume', 'eval_only', 'split', 'out_dir', 'data_dir', 'snapshots', 'trunk', 'log_interval',
             'eval_interval', 'save_minutes'}
MACHINE = {'device', 'dtype', 'compile', 'micro_batch_size', 'deterministic', 'ranks'}


def write_checkpoint(checkpoint, path):
    """Whatever happens, the file at `path` is whole; exits with one line if it cannot be written."""
    try:
        with atomic_write(path) as f:
            torch.save(checkpoint, f)
    except (OSError, RuntimeError) as e:        # torch's zip writer turns a failed write into a RuntimeError
        kept = 'the former one is kept' if os.path.exists(path) else 'nothing is saved'
        fail(f'cannot write {path} ({str(e).splitlines()[0]}); {kept}')


def make_out_dir(out_dir):
    """The folder of a run; exits (2) with one line if it cannot be made or written to."""
    try:
        os.makedirs(out_dir, exist_ok=True)
    except OSError as e:        # a file is in its place, or no permission
        fail(f'out_dir {out_dir!r} cannot be made ({e.strerror}): choose another one')
    if not os.access(out_dir, os.W_OK | os.X_OK):
        fail(f'out_dir {out_dir!r} cannot be written to: choose another one')


def config_of(s, model, run):
    """A run's 'config' in its checkpoints; the settings are those that this machine made of them."""
    train = {**dataclasses.asdict(s), 'device': run.device, 'dtype': run.dtype, 'compile': run.compile,
             'micro_batch_size': run.micro_batch_size, 'ranks': run.world}
    return {'arch': s.arch, 'model': dataclasses.asdict(model.config), 'train': train}


def provenance():
    """What a run was made with: versions, and the commit of this repository (None without git)."""
    git = ['git', '-C', os.path.dirname(__file__), 'rev-parse', 'HEAD']
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if shutil.which('git') else None
    versions = {'torch': str(torch.__version__), 'numpy': np.__version__, 'python': sys.version.split()[0]}
    return {'versions': versions, 'git': commit or None}


def put_aside(out_dir, trunk=None):
    """Before a new run: the files of the one that is in its folder, but for `trunk`, go to the folder's former-N."""
    if not os.path.exists(os.path.join(out_dir, 'ckpt.pt')):
        return
    n = 1
    while os.path.exists(former := os.path.join(out_dir, f'former-{n}')):
        n += 1
    try:
        os.mkdir(former)
        for name in os.listdir(out_dir):
            path = os.path.join(out_dir, name)
            if (name == 'log.jsonl' or name.endswith('.pt')) and not (trunk and os.path.samefile(path, trunk)):
                os.rename(path, os.path.join(former, name))
    except OSError as e:
        fail(f'the run in {out_dir} cannot be moved to {former} ({e.strerror})')
    print(f'{out_dir} held another run, which is in {former} now; --resume would have gone on with it', flush=True)


def starting_point(s, model, meta, run):
    """The checkpoint to go on from: the run's own with --resume, else the trunk that it branches off, else None."""
    own = os.path.join(s.out_dir, 'ckpt.pt')
    path = own if s.resume and os.path.exists(own) else s.trunk
    if path is None:
        return None
    checkpoint = read_checkpoint(path, mmap=False)
    if 'optimizer' not in checkpoint:
        fail(f'{path} holds a model without the state of its training: no run can go on from it')
    if any(checkpoint['meta'][part] != meta[part] for part in ('tokenizer', 'splits')):
        fail(f'{path} was trained on other data than {s.data_dir} holds now')
    defaults = dataclasses.asdict(type(s)())            # of settings that are newer than the checkpoint
    theirs, ours = [{**defaults, 'arch': c['arch'], **c['train'], **c['model']}
                    for c in (checkpoint['config'], config_of(s, model, run))]
    may_differ = UNRELATED if path == own else UNRELATED | {'max_tokens', 'epochs'}
    for name in (k for k in ours if k not in may_differ and theirs.get(k) != ours[k]):
        if name in MACHINE:
            run.print(f'{name} was {theirs.get(name)} and is now {ours[name]}: the run goes on, but not bit for bit')
        elif name != 'warmup_steps' or ours[name] is not None:
            fail(f'{path} is of another run: {name} is {theirs.get(name)!r} there and {ours[name]!r} here')
    return checkpoint
