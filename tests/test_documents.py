"""README.md and results/README.md: their numbers are those of the committed tables."""
import csv
import os
import re

import numpy as np
import pytest

from conftest import ROOT
from scaling import checks, commands, frontier, heldout, laws, repeats, runs


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as f:
        return f.read()


def table_below(text, first_cell):
    """The rows, lists of cells, of the Markdown table whose header begins with `first_cell`."""
    lines = text[text.index(f'| {first_cell} |'):].split('\n\n')[0].splitlines()
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2:]]


@pytest.fixture(scope='module')
def results():
    return read('results/README.md')


@pytest.fixture(scope='module')
def study():
    rows = runs.read_table(os.path.join(ROOT, 'results', 'study.csv'))
    runs.choose_unit(rows)
    return {run['name']: run for run in rows}


@pytest.fixture(scope='module')
def gpts(study):
    """The 46 runs of the law as it was written down: second seeds made later take no part."""
    later = {'gpt_2-10000000-seed2', 'gpt_6-10000000-seed2', 'gpt_8-10000000-seed2'}
    group = runs.choose_l_nd([run for name, run in study.items()
                              if run['arch'] == 'gpt' and name not in later])
    assert len(group) == 46
    return group


TOKENS = ('2500000', '5000000', '10000000', '20000000', '40000000')


def test_the_table_of_losses_is_that_of_the_runs(results, study):
    rows = table_below(results, 'loss, nats/note')
    assert len(rows) == 12
    for name, _, n, total, effective, *losses in rows:
        for tokens, loss in zip(TOKENS, losses):
            run = study.get(f'{name}-{tokens}')
            assert loss == (f'{run["loss"]:.3f}' if run else '–')
        run = study[f'{name}-2500000']
        counts = (run['n_non_embedding'], run['n_total'], run['flops'] / 6 / run['tokens'])
        assert [n, total, effective] == [f'{round(count):,}' for count in counts]


def test_the_generalisation_gap_is_that_of_the_runs(results, study):
    def gap(name, tokens):
        run = study[f'{name}-{tokens}']
        return run['loss_per_token'] - run['train_loss']
    for label, *gaps in table_below(results, 'val - train, above that of gpt_1, nats/token'):
        name = label.split()[0]
        above = [gap(name, tokens) - gap('gpt_1', tokens) for tokens in TOKENS]
        assert [float(value) for value in gaps] == pytest.approx(above, abs=6e-4)
    for tokens, slope in zip(TOKENS, (0.005, 0.008, 0.017, 0.016, 0.018)):
        sizes = [f'gpt_{i}' for i in range(1, 9)]
        x = np.log2([study[f'{name}-{tokens}']['n_non_embedding'] for name in sizes])
        assert np.polyfit(x, [gap(name, tokens) for name in sizes], 1)[0] == pytest.approx(slope, abs=6e-4)


def test_the_law_and_its_intervals_are_those_of_the_fit(results, gpts):
    law = heldout.fit(gpts, 'non_embedding', 'kaplan')
    values = [law[key] for key in ('E', 'A', 'alpha', 'kappa', 'B', 'beta')]
    E, A, alpha, kappa, B, beta = values
    line = f'L(N, D) = {E:.3f} + (({A:.2f}/N^{alpha:.3f})^(1/{kappa:.3f}) + ({B:.1f}/D^{beta:.3f})^(1/{kappa:.3f}))^{kappa:.3f}'
    assert line in results
    readme = ' '.join(read('README.md').split())
    assert f'β = {beta:.2f} [0.27, 0.40], κ = {kappa:.2f}, E = {E:.2f}, A = {A:.1f}, B = {B:.0f}' in readme
    said = re.search(r'α = 0\.28 \[(.*?), (.*?)\], β = 0\.32 \[(.*?), (.*?)\],\nκ = 0\.54 \[(.*?), (.*?)\], E = 1\.37 \[(.*?), (.*?)\]', results)
    ends = [end for key in ('alpha', 'beta', 'kappa', 'E') for end in law['ci'][key]]
    assert [float(value) for value in said.groups()] == pytest.approx(ends, abs=0.025)
    assert max(map(abs, law['residuals'])) < 0.0265 and heldout.rms(law['residuals']) == pytest.approx(0.006, abs=5e-4)

    drift = {row['without']: row for row in checks.drift(gpts, law)}
    said = 'E is 1.37 from all runs, 1.22 without the shortest and 1.66 without the longest; α is 0.28, 0.26 and 0.35'
    assert said.replace('\n', ' ') in ' '.join(results.split())
    assert [drift[f'the {which} runs'][key] for key in ('E', 'alpha') for which in ('shortest', 'longest')] \
        == pytest.approx([1.22, 1.66, 0.26, 0.35], abs=6e-3)
    rules = {rule['edge']: rule for rule in checks.beside_rules(gpts, law)}
    assert (rules['longest']['rule'], rules['longest']['law']) == pytest.approx((0.009, 0.013), abs=6e-4)
    assert rules['largest']['rule'] == pytest.approx(0.012, abs=5e-4)


@pytest.mark.parametrize('form,size,alpha,beta', [
    ('kaplan', 'compute', 0.52, None), ('kaplan', 'total', 0.54, None),
    ('hoffmann', 'non_embedding', 0.44, 0.45), ('hoffmann', 'total', 0.84, None)])
def test_exponents_over_other_counts_and_of_the_chinchilla_form(gpts, form, size, alpha, beta):
    d, loss = (np.array([run[key] for run in gpts]) for key in ('tokens', 'loss'))
    law = frontier.estimate(heldout.counts(gpts)[size], d, loss, form)
    assert law['alpha'] == pytest.approx(alpha, abs=6e-3)
    assert beta is None or law['beta'] == pytest.approx(beta, abs=6e-3)


def test_recalled_and_new_targets_have_the_kappas_that_are_written(results, gpts):
    least, shortest = min(run['n_total'] for run in gpts), min(run['tokens'] for run in gpts)
    group = [run for run in gpts if run['n_total'] > least and run['tokens'] > 1.02 * shortest]
    n, d = heldout.counts(group)['non_embedding'], np.array([run['tokens'] for run in group])
    said = table_below(results, 'targets')
    for row, key in zip(said, ('recalled_loss', 'rest_loss', 'loss_per_token')):
        law = frontier.estimate(n, d, np.array([run[key] for run in group]), 'kaplan')
        written = [float(cell.split()[0]) for cell in row[1:4]]
        assert written == pytest.approx([law['kappa'], law['alpha'], law['beta']], abs=6e-3)


def test_the_best_use_of_compute_is_that_of_the_law(results, gpts):
    law = heldout.fit(gpts, 'compute', 'kaplan', bootstraps=100)
    counts = heldout.counts(gpts)
    for c, n, ratio, _, per_total, per_block, loss in table_below(results, 'C, FLOPs'):
        flops = float(c.split(',')[0])
        row, = frontier.compute_optimal(law, [flops], law['flops_per_n_d'])
        assert float(ratio.split()[0]) == pytest.approx(row['d_per_n'], rel=0.02)
        assert float(loss) == pytest.approx(row['loss'], abs=0.01)
        assert float(n.split()[0].rstrip('kM')) * (1e3 if 'k [' in n else 1e6) == pytest.approx(row['n'], rel=0.02)
        order = np.argsort(counts['compute'])
        for which, written in (('total', per_total), ('non_embedding', per_block)):
            at = np.exp(np.interp(np.log(row['n']), np.log(counts['compute'][order]), np.log(counts[which][order])))
            assert float(written) == pytest.approx(row['d'] / at, rel=0.03)


def test_the_forecasts_and_their_counts_are_those_of_the_tables(results, study):
    with open(os.path.join(ROOT, 'results', 'prediction.csv'), newline='') as f:
        rows = [row for row in csv.DictReader(f) if row['name'] in study]
    pairs = {}
    for row in rows:                                    # the form of that day comes first
        pairs.setdefault((row['name'], row['from']), []).append(row)
    table = table_below(results, 'run')
    assert len(table) == len(pairs) == 15
    near = inside = inside_of_chinchilla = near_of_sizes = 0
    for run, source, _, first, second, seen, errors, held in table:
        size, tokens = run.split(', ')
        name = f'{size}-{ {"39.8M": 40, "20M": 20}[tokens] * 10 ** 6}'
        pair = pairs[name, 'runs' if source == 'its shorter runs' else 'sizes']
        loss = study[name]['loss']
        assert float(seen) == pytest.approx(loss, abs=6e-4)
        misses, helds = [], []
        for cell, row in zip((first, second), pair):
            predicted, low, high = (float(row[key]) for key in ('predicted', 'low', 'high'))
            said = [float(v) for v in re.findall(r'[\d.]+', cell)]         # of the second one without the interval
            assert said == pytest.approx([predicted, low, high][:len(said)], abs=6e-4)
            misses.append(predicted / loss - 1)
            helds.append(low <= loss <= high)
        assert errors == ', '.join(f'{miss:+.1%}' for miss in misses)
        assert held == ', '.join('yes' if one else 'no' for one in helds)
        near += abs(misses[0]) <= 0.02
        near_of_sizes += abs(misses[0]) <= 0.02 and source == 'other sizes'
        inside += helds[0]
        inside_of_chinchilla += helds[1]
    assert (near, inside, inside_of_chinchilla, near_of_sizes) == (9, 8, 10, 4)
    assert sum(source == 'other sizes' for _, source, *_ in table) == 7
    assert '9 of 15 are within 2%, but only 8 of 15' in results and '4 of 7' in results


def test_the_ablations_are_those_of_the_table(results):
    with open(os.path.join(ROOT, 'results', 'ablations.csv'), newline='') as f:
        rows = list(csv.DictReader(f))
    names = {'all four parts': 'as it is', 'none of the four (original attention)': 'original attention', 'no convolutions': 'no convolutions',
             'no norm of queries and keys': 'no norm of queries and keys', 'no key offset': 'no key offset',
             'learned positions': 'learned positions', 'context 1,024, equal compute': 'context 1,024',
             'vocabulary 1,000, equal compute': 'vocabulary 1,000', "midi2abc's text, equal notes": 'midi2abc'}
    for label, losses, *_ in table_below(results, 'what is changed'):
        own = sorted((row['seed'], float(row['loss_per_note'])) for row in rows if row['group'] == names[label])
        assert losses == ', '.join(f'{loss:.3f}' for _, loss in own)


def test_the_original_study_has_the_exponents_that_are_written(results):
    rows = [run for run in runs.read_table(os.path.join(ROOT, 'results', 'original_study.csv')) if run['arch'] == 'gpt']
    for which, written in (('total', 'α = 0.164 [0.071, 0.256] over total'), ('non_embedding', '0.125 [0.074, 0.177]\nover non-embedding')):
        law = laws.fit_pure(*runs.average_seeds(rows, f'n_{which}'))
        low, high = law['alpha_ci']
        assert f'{law["alpha"]:.3f} [{low:.3f}, {high:.3f}]' in written and written in results
    low, high = laws.fit_offset(*runs.average_seeds(rows, 'n_total'))['alpha_ci']
    assert (low, high) == pytest.approx((0.087, 1.976), abs=6e-4)
    assert 'anything from 0.087 to 1.98 fits' in results


def test_the_table_for_musicians_is_that_of_the_law_of_repeated_data():
    rows = runs.read_table(os.path.join(ROOT, 'results', 'repeats.csv'))
    law = repeats.fit(rows)
    sizes, tokens = (np.array([run[key] for run in rows], float) for key in ('n_non_embedding', 'unique_tokens'))
    tokens_of_a_tune = np.mean(tokens / [float(run['unique_tunes']) for run in rows])
    table = table_below(read('README.md'), 'tunes')
    assert [re.split('[,;] (?=[a-z])', line[0])[0] for line in table] == ['50', '300', '3,000', '30,000']
    for first, width, passes, *_, loss, _ in table:
        tunes = int(first.split(', e')[0].replace(',', ''))
        one = repeats.best_of({**law, 'draws': [law['theta']]}, np.unique(sizes), tunes * tokens_of_a_tune, tunes, 5)
        assert float(passes.split()[0]) == pytest.approx(one['epochs'], rel=0.02) and loss.split()[0] == f'{one["loss"]:.2f}'
        assert int(width.split(';')[0]) == commands.nearest_width('gpt', one['n'], 'non_embedding', 1000)
