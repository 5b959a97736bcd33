"""scaling/laws.py: against independent fits, brute force and simulated truth."""
import math

import numpy as np
import pytest
from scipy import optimize, stats

from scaling import laws

SIZES = np.geomspace(1e6, 1e8, 5)


def straight(rng, sizes=SIZES, noise=0.02, alpha=0.16):
    return 5 * sizes ** -alpha * np.exp(noise * rng.normal(size=len(sizes)))


def test_pure_law_equals_linregress_with_its_t_interval():
    rng = np.random.default_rng(0)
    for n_sizes in (3, 5, 9):
        sizes = np.sort(np.exp(rng.uniform(12, 20, n_sizes)))
        loss = straight(rng, sizes)
        law, theirs = laws.fit_pure(sizes, loss), stats.linregress(np.log(sizes), np.log(loss))
        half = stats.t.ppf(0.975, n_sizes - 2) * theirs.stderr
        assert law['alpha'] == pytest.approx(-theirs.slope) and math.log(law['a']) == pytest.approx(theirs.intercept)
        assert law['alpha_ci'] == pytest.approx([-theirs.slope - half, -theirs.slope + half])


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


def test_forecast_is_the_t_interval_of_a_new_point():
    x, loss = np.log(SIZES), straight(np.random.default_rng(6))
    slope, intercept = np.polyfit(x, np.log(loss), 1)
    sd = math.sqrt(((np.log(loss) - intercept - slope * x) ** 2).sum() / 3)
    half = stats.t.ppf(0.975, 3) * sd * math.sqrt(1 + 1 / 5 + (math.log(1e9) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    middle = intercept + slope * math.log(1e9)
    assert np.log(laws.forecast(laws.fit_pure(SIZES, loss), 1e9)) == pytest.approx([middle, middle - half, middle + half])


def test_ratio_interval_of_a_common_slope_is_fiellers():
    rng = np.random.default_rng(3)
    x1, x2 = np.log(SIZES), np.log(SIZES[:4] * 1.3)
    y1, y2 = (1 - 0.16 * x + 0.02 * rng.normal(size=len(x)) for x in (x1, x2))
    result = laws.efficiency(*np.exp([x1, y1]), *np.exp([x2, y2]), points=0)
    design = np.zeros((9, 3))                   # a level each, one slope, by ordinary least squares
    design[:5, 0], design[5:, 1], design[:, 2] = 1, 1, np.concatenate([x1, x2])
    (a1, a2, slope), ssr, *_ = np.linalg.lstsq(design, np.concatenate([y1, y2]), rcond=None)
    covariance = ssr[0] / 6 * np.linalg.inv(design.T @ design)
    for end in np.log(result['ci']):            # at both ends, the two lines shifted onto each other differ by t standard errors
        weights = np.array([-1, 1, end])
        assert abs(weights @ [a1, a2, slope]) == pytest.approx(stats.t.ppf(0.975, 6) * math.sqrt(weights @ covariance @ weights), rel=1e-3)
