"""train.py stopped, killed or out of disk, and resumed: bit for bit the run that was never stopped."""
import errno
import itertools
import json
import os
import random
import shutil
import signal
import time
from itertools import product

import pytest
import test_train
import torch
from test_train import MODERN, assert_same_run, load, run

import train
from training import checkpoint as checkpoint_module
from training.log import Log
from training.optim import update

torch.set_num_threads(1)
data = test_train.data          # a fixture

# ---- resumption

# Not every CPU has kernels for an LSTM in bf16
LSTM_DTYPE = 'bf16' if torch.ops.mkldnn._is_mkldnn_bf16_supported() else 'fp32'
RESUMED = [('--arch=gpt',), ('--arch=gpt', '--dropout=0.2', '--micro_batch_size=2'),
           ('--arch=lstm', f'--dtype={LSTM_DTYPE}'), ('--arch=lstm', '--dropout=0.2', '--micro_batch_size=1'),
           ('--arch=gpt', '--dtype=fp16', *MODERN), ('--arch=gpt', '--schedule=wsd', '--batch_size=12', '--epochs=3')]


COMPILED = [('--arch=gpt', '--compile=True', '--n_layer=1', '--dropout=0.2', '--micro_batch_size=2', *MODERN),
            ('--arch=lstm', '--compile=True', '--n_layer=1', '--dropout=0.2')]
needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get('CXX', 'g++')), reason='torch.compile needs a C++ compiler')


@pytest.mark.parametrize('options, how', [
    *product(RESUMED, ['crash', 'SIGTERM']), *(pytest.param(o, 'crash', marks=needs_compiler) for o in COMPILED)],
    ids=lambda value: value if isinstance(value, str) else ' '.join(value))
def test_a_run_that_was_stopped_goes_on_bit_for_bit(options, how, monkeypatch, data, tmp_path):
    whole = run(monkeypatch, data, tmp_path / 'whole', *options)
    at, step = whole['step'] // 2, 0

    def interrupted(*args):
        nonlocal step
        step += 1
        if step == at and how == 'SIGTERM':
            os.kill(os.getpid(), signal.SIGTERM)
        if step == at + 1 and how == 'crash':
            raise InterruptedError
        return update(*args)

    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as m, pytest.raises(InterruptedError if how == 'crash' else SystemExit) as e:
        m.setattr(train, 'update', interrupted)
        run(m, data, tmp_path / 'parts', *options, '--save_minutes=0')
    assert how == 'crash' or e.value.code == 128 + signal.SIGTERM
    assert load(tmp_path / 'parts')['step'] == at
    parts = run(monkeypatch, data, tmp_path / 'parts', *options, '--resume')
    for n, handler in zip((signal.SIGTERM, signal.SIGINT), handlers):
        signal.signal(n, handler)

    assert_same_run(whole, parts)
    rows = [json.loads(line) for line in open(tmp_path / 'parts' / 'log.jsonl')]
    assert rows == parts['history'] and [r['step'] for r in rows if 'loss' in r] == list(range(1, whole['step'] + 1))


def test_a_run_killed_before_its_last_evaluation_catches_up_on_it(monkeypatch, data, tmp_path):
    whole = run(monkeypatch, data, tmp_path / 'whole')
    with monkeypatch.context() as m, pytest.raises(InterruptedError):
        def killed(*args):
            raise InterruptedError
        m.setattr(train, 'evaluate', killed)
        run(m, data, tmp_path / 'parts', '--eval_interval=10', '--save_minutes=0')
    assert load(tmp_path / 'parts')['step'] == 10
    parts = run(monkeypatch, data, tmp_path / 'parts', '--eval_interval=10', '--resume')
    assert parts['val'] == whole['val'] and torch.equal(parts['model']['head.bias'], whole['model']['head.bias'])


def test_a_run_is_written_once_at_an_evaluation_and_its_best_checkpoint_is_that_very_file(monkeypatch, data, tmp_path):
    written, write = [], train.write_checkpoint

    def noted(checkpoint, *paths):
        written.append((checkpoint['step'], [os.path.basename(path) for path in paths]))
        write(checkpoint, *paths)
    with monkeypatch.context() as m:
        m.setattr(train, 'write_checkpoint', noted)
        run(m, data, tmp_path, '--eval_interval=5')
    assert written == [(5, ['best.pt', 'ckpt.pt']), (10, ['best.pt', 'ckpt.pt'])]
    assert os.stat(tmp_path / 'ckpt.pt').st_ino == os.stat(tmp_path / 'best.pt').st_ino
    best = load(tmp_path, 'best.pt')
    run(monkeypatch, data, tmp_path, '--eval_interval=5', '--resume', '--log_interval=3')       # another ckpt.pt, the same best.pt
    assert_same_run(best, load(tmp_path, 'best.pt'))


def test_the_best_checkpoint_outlives_a_worse_one(monkeypatch, data, tmp_path):
    losses = iter([3.0, 2.0, 2.5])
    evaluate = train.evaluate
    monkeypatch.setattr(train, 'evaluate', lambda *args: {**evaluate(*args), 'loss': next(losses)})
    last = run(monkeypatch, data, tmp_path, '--eval_interval=4')
    assert last['step'] == 10 and load(tmp_path, 'best.pt')['step'] == 8 and load(tmp_path, 'best.pt')['val']['loss'] == 2.0


@pytest.mark.parametrize('minutes, steps', [(0, [4, 4, 8, 8, 10, 10]), (10, [4, 8, 10])])
def test_before_an_evaluation_a_run_is_saved_only_if_a_kill_would_lose_too_much(minutes, steps, monkeypatch, data, tmp_path):
    written, write = [], train.write_checkpoint
    monkeypatch.setattr(train, 'write_checkpoint', lambda checkpoint, *paths: written.append(checkpoint['step']) or write(checkpoint, *paths))
    run(monkeypatch, data, tmp_path, '--eval_interval=4', f'--save_minutes={minutes}')
    assert [step for step in written if step in (4, 8, 10)] == steps


def test_snapshots_do_not_put_off_the_next_checkpoint(monkeypatch, data, tmp_path):
    seconds, written, write = itertools.count(step=40), [], train.write_checkpoint
    with monkeypatch.context() as m:
        m.setattr(train.time, 'perf_counter', lambda: float(next(seconds)))     # 40 s between two looks at the clock
        m.setattr(train, 'write_checkpoint', lambda checkpoint, *paths: written.extend(paths) or write(checkpoint, *paths))
        run(m, data, tmp_path, '--save_minutes=2', '--eval_interval=100', f'--snapshots={",".join(str(64 * i) for i in range(1, 11))}')
    assert written.count(str(tmp_path / 'ckpt.pt')) > 3 and written.count(str(tmp_path / 'trunk-64.pt')) == 1


def test_resuming_a_finished_run_changes_nothing(monkeypatch, data, tmp_path):
    assert_same_run(run(monkeypatch, data, tmp_path), run(monkeypatch, data, tmp_path, '--resume'))


def test_cooling_down_from_a_trunk_is_the_same_as_the_whole_run(monkeypatch, data, tmp_path):
    wsd = ('--schedule=wsd', '--cooldown_fraction=0.4', '--warmup_steps=2', '--eval_interval=5')
    run(monkeypatch, data, tmp_path / 'trunk', *wsd, '--snapshots=384')                             # step 6 of 10
    branch = run(monkeypatch, data, tmp_path / 'branch', *wsd, f'--trunk={tmp_path}/trunk/trunk-384.pt')
    whole = run(monkeypatch, data, tmp_path / 'whole', *wsd)
    assert_same_run(whole, branch)
    short = [o for o in wsd if 'eval' not in o]
    branch = run(monkeypatch, data, tmp_path / 'b5', *short, '--max_tokens=576', f'--trunk={tmp_path}/trunk/trunk-384.pt')
    whole = run(monkeypatch, data, tmp_path / 'w5', *short, '--max_tokens=576')                      # 9 steps, cooling from step 5 on
    assert torch.equal(branch['model']['head.weight'], whole['model']['head.weight'])


# ---- kill -9, a full disk

def test_kill_9_never_leaves_an_unreadable_checkpoint(tmp_path):
    path = str(tmp_path / 'ckpt.pt')
    random.seed(1)
    checkpoint_module.write_checkpoint({'step': 0, 'model': torch.zeros(300, 1000)}, path)
    for _ in range(10):
        before = os.stat(path).st_mtime_ns
        child = os.fork()
        if child == 0:
            for step in range(1, 10 ** 6):
                checkpoint_module.write_checkpoint({'step': step, 'model': torch.full((300, 1000), float(step))}, path)
        while os.stat(path).st_mtime_ns == before:              # it is at work
            time.sleep(0.001)
        time.sleep(0.05 * random.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        whole = torch.load(path, weights_only=True)
        assert whole['model'].min() == whole['model'].max() == whole['step'] > 0


@pytest.mark.parametrize('failing', ['write', 'fsync'])
def test_a_full_disk_keeps_the_former_checkpoint(failing, monkeypatch, tmp_path, capsys):
    path = str(tmp_path / 'ckpt.pt')
    checkpoint_module.write_checkpoint({'step': 1}, path)

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')
    if failing == 'fsync':
        monkeypatch.setattr(os, 'fsync', full)
    else:
        monkeypatch.setattr(torch, 'save', lambda obj, f: full())
    with pytest.raises(SystemExit) as e:
        checkpoint_module.write_checkpoint({'step': 2}, path)
    assert e.value.code == 2 and 'No space left' in capsys.readouterr().err
    assert torch.load(path, weights_only=True) == {'step': 1} and os.listdir(tmp_path) == ['ckpt.pt']


class FullDisk:
    def write(self, text):
        raise OSError(errno.ENOSPC, 'No space left on device')

    fsync = write


@pytest.mark.parametrize('when', ['before', 'at a row'])
def test_a_log_that_cannot_be_written_is_one_line_and_the_former_run_is_whole(when, monkeypatch, data, tmp_path, capsys):
    former = run(monkeypatch, data, tmp_path)
    rows = (tmp_path / 'log.jsonl').read_text()
    with monkeypatch.context() as m, pytest.raises(SystemExit) as e:
        if when == 'before':
            m.setattr(os, 'fsync', FullDisk().fsync)
        else:
            m.setattr(Log, 'open_file', lambda log: FullDisk())
        run(m, data, tmp_path, '--seed=2')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'log.jsonl (No space left on device)' in err
    assert (tmp_path / 'former-1' / 'log.jsonl').read_text() == rows
    assert_same_run(load(tmp_path / 'former-1'), former)


# ---- a second run in the same folder

def test_a_new_run_moves_the_previous_one_to_a_folder_of_its_own_whole(monkeypatch, data, tmp_path, capsys):
    first = run(monkeypatch, data, tmp_path, '--schedule=wsd', '--snapshots=320')
    log = (tmp_path / 'log.jsonl').read_text()
    second = run(monkeypatch, data, tmp_path, '--schedule=wsd', f'--trunk={tmp_path}/trunk-320.pt', '--max_tokens=512')
    assert second['step'] == 8 and 'former-1' in capsys.readouterr().out
    assert_same_run(load(tmp_path / 'former-1'), first)
    assert (tmp_path / 'former-1' / 'log.jsonl').read_text() == log
    assert sorted(os.listdir(tmp_path / 'former-1')) == ['best.pt', 'ckpt.pt', 'decay_start.pt', 'log.jsonl']
    third = run(monkeypatch, data, tmp_path, '--seed=2')
    assert_same_run(load(tmp_path / 'former-2'), second)
    assert 'trunk-320.pt' in os.listdir(tmp_path / 'former-2') and 'former-2' in capsys.readouterr().out
    run(monkeypatch, data, tmp_path, '--seed=2', '--resume')
    assert 'was moved to' not in capsys.readouterr().out and not (tmp_path / 'former-3').exists()
    assert_same_run(load(tmp_path), third)


def test_a_mistake_in_the_new_run_leaves_the_former_one_where_it_is(monkeypatch, data, tmp_path):
    first = run(monkeypatch, data, tmp_path)
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, tmp_path, '--max_tokens=1')
    assert e.value.code == 2 and not (tmp_path / 'former-1').exists()
    assert_same_run(load(tmp_path), first)
