"""scaling/heldout.py and isoflop.py: what is left out is not seen, the true form is chosen, a curve has its minimum."""
import numpy as np
import pytest

from scaling import frontier, heldout, isoflop

TRUTH = {'E': 1.0, 'A': 60.0, 'B': 200.0, 'alpha': 0.35, 'beta': 0.32}
SIZES, TOKENS = np.geomspace(2e5, 3e6, 6), (1.25e6, 2.5e6, 5e6, 1e7, 2e7)


def group(loss, sizes=SIZES, tokens=TOKENS):
    """Runs of every size and number of tokens; embeddings make the count of non-embedding parameters no power of N."""
    return [{'name': f'{n:.0f}-{d:.0f}', 'arch': 'gpt', 'n_total': n, 'n_non_embedding': n - 1.5e5, 'tokens': d, 'seed': 1,
             'flops': 6 * (n - 5e4) * d, 'loss': float(loss(n, d))} for n in sizes for d in tokens]


def hoffmann(n, d):
    return frontier.predict(TRUTH, n - 5e4, d)


@pytest.mark.parametrize('form,truth', [
    ('hoffmann', TRUTH | {'beta': 0.2}), ('gadre', TRUTH | {'beta': 0.35}), ('coupled', TRUTH | {'gamma': 0.1}),
    ('kaplan', TRUTH | {'kappa': 0.5})])
def test_the_true_form_over_the_true_count_predicts_what_is_left_out(form, truth):
    rows = heldout.compare(group(lambda n, d: frontier.predict(truth, n - 5e4, d)))
    own = heldout.choose(rows)
    assert (own['size'], own['form'], own['sizes']) == ('compute', form, 'all')
    assert own['cells'] < 1e-4 and own['largest'] < 2e-3 and own['longest'] < 2e-3


def test_what_is_left_out_is_not_seen():
    runs = group(hoffmann)
    n, d, loss = (np.array([run[key] for run in runs]) for key in ('n_total', 'tokens', 'loss'))
    out = np.arange(len(runs)) >= len(runs) - 5
    out[7] = True
    before, after = (frontier.predict_left_out(n, d, np.where(out, factor * loss, loss), out[None])[0] for factor in (1, 2))
    assert np.allclose(before, after, rtol=1e-4) and np.allclose(before, loss, rtol=5e-3)


def test_a_cell_is_predicted_as_by_a_fit_without_it():
    rng = np.random.default_rng(3)
    runs = group(lambda n, d: hoffmann(n, d) * np.exp(0.004 * rng.normal()))
    n, d, loss = (np.array([run[key] for run in runs]) for key in ('n_total', 'tokens', 'loss'))
    for k in (0, 13, 29):
        law = frontier.fit_l_nd(*(np.delete(v, k) for v in (n, d, loss)), bootstraps=2)
        out = (np.arange(len(runs)) == k)[None]
        assert frontier.predict_left_out(n, d, loss, out)[0, k] == pytest.approx(frontier.predict(law, n[k], d[k]), rel=2e-3)


def test_the_largest_miss_is_named_and_the_choice_does_not_see_the_corner():
    runs = group(hoffmann)
    runs[17]['loss'] *= 1.1
    row = heldout.compare(runs)[0]
    assert row['missed'] == runs[17]['name'] and row['worst'] == pytest.approx(-0.095, abs=0.01)
    inner = heldout.smaller(runs)
    assert {run['n_total'] for run in inner} == set(SIZES[:-1]) and max(run['tokens'] for run in inner) == TOKENS[-2]
    assert heldout.smaller(inner[:9]) == inner[:9]


def test_each_number_of_tokens_alone_agrees_with_the_law_it_follows_and_shows_where_it_does_not():
    runs = group(hoffmann)
    law = heldout.fit(runs, 'compute', bootstraps=2)
    rows = heldout.at_each_d(runs, law)
    assert [row['sizes'] for row in rows] == [6] * 5 and [row['tokens'] for row in rows] == ['1.25M', '2.5M', '5M', '10M', '20M']
    assert all(abs(row['apart']) < 2e-3 and row['alpha'] == pytest.approx(0.35, abs=0.02) for row in rows)
    for run in runs:
        run['loss'] *= 1.05 if run['tokens'] == 5e6 else 1
    assert [round(row['apart'], 2) for row in heldout.at_each_d(runs, law)] == [0, 0, 0, 0, 0]     # of the losses the law was fitted to
    law['data']['loss'] = np.array([run['loss'] for run in runs])
    assert [round(row['apart'], 2) for row in heldout.at_each_d(runs, law)] == [0, 0, 0.05, 0, 0]
    assert heldout.at_each_d(runs[:15], heldout.fit(runs[:15], 'compute', bootstraps=2)) == []


def test_isoflop_curves_have_their_minimum_where_the_law_has_it():
    runs = group(hoffmann, np.geomspace(1e5, 4e6, 8) + 5e4, np.geomspace(5e5, 8e7, 12))
    n, d, loss = heldout.counts(runs)['compute'], *(np.array([run[key] for run in runs]) for key in ('tokens', 'loss'))
    law = frontier.fit_l_nd(n, d, loss, bootstraps=2)
    curves = isoflop.isoflops(n, d, loss)
    found = [curve for curve in curves if curve['n_best']]
    assert len(curves) == 4 and found
    for curve in found:
        best, = frontier.compute_optimal(law, [curve['flops']])
        assert curve['n_best'] == pytest.approx(best['n'], rel=0.15) and curve['loss_best'] == pytest.approx(best['loss'], rel=2e-3)
        assert curve['n_best'] * curve['d_best'] * 6 == pytest.approx(curve['flops'])
        assert all(curve[key + '_ci'][0] <= curve[key] <= curve[key + '_ci'][1] for key in ('n_best', 'd_best', 'd_per_n'))


def test_a_curve_without_a_minimum_has_no_best_size_and_few_sizes_no_curve():
    runs = group(lambda n, d: 5 * n ** -0.1)
    n, d, loss = (np.array([run[key] for run in runs]) for key in ('n_total', 'tokens', 'loss'))
    curves = isoflop.isoflops(n, d, loss)
    assert len(curves) == 4 and all(curve['n_best'] is None for curve in curves)
    few = n < SIZES[3]
    assert isoflop.isoflops(n[few], d[few], loss[few]) == []
