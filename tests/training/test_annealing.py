"""train.py with transposed copies in the data: the last steps see the untransposed
tunes, and nothing else changes."""
import json
import os
from itertools import chain

import pytest
from test_train import TOKENS, assert_same_run, load, run, write_data

import train
from training.loader import micro_batches


@pytest.fixture
def data(tmp_path):
    """Data whose last 404 tokens, 25 windows of 16 and a little, are no copies."""
    folder = tmp_path / 'data'
    folder.mkdir()
    write_data(folder)
    meta = json.loads((folder / 'meta.json').read_text())
    (folder / 'meta.json').write_text(json.dumps(meta | {'untransposed': 404}))
    return str(folder)


def seen(monkeypatch, data, out, *options):
    """(windows of each step, checkpoint) of a run."""
    steps = []
    with monkeypatch.context() as m:
        m.setattr(train, 'micro_batches', lambda *args: steps.append(micro_batches(*args)) or steps[-1])
        checkpoint = run(m, data, out, *options)
    return [windows.flatten().tolist() for windows in steps], checkpoint


def test_the_last_steps_see_each_window_without_copies_once_an_epoch(monkeypatch, data, tmp_path, capsys):
    plain, _ = seen(monkeypatch, data, tmp_path / 'plain')
    capsys.readouterr()
    steps, _ = seen(monkeypatch, data, tmp_path / 'annealed', '--anneal_fraction=0.8')
    assert len(steps) == 10 and steps[:2] == plain[:2] and steps[2:] != plain[2:]
    own = set(range(-(-(TOKENS - 404) // 16), 68))                  # windows wholly after the copies
    first, second = list(chain(*steps[2:8])), list(chain(*steps[8:]))
    assert len(own) == 24 and set(first) == own and len(first) == 24 and set(second) < own and len(set(second)) == 8
    assert 'after step 2 only the 24 windows' in capsys.readouterr().out


def test_without_copies_there_is_nothing_to_leave_out(monkeypatch, data, tmp_path):
    meta = json.loads(open(f'{data}/meta.json').read())
    plain = run(monkeypatch, data, tmp_path / 'plain')
    for untransposed in (TOKENS, None):                             # None: data from before
        with open(f'{data}/meta.json', 'w') as f:
            json.dump({k: v for k, v in {**meta, 'untransposed': untransposed}.items() if v}, f)
        assert_same_run(plain, run(monkeypatch, data, tmp_path / str(untransposed), '--anneal_fraction=0.5'))


def test_a_run_killed_while_it_anneals_goes_on_bit_for_bit(monkeypatch, data, tmp_path):
    whole = run(monkeypatch, data, tmp_path / 'whole', '--anneal_fraction=0.5', '--dropout=0.1')
    update, step = train.update, 0

    def killed(*args):
        nonlocal step
        step += 1
        if step == 8:
            raise InterruptedError
        return update(*args)
    with monkeypatch.context() as m, pytest.raises(InterruptedError):
        m.setattr(train, 'update', killed)
        run(m, data, tmp_path / 'parts', '--anneal_fraction=0.5', '--dropout=0.1', '--save_minutes=0')
    assert load(tmp_path / 'parts')['step'] == 7
    assert_same_run(whole, run(monkeypatch, data, tmp_path / 'parts', '--anneal_fraction=0.5', '--dropout=0.1', '--resume'))


def test_a_branch_that_would_have_annealed_already_is_refused(monkeypatch, data, tmp_path, capsys):
    wsd = ('--schedule=wsd', '--cooldown_fraction=0.1', '--warmup_steps=2', '--anneal_fraction=0.5')
    run(monkeypatch, data, tmp_path / 'trunk', *wsd, '--snapshots=320')                             # step 5 of 10
    trunk = f'--trunk={tmp_path}/trunk/trunk-320.pt'
    assert_same_run(run(monkeypatch, data, tmp_path / 'whole', *wsd), run(monkeypatch, data, tmp_path / 'branch', *wsd, trunk))
    with pytest.raises(SystemExit):                                 # 7 steps: it would anneal after the third
        run(monkeypatch, data, tmp_path / 'short', *wsd, '--max_tokens=448', trunk)
    assert 'anneals or averages elsewhere than' in capsys.readouterr().err
    run(monkeypatch, data, tmp_path / 'late', *wsd, '--snapshots=448')                              # step 7: it has annealed
    with pytest.raises(SystemExit):                                 # 16 steps: these would anneal after the eighth
        run(monkeypatch, data, tmp_path / 'long', *wsd, '--max_tokens=1024', f'--trunk={tmp_path}/late/trunk-448.pt')
    assert 'anneals or averages elsewhere than' in capsys.readouterr().err


@pytest.mark.parametrize('value, words', [('1', 'must be in [0, 1)'), ('-0.1', 'must be in [0, 1)'), ('0.5', 'fewer than 4 windows')])
def test_a_share_that_cannot_be_gets_one_line(value, words, monkeypatch, data, tmp_path, capsys):
    meta = json.loads(open(f'{data}/meta.json').read())
    with open(f'{data}/meta.json', 'w') as f:
        json.dump({**meta, 'untransposed': 50}, f)
    with pytest.raises(SystemExit):
        run(monkeypatch, data, tmp_path / 'out', f'--anneal_fraction={value}')
    assert words in capsys.readouterr().err and not os.path.exists(tmp_path / 'out')
