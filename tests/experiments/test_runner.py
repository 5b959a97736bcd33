"""experiments/runner.py: a run is trained once, divergence is a result, and a table keeps what it holds."""
import csv
import os
import shutil
import sys

import pytest
import test_train
from test_train import TINY

from experiments import runner
from training.log import DIVERGED

data = test_train.data          # a fixture


def options(data, *more):
    return [f'--data_dir={data}', *TINY, *more]


def test_a_run_is_trained_once_and_read_wherever_it_was_made(data, tmp_path, monkeypatch, capsys):
    row, curve = runner.train('a', str(tmp_path / 'a'), options(data, '--seed=2'))
    assert curve[-1]['tokens'] <= 640 and all(point['name'] == 'a' and point['loss'] > 0 for point in curve)
    assert row['name'] == 'a' and row['seed'] == 2 and row['tokens'] == 640 and row['loss_per_note'] > 0 and 'git' in row
    assert 'a: begins' in capsys.readouterr().out
    shutil.copytree(tmp_path / 'a', tmp_path / 'copied')
    monkeypatch.setattr(runner.subprocess, 'Popen', None)           # nothing more is trained
    assert runner.train('a', str(tmp_path / 'copied'), options('not_here', '--seed=2')) == (row, curve)
    with pytest.raises(SystemExit):                                 # what lies there is no run of this seed
        runner.train('a', str(tmp_path / 'copied'), options(data, '--seed=3'))
    assert 'seed is 2 there and 3 here' in capsys.readouterr().err


def test_a_run_that_patience_ended_is_finished(data, tmp_path, monkeypatch):
    more = '--learning_rate=30', '--warmup_steps=0', '--eval_interval=1', '--patience=1'
    checkpoint = test_train.run(monkeypatch, data, tmp_path / 'a', *more)
    monkeypatch.setattr(runner.subprocess, 'Popen', None)           # nothing more is trained
    row, _ = runner.train('a', str(tmp_path / 'a'), options(data, *more))
    assert 0 < row['tokens'] == checkpoint['tokens'] < 640          # it ended before its last step


@pytest.fixture
def ends(monkeypatch):
    """Makes a program that writes `errors` and ends with `status` stand in for train.py."""
    def stand_in(status, errors=''):
        program = f'import sys; sys.stderr.write({errors!r}); sys.exit({status})'
        monkeypatch.setattr(runner, 'command', lambda out_dir, options: [sys.executable, '-S', '-c', program])
    return stand_in


def test_divergence_is_told_by_the_exit_status(ends, tmp_path):
    ends(DIVERGED, 'error: the loss is nan\n')
    assert runner.train('a', str(tmp_path / 'a'), []) is None


@pytest.mark.parametrize('errors, said', [('a warning\nerror: no prepared data\n', 'no prepared data'), ('', 'exit status 2')])
def test_a_mistake_of_train_py_is_passed_on_as_one_line(ends, errors, said, tmp_path, capsys):
    ends(2, errors)
    with pytest.raises(SystemExit) as e:
        runner.train('a', str(tmp_path / 'a'), [])
    assert e.value.code == 2 and capsys.readouterr().err == f'error: a: {said}\n'
    assert runner.finished(str(tmp_path / 'a'), []) is None


def test_a_row_takes_the_place_of_its_like_and_leaves_the_others(tmp_path):
    path = str(tmp_path / 'new' / 'table.csv')
    runner.write_row(path, {'name': 'a', 'seed': 1, 'loss': 0.1 + 0.2, 'git': None}, ['name', 'seed'])
    runner.write_row(path, {'name': 'a', 'seed': 2, 'loss': 2.0}, ['name', 'seed'])
    runner.write_row(path, {'name': 'a', 'seed': 1, 'loss': 4.0, 'width': 8}, ['name', 'seed'])
    assert open(path).read() == 'name,seed,loss,width\na,1,4,8\na,2,2,\n' and os.listdir(tmp_path / 'new') == ['table.csv']


@pytest.mark.parametrize('table', ['study.csv', 'learning_rates.csv'])
def test_a_committed_table_keeps_all_of_its_text(table, tmp_path):
    path = shutil.copy(os.path.join(runner.ROOT, 'results', table), tmp_path)
    before = open(path).read()
    row = next(csv.DictReader(open(path)))
    key = [k for k in ('name', 'sweep', 'config', 'rate', 'seed') if k in row]
    runner.write_row(path, row, key)
    assert open(path).read() == before
