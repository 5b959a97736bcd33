"""A finished run is made longer: as if it had been that long from the start."""
import os

import pytest
import test_train
import torch
from test_train import assert_same_run, load, run

import train

data = test_train.data          # a fixture
WSD = ('--schedule=wsd', '--cooldown_fraction=0.3', '--warmup_steps=2', '--eval_interval=100', '--epochs=9')


@pytest.mark.parametrize('extra', [(), ('--average_fraction=0.5', '--dropout=0.1'), ('--arch=lstm', '--dropout=0.2')], ids=str)
def test_a_finished_run_made_longer_is_the_longer_run(extra, monkeypatch, data, tmp_path, capsys):
    whole = run(monkeypatch, data, tmp_path / 'whole', *WSD, *extra, '--max_tokens=1280')           # 20 steps
    short = run(monkeypatch, data, tmp_path / 'run', *WSD, *extra)                                  # 10 steps
    first = load(tmp_path / 'run', 'decay_start.pt')
    assert first['step'] == (5 if '--average_fraction=0.5' in extra else 7)
    capsys.readouterr()
    longer = run(monkeypatch, data, tmp_path / 'run', *WSD, *extra, '--max_tokens=1280', '--resume')
    assert f'resumed after step {first["step"]}' in capsys.readouterr().out
    assert_same_run(whole, longer)
    assert_same_run(load(tmp_path / 'run', 'best.pt'), longer)
    assert_same_run(load(tmp_path / 'run' / 'former-1'), short)             # nothing is lost
    assert load(tmp_path / 'run', 'decay_start.pt')['step'] == 2 * first['step']

    # And again
    third = run(monkeypatch, data, tmp_path / 'run', *WSD, *extra, '--max_tokens=1600', '--resume')
    assert_same_run(run(monkeypatch, data, tmp_path / 'whole2', *WSD, *extra, '--max_tokens=1600'), third)


def test_a_longer_run_killed_before_its_first_checkpoint_goes_on(monkeypatch, data, tmp_path):
    whole = run(monkeypatch, data, tmp_path / 'whole', *WSD, '--max_tokens=1280')
    run(monkeypatch, data, tmp_path / 'run', *WSD)
    with monkeypatch.context() as m, pytest.raises(InterruptedError):
        def killed(*args):
            raise InterruptedError
        m.setattr(train, 'update', killed)
        run(m, data, tmp_path / 'run', *WSD, '--max_tokens=1280', '--resume')
    assert load(tmp_path / 'run')['step'] == 7
    assert_same_run(whole, run(monkeypatch, data, tmp_path / 'run', *WSD, '--max_tokens=1280', '--resume'))
    assert sorted(os.listdir(tmp_path / 'run')) == ['best.pt', 'ckpt.pt', 'decay_start.pt', 'former-1', 'log.jsonl']


def test_a_run_in_its_constant_phase_gets_another_length_without_a_detour(monkeypatch, data, tmp_path):
    whole = run(monkeypatch, data, tmp_path / 'whole', *WSD, '--max_tokens=1280')
    calls, update = [], train.update

    def killed(*args):
        calls.append(args)
        if len(calls) == 6:
            raise InterruptedError
        return update(*args)
    with monkeypatch.context() as m, pytest.raises(InterruptedError):
        m.setattr(train, 'update', killed)
        run(m, data, tmp_path / 'run', *WSD, '--save_minutes=0')
    assert_same_run(whole, run(monkeypatch, data, tmp_path / 'run', *WSD, '--max_tokens=1280', '--resume'))
    assert not os.path.exists(tmp_path / 'run' / 'former-1')


def refused(monkeypatch, data, out, capsys, *options):
    before = {name: (out / name).read_bytes() for name in os.listdir(out)}
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, data, out, *options, '--resume')
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1
    assert before == {name: (out / name).read_bytes() for name in os.listdir(out)}
    return err


def test_what_cannot_be_made_longer_says_what_to_do(monkeypatch, data, tmp_path, capsys):
    run(monkeypatch, data, tmp_path / 'cosine', '--epochs=9')
    err = refused(monkeypatch, data, tmp_path / 'cosine', capsys, '--epochs=9', '--max_tokens=1280')
    assert "schedule='cosine'" in err and '--init_from=' in err

    run(monkeypatch, data, tmp_path / 'wsd', *WSD)
    shorter = refused(monkeypatch, data, tmp_path / 'wsd', capsys, *WSD, '--max_tokens=448')
    assert 'decays, anneals or averages before step 7' in shorter
    os.remove(tmp_path / 'wsd' / 'decay_start.pt')
    assert 'there is no' in refused(monkeypatch, data, tmp_path / 'wsd', capsys, *WSD, '--max_tokens=1280')


def test_a_branch_keeps_no_second_copy_of_its_trunk(monkeypatch, data, tmp_path):
    run(monkeypatch, data, tmp_path / 'trunk', *WSD, '--max_tokens=1280', '--snapshots=448')
    run(monkeypatch, data, tmp_path / 'branch', *WSD, f'--trunk={tmp_path}/trunk/trunk-448.pt')
    assert sorted(os.listdir(tmp_path / 'branch')) == ['best.pt', 'ckpt.pt', 'log.jsonl']
    one, two = load(tmp_path / 'trunk', 'decay_start.pt'), load(tmp_path / 'trunk', 'trunk-448.pt')
    assert one['step'] == 14 and two['step'] == 7 and not torch.equal(one['model']['head.bias'], two['model']['head.bias'])
