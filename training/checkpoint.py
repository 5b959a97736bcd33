"""Writing checkpoints, and deciding whether a run may continue from one."""
import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import torch
import torch.distributed as dist

from configurator import fail
from plumbing.checkpoint import read_checkpoint
from plumbing.files import atomic_write, link_or_copy
from training.optim import lr_factor
from training.plan import phase_start

# What a resumed run may change: the first do not touch its weights, the second only their last bits
UNRELATED = {'resume', 'eval_only', 'dry_run', 'split', 'out_dir', 'data_dir', 'init_from',
             'snapshots', 'trunk', 'log_interval', 'eval_interval', 'patience', 'save_minutes',
             'minutes'}
# The length of a run is compared by itself, see same_so_far
LENGTH = {'max_tokens', 'epochs'}
MACHINE = {'device', 'dtype', 'compile', 'micro_batch_size', 'deterministic', 'ranks'}
DECAY_START = 'decay_start.pt'      # of a wsd run: its state before its learning rate falls


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


def archive_previous_run(out_dir, keep=None):
    """Move the files of the run in `out_dir`, except `keep`, to out_dir/former-N -> that folder.

    None if there is no run. Exits (2) with one line if they cannot be moved.
    """
    if not os.path.exists(os.path.join(out_dir, 'ckpt.pt')):
        return None
    n = 1
    while os.path.exists(former := os.path.join(out_dir, f'former-{n}')):
        n += 1
    try:
        os.mkdir(former)
        for name in os.listdir(out_dir):
            path = os.path.join(out_dir, name)
            is_kept = keep and os.path.samefile(path, keep)
            if (name == 'log.jsonl' or name.endswith('.pt')) and not is_kept:
                os.rename(path, os.path.join(former, name))
    except OSError as e:
        fail(f'the run in {out_dir} cannot be moved to {former} ({e.strerror})')
    return former


def prepare_out_dir(s, path, run):
    """Make the folder of a run that starts from the checkpoint at `path` (None: from scratch).

    A run that was there and is not continued is moved to former-N; so is the shorter run that a
    longer one starts from, whose ckpt.pt then is the state before its decay.
    """
    make_out_dir(s.out_dir)
    if run.world > 1:
        dist.barrier()          # no rank reads a checkpoint any more
    if run.rank:
        return
    own = os.path.join(s.out_dir, 'ckpt.pt')
    if not s.resume:
        former = archive_previous_run(s.out_dir, keep=s.trunk)
        if former:
            run.print(f'the previous run in {s.out_dir} was moved to {former}; --resume would have '
                      'continued it')
    elif path == os.path.join(s.out_dir, DECAY_START):
        former = archive_previous_run(s.out_dir, keep=path)
        try:
            link_or_copy(path, own)
        except OSError as e:
            fail(f'cannot write {own} ({e.strerror}); the shorter run is in {former}')
        run.print(f'the shorter run was moved to {former}; this one continues from before its '
                  'decay')


def starting_point(s, model, meta, plan, run):
    """(checkpoint to continue from, its path); (None, None) for a run from scratch.

    With --resume it is the run's own, if there is one; else the trunk that it branches off, if that
    is given. A run that is to be longer than the checkpoint's, whose learning rate is already
    falling, continues from the state before that, decay_start.pt. Exits (2) with one line if the
    checkpoint is of another run.
    """
    own = os.path.join(s.out_dir, 'ckpt.pt')
    if s.resume and os.path.exists(own):
        checkpoint = read_run(own, s, model, meta, run)
        if same_so_far(checkpoint, s, plan):
            return checkpoint, own
        if s.schedule != 'wsd':
            fail(f'{own} is of a run of another length, on which every step of '
                 f'schedule={s.schedule!r} depends: leave --resume out to train again, or use its '
                 f'weights with --init_from={own} and another --out_dir')
        path = os.path.join(s.out_dir, DECAY_START)
        if not os.path.exists(path):
            fail(f'{own} is of a run of another length that no longer has its constant learning '
                 f'rate, and there is no {path} from before')
        checkpoint = read_run(path, s, model, meta, run)
        if not same_so_far(checkpoint, s, plan):
            fail(f'a run of {plan.n_steps:,} steps decays, anneals or averages before '
                 f'step {checkpoint["step"]:,}, where {path} is: leave --resume out to train again')
        return checkpoint, path
    if s.trunk:
        checkpoint = read_run(s.trunk, s, model, meta, run)
        if not same_so_far(checkpoint, s, plan):
            fail(f'a run of {s.max_tokens:,} tokens decays, anneals or averages elsewhere than '
                 f'{s.trunk} of step {checkpoint["step"]}')
        return checkpoint, s.trunk
    return None, None


def read_run(path, s, model, meta, run):
    """The checkpoint at `path` of a run with the settings `s`, but for its length; else exits (2).

    Sets s.warmup_steps to the checkpoint's if it is not given.
    """
    checkpoint = read_checkpoint(path, mmap=False)
    if 'optimizer' not in checkpoint:
        fail(f'{path} holds a model without the state of its training: no run can continue from it')
    for part in ('tokenizer', 'splits'):
        if checkpoint['meta'][part] != meta[part]:
            fail(f'{path} was trained on other data than {s.data_dir} holds now')
    if s.warmup_steps is None:
        s.warmup_steps = checkpoint['config']['train']['warmup_steps']

    # Settings that are newer than the checkpoint had their defaults
    defaults = dataclasses.asdict(type(s)())
    theirs, ours = [{**defaults, 'arch': config['arch'], **config['train'], **config['model']}
                    for config in (checkpoint['config'], config_of(s, model, run))]
    for name in ours:
        if name in UNRELATED | LENGTH or theirs.get(name) == ours[name]:
            continue
        if name in MACHINE:
            run.print(f'{name} was {theirs.get(name)} and is now {ours[name]}: '
                      'the run continues, but not bit for bit')
        else:
            fail(f'{path} is of another run: {name} is {theirs.get(name)!r} there '
                 f'and {ours[name]!r} here')
    return checkpoint


def same_so_far(checkpoint, s, plan):
    """Would a run by this plan have made the very steps that the checkpoint's run has made?"""
    done, n_steps, their_steps = checkpoint['step'], plan.n_steps, checkpoint['n_steps']
    if done == 0 or n_steps == their_steps:
        return True
    if lr_factor(done - 1, n_steps, s) != lr_factor(done - 1, their_steps, s):
        return False

    # Annealing and averaging begin earlier in the shorter of the two
    shorter = min(n_steps, their_steps)
    shared = phase_start(s.average_fraction, shorter)
    if plan.first_untransposed:
        shared = min(shared, phase_start(s.anneal_fraction, shorter))
    return done <= shared


def adopt_model_settings(s, archs, meta):
    """For --init_from: the settings of the model become those of the checkpoint.

    With --resume it is the run's own checkpoint, if there is one. Exits (2) with one line if
    another shape was asked for, or if the data have another tokenizer. `archs`: as in train.py.
    Dropout is no part of the shape.
    """
    own = os.path.join(s.out_dir, 'ckpt.pt')
    path = own if s.resume and os.path.exists(own) else s.init_from
    checkpoint = read_checkpoint(path)
    if checkpoint['meta']['tokenizer'] != meta['tokenizer']:
        fail(f'{path} has another tokenizer than {s.data_dir}: prepare the data with that of the '
             f'checkpoint (prepare.py --like={s.init_from})')

    theirs = {'arch': checkpoint['config']['arch'], **checkpoint['config']['model']}
    names = {field.name for _, config in archs.values() for field in dataclasses.fields(config)}
    defaults = dataclasses.asdict(type(s)())
    for name in ['arch', *sorted(names - {'vocab_size', 'dropout'})]:
        value, asked = theirs.get(name, defaults[name]), getattr(s, name)
        if asked not in (value, defaults[name]):
            there = repr(value) if name in theirs else 'no setting'
            fail(f'{name} is {asked!r} here and {there} in {path}: leave it out, the model is the '
                 "checkpoint's")
        setattr(s, name, value)
