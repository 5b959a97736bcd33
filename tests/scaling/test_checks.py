"""scaling/checks.py and parts.py: coverage, drift, rules without a law, recalled against new."""
import numpy as np
import pytest

from scaling import checks, frontier, heldout, parts, report, runs

TRUTH = {'E': 1.0, 'A': 60.0, 'B': 200.0, 'alpha': 0.35, 'beta': 0.32}
COUPLED = TRUTH | {'kappa': 0.5}
SIZES = np.geomspace(2e5, 3e6, 7)
TOKENS = 1.25e6 * 2.0 ** np.arange(5)


def group(loss, **columns):
    return [{'name': f'{n:.0f}-{d:.0f}', 'arch': 'gpt', 'n_total': n, 'n_non_embedding': n / 2,
             'tokens': d, 'seed': 1, 'flops': 6 * n * d, 'loss': float(loss(n, d)), **columns}
            for n in SIZES for d in TOKENS]


def hoffmann(n, d):
    return frontier.predict(TRUTH, n, d)


def test_a_size_with_a_noise_of_its_own_is_held_as_often_as_the_interval_says():
    rng = np.random.default_rng(1)
    of_size = dict(zip(SIZES, 0.004 * rng.normal(size=len(SIZES))))
    rows = group(lambda n, d: hoffmann(n, d) * np.exp(of_size[n] + 0.002 * rng.normal()))
    law = heldout.fit(rows, 'total', bootstraps=100)
    held = checks.coverage(rows, law)
    assert held['runs'] == 35 and 0.8 * 35 <= held['inside'] <= 35
    off = [run | {'loss': run['loss'] * (1.2 if run['n_total'] == SIZES[3] else 1)} for run in rows]
    law = heldout.fit(off, 'total', bootstraps=100)
    assert checks.coverage(off, law)['inside'] <= held['inside'] - 4        # one size is off


def test_two_seeds_give_the_same_interval_within_a_tenth_of_its_width():
    rng = np.random.default_rng(2)
    rows = group(lambda n, d: hoffmann(n, d) * np.exp(0.01 * rng.normal()))
    one, two = (heldout.fit(rows, 'total', bootstraps=500, seed=seed)['ci'] for seed in (0, 1))
    for key in ('alpha', 'beta'):
        width = np.ptp(one[key])
        assert one[key] == pytest.approx(two[key], abs=0.15 * width)


def test_all_seeds_of_a_size_are_resampled_together():
    rows = group(hoffmann)
    rng = np.random.default_rng(3)
    noise = dict(zip(SIZES, 0.01 * rng.normal(size=len(SIZES))))
    rows = [run | {'loss': run['loss'] * np.exp(noise[run['n_total']])} for run in rows]
    twice = rows + [run | {'seed': 2} for run in rows]          # a second seed that tells nothing new
    one, two = (heldout.fit(some, 'total', bootstraps=300) for some in (rows, twice))
    assert two['ci']['alpha'] == pytest.approx(one['ci']['alpha'], rel=0.02)


def test_drift_is_none_where_the_law_holds_and_names_where_it_does_not():
    rows = group(hoffmann)
    drift = checks.drift(rows, heldout.fit(rows, 'total', bootstraps=2))
    assert [row['without'] for row in drift] == ['the smallest size', 'the largest size',
                                                'the shortest runs', 'the longest runs']
    assert all(row['alpha'] == pytest.approx(0.35, rel=0.02) for row in drift)
    odd = group(lambda n, d: hoffmann(n, d) * (1.1 if n == SIZES[0] else 1))
    without, *others = checks.drift(odd, heldout.fit(odd, 'total', bootstraps=2))
    assert without['alpha'] == pytest.approx(0.35, rel=0.02)
    assert all(abs(row['alpha'] / 0.35 - 1) > 0.1 for row in others)


def test_rules_are_what_they_say_and_a_law_that_does_not_beat_them_is_told():
    # Gains that shrink by a factor of each size's own: the rule is exact, and no form of L(N, D) is
    shrink = dict(zip(SIZES, np.linspace(0.5, 0.8, len(SIZES))))
    rows = group(lambda n, d: 2 + 10 / n ** 0.2 + shrink[n] ** np.log2(d / 1.25e6))
    means, run = checks.mean_losses(rows), rows[4]              # the longest of the smallest size
    assert checks.extended_curve(means, run) == pytest.approx(run['loss'])
    assert np.isnan(checks.extended_curve(means, rows[2])) and np.isnan(checks.loss_of_the_size_below(means, run))
    assert checks.loss_of_the_size_below(means, rows[9]) == pytest.approx(rows[4]['loss'])
    law = heldout.fit(rows, 'total', bootstraps=50)
    law['checks'] = checks.check(rows, law)
    longest = next(rule for rule in law['checks']['rules'] if rule['edge'] == 'longest')
    assert longest['rule'] < 1e-6 < longest['law'] and longest['runs'] == len(SIZES)
    text, = (text for text in report.cautions_on_l_nd('gpt', rows, law) if 'extending the curve' in text
             and 'the longest runs' in text)
    assert 'that of the rule 0.0%' in text


def test_of_two_parts_the_coupled_one_is_found():
    rng = np.random.default_rng(4)
    rows = group(lambda n, d: 1.0)
    for run in rows:
        n, d = run['n_non_embedding'], run['tokens']
        recalled, new = frontier.predict(TRUTH, n, d), 2 * frontier.predict(COUPLED, n, d)
        recalled, new = (v * np.exp(0.002 * rng.normal()) for v in (recalled, new))
        run |= {'recalled_loss': recalled, 'rest_loss': new,
                'loss_per_token': 0.4 * recalled + 0.6 * new}
    found = {(row['part'], row['without']): row for row in parts.by_part(rows, bootstraps=100)}
    assert len(found) == 6
    recalled, new = found['recalled', ''], found['new', '']
    assert recalled['ci']['kappa'][0] < 1 < recalled['ci']['kappa'][1]
    assert new['ci']['kappa'][0] < 0.5 < new['ci']['kappa'][1] < 1
    assert parts.by_part([run for run in rows if run['n_total'] < SIZES[4]]) == []     # few sizes


def rows_of_two_depths():
    rows = group(hoffmann, n_layer=2.0, tokenizer='bpe 5000 aaaa', val_set='9 tunes', group='law')
    return rows, rows[-1] | {'name': 'deep', 'n_layer': 6.0}


def test_another_depth_joins_no_law_and_another_hash_of_the_tokenizer_does():
    rows, deep = rows_of_two_depths()
    other = rows[-1] | {'name': 'other', 'seed': 2, 'tokenizer': 'bpe 5000 bbbb'}
    law = runs.choose_l_nd([*rows, deep, other])
    assert [run['name'] for run in law if run['name'] in ('deep', 'other')] == ['other']
    text, = runs.left_out([*rows, deep, other], law, 'L(N, D)', ('tokens',))
    assert 'deep (layers 6, not 2)' in text


@pytest.mark.parametrize('column,value', [
    ('dropout', '0.1'), ('warmup_steps', '50'), ('cooldown_fraction', '0.5'), ('embedding_lr', '0.01'),
    ('head_lr', '0.01'), ('average_fraction', '0.1'), ('val_set', '8 tunes'), ('notation', 'beats'),
    ('tokenizer', 'bpe 1000 aaaa')])
def test_what_the_runs_of_a_law_share_is_more_than_the_schedule(column, value):
    usual = {'dropout': '0', 'warmup_steps': '200', 'cooldown_fraction': '0.2', 'embedding_lr': '0.1',
             'head_lr': '0.05', 'average_fraction': '0', 'val_set': '9 tunes', 'notation': 'plain',
             'tokenizer': 'bpe 5000 aaaa', 'batch_size': '8', 'block_size': '256'}
    rows = group(hoffmann, **usual)
    other = rows[-1] | {'name': 'other', column: value}
    law = runs.choose_l_nd([*rows, other])
    assert 'other' not in [run['name'] for run in law]
    text, = runs.left_out([*rows, other], law, 'L(N, D)', ('tokens',))
    assert f'other ({column} ' in text


def test_depth_is_part_of_the_size_of_a_family_that_grows_in_both():
    rows = [{'arch': 'gpt', 'name': str(n), 'n_total': n, 'n_layer': layers, 'tokens': 1e8, 'loss': 1.0}
            for n, layers in ((1e6, 2), (3e6, 3), (9e6, 6), (3e7, 8), (9e7, 12))]
    (shared, family), = runs.group_runs(rows)
    assert len(family) == 5 and 'layers' not in shared


def test_a_default_warm_up_is_a_share_of_the_steps_whatever_its_number():
    run = {'tokens': 256e3 * 8, 'batch_size': 8, 'block_size': 256}
    assert runs.warmup_of(run | {'warmup_steps': 100}) == 'a tenth of the steps, at most 500'
    assert runs.warmup_of(run | {'warmup_steps': 200}) == '200 steps'
