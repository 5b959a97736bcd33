"""experiments/forecast.py: a run is forecast from committed rows alone, and before it is trained."""
import csv
import shutil
import subprocess
import sys

import pytest

import fit_scaling
from experiments import forecast, runner
from experiments.study import model_options
from scaling.frontier import predict
from train import Settings as Training
from train import build_model, configure

TRUTH = {'E': 1.0, 'A': 60.0, 'B': 200.0, 'alpha': 0.35, 'beta': 0.32}
M = 1_000_000


@pytest.fixture(scope='module')
def committed(tmp_path_factory):
    """A folder with a committed table of six sizes of the study, whose losses follow TRUTH."""
    folder, rows = tmp_path_factory.mktemp('committed'), []
    for i in range(1, 7):
        config = vars(configure(Training, model_options(f'gpt_{i}')))
        model = build_model('gpt', {**config, 'vocab_size': 5000})
        for tokens in (M, 2 * M, 4 * M, 8 * M, 16 * M):
            n = model.flops_per_token() / 6
            rows.append({
                'name': f'gpt_{i}-{tokens}', 'arch': 'gpt', 'seed': 1, 'tokens': tokens, 'flops': 6.0 * n * tokens,
                **{f'n_{key}': float(model.num_params()[key]) for key in ('total', 'non_embedding')},
                'loss': float(predict(TRUTH, n, tokens))})
    runner.write_rows(f'{folder}/study.csv', rows, ['name'])
    git = ['git', '-C', str(folder), '-c', 'user.name=a', '-c', 'user.email=a@b']
    for words in (['init', '-q'], ['add', '-A'], ['commit', '-qm', 'rows']):
        subprocess.run([*git, *words], check=True)
    return folder


@pytest.fixture
def table(committed, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, 'load_meta', lambda path: {'vocab_size': 5000, 'splits': {'train': {'tokens': 39_830_264}}})
    shutil.copytree(committed, tmp_path, dirs_exist_ok=True)
    return tmp_path / 'study.csv'


def forecasts(table, monkeypatch, *options):
    monkeypatch.setattr(sys, 'argv', ['forecast.py', f'--table={table}', f'--to={table.parent}/prediction.csv', *options])
    forecast.main()
    return list(csv.DictReader(open(table.parent / 'prediction.csv')))


def test_a_run_is_forecast_from_other_sizes_and_from_its_own_shorter_runs(table, monkeypatch):
    forecasts(table, monkeypatch, '--size=gpt_6', '--tokens=40_000_000')
    rows = forecasts(table, monkeypatch, '--size=gpt_6', '--tokens=40_000_000', '--by=runs')
    one, beside, two, _ = rows
    assert one['law'] == 'hoffmann over compute' and beside['law'] == 'hoffmann over non_embedding'
    config = vars(configure(Training, model_options('gpt_6')))
    model = build_model('gpt', {**config, 'vocab_size': 5000})
    seen = float(predict(TRUTH, model.flops_per_token() / 6, float(one['tokens'])))
    head = subprocess.run(['git', '-C', table.parent, 'rev-parse', 'HEAD'], capture_output=True, text=True).stdout.strip()
    assert one['tokens'] == '39829504' and (one['from'], two['from']) == ('sizes', 'runs') and one['git'] == head
    assert all(float(row['predicted']) == pytest.approx(seen, rel=2e-3) for row in rows)
    runner.write_row(str(table), {'name': 'gpt_6-40000000', 'arch': 'gpt', 'seed': 1, 'tokens': 39829504.0, 'loss': seen,
                                  'flops': model.flops_per_token() * 39829504.0,
                                  **{f'n_{key}': int(one[f'n_{key}']) for key in ('total', 'non_embedding')}}, ['name'])
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', f'--table={table}', f'--out_dir={table.parent}/out', '--bootstraps=100'])
    monkeypatch.setattr(fit_scaling.plots.plt.Figure, 'savefig', lambda *_, **__: None)      # only the report is read
    fit_scaling.main()
    report = (table.parent / 'out' / 'report.md').read_text()
    assert 'Forecasts committed before the runs' in report and 'gpt_6-40000000' in report and '+0.0%' in report


@pytest.mark.parametrize('options,said', [
    ([], 'give --size'), (['--size=gpt_9', '--tokens=1e6'], "'size' must be one of gpt_1, gpt_2"), (['--size=gpt_6', '--tokens=16_000_000'], 'has been trained'), (['--size=rnn_1', '--tokens=1e6'], 'too few runs')])
def test_mistakes_are_one_line(table, monkeypatch, capsys, options, said):
    with pytest.raises(SystemExit):
        forecasts(table, monkeypatch, *options)
    err = capsys.readouterr().err
    assert said in err and err.count('\n') == 1


def test_rows_that_are_not_committed_give_no_forecast(table, monkeypatch, capsys):
    with open(table, 'a') as f:
        f.write('\n')
    with pytest.raises(SystemExit):
        forecasts(table, monkeypatch, '--size=gpt_6', '--tokens=40_000_000')
    assert 'not committed' in capsys.readouterr().err
