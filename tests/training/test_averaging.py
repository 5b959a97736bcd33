"""train.py with average_fraction: the run ends with the mean of its last weights, and nothing before changes."""
import pytest
import torch
from test_train import assert_same_run, load, run, write_data

import train


@pytest.fixture
def data(tmp_path):
    (tmp_path / 'data').mkdir()
    write_data(tmp_path / 'data')
    return str(tmp_path / 'data')


def iterates(monkeypatch, data, out, *options):
    """(weights after each step, checkpoint) of a run."""
    steps, update = [], train.update

    def noted(model, *args):
        taken = update(model, *args)
        steps.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return taken
    with monkeypatch.context() as m:
        m.setattr(train, 'update', noted)
        return steps, run(m, data, out, *options)


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_a_run_ends_with_the_mean_of_its_last_weights(monkeypatch, data, tmp_path, arch):
    plain = iterates(monkeypatch, data, tmp_path / 'plain', f'--arch={arch}')[0]
    steps, checkpoint = iterates(monkeypatch, data, tmp_path / 'mean', f'--arch={arch}', '--average_fraction=0.35')
    assert len(steps) == 10 and all(torch.equal(a[name], b[name]) for a, b in zip(plain, steps) for name in a)
    for name, weight in checkpoint['model'].items():
        torch.testing.assert_close(weight, torch.stack([step[name] for step in steps[7:]]).mean(0))
    assert checkpoint['mean'] is None
    val = run(monkeypatch, data, tmp_path / 'mean', f'--arch={arch}', '--average_fraction=0.35', '--resume')['val']
    assert val == checkpoint['val']                                 # it was this model that was evaluated


@pytest.mark.parametrize('at', [5, 8, 10])
def test_a_run_killed_while_it_averages_goes_on_bit_for_bit(monkeypatch, data, tmp_path, at):
    options = '--average_fraction=0.5', '--dropout=0.1'
    whole = run(monkeypatch, data, tmp_path / 'whole', *options)
    update, step = train.update, 0

    def killed(*args):
        nonlocal step
        step += 1
        if step == at:
            train.signal.raise_signal(train.signal.SIGTERM)
        return update(*args)
    with monkeypatch.context() as m:
        m.setattr(train, 'update', killed)
        with pytest.raises(SystemExit):
            run(m, data, tmp_path / 'cut', *options)
    assert load(tmp_path / 'cut')['step'] == at
    assert_same_run(whole, run(monkeypatch, data, tmp_path / 'cut', *options, '--resume'))


def test_a_branch_must_leave_before_the_mean_begins(monkeypatch, data, tmp_path, capsys):
    wsd = '--schedule=wsd', '--cooldown_fraction=0.1', '--average_fraction=0.5'
    run(monkeypatch, data, tmp_path / 'trunk', *wsd, '--snapshots=192,384')
    assert run(monkeypatch, data, tmp_path / 'b', *wsd, '--max_tokens=576', f'--trunk={tmp_path}/trunk/trunk-192.pt')['step'] == 9
    with pytest.raises(SystemExit):
        run(monkeypatch, data, tmp_path / 'c', *wsd, '--max_tokens=576', f'--trunk={tmp_path}/trunk/trunk-384.pt')
    assert 'averages elsewhere' in capsys.readouterr().err


@pytest.mark.parametrize('share', ['1', '-0.1'])
def test_a_share_is_less_than_one(monkeypatch, data, tmp_path, capsys, share):
    with pytest.raises(SystemExit):
        run(monkeypatch, data, tmp_path / 'a', f'--average_fraction={share}')
    assert "'average_fraction' must be in [0, 1)" in capsys.readouterr().err
