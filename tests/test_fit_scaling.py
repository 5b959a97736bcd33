"""fit_scaling.py, laws.py, frontier.py: against independent fits, brute force, simulated truth, and hand-made checkpoints."""
import itertools
import json
import math
import os
import sys

import numpy as np
import pytest
import torch
from scipy import optimize, stats

import fit_scaling
from conftest import ROOT
from scaling import frontier, laws

ORIGINAL = os.path.join(ROOT, 'results', 'original_study.csv')
SIZES = np.geomspace(1e6, 1e8, 5)


def run(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', *map(str, argv)])
    fit_scaling.main()


def refused(monkeypatch, capsys, *argv):
    """The message with which fit_scaling refuses: exit status 2, one line on stderr, nothing on stdout."""
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and err.count('\n') == 1 and err.startswith('error: ') and not out
    return err


def write_table(path, rows, columns='name,arch,n_total,n_non_embedding,tokens,loss'):
    path.write_text('\n'.join([columns, *(','.join(map(str, row)) for row in rows)]) + '\n')
    return f'--table={path}'


def analyse(table):
    """What scaling.json would hold, without drawing."""
    return fit_scaling.analyse(fit_scaling.read_table(table.removeprefix('--table=')), 100, 0)


def rows_of(loss, sizes=SIZES, arch='gpt', tokens=1e8, extra=()):
    return [(f'{arch}{i}', arch, n, n / 2, tokens, value, *extra) for i, (n, value) in enumerate(zip(sizes, loss))]


def read_results(folder):
    def refuse(constant):
        raise AssertionError(f'{constant} in JSON')
    return json.loads((folder / 'scaling.json').read_text(), parse_constant=refuse)


def straight(rng, sizes=SIZES, noise=0.02, alpha=0.16):
    return 5 * sizes ** -alpha * np.exp(noise * rng.normal(size=len(sizes)))


# ---- the original study ----

def test_original_table_gives_the_exponents_that_follow_from_it(monkeypatch, tmp_path, capsys):
    run(monkeypatch, f'--table={ORIGINAL}', f'--out_dir={tmp_path}')
    result = read_results(tmp_path)
    gpt, lstm = result['laws']['gpt'], result['laws']['lstm']
    assert gpt['total']['pure']['alpha'] == pytest.approx(0.1636, abs=0.001)
    assert gpt['total']['pure']['alpha_ci'] == pytest.approx([0.071, 0.256], abs=0.01)
    assert gpt['non_embedding']['pure']['alpha'] == pytest.approx(0.125, abs=0.001)
    assert gpt['non_embedding']['pure']['alpha_ci'] == pytest.approx([0.074, 0.177], abs=0.01)
    assert gpt['total']['pure']['leave_largest_out_error'] == pytest.approx(-0.137, abs=0.001)
    assert lstm['total']['pure']['alpha'] == pytest.approx(0.097, abs=0.001)
    assert lstm['total']['pure']['alpha_ci'] == pytest.approx([-0.22, 0.42], abs=0.01)
    assert not any(result['laws'][arch]['total']['offset']['identified'] for arch in ('gpt', 'lstm'))
    assert result['efficiency']['common_slope_ratio'] == pytest.approx(1.40, abs=0.01) and not result['efficiency']['established']
    report = (tmp_path / 'report.md').read_text()
    assert '-13.7%' in report and 'not established' in report and '150M' in report and 'unidentified' in report
    assert report in capsys.readouterr().out


# ---- L(N) ----

def test_pure_law_equals_linregress_with_its_t_interval():
    rng = np.random.default_rng(0)
    for n_sizes in (3, 5, 9):
        sizes = np.sort(np.exp(rng.uniform(12, 20, n_sizes)))
        loss = straight(rng, sizes)
        law, theirs = laws.fit_pure(sizes, loss), stats.linregress(np.log(sizes), np.log(loss))
        half = stats.t.ppf(0.975, n_sizes - 2) * theirs.stderr
        assert law['alpha'] == pytest.approx(-theirs.slope) and math.log(law['a']) == pytest.approx(theirs.intercept)
        assert law['alpha_ci'] == pytest.approx([-theirs.slope - half, -theirs.slope + half])
        half = stats.t.ppf(0.975, n_sizes - 2) * theirs.intercept_stderr
        assert np.log(law['a_ci']) == pytest.approx([theirs.intercept - half, theirs.intercept + half])


@pytest.mark.parametrize('alpha,c', [(0.08, 0.0), (0.3, 0.2), (0.7, 0.05), (1.5, 1.0)])
def test_noise_free_laws_are_recovered(alpha, c):
    a = 0.5 / SIZES[2] ** -alpha
    loss = a * SIZES ** -alpha + c
    law = laws.fit_offset(SIZES, loss)
    assert law['alpha'] == pytest.approx(alpha, abs=1e-3) and law['c'] == pytest.approx(c, abs=1e-3)
    assert law['a'] == pytest.approx(a, rel=1e-3) and law['identified'] and law['leave_largest_out_error'] == pytest.approx(0, abs=1e-3)
    if c == 0:
        pure = laws.fit_pure(SIZES, loss)
        assert pure['alpha'] == pytest.approx(alpha, abs=1e-6) and pure['residuals'] == pytest.approx([0] * 5, abs=1e-9)


def test_law_with_floor_is_the_best_that_a_plain_optimiser_finds():
    rng = np.random.default_rng(1)
    for _ in range(6):
        loss = (40 * SIZES ** -0.35 + 0.3) * np.exp(0.05 * rng.normal(size=5))
        law = laws.fit_offset(SIZES, loss, hold_out=False)

        def residual(theta):
            return np.log(loss) - np.log(np.exp(theta[0] - theta[1] * np.log(SIZES)) + theta[2])
        others = [2 * optimize.least_squares(residual, (a, alpha, share * loss.min()), bounds=([-50, 1e-4, 0], [80, 5, loss.min()])).cost
                  for a in (0, 3) for alpha in (0.1, 0.5, 2) for share in (0.1, 0.5, 0.9)]
        assert law['ssr'] <= min(others) * (1 + 1e-6)
        assert 0 <= law['c'] < loss.min()
        low, high = law['c_ci']
        assert low <= law['c'] <= high


def test_pure_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = [low <= 0.16 <= high for low, high in (laws.fit_pure(SIZES, straight(rng), hold_out=False)['alpha_ci'] for _ in range(300))]
    assert 0.90 <= np.mean(hits) <= 0.99


def test_bootstrap_of_few_sizes_is_exhaustive_and_correctly_weighted():
    weights, probability = laws.resamples(4, None)
    counted = {}
    for draw in itertools.product(range(4), repeat=4):
        key = tuple(np.bincount(draw, minlength=4))
        counted[key] = counted.get(key, 0) + 1 / 4 ** 4
    assert {tuple(row.astype(int)): p for row, p in zip(weights, probability)} == pytest.approx(counted)


def test_leave_largest_out_predicts_from_the_smaller_sizes_alone():
    rng = np.random.default_rng(3)
    loss = straight(rng)
    law = laws.fit_pure(SIZES, loss)
    slope, intercept = np.polyfit(np.log(SIZES[:-1]), np.log(loss[:-1]), 1)
    assert law['leave_largest_out_error'] == pytest.approx(np.exp(intercept + slope * np.log(SIZES[-1])) / loss[-1] - 1)
    low, high = law['leave_largest_out_interval']
    assert low < law['leave_largest_out_error'] < high


def test_exponent_does_not_depend_on_the_unit_of_the_loss():
    loss = straight(np.random.default_rng(4)) + 0.3
    one, other = laws.fit_offset(SIZES, loss), laws.fit_offset(SIZES, 1.7 * loss)
    assert other['alpha'] == pytest.approx(one['alpha'], rel=1e-4) and other['c'] == pytest.approx(1.7 * one['c'], rel=1e-4)


def test_runs_probability_equals_enumeration():
    for signs in ((1, 1, 0, 0, 1, 0, 0), (1, 1, 1, 0, 0, 0), (1, 0, 1, 0, 1)):
        def runs(s):
            return 1 + sum(a != b for a, b in itertools.pairwise(s))
        orders = set(itertools.permutations(signs))
        assert laws.runs_probability(np.array(signs, bool)) == pytest.approx(np.mean([runs(o) <= runs(signs) for o in orders]))


def test_broken_law_is_flagged_and_a_straight_one_rarely():
    rng = np.random.default_rng(5)
    sizes = np.geomspace(1e5, 1e9, 9)
    broken = straight(rng, sizes, 0.01) * (1 + (sizes / 1e7) ** 0.6) ** 0.25
    tests = laws.diagnose(sizes, broken, laws.fit_offset_point(sizes, broken)['ssr'])
    assert 'curved' in tests['flags'] and tests['curvature'] == 'flattens'
    steep = straight(rng, sizes, 0.01) / (1 + (sizes / 1e7) ** 0.6) ** 0.4
    assert laws.diagnose(sizes, steep)['curvature'] == 'steepens' and 'curved' in laws.diagnose(sizes, steep)['flags']
    assert np.mean([bool({'curved', 'runs'} & set(laws.diagnose(sizes, straight(rng, sizes))['flags'])) for _ in range(100)]) < 0.1


def test_outlier_is_named_and_kept(tmp_path):
    sizes = np.geomspace(1e5, 1e9, 9)
    loss = straight(np.random.default_rng(6), sizes, 0.005)
    loss[3] *= 1.2
    result = analyse(write_table(tmp_path / 'points.csv', rows_of(loss, sizes)))
    assert any('gpt3 is an outlier' in text for text in result['cautions'])
    assert len(result['laws']['gpt']['total']['pure']['sizes']) == 9


# ---- GPT against LSTM ----

def test_efficiency_ratio_of_a_simulated_advantage():
    rng = np.random.default_rng(7)
    gpt, lstm = straight(rng, noise=0.005), straight(rng, SIZES / 2, noise=0.005)
    there, back = laws.efficiency(SIZES, gpt, SIZES, lstm), laws.efficiency(SIZES, lstm, SIZES, gpt)
    low, high = there['ci']
    assert low < 2 < high and there['established'] and all(c['low'] < 2 < c['high'] for c in there['curve'])
    assert back['common_slope_ratio'] == pytest.approx(1 / there['common_slope_ratio']) and back['ci'][0] == pytest.approx(1 / high, rel=1e-3)
    assert {c['loss'] for c in there['curve']} and max(c['loss'] for c in there['curve']) <= gpt.max() * 1.02


def test_equal_architectures_have_no_established_advantage():
    rng = np.random.default_rng(8)
    established = [laws.efficiency(SIZES, straight(rng), SIZES, straight(rng), points=0)['established'] for _ in range(60)]
    assert np.mean(established) < 0.15


def test_no_ratio_where_the_loss_rises_with_size():
    result = laws.efficiency(SIZES, straight(np.random.default_rng(0)), SIZES, 2 * SIZES ** 0.3)
    assert result['common_slope_ratio'] is None and not result['established'] and result['curve'] == []


# ---- L(N, D) ----

TRUTH = {'E': 1.817, 'A': 482.0, 'B': 2085.0, 'alpha': 0.348, 'beta': 0.366}


def chinchilla_like(rng, points, noise, outliers=0):
    n, d = np.exp(rng.uniform(17.5, 23.5, points)), np.exp(rng.uniform(20, 26.7, points))
    loss = frontier.predict(TRUTH, n, d) * np.exp(noise * rng.normal(size=points))
    loss[:outliers] *= np.exp(rng.choice([-0.3, 0.3], outliers))
    return n, d, loss


def test_noise_free_l_nd_is_recovered():
    law = frontier.fit_l_nd(*chinchilla_like(np.random.default_rng(9), 60, 0), bootstraps=100)
    assert all(law[key] == pytest.approx(value, rel=1e-3) for key, value in TRUTH.items()) and law['objective'] < 1e-12


def test_l_nd_with_outliers_holds_the_truth_and_no_plain_start_beats_it():
    rng = np.random.default_rng(10)
    n, d, loss = chinchilla_like(rng, 240, 0.01, outliers=5)
    law = frontier.fit_l_nd(n, d, loss, bootstraps=300)
    assert all(law['ci'][key][0] < value < law['ci'][key][1] for key, value in TRUTH.items())
    assert set(range(5)) <= set(law['outliers']) and len(law['outliers']) < 10 and law['identified']

    def objective(theta):           # written anew, uncentred, without derivatives
        e, a, b, alpha, beta = theta
        residual = np.abs(np.log(loss) - np.log(np.exp(e) + np.exp(a - alpha * np.log(n)) + np.exp(b - beta * np.log(d))))
        return np.where(residual < 1e-3, residual ** 2 / 2, 1e-3 * (residual - 5e-4)).sum()
    ours = objective([math.log(law['E']), math.log(law['A']), math.log(law['B']), law['alpha'], law['beta']])
    assert ours == pytest.approx(law['objective'])
    starts = zip(rng.uniform(-1, 1, 25), rng.uniform(0, 15, 25), rng.uniform(0, 15, 25), rng.uniform(0.1, 1, 25), rng.uniform(0.1, 1, 25))
    with np.errstate(all='ignore'):
        assert min(optimize.minimize(objective, start, method='L-BFGS-B').fun for start in starts) > ours * (1 - 1e-9)


def test_optimal_allocation_minimises_the_law():
    law = frontier.fit_l_nd(*chinchilla_like(np.random.default_rng(11), 60, 0.001), bootstraps=100)
    for row in frontier.compute_optimal(law, [1e18, 1e21]):
        assert row['n'] * row['d'] * 6 == pytest.approx(row['flops'])
        best = optimize.minimize_scalar(lambda v: frontier.predict(law, math.exp(v), row['flops'] / 6 / math.exp(v)), (15, 25))
        assert row['n'] == pytest.approx(math.exp(best.x), rel=1e-3) and row['loss'] == pytest.approx(best.fun)
        assert all(row[key + '_ci'][0] <= row[key] <= row[key + '_ci'][1] for key in ('n', 'd', 'loss'))


def test_table_that_varies_both_gets_l_nd(monkeypatch, tmp_path):
    rows = [(f'{n:.0f}-{d:.0f}', 'gpt', n, n / 2, d, 0.5 + 20 / n ** 0.3 + 40 / d ** 0.25) for n in SIZES for d in (1e7, 1e8, 1e9)]
    run(monkeypatch, write_table(tmp_path / 'points.csv', rows), f'--out_dir={tmp_path}', '--bootstraps=100')
    result = read_results(tmp_path)
    assert [result['l_nd'][key] for key in ('E', 'alpha', 'beta')] == pytest.approx([0.5, 0.3, 0.25], abs=1e-3)
    assert len(result['groups']) == 3 and result['groups'][0]['conditions']['tokens'] == '1G'
    assert 'N*' in (tmp_path / 'report.md').read_text()


def test_l_nd_is_fitted_where_tokens_vary_not_to_the_runs_of_one_budget(monkeypatch, tmp_path):
    rows = [(f'{n:.0f}-{d:.0f}', 'gpt', n, n / 2, d, 0.5 + 20 / n ** 0.3 + 40 / d ** 0.25, 'data') for n in SIZES[:3] for d in (1e7, 1e8, 1e9)]
    rows += [(f'{n:.0f}', 'gpt', n, n / 2, 1e9, 9 / n ** 0.1, 'sizes') for n in SIZES]
    run(monkeypatch, write_table(tmp_path / 'points.csv', rows, 'name,arch,n_total,n_non_embedding,tokens,loss,group'), f'--out_dir={tmp_path}', '--bootstraps=100')
    result = read_results(tmp_path)
    assert [result['l_nd'][key] for key in ('E', 'alpha', 'beta')] == pytest.approx([0.5, 0.3, 0.25], abs=1e-3)
    assert result['groups'][0]['conditions']['group'] == 'sizes' and result['laws']['gpt']['total']['pure']['alpha'] == pytest.approx(0.1)


# ---- groups ----

@pytest.mark.parametrize('key,values', [('tokens', (1e8, 5e7)), ('schedule', ('cosine', 'wsd')), ('optimizer', ('adamw', 'muon')),
                                        ('val_set', ('a', 'b')), ('group', ('old', 'new'))])
def test_unlike_runs_are_fitted_apart_with_a_caution(tmp_path, key, values):
    columns = 'name,arch,n_total,n_non_embedding,tokens,loss' + ('' if key == 'tokens' else ',' + key)
    rows = []
    for value, level in zip(values, (1, 1.5)):
        rows += rows_of(level * 5 * SIZES ** -0.16, tokens=value if key == 'tokens' else 1e8, extra=() if key == 'tokens' else (value,))
    result = analyse(write_table(tmp_path / 'points.csv', rows, columns))
    assert [group['laws']['gpt']['total']['pure']['alpha'] for group in result['groups']] == pytest.approx([0.16, 0.16])
    assert any(f'differ in {key} (' in text and '2 groups' in text for text in result['cautions'])


def test_a_tail_that_fills_no_step_makes_no_group_of_its_own():
    groups = fit_scaling.group_runs([{'arch': 'gpt', 'n_total': n, 'tokens': t} for n, t in ((1, 100e6), (2, 99.9e6), (3, 101e6), (4, 120e6))])
    assert [len(runs) for _, runs in groups] == [3, 1]


def test_seeds_of_one_size_count_as_one_point(tmp_path):
    rng = np.random.default_rng(12)
    losses = np.array([straight(rng) for _ in range(3)])
    rows = [row for loss in losses for row in rows_of(loss)]
    law = analyse(write_table(tmp_path / 'points.csv', rows))['laws']['gpt']['total']['pure']
    alone = laws.fit_pure(SIZES, np.exp(np.log(losses).mean(0)))
    assert law['alpha'] == pytest.approx(alone['alpha']) and law['alpha_ci'] == pytest.approx(alone['alpha_ci'])


def test_of_a_learning_rate_sweep_the_best_rate_counts(tmp_path):
    loss = 5 * SIZES ** -0.16
    rows = rows_of(loss, extra=(1e-3,)) + [('slow', 'gpt', SIZES[1], SIZES[1] / 2, 1e8, 1.3 * loss[1], 1e-4)]
    result = analyse(write_table(tmp_path / 'points.csv', rows, 'name,arch,n_total,n_non_embedding,tokens,loss,learning_rate'))
    assert result['laws']['gpt']['total']['pure']['alpha'] == pytest.approx(0.16) and len(result['runs']) == 5
    assert any('another learning rate did better' in text and 'slow' in text for text in result['cautions'])


def test_missing_column_disables_only_what_needs_it(tmp_path):
    rows = [(n, loss) for n, loss in zip(SIZES, straight(np.random.default_rng(0)))]
    result = analyse(write_table(tmp_path / 'points.csv', rows, 'n_non_embedding,loss'))
    assert list(result['laws']['model']) == ['non_embedding'] and result['l_nd'] is None and result['efficiency'] is None
    assert any('how many tokens' in text for text in result['cautions'])


# ---- mistakes ----

@pytest.mark.parametrize('rows,columns,message', [
    ([], 'arch,n_total,loss', 'no line below the header'),
    ([('gpt', 1e6)], 'arch,n_total', 'needs the column loss'),
    ([('gpt', 1)], 'arch,loss', 'at least one of n_total'),
    ([('gpt', 1e6, 1)], 'arch,n_total,loss', 'at most 1 model size'),
    ([('gpt', 1e6, 1), ('gpt', 1e7, 0.9)], 'arch,n_total,loss', 'a law needs 3'),
    ([('gpt', n, 'nan') for n in SIZES], 'arch,n_total,loss', 'line 2: loss is nan'),
    ([('gpt', n, -1) for n in SIZES], 'arch,n_total,loss', 'line 2: loss is -1'),
    ([('gpt', n, 'x') for n in SIZES], 'arch,n_total,loss', "loss is 'x', not a number"),
    ([('gpt', n, '') for n in SIZES], 'arch,n_total,loss', 'the loss is missing'),
    ([('gpt', 0, 1)], 'arch,n_total,loss', 'n_total is 0'),
])
def test_unusable_table_ends_in_one_line(monkeypatch, capsys, tmp_path, rows, columns, message):
    table = write_table(tmp_path / 'points.csv', rows, columns)
    assert message in refused(monkeypatch, capsys, table, f'--out_dir={tmp_path / "out"}')
    assert not (tmp_path / 'out').exists()


def test_missing_files_end_in_one_line(monkeypatch, capsys, tmp_path):
    assert 'nothing.csv' in refused(monkeypatch, capsys, f'--table={tmp_path}/nothing.csv')
    assert 'no checkpoint' in refused(monkeypatch, capsys, f'--paths={tmp_path}/*/ckpt.pt')
    (tmp_path / 'empty.csv').write_text('')
    assert 'it has none' in refused(monkeypatch, capsys, f'--table={tmp_path}/empty.csv')
    assert 'not both' in refused(monkeypatch, capsys, f'--table={ORIGINAL}', f'{tmp_path}/ckpt.pt')


# ---- checkpoints ----

def write_checkpoint(folder, arch, n, loss, tokens=1_638_400, steps=100, val=True, **change):
    """A checkpoint as train.py writes it, with a weight of some size that nobody should read."""
    val = {'loss': loss, 'se': 0.01, 'per_note': 1.25 * loss, 'per_char': loss / 4, 'perplexity': math.exp(loss)} if val else None
    history = []
    for step in range(20, steps + 1, 20):
        history += [{'step': step, 'tokens': step * tokens // 100, 'loss': loss * 100 / step, 'lr': 1e-3, 'time_s': step * n / 1e7},
                    {'step': step, 'tokens': step * tokens // 100, 'time_s': step * n / 1e7, 'val': {**(val or {}), 'loss': loss * 100 / step}}]
    train = {'seed': 1, 'batch_size': 64, 'optimizer': 'adamw', 'schedule': 'cosine', 'learning_rate': 1e-3, 'device': 'cpu', 'dtype': 'bf16',
             'ranks': 1, 'weight_decay': 0.1, 'init': 'width'} | change
    meta = {'vocab_size': 1000, 'tokenizer': {'kind': 'bpe', 'hash': '0123456789abcdef', 'tune': 999},
            'splits': {'train': {'tokens': 2_000_000}, 'val': {'tunes': 90, 'tokens': 9000, 'notes': 7000, 'characters': 30000}}}
    folder.mkdir(parents=True)
    torch.save({'model': {'weight': torch.zeros(1000)}, 'step': steps, 'n_steps': 100, 'tokens': tokens * steps // 100, 'val': val,
                'config': {'arch': arch, 'model': {'block_size': 256}, 'train': train}, 'meta': meta, 'history': history if val else [],
                'flops_per_token': 6 * n, 'num_params': {'total': n + 100_000, 'non_embedding': n}}, folder / 'ckpt.pt')


@pytest.fixture
def family(tmp_path):
    rng = np.random.default_rng(13)
    for i, n in enumerate((300_000, 1_000_000, 3_000_000, 9_000_000)):
        write_checkpoint(tmp_path / 'out' / f'gpt_{i}', 'gpt', n, float(8 * n ** -0.12 * np.exp(0.01 * rng.normal())))
        write_checkpoint(tmp_path / 'out' / f'lstm_{i}', 'lstm', n, float(8 * (n / 3) ** -0.12 * np.exp(0.01 * rng.normal())))
    return tmp_path


def test_checkpoints_to_laws_report_and_pictures(monkeypatch, family):
    monkeypatch.chdir(family)
    run(monkeypatch)                                        # the defaults: out/*/ckpt.pt -> out/scaling
    result = read_results(family / 'out' / 'scaling')
    assert result['loss_unit'] == 'nats per note' and len(result['runs']) == 8
    assert all(r['loss'] == pytest.approx(1.25 * r['loss_per_token']) and r['loss_se'] == pytest.approx(0.0125) for r in result['runs'])
    assert all(r['flops'] == 6 * r['n_non_embedding'] * r['tokens'] for r in result['runs'])
    assert set(result['efficiency']['by']) == {'total', 'non_embedding', 'flops', 'seconds'}
    assert result['efficiency']['by']['flops']['common_slope_ratio'] == pytest.approx(3, rel=0.3)
    pure = result['laws']['gpt']['non_embedding']['pure']
    assert set(pure) >= {'alpha', 'alpha_ci', 'a', 'identified', 'leave_largest_out_error', 'residuals'}
    assert any('one learning rate' in text for text in result['cautions'])
    report = (family / 'out' / 'scaling' / 'report.md').read_text()
    assert f'{pure["leave_largest_out_error"]:+.1%}' in report and 'per token' in report and 'gpt_3' in report
    for name in ('scaling.png', 'training_curves.png'):
        assert (family / 'out' / 'scaling' / name).read_bytes().startswith(b'\x89PNG')
    assert not list((family / 'out' / 'scaling').glob('*.tmp'))


def test_unfinished_and_unevaluated_runs_are_told_apart(monkeypatch, family):
    write_checkpoint(family / 'out' / 'stopped', 'gpt', 20_000_000, 1.0, steps=60)
    write_checkpoint(family / 'out' / 'started', 'gpt', 30_000_000, 1.0, val=False)
    run(monkeypatch, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    result = read_results(family)
    assert len(result['runs']) == 9 and len(result['laws']['gpt']['total']['pure']['sizes']) == 4
    cautions = ' '.join(result['cautions'])
    assert 'started is left out' in cautions and 'has not come down in stopped' in cautions and 'differ in tokens' in cautions


def test_unreadable_checkpoints_end_in_one_line(monkeypatch, capsys, family):
    path = family / 'out' / 'gpt_0' / 'ckpt.pt'
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    assert 'gpt_0/ckpt.pt: cannot be read' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    torch.save({'weights': torch.zeros(3)}, path)
    assert 'not a checkpoint of train.py' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    path.write_bytes(whole)
    write_checkpoint(family / 'out' / 'diverged', 'gpt', 20_000_000, math.nan)
    assert 'loss is nan' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
