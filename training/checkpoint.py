"""Writing checkpoints, and deciding whether a run may continue from one."""
import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import torch

from configurator import fail
from plumbing.checkpoint import read_checkpoint
from plumbing.files import atomic_write, link_or_copy
from training.optim import lr_factor
from training.plan import phase_start

# What a resumed run may change: the first do not touch its weights, the second only their last bits
UNRELATED = {'resume', 'eval_only', 'split', 'out_dir', 'data_dir', 'snapshots', 'trunk',
             'log_interval', 'eval_interval', 'save_minutes'}
MACHINE = {'device', 'dtype', 'compile', 'micro_batch_size', 'deterministic', 'ranks'}


def write_checkpoint(checkpoint, path, *more_names):
    """Write the file at `path`, and give it `more_names`: each is whole, whatever happens.

    Exits with one line if it cannot be written.
    """
    try:
        with atomic_write(path) as f:
            torch.save(checkpoint, f)
        for name in more_names:
            link_or_copy(path, name)
    except (OSError, RuntimeError) as e:        # torch's zip writer gives a RuntimeError
        kept = 'the previous one is kept' if os.path.exists(path) else 'nothing is saved'
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
    """'config' of a run's checkpoints: its settings, with what 'auto' became on this machine."""
    train = {**dataclasses.asdict(s), 'device': run.device, 'dtype': run.dtype,
             'compile': run.compile, 'micro_batch_size': run.micro_batch_size, 'ranks': run.world}
    return {'arch': s.arch, 'model': dataclasses.asdict(model.config), 'train': train}


def provenance():
    """What a run was made with: versions, and the commit of this repository (None without git)."""
    commit = None
    if shutil.which('git'):
        git = ['git', '-C', os.path.dirname(__file__), 'rev-parse', 'HEAD']
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or None
    versions = {'torch': str(torch.__version__), 'numpy': np.__version__,
                'python': sys.version.split()[0]}
    return {'versions': versions, 'git': commit}


def archive_previous_run(out_dir, trunk=None):
    """Before a new run: move the files of the previous one, except `trunk`, to out_dir/former-N."""
    if not os.path.exists(os.path.join(out_dir, 'ckpt.pt')):
        return
    n = 1
    while os.path.exists(former := os.path.join(out_dir, f'former-{n}')):
        n += 1
    try:
        os.mkdir(former)
        for name in os.listdir(out_dir):
            path = os.path.join(out_dir, name)
            is_trunk = trunk and os.path.samefile(path, trunk)
            if (name == 'log.jsonl' or name.endswith('.pt')) and not is_trunk:
                os.rename(path, os.path.join(former, name))
    except OSError as e:
        fail(f'the run in {out_dir} cannot be moved to {former} ({e.strerror})')
    print(f'the previous run in {out_dir} was moved to {former}; --resume would have continued it',
          flush=True)


def starting_point(s, model, meta, run):
    """The checkpoint to continue from, None for a run from scratch.

    With --resume it is the run's own, if there is one; else the trunk that it branches off, if that
    is given. Exits (2) with one line if it belongs to another run.
    """
    own = os.path.join(s.out_dir, 'ckpt.pt')
    if s.resume and os.path.exists(own):
        path, may_differ = own, UNRELATED
    elif s.trunk:
        path, may_differ = s.trunk, UNRELATED | {'max_tokens', 'epochs'}
    else:
        return None
    checkpoint = read_checkpoint(path, mmap=False)
    if 'optimizer' not in checkpoint:
        fail(f'{path} holds a model without the state of its training: no run can continue from it')
    for part in ('tokenizer', 'splits'):
        if checkpoint['meta'][part] != meta[part]:
            fail(f'{path} was trained on other data than {s.data_dir} holds now')

    # Its settings; those that are newer than the checkpoint had their defaults
    defaults = dataclasses.asdict(type(s)())
    theirs, ours = [{**defaults, 'arch': config['arch'], **config['train'], **config['model']}
                    for config in (checkpoint['config'], config_of(s, model, run))]
    for name in ours:
        if name in may_differ or theirs.get(name) == ours[name]:
            continue
        if name in MACHINE:
            run.print(f'{name} was {theirs.get(name)} and is now {ours[name]}: '
                      'the run continues, but not bit for bit')
        elif name != 'warmup_steps' or ours[name] is not None:
            fail(f'{path} is of another run: {name} is {theirs.get(name)!r} there '
                 f'and {ours[name]!r} here')
    return checkpoint


def check_branch(s, checkpoint, plan):
    """Exit (2) if a run by this plan would have made other steps up to the checkpoint's."""
    done, n_steps, their_steps = checkpoint['step'], plan.n_steps, checkpoint['n_steps']
    if done == 0 or n_steps == their_steps:
        return
    same_lr = lr_factor(done - 1, n_steps, s) == lr_factor(done - 1, their_steps, s)

    # Annealing and averaging begin earlier in the shorter of the two
    shorter = min(n_steps, their_steps)
    shared = phase_start(s.average_fraction, shorter)
    if plan.first_untransposed:
        shared = min(shared, phase_start(s.anneal_fraction, shorter))
    if not same_lr or done > shared:
        fail(f'a run of {s.max_tokens:,} tokens decays, anneals or averages elsewhere than {s.trunk} '
             f'of step {done}')
