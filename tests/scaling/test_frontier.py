"""scaling/frontier.py: against simulated truth, plain optimisers and resampling by hand."""
import math

import numpy as np
import pytest
from scipy import optimize

from scaling import frontier
from scaling.report import cautions_on_l_nd

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

    def objective(theta):           # written independently, uncentred, without derivatives
        e, a, b, alpha, beta = theta
        residual = np.abs(np.log(loss) - np.log(np.exp(e) + np.exp(a - alpha * np.log(n)) + np.exp(b - beta * np.log(d))))
        return np.where(residual < 1e-3, residual ** 2 / 2, 1e-3 * (residual - 5e-4)).sum()
    ours = objective([math.log(law['E']), math.log(law['A']), math.log(law['B']), law['alpha'], law['beta']])
    assert ours == pytest.approx(law['objective'])
    starts = zip(rng.uniform(-1, 1, 25), rng.uniform(0, 15, 25), rng.uniform(0, 15, 25), rng.uniform(0.1, 1, 25), rng.uniform(0.1, 1, 25))
    with np.errstate(all='ignore'):
        assert min(optimize.minimize(objective, start, method='L-BFGS-B').fun for start in starts) > ours * (1 - 1e-9)


@pytest.mark.parametrize('form', frontier.FORMS)
def test_slopes_of_a_form_are_those_of_small_steps(form):
    x, z = np.random.default_rng(2).normal(size=(2, 20))
    low, high = frontier.limits(form)
    theta = np.array([0.3, 0.5, -0.2, 0.4, 0.3, 0.1])[:len(low)]
    (value,), (slopes,) = frontier.surface(x, z, form)(theta[None])
    for k, step in enumerate(1e-6 * np.eye(len(theta))):
        ends = frontier.surface(x, z, form)(np.stack([theta + step, theta - step]))[0]
        assert slopes[:, k] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)
    law = theta @ frontier.FORMS[form]
    law[[0, 6]] = np.exp(law[[0, 6]])
    assert value == pytest.approx(np.log(frontier.losses(law, x, z)))


@pytest.mark.parametrize('form', frontier.FORMS)
def test_optimal_allocation_minimises_the_law(form):
    law = frontier.fit_l_nd(*chinchilla_like(np.random.default_rng(11), 60, 0.001), bootstraps=100, form=form)
    for row in frontier.compute_optimal(law, [1e18, 1e21]):
        assert row['n'] * row['d'] * 6 == pytest.approx(row['flops'])
        best = optimize.minimize_scalar(lambda v: frontier.predict(law, math.exp(v), row['flops'] / 6 / math.exp(v)), (15, 25))
        assert row['n'] == pytest.approx(math.exp(best.x), rel=1e-3) and row['loss'] == pytest.approx(best.fun)
        assert all(row[key + '_ci'][0] <= row[key] <= row[key + '_ci'][1] for key in ('n', 'd', 'loss'))


def test_runs_of_one_trunk_are_resampled_together():
    n, d, loss = chinchilla_like(np.random.default_rng(12), 40, 0.01)
    alone = frontier.fit_l_nd(n, d, loss, bootstraps=100)
    twice = frontier.fit_l_nd(*(np.tile(v, 2) for v in (n, d, loss)), bootstraps=100, clusters=np.tile(np.arange(40), 2))
    apart = frontier.fit_l_nd(*(np.tile(v, 2) for v in (n, d, loss)), bootstraps=100)
    for key in ('alpha', 'beta'):               # a copy of each run tells nothing new
        assert twice['ci'][key] == pytest.approx(alone['ci'][key], rel=1e-3)
        assert np.diff(apart['ci'][key]) < np.diff(alone['ci'][key])


def test_forecast_of_a_new_run_holds_it_as_often_as_it_says():
    rng, hits = np.random.default_rng(13), []
    for _ in range(10):
        n, d, loss = chinchilla_like(rng, 60, 0.01)
        law = frontier.fit_l_nd(n, d, loss, bootstraps=100)
        for new_n, new_d, seen in zip(*chinchilla_like(rng, 30, 0.01)):
            middle, low, high = frontier.forecast(law, new_n, new_d)
            assert low < middle < high
            hits.append(low < seen < high)
    assert 0.9 <= np.mean(hits) <= 0.99


def test_budget_gives_its_tokens_per_parameter():
    law = frontier.fit_l_nd(*chinchilla_like(np.random.default_rng(11), 60, 0.001), bootstraps=100)
    row, = frontier.compute_optimal(law, [1e20], flops_per_n_d=5)
    assert row['n'] * row['d'] * 5 == pytest.approx(1e20) and row['d_per_n'] == pytest.approx(row['d'] / row['n'])
    assert row['d_per_n_ci'][0] < row['d_per_n'] < row['d_per_n_ci'][1]


def test_the_best_size_of_a_law_that_is_hardly_determined_is_a_number():
    names = ('log_E', 'log_A', 'log_B', 'alpha', 'beta', 'gamma', 'kappa')
    one = dict.fromkeys(names, 0.5)
    laws = np.array([[{**one, **other}[name] for name in names] for other in (
        {}, {'log_A': 500}, {'log_A': -500}, {'alpha': 1e-9, 'beta': 1e-9})])
    row, = frontier.compute_optimal({'draws': laws}, [1e15])
    values = [row['n'], row['d'], *row['n_ci'], *row['d_ci']]
    assert np.all(np.isfinite(values)) and min(values) >= 1 and row['n'] * row['d'] == pytest.approx(1e15 / 6)


def test_too_few_trunks_are_said_to_make_the_intervals_too_narrow():
    n, d = np.repeat([1e5, 4e5, 16e5], 4), np.tile([1e6, 4e6, 16e6, 64e6], 3)
    loss = 1.5 + 300 * n ** -0.4 + 900 * d ** -0.4
    group = [{'name': f'run {k}'} for k in range(12)]
    for clusters, too_few in ((n, True), (np.arange(12), False), (None, False)):
        law = frontier.fit_l_nd(n, d, loss, bootstraps=20, clusters=clusters)
        assert law['too_few_trunks'] == too_few
        assert any('too narrow' in text for text in cautions_on_l_nd('gpt', group, law)) == too_few
