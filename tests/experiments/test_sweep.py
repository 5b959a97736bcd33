"""experiments/sweep.py: the learning rate is found by doubling and halving, and diverged runs are results of it."""
import csv
import math
import sys

import pytest

from experiments import runner, sweep


@pytest.fixture
def swept(monkeypatch, tmp_path):
    """Runs the sweep where training is a parabola in log rate; above a cliff it diverges. Returns what it prints."""
    def run(capsys, best, cliff, *options):
        def train(name, out_dir, words):
            given = dict(word[2:].split('=', 1) for word in words[1:])
            rate, size = float(given['learning_rate']), 10 ** int(name.split('-')[1])
            if rate > cliff:
                return None
            loss = 3 + 0.1 * math.log2(rate / best(size)) ** 2
            return {'arch': 'gpt', 'n_total': 2.0 * size, 'n_non_embedding': float(size), 'tokens': 1000.0, 'seed': 1,
                    'loss': loss, 'loss_per_note': 2 * loss}, []
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'm.py').write_text('_size = n_embd')
        monkeypatch.setattr(sweep, 'train', train)
        monkeypatch.setattr(sys, 'argv', ['sweep.py', *options])
        sweep.main()
        return capsys.readouterr().out
    return run


def test_the_rule_is_found_and_the_table_goes_to_out(swept, tmp_path, capsys):
    out = swept(capsys, lambda n: 0.3 * n ** -0.5, math.inf, '--configs=m.py', '--sizes=4,5,6')
    assert 'gpt: learning_rate = 0.3 * N^-0.500' in out
    rows = list(csv.DictReader(open(tmp_path / 'out' / 'learning_rates.csv')))
    assert {row['config'] for row in rows} == {'m-4', 'm-5', 'm-6'} and set(rows[0]) == {
        'sweep', 'config', 'arch', 'n_total', 'n_non_embedding', 'tokens', 'rate', 'seed', 'loss', 'per_note'}
    assert len(rows) == len({(row['config'], row['rate']) for row in rows})


def test_a_diverged_neighbour_is_a_worse_one(swept, tmp_path, capsys):
    out = swept(capsys, lambda n: 0.008, 0.0065, '--configs=m.py', '--sizes=4')
    assert 'best learning_rate 0.006;' in out and 'inf at double' in out and 'diverged' in out
    assert all(float(row['rate']) < 0.0065 for row in csv.DictReader(open(tmp_path / 'out' / 'learning_rates.csv')))


def test_a_start_above_the_cliff_comes_down(swept, capsys):
    assert 'best learning_rate 0.0' in swept(capsys, lambda n: 0.001, 0.002, '--configs=m.py', '--sizes=4', '--start=0.1')


def test_by_default_nothing_committed_is_written():
    assert sweep.Settings().table.startswith('out/')


def test_options_have_rows_of_their_own(swept, tmp_path, capsys):
    for options in ('', '--options=--head_lr=0.05'):
        swept(capsys, lambda n: 0.006, math.inf, '--configs=m.py', '--sizes=4', '--start=0.006', *filter(None, [options]))
    rows = list(csv.DictReader(open(tmp_path / 'out' / 'learning_rates.csv')))
    assert [row['sweep'] for row in rows] == 3 * ['learning_rate 400,000 tokens of data/bundled'] + 3 * [
        'learning_rate 400,000 tokens of data/bundled --head_lr=0.05']


@pytest.mark.parametrize('config, size, option', [('gpt', 96, '--n_embd=96'), ('rnn', 64, '--hidden_size=64')])
def test_the_dial_of_a_family_is_the_width_of_its_architecture(config, size, option):
    path = f'{runner.ROOT}/config/{config}.py'
    assert runner.sized(path, size) == [path, option]
