"""scaling/repeats.py: a law of repeated data that is known is found, and its optimum is where the loss is least."""
import csv
import os
import sys

import numpy as np
import pytest

import fit_scaling
from conftest import ROOT
from scaling import repeats

TRUTH = {'E': 0.5, 'A': 0.3, 'alpha': 0.4, 'B': 2.0, 'beta': 0.3, 'R': 4.0, 'C': 1.4, 'delta': 0.25, 'gamma': 0.1, 'eta': 0.35,
         'worth': 0.3}


def theta_of(values):
    theta = np.array([values[name] for name in repeats.NAMES])
    theta[repeats.LOGS] = np.log(theta[repeats.LOGS])
    return theta


def made_rows(noise=0.0, copies=(0, 5), seed=0):
    rng, rows = np.random.default_rng(seed), []
    for n in (2.5e4, 1e5, 4e5):
        for tokens in (6e3, 2.5e4, 1e5, 4e5):
            for c in copies if n == 1e5 else (0,):
                for epochs in (1, 2, 4, 8, 16, 32):
                    loss = repeats.surface(theta_of(TRUTH), n, tokens, tokens / 100, c, epochs) * np.exp(noise * rng.normal())
                    rows.append({'name': f'{n:.0f}-{tokens:.0f}-{c}-{epochs}', 'n_non_embedding': n, 'unique_tokens': tokens, 'unique_tunes': tokens / 100,
                                 'copies': c, 'train_tokens': tokens * (1 + c), 'tokens': epochs * tokens * (1 + c),
                                 'loss_per_note': loss})
    return rows


def test_a_known_law_is_found_again_with_its_best_number_of_passes():
    law = repeats.fit(made_rows())
    assert law['rms'] < 1e-4
    for tokens in (1e4, 2e5):
        found, loss = repeats.enough_passes(law, 1e5, tokens, tokens / 100, 2)
        true, least = repeats.enough_passes({'theta': theta_of(TRUTH)}, 1e5, tokens, tokens / 100, 2)
        assert found == pytest.approx(true, rel=0.05) and loss == pytest.approx(least, rel=2e-3)
    assert repeats.parameters(law['theta'])['worth'] == pytest.approx(0.3, abs=0.03)


def test_the_best_number_of_passes_has_the_least_loss_and_keeps_its_limit():
    law = {'theta': theta_of(TRUTH)}
    epochs, loss = repeats.enough_passes(law, 1e5, 1e5, 1000, 0)
    assert all(loss <= 1.01 * repeats.predict(law, 1e5, 1e5, 1000, 0, other) for other in np.geomspace(1, 50, 30))
    assert all(loss < repeats.predict(law, 1e5, 1e5, 1000, 0, fewer) for fewer in (1, epochs / 1.5, epochs / 1.05))
    assert 1 < epochs < 50
    assert 1.4 < repeats.enough_passes(law, 1e5, 1e5, 1000, 0, most=1.5)[0] <= 1.5


def test_the_loss_is_nearly_the_larger_of_what_is_learned_and_what_is_overfitted():
    E, A, alpha, B, beta, R, C, delta, gamma, eta, _ = TRUTH.values()
    for epochs in (1, 2, 64):
        learned = E + A / 2 ** alpha + B / (3 * (1 + R * (1 - np.exp((1 - epochs) / R)))) ** beta
        overfitted = C * epochs ** delta * 2 ** gamma / (3 * 4) ** (eta / 2)
        loss = repeats.predict({'theta': theta_of(TRUTH)}, 2e5, 3e5, 4000, 0, epochs)
        assert loss == pytest.approx((learned ** 8 + overfitted ** 8) ** (1 / 8))
        assert max(learned, overfitted) <= loss <= 1.1 * max(learned, overfitted)


def test_runs_far_above_the_best_of_their_curve_are_left_out_and_too_few_are_refused():
    rows = made_rows()
    kept = repeats.near_the_best(rows)
    for row in rows:
        best = min(r['loss_per_note'] for r in rows if repeats.curve_of(r) == repeats.curve_of(row))
        assert (row in kept) == (row['loss_per_note'] <= repeats.FAR * best)
    with pytest.raises(ValueError, match='too few'):
        repeats.fit(rows[:10])


def test_resampled_laws_scatter_about_the_truth():
    law = repeats.fit(made_rows(noise=0.01), bootstraps=8)
    passes = [repeats.enough_passes({'theta': theta}, 1e5, 1e5, 1000, 0)[0] for theta in law['draws']]
    assert 0 < np.std(np.log(passes)) < 0.3


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp('repeats') / 'repeats.csv'
    rows = made_rows(noise=0.01)
    with open(path, 'w', newline='') as f:
        writer = csv.DictWriter(f, [*rows[0], 'loss'])
        writer.writeheader()
        writer.writerows({**row, 'loss': row['loss_per_note']} for row in rows)
    return str(path)


def test_fit_scaling_gives_size_and_passes_for_a_number_of_tunes(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fit_scaling, 'REPEATS_BOOTSTRAPS', 3)
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', f'--table={table}', '--tunes=500,40000', f'--out_dir={tmp_path}/out'])
    fit_scaling.main()
    said = capsys.readouterr().out
    assert '| 500 | 50,000 | 5 |' in said and '| 40,000 | 4,000,000 | 0 |' in said and '10.0 times |' in said
    assert sorted(os.listdir(tmp_path / 'out')) == ['repeats.md', 'repeats.png']


@pytest.mark.parametrize('flags, named', [
    (['--tunes=0'], 'tunes'), (['--predict=1e6'], 'predict'), (['--flops=1e15'], 'flops')])
def test_what_a_table_of_repeated_data_cannot_answer_is_one_line(table, tmp_path, monkeypatch, flags, named, capsys):
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', f'--table={table}', *flags, f'--out_dir={tmp_path}/out'])
    with pytest.raises(SystemExit) as end:
        fit_scaling.main()
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count('\n') == 1 and named in error


def test_tunes_of_another_table_are_one_line(tmp_path, monkeypatch, capsys):
    path = os.path.join(ROOT, 'results', 'original_study.csv')
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', f'--table={path}', '--tunes=300', f'--out_dir={tmp_path}/out'])
    with pytest.raises(SystemExit):
        fit_scaling.main()
    assert 'unique_tokens' in capsys.readouterr().err


def test_what_passes_are_worth_is_found_from_each_size_alone():
    law = repeats.fit(made_rows(), bootstraps=2)
    assert len(law['R_of_sizes']) > 1
    for R, (low, high) in law['R_of_sizes'].values():
        assert low <= high and R == pytest.approx(TRUTH['R'], rel=0.2)
