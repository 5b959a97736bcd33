"""experiments/study.py: the plan is trained once, cool-downs find their trunks, ablations come with intervals."""
import csv
import os
import sys

import pytest

from conftest import ROOT
from experiments import runner, study


@pytest.fixture
def studied(monkeypatch, tmp_path):
    """Runs the study where training only notes the run; returns a function, and the list of noted (name, options)."""
    calls = []

    def train(name, out_dir, options):
        calls.append((name, dict(o[2:].split('=', 1) for o in options if o.startswith('--'))))
        return {'name': name, 'seed': 1, 'loss': 2.0, 'loss_per_note': 4.0, 'git': 'x'}

    def run(*options):
        monkeypatch.setattr(study, 'train', train)
        monkeypatch.setattr(study, 'load_meta', lambda data_dir: {})
        monkeypatch.setattr(sys, 'argv', ['study.py', f'--table={tmp_path}/study.csv', f'--ablations={tmp_path}/ablations.csv',
                                          f'--out_dir={tmp_path}/out', *options])
        study.main()
    return run, calls


def test_what_the_table_has_is_not_trained_again(studied, tmp_path):
    run, calls = studied
    run('--part=sizes')
    rows = list(csv.DictReader(open(tmp_path / 'study.csv')))
    assert len(rows) == len({row['name'] for row in rows}) == len(calls) == sum(map(len, study.SEEDS.values()))
    run('--part=sizes')
    assert len(calls) == len(rows)
    run()
    assert len(calls) == len(rows) + len(study.TRUNKS) * len(study.TOKENS) + len(study.ABLATIONS) * len(study.ABLATED)
    assert {row['group'] for row in csv.DictReader(open(tmp_path / 'ablations.csv'))} == set(study.ABLATIONS)
    before = len(calls)
    run()
    assert len(calls) == before


def test_cool_downs_begin_where_their_trunk_was_kept(studied):
    run, calls = studied
    run('--part=data')
    assert len(calls) == len(study.TRUNKS) * len(study.TOKENS)
    options = [options for _, options in calls]
    kept = [o['snapshots'].split(',') for o in options if 'snapshots' in o][0]
    for o in (o for o in options if 'trunk' in o):
        start, steps = int(o['trunk'].rsplit('-', 1)[1][:-3]), int(o['max_tokens']) // 4096
        assert str(start) in kept and start % 4096 == 0 and start // 4096 <= steps - round(study.COOLDOWN * steps)
    trunks = [i for i, o in enumerate(options) if 'snapshots' in o]
    assert trunks == list(range(0, len(calls), len(study.TOKENS)))         # each before its own branches


def test_the_list_is_one_shell_command_a_job(studied, capsys, monkeypatch):
    run, calls = studied
    run('--part=data', '--list')
    lines = capsys.readouterr().out.splitlines()
    assert not calls and len(lines) == len(study.TRUNKS) and all(line.count(' && ') == len(study.TOKENS) - 1 for line in lines)
    assert '--snapshots' in lines[0].split(' && ')[0] and all('--trunk' in words for words in lines[0].split(' && ')[1:])
    monkeypatch.setattr(study, 'finished', lambda out_dir, options: 'gpt_4' in out_dir or out_dir.endswith('0-10000000'))
    run('--part=data', '--list')
    assert len(capsys.readouterr().out.splitlines()) == len(study.TRUNKS) - 1       # what is finished waits to be read


def test_our_own_tables_are_the_whole_plan(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['study.py', '--list', f'--table={ROOT}/results/study.csv',
                                      f'--ablations={ROOT}/results/ablations.csv'])
    study.main()
    assert capsys.readouterr().out == ''
    assert all(os.path.exists(os.path.join(ROOT, 'config', f'study_{size}.py')) for size in study.SEEDS)


def test_ablations_are_paired_by_seed_with_the_noise_of_all_seeds(monkeypatch, tmp_path, capsys):
    def rows(group, name, losses):
        return [{'name': f'gpt_2-{name}seed{seed}', 'group': group, 'arch': 'gpt', 'seed': seed, 'loss_per_note': loss} for seed, loss in losses.items()]

    for row in rows('sizes', '', {1: 4.0, 2: 4.2, 3: 4.1}) + rows('data', 'wsd-', {1: 9.0}):
        runner.write_row(tmp_path / 'study.csv', row, ['name'])
    for row in rows('muon', 'muon-', {1: 3.9, 2: 4.0}) + rows('char', 'char-', {3: 5.0}):
        runner.write_row(tmp_path / 'ablations.csv', row, ['name'])
    study.differences(runner.read_rows(tmp_path / 'study.csv'), runner.read_rows(tmp_path / 'ablations.csv'))
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    # Two seeds of muon and three without it leave 1 + 2 degrees of freedom: the sum of squares is 0.005 + 0.02, t is 3.182
    half = 3.182446 * (2 * 0.025 / 3 / 2) ** 0.5
    assert table == [['muon', 'gpt_2', '4.100', '3.950', '-0.100, -0.200', f'{-0.15 - half:+.3f} to {-0.15 + half:+.3f}'],
                     ['char', 'gpt_2', '4.100', '5.000', '+0.900', f'{0.9 - half * 2 ** 0.5:+.3f} to {0.9 + half * 2 ** 0.5:+.3f}']]


def test_without_data_one_line_is_said_before_anything_is_trained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, 'argv', ['study.py', f'--data_dir={tmp_path}', f'--table={tmp_path}/t.csv',
                                      f'--ablations={tmp_path}/a.csv', f'--out_dir={tmp_path}/out'])
    with pytest.raises(SystemExit) as e:
        study.main()
    out, err = capsys.readouterr()
    assert e.value.code == 2 and out == '' and err.count('\n') == 1 and 'run prepare.py first' in err and not list(tmp_path.iterdir())
