"""fit_scaling.py and scaling/runs.py: which runs share a law, what is printed and written, on tables and hand-made checkpoints."""
import copy
import json
import math
import os
import sys

import numpy as np
import pytest
import torch

import fit_scaling
from conftest import ROOT
from scaling import laws, plots, runs

ORIGINAL = os.path.join(ROOT, 'results', 'original_study.csv')
SIZES = np.geomspace(1e6, 1e8, 5)


@pytest.fixture(scope='module', autouse=True)
def solved_once():
    """Laws with a floor of the same losses are fitted once, whichever table they are in and however sizes are counted."""
    solve, answers = laws.solve_offset, {}

    def solve_offset(x, y, column=0, held=None):
        key = x.round(9).tobytes(), y.tobytes(), column, np.array(held).tobytes()
        if key not in answers:
            answers[key] = solve(x, y, column, held)
        return tuple(array.copy() for array in answers[key])
    with pytest.MonkeyPatch.context() as m:
        m.setattr(laws, 'solve_offset', solve_offset)
        yield


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
    return fit_scaling.analyse(runs.read_table(table.removeprefix('--table=')), 100, 0)


def rows_of(loss, sizes=SIZES, arch='gpt', tokens=1e8, extra=()):
    return [(f'{arch}{i}', arch, n, n / 2, tokens, value, *extra) for i, (n, value) in enumerate(zip(sizes, loss))]


@pytest.fixture
def unseen(monkeypatch):
    """Pictures are drawn, but not turned into pixels: for tests that do not look at them."""
    monkeypatch.setattr(plots.plt.Figure, 'savefig', lambda *_, **__: None)


def read_results(folder):
    def refuse(constant):
        raise AssertionError(f'{constant} in JSON')
    return json.loads((folder / 'scaling.json').read_text(), parse_constant=refuse)


def straight(rng, sizes=SIZES, noise=0.02, alpha=0.16):
    return 5 * sizes ** -alpha * np.exp(noise * rng.normal(size=len(sizes)))


def test_original_table_gives_the_exponents_that_follow_from_it(monkeypatch, tmp_path, capsys, unseen):
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


def table_with_curves(tmp_path, slow=None):
    """A table of a law in N and D, and curves that fall like it; that of the run `slow` stays high for long."""
    def law(n, d):
        return 0.5 + 20 / n ** 0.3 + 40 / d ** 0.25
    rows = [(f'{n:.0f}-{d:.0f}', 'gpt', n, n / 2, d, law(n, d)) for n in SIZES for d in (1e7, 1e8, 1e9)]
    lines = [f'{row[0]},{d},{law(row[2], d) + 0.3 * (row[0] == slow and d < 0.9 * row[4])}'
             for row in rows for d in np.linspace(0.02, 1, 30) * row[4]]
    (tmp_path / 'points_curves.csv').write_text('\n'.join(['name,tokens,loss', *lines]) + '\n')
    return write_table(tmp_path / 'points.csv', rows)


@pytest.fixture(scope='module')
def varied(tmp_path_factory):
    """(folder of all that fit_scaling.py writes of that table, what it found)"""
    folder, analyse, found = tmp_path_factory.mktemp('varied'), fit_scaling.analyse, []
    with pytest.MonkeyPatch.context() as m:
        m.setattr(fit_scaling, 'analyse', lambda *args: found.append(analyse(*args)) or copy.deepcopy(found[0]))
        run(m, table_with_curves(folder), f'--out_dir={folder}', '--bootstraps=100')
    return folder, found[0]


def test_table_that_varies_both_gets_l_nd(varied):
    result = read_results(varied[0])
    assert [result['l_nd']['gpt'][key] for key in ('E', 'alpha', 'beta')] == pytest.approx([0.5, 0.3, 0.25], abs=1e-3)
    assert result['conditions']['tokens'] == '1B' and list(result['laws']['gpt']['total']['pure']['sizes']) == pytest.approx(SIZES)
    assert 'N*' in (varied[0] / 'report.md').read_text()


def test_l_nd_is_fitted_where_tokens_vary_not_to_the_runs_of_one_budget(tmp_path):
    rows = [(f'{n:.0f}-{d:.0f}', 'gpt', n, n / 2, d, 0.5 + 20 / n ** 0.3 + 40 / d ** 0.25, 'data') for n in SIZES[:3] for d in (1e7, 1e8, 1e9)]
    rows += [(f'{n:.0f}', 'gpt', n, n / 2, 1e9, 9 / n ** 0.1, 'sizes') for n in SIZES]
    result = analyse(write_table(tmp_path / 'points.csv', rows, 'name,arch,n_total,n_non_embedding,tokens,loss,group'))
    assert [result['l_nd']['gpt'][key] for key in ('E', 'alpha', 'beta')] == pytest.approx([0.5, 0.3, 0.25], abs=1e-3)
    assert result['conditions']['group'] == 'sizes' and result['laws']['gpt']['total']['pure']['alpha'] == pytest.approx(0.1)


@pytest.mark.parametrize('key,values', [('tokens', (1e8, 5e7)), ('schedule', ('cosine', 'wsd')), ('optimizer', ('adamw', 'muon')),
                                        ('val_set', ('a', 'b')), ('group', ('old', 'new'))])
def test_unlike_runs_are_never_fitted_together_and_one_sentence_says_so(tmp_path, key, values):
    columns = 'name,arch,n_total,n_non_embedding,tokens,loss' + ('' if key == 'tokens' else ',' + key)
    rows = []
    for value, level in zip(values, (1, 1.5)):
        rows += rows_of(level * 5 * SIZES ** -0.16, tokens=value if key == 'tokens' else 1e8, extra=() if key == 'tokens' else (value,))
    result = analyse(write_table(tmp_path / 'points.csv', rows, columns))
    assert result['laws']['gpt']['total']['pure']['alpha'] == pytest.approx(0.16)
    text, = (text for text in result['cautions'] if 'L(N) is of 5 of the 10 runs' in text)
    assert f'({key} ' in text and ', not ' in text and text.count('gpt0') + text.count('gpt1') == 2


def test_a_tail_that_fills_no_step_makes_no_group_of_its_own():
    groups = runs.group_runs([{'arch': 'gpt', 'n_total': n, 'tokens': t} for n, t in ((1, 100e6), (2, 99.9e6), (3, 101e6), (4, 120e6))])
    assert [len(group) for _, group in groups] == [3, 1]


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


def test_many_token_counts_make_one_page(monkeypatch, tmp_path, unseen):
    rng, tokens = np.random.default_rng(14), np.geomspace(1e6, 1e9, 70)
    rows = [(f'{arch}{i}-{j}', arch, n, n / 2, tokens[j], (0.5 + 20 / n ** 0.3 + 40 / tokens[j] ** 0.25) * np.exp(0.01 * rng.normal()))
            for arch in ('gpt', 'lstm') for i, n in enumerate(np.geomspace(1e5, 1e8, 6)) for j in rng.choice(70, 7, replace=False)]
    run(monkeypatch, write_table(tmp_path / 'points.csv', rows), f'--out_dir={tmp_path}', '--bootstraps=100')
    result, report = read_results(tmp_path), (tmp_path / 'report.md').read_text()
    assert len({row[4] for row in rows}) >= 50 and set(result['l_nd']) == {'gpt', 'lstm'} and result['laws']
    assert len(report.splitlines()) <= 130 and max(map(len, report.splitlines())) < 700
    assert sum('Left out:' in text and text.startswith('L(N) ') for text in result['cautions']) == 1


def test_gpts_of_two_kinds_of_attention_share_no_law_and_lstms_are_compared_with_the_larger_family(tmp_path):
    columns = 'name,arch,n_total,n_non_embedding,tokens,loss,positions,qk_norm'
    rows = rows_of(9 * SIZES[:4] ** -0.16, SIZES[:4], extra=('', '')) + rows_of(5 * SIZES ** -0.16, extra=('rotary', 'True'))
    rows += rows_of(5 * (SIZES / 2) ** -0.16, arch='lstm', extra=('', ''))
    result = analyse(write_table(tmp_path / 'points.csv', rows, columns))
    assert result['conditions']['attention'] == 'rotary + qk_norm' and len(result['laws']['gpt']['total']['pure']['sizes']) == 5
    assert result['efficiency']['common_slope_ratio'] == pytest.approx(2) and result['laws']['gpt']['total']['pure']['a'] == pytest.approx(5)
    assert any('(attention learned, not rotary + qk_norm)' in text for text in result['cautions'])


COPYING = 'name,arch,n_total,n_non_embedding,tokens,loss,positions,recalled_loss'


def family_of(arch, positions, recalled, level=5):
    """Rows of one run a size, with these losses on recalled targets."""
    rows = rows_of(level * SIZES ** -0.16, arch=arch)
    return [(*row, positions, value) for row, value in zip(rows, recalled)]


def test_gpts_of_original_attention_join_their_law_when_they_have_learned_to_copy(tmp_path):
    rows = family_of('gpt', 'learned', (1.6, 1.5, 1.49, 1.4, 1.3))
    rows += family_of('lstm', '', [1.6] * 5, level=6)
    result = analyse(write_table(tmp_path / 'points.csv', rows, COPYING))
    assert result['laws']['gpt']['total']['pure']['sizes'] == pytest.approx(SIZES[2:])
    assert result['laws']['lstm']['total']['pure']['sizes'] == pytest.approx(SIZES)
    assert result['l_n_runs'] == [row[0] for row in rows[2:]] and len(result['runs']) == 10
    text, = (text for text in result['cautions'] if 'copying transition' in text)
    assert 'Of the 10 comparable runs, 2 are left out of the law of GPT: gpt0, gpt1.' in text


@pytest.mark.parametrize('left', [0, 1, 2])
def test_fewer_than_three_gpts_that_copy_have_no_exponent(monkeypatch, tmp_path, capsys, left):
    gpts = family_of('gpt', 'learned', [1.6] * (5 - left) + [1.4] * left)
    both = gpts + family_of('lstm', '', [1.6] * 5)
    result = analyse(write_table(tmp_path / 'both.csv', both, COPYING))
    assert list(result['laws']) == ['lstm'] and result['efficiency'] is None
    few = f'GPT: at most {left} comparable model size(s); a law needs 3.'
    late = f'law of GPT: {", ".join(row[0] for row in gpts[:5 - left])}. '
    assert few in result['cautions'] and any(late in text for text in result['cautions'])
    alone = write_table(tmp_path / 'gpts.csv', gpts, COPYING)
    said = refused(monkeypatch, capsys, alone, f'--out_dir={tmp_path}')
    assert few in said and late in said


def test_other_attention_needs_no_copying_transition_and_an_unknown_loss_is_no_reason(tmp_path):
    for positions, recalled in (('rotary', 1.6), ('learned', '')):
        rows = family_of('gpt', positions, [recalled] * 5)
        result = analyse(write_table(tmp_path / 'points.csv', rows, COPYING))
        assert len(result['laws']['gpt']['total']['pure']['sizes']) == len(result['l_n_runs']) == 5
        assert not any('copying' in text for text in result['cautions'])


def test_forecasts_are_printed_with_their_interval(monkeypatch, tmp_path, capsys, unseen):
    table = write_table(tmp_path / 'points.csv', rows_of(straight(np.random.default_rng(1))) + rows_of([2, 1], SIZES[:2], 'lstm'))
    run(monkeypatch, table, f'--out_dir={tmp_path}', '--predict=1e9')
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('GPT, L(N)'))
    loss, low, high = laws.forecast(read_results(tmp_path)['laws']['gpt']['total']['pure'], 1e9)
    assert f'loss {loss:.4f} [{low:.4f}, {high:.4f}]' in line and 'at 100M tokens' in line and 'N is 10 times the nearest' in line
    assert 'needs L(N, D)' in refused(monkeypatch, capsys, table, f'--out_dir={tmp_path}', '--flops=1e17')
    for wrong in ('--predict=-1', '--predict=1,2,3', '--predict=0', '--flops=-1e17'):
        assert 'positive' in refused(monkeypatch, capsys, table, wrong)


def test_budget_is_spent_as_the_law_says(monkeypatch, tmp_path, capsys, unseen):
    rows = [(f'{n:.0f}-{d:.0f}', 'gpt', n, n / 2, d, 0.5 + 20 / n ** 0.3 + 20 / d ** 0.3) for n in SIZES for d in SIZES * 10]
    table = write_table(tmp_path / 'points.csv', rows)
    result = analyse(table)
    answer, = fit_scaling.forecasts(result, flops=6e18)
    assert answer['n'] == pytest.approx(1e9, rel=1e-3) and answer['d_per_n'] == pytest.approx(1, rel=1e-3)
    assert answer['beyond']['n'] == pytest.approx(10, rel=1e-3) and answer['beyond']['flops'] == pytest.approx(10, rel=1e-3)
    again, = fit_scaling.forecasts(result, answer['n'], answer['d'])
    assert [again['loss'], *again['loss_ci']] == pytest.approx([answer['loss'], *answer['loss_ci']])
    assert [again['loss'], *again['loss_ci']] == pytest.approx([0.5 + 40 / 1e9 ** 0.3] * 3, rel=1e-3)
    monkeypatch.setattr(fit_scaling, 'analyse', lambda *_: copy.deepcopy(result))    # of the same table, and not again
    run(monkeypatch, table, f'--out_dir={tmp_path}', '--bootstraps=100', '--flops=6e18', '--predict=1e8,1e9')
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('GPT, L(N, D)')]
    assert 'within the data' in lines[0] and 'tokens per parameter 1 [' in lines[1] and 'N is 10 times the nearest' in lines[1]


def test_training_curves_beside_a_table_are_drawn_and_the_one_that_departs_is_named(monkeypatch, tmp_path, varied, unseen):
    folder, found = varied
    pictures = {path.name for path in folder.glob('*.png') if path.read_bytes().startswith(b'\x89PNG')}
    assert pictures == {'law.png', 'residuals.png', 'optimum.png', 'scaling.png', 'training_curves.png', 'collapse.png'}
    assert not any('Training curves' in text for text in read_results(folder)['cautions'])
    slow = f'{SIZES[2]:.0f}-100000000'
    monkeypatch.setattr(fit_scaling, 'analyse', lambda *_: copy.deepcopy(found))     # only a curve has changed
    run(monkeypatch, table_with_curves(tmp_path, slow), f'--out_dir={tmp_path}', '--bootstraps=100')
    text, = (text for text in read_results(tmp_path)['cautions'] if 'Training curves' in text)
    assert text.count('(0.') == 1 and f'{slow} (0.2' in text


@pytest.mark.parametrize('name,content', [('points_curves.csv', 'name,tokens,loss\ngpt0,x,1\n'), ('prediction.csv', 'name,tokens\na,1\n'),
                                         ('prediction.csv', 'predicted,low,high\n1,2,3\n'),
                                         ('prediction.csv', 'name,from,law,predicted,low,high\na,runs,x,y,2,3\n')])
def test_a_bad_file_beside_a_table_is_one_line(monkeypatch, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert name in refused(monkeypatch, capsys, write_table(tmp_path / 'points.csv', rows_of(5 * SIZES ** -0.16)), f'--out_dir={tmp_path}')


def test_a_curve_of_few_points_keeps_the_mean_of_what_it_sums_up():
    history = [{'tokens': 100 * i, 'loss': 9 / i} for i in range(1, 2001)] + [{'tokens': 200_000, 'val': {}}]
    curve = runs.curve_of(history, points=64)
    tokens, loss = (np.array([point[key] for point in curve]) for key in ('tokens', 'loss'))
    assert len(curve) <= 64 and (np.diff(tokens) > 0).all() and tokens[-1] > 0.98 * 200_000
    assert loss == pytest.approx(900 / tokens, rel=0.15) and runs.curve_of([]) == []


def test_inf_and_nan_become_null():
    text = fit_scaling.as_json({'l_nd': None, 'ends': [math.inf, -math.inf, np.float64(math.nan), np.float32(1), np.bool_(True)]})
    assert json.loads(text)['ends'] == [None, None, None, 1, True]


@pytest.mark.parametrize('decades', [0.1, 0.3, 0.55, 0.8, 1.3, 2, 3.2, 5])
def test_labels_of_an_axis_do_not_run_into_each_other(decades):
    with plots.plt.rc_context(plots.LOOK):
        figure, ax = plots.plt.subplots(figsize=(5, 4), layout='constrained')
        for low in (1.1e5, 2.6e6, 7.7e7):
            plots.log_axis(ax.xaxis, low, low * 10 ** decades, plots.short)
            figure.canvas.draw()
            boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text() and label.get_visible()]
            inside = sorted((box.x0, box.x1) for box in boxes if ax.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= ax.bbox.x1 + 1)
            assert len(inside) >= 2 and all(end < start for (_, end), (start, _) in zip(inside, inside[1:]))
        plots.plt.close(figure)


@pytest.mark.parametrize('rows,columns,message', [
    ([], 'arch,n_total,loss', 'no line below the header'),
    ([('gpt', 1e6)], 'arch,n_total', 'needs the column loss'),
    ([('gpt', 1)], 'arch,loss', 'at least one of n_total'),
    ([('gpt', 1e6, 1)], 'arch,n_total,loss', 'at most 1 comparable model size'),
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


@pytest.mark.parametrize('text', [
    'arch;n_total;loss\ngpt;1.713.800;2,5\ngpt;3e6;0,875\n',
    '\ufeffarch;n_total;loss\r\ngpt;1713800;2,5\r\n;;\r\ngpt;3000000;0,875\r\n',
    'arch\tn_total\tloss\ngpt\t1,713,800\t2.5\n\t\t\n\ngpt\t3,000,000\t0.875\n',
    ' arch , n_total,loss ,\nGPT, "1,713,800", 2.50,\n,,,\nGPT ,3000000.0,8.75e-1,\n,,,\n',
    '"arch","n_total","loss","remark"\n"gpt","1713800","2.5","first, and best"\n"gpt","3000000","0.875",""\n',
])
def test_tables_as_spreadsheets_write_them(tmp_path, text):
    (tmp_path / 'sheet.csv').write_text(text, encoding='utf-8', newline='')
    rows = runs.read_table(tmp_path / 'sheet.csv')
    assert [(row['arch'], row['n_total'], row['loss']) for row in rows] == [('gpt', 1713800, 2.5), ('gpt', 3e6, 0.875)]


def test_missing_files_end_in_one_line(monkeypatch, capsys, tmp_path):
    assert 'nothing.csv' in refused(monkeypatch, capsys, f'--table={tmp_path}/nothing.csv')
    assert 'no checkpoint' in refused(monkeypatch, capsys, f'--paths={tmp_path}/*/ckpt.pt')
    (tmp_path / 'empty.csv').write_text('')
    assert 'it has none' in refused(monkeypatch, capsys, f'--table={tmp_path}/empty.csv')
    assert 'not both' in refused(monkeypatch, capsys, f'--table={ORIGINAL}', f'{tmp_path}/ckpt.pt')


def write_checkpoint(folder, arch, n, loss, tokens=1_638_400, steps=100, val=True, attention=(), **change):
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
                'config': {'arch': arch, 'model': {'block_size': 256, **dict(attention)}, 'train': train}, 'meta': meta, 'history': history if val else [],
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
    assert f'{pure["leave_largest_out_error"]:+.1%}' in report and 'nats/note' in report
    for name in ('scaling.png', 'training_curves.png'):
        assert (family / 'out' / 'scaling' / name).read_bytes().startswith(b'\x89PNG')
    assert not list((family / 'out' / 'scaling').glob('*.tmp'))


def test_unfinished_and_unevaluated_runs_are_told_apart(monkeypatch, family, unseen):
    write_checkpoint(family / 'out' / 'stopped', 'gpt', 20_000_000, 1.0, steps=60)
    write_checkpoint(family / 'out' / 'started', 'gpt', 30_000_000, 1.0, val=False)
    run(monkeypatch, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    result = read_results(family)
    assert len(result['runs']) == 9 and len(result['laws']['gpt']['total']['pure']['sizes']) == 4
    cautions = ' '.join(result['cautions'])
    assert 'started is left out' in cautions and 'has not come down in stopped' in cautions and 'Left out: stopped (tokens ' in cautions


def test_unreadable_checkpoints_end_in_one_line(monkeypatch, capsys, family):
    path = family / 'out' / 'gpt_0' / 'ckpt.pt'
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    assert 'gpt_0/ckpt.pt is no checkpoint of train.py' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    torch.save({'weights': torch.zeros(3)}, path)
    assert 'is no checkpoint of train.py' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
    path.write_bytes(whole)
    write_checkpoint(family / 'out' / 'diverged', 'gpt', 20_000_000, math.nan)
    assert 'loss is nan' in refused(monkeypatch, capsys, f'{family}/out/*/ckpt.pt', f'--out_dir={family}')
