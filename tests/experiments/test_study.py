"""study.py: what is in its table is not trained again, and a largest model is foretold before it is trained."""
import csv
import sys

import pytest

from experiments import study


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Runs study.py with training replaced by rows of a known law; returns a function, and the list of trained names."""
    names = []

    def train(self, name, config, table, group, options):
        if any(row['name'] == name for row in self.rows(table)):
            return
        arch, n = config[6:].split('_')
        size = 10 ** (4 + int(n) / 2)
        names.append((name, len(self.rows(self.s.predictions))))
        seed = next((int(o.split('=')[1]) for o in options if 'seed' in o), 1)
        with self.lock:
            study.write_table(table, [*self.rows(table), {
                'name': name, 'group': group, 'arch': arch, 'n_total': 2 * size, 'n_non_embedding': size, 'tokens': 10_000_000, 'seed': seed,
                'loss': 9 * size ** -0.1, 'loss_per_token': 9 * size ** -0.1, 'loss_per_note': 10 * size ** -0.1 * (1 + 1e-3 * (seed - 1))}])

    monkeypatch.setattr(study.Study, 'train', train)
    monkeypatch.setattr(study, 'load_meta', lambda data_dir: {})
    monkeypatch.setattr(study.Study, 'parameters', lambda self, name: {'total': 2 * 10 ** (4 + int(name[-1]) / 2), 'non_embedding': 10 ** (4 + int(name[-1]) / 2)})

    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['study.py', f'--table={tmp_path}/study.csv', f'--predictions={tmp_path}/prediction.csv',
                                          f'--out_dir={tmp_path}/out', *options])
        study.main()
        return [list(csv.DictReader(open(f'{tmp_path}/{name}.csv'))) for name in ('study', 'prediction')]
    return run, names


def test_sizes_are_trained_once_and_the_largest_are_foretold(trained):
    run, names = trained
    rows, predictions = run('--part=sizes')
    assert len(rows) == len({row['name'] for row in rows}) == sum(len(study.SEEDS.get(n, (1,))) for last in study.SIZES.values() for n in range(1, last + 1))
    for arch, last in study.SIZES.items():
        (largest, n_predictions), = [item for item in names if item[0].startswith(f'{arch}_{last}')]
        assert n_predictions > 0
        for row in (row for row in predictions if row['name'] == f'{arch}_{last}'):
            truth = 10 * 10 ** (-0.1 * (4 + last / 2))
            assert float(row['predicted']) == pytest.approx(truth, rel=2e-3) and float(row['low']) < float(row['predicted']) < float(row['high'])
    assert {row['over'] for row in predictions} == {'n_total', 'n_non_embedding'} and len(predictions) == 4
    before = len(names)
    assert run('--part=sizes') == [rows, predictions] and len(names) == before


def test_cool_downs_begin_where_their_trunk_was_kept(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(study.Study, 'train', lambda self, *call: calls.append(call))
    monkeypatch.setattr(study, 'load_meta', lambda data_dir: {})
    monkeypatch.setattr(sys, 'argv', ['study.py', '--part=data', f'--out_dir={tmp_path}', f'--table={tmp_path}/t.csv'])
    study.main()
    assert len(calls) == sum(len(sizes) for sizes in study.D_SIZES.values()) * len(study.D_TOKENS)
    options = [dict(o[2:].split('=') for o in call[-1]) for call in calls]
    kept = [o['snapshots'].split(',') for o in options if 'snapshots' in o][0]
    for o in (o for o in options if 'trunk' in o):
        start, steps = int(o['trunk'].rsplit('-', 1)[1][:-3]), int(o['max_tokens']) // 4096
        assert str(start) in kept and start % 4096 == 0 and start // 4096 <= steps - round(study.COOLDOWN * steps)


def test_ablations_are_paired_by_seed_with_the_noise_of_all_seeds(monkeypatch, tmp_path, capsys):
    def rows(group, name, losses):
        return [{'name': f'gpt_2-{name}seed{seed}', 'group': group, 'arch': 'gpt', 'seed': seed, 'loss_per_note': loss} for seed, loss in losses.items()]

    study.write_table(tmp_path / 'study.csv', rows('sizes', '', {1: 4.0, 2: 4.2, 3: 4.1}) + rows('data', 'wsd-', {1: 9.0}))
    study.write_table(tmp_path / 'ablations.csv', rows('muon', 'muon-', {1: 3.9, 2: 4.0}) + rows('char', 'char-', {3: 5.0}))
    monkeypatch.setattr(sys, 'argv', ['study.py', '--part=table', f'--table={tmp_path}/study.csv', f'--ablations={tmp_path}/ablations.csv'])
    study.main()
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    # Two seeds of muon and three without it leave 1 + 2 degrees of freedom: the sum of squares is 0.005 + 0.02, t is 3.182
    half = 3.182446 * (2 * 0.025 / 3 / 2) ** 0.5
    assert table == [['muon', 'gpt_2', '4.100', '3.950', '-0.100, -0.200', f'{-0.15 - half:+.3f} to {-0.15 + half:+.3f}'],
                     ['char', 'gpt_2', '4.100', '5.000', '+0.900', f'{0.9 - half * 2 ** 0.5:+.3f} to {0.9 + half * 2 ** 0.5:+.3f}']]


def test_without_data_one_line_is_said_before_anything_is_trained(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, 'argv', ['study.py', f'--data_dir={tmp_path}', f'--table={tmp_path}/t.csv', f'--out_dir={tmp_path}/out'])
    with pytest.raises(SystemExit) as e:
        study.main()
    out, err = capsys.readouterr()
    assert e.value.code == 2 and out == '' and err.count('\n') == 1 and 'run prepare.py first' in err and not list(tmp_path.iterdir())
