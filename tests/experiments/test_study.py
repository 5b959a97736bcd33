"""experiments/study.py: the plan is trained once, decays find their snapshots, ablations come with intervals."""
import csv
import os
import shlex
import sys

import pytest

from configurator import configure
from experiments import runner, study
from model import GPT, GPTConfig
from train import Settings as Training
from training.plan import plan_run


@pytest.fixture
def studied(monkeypatch, tmp_path):
    """Runs the study where training only notes the run; returns a function, and the list of noted (name, options)."""
    calls = []

    def train(name, out_dir, options):
        calls.append((name, dict(o[2:].split('=', 1) for o in options if o.startswith('--'))))
        loss = 4.0 - (calls[-1][1].get('learning_rate') == '0.0018')
        return {'name': name, 'seed': 1, 'loss': 2.0, 'loss_per_note': loss, 'git': 'x'}, [{'name': name, 'tokens': 8.0, 'loss': 3.0}]

    def run(*options):
        monkeypatch.setattr(study, 'train', train)
        monkeypatch.setattr(study, 'load_meta', lambda path: {'vocab_size': 1000 if path.endswith('-v1000') else 5000,
            'splits': {'train': {'tokens': 600 if path.endswith('-char') else 100, 'notes': 100}}})
        monkeypatch.setattr(sys, 'argv', ['study.py', f'--table={tmp_path}/study.csv', f'--ablations={tmp_path}/ablations.csv',
                                          f'--nine={tmp_path}/nine.csv',
                                          f'--out_dir={tmp_path}/out', *options])
        study.main()
    return run, calls


def test_what_the_table_has_is_not_trained_again(studied, tmp_path):
    run, calls = studied
    run('--part=ablations')
    rows = list(csv.DictReader(open(tmp_path / 'ablations.csv')))
    assert len(rows) == len({row['name'] for row in rows}) == len(calls)
    run('--part=ablations')
    assert len(calls) == len(rows)
    run()
    assert len({name for name, _ in calls}) == len(calls) > 50
    kinds = {row['group'] for row in csv.DictReader(open(tmp_path / 'ablations.csv'))}
    assert kinds == {name for name, options in study.ABLATIONS.items() if 'data_dir' not in options}
    assert {row['group'] for row in csv.DictReader(open(tmp_path / 'study.csv'))} == {'law', 'short', 'depth', 'dropout', 'rate', 'schedule'}
    assert not (tmp_path / 'nine.csv').exists()                     # only where it is asked for
    before = len(calls)
    run()
    assert len(calls) == before


def test_decays_begin_where_a_snapshot_was_kept(studied):
    run, calls = studied
    run('--part=law')
    kept = {}                                           # (size, seed) -> snapshots, in the order of the calls
    for name, o in calls:
        size, tokens, *suffix = name.split('-')
        key = size, o.get('seed', '1')
        assert int(o['max_tokens']) == int(tokens) and ''.join(suffix) == ('' if key[1] == '1' else f'seed{key[1]}')
        if 'trunk' not in o:
            kept[key] = o.get('snapshots', '').split(',')
            continue
        start, steps = o['trunk'].rsplit('-', 1)[1][:-3], int(tokens) // study.STEP
        assert start in kept[key] and int(start) % study.STEP == 0
        assert o['trunk'].split('/')[-2].split('-')[2:] == suffix                   # of the same seed
        assert int(start) // study.STEP <= steps - round(study.COOLDOWN * steps)
    assert list(kept) == [(size, '1') for size in study.SIZES] + [(size, '2') for size in study.SECOND_SEED]
    for size in study.SIZES:                                        # the step that the plan reckons with
        s = configure(Training, study.model_options(size))
        assert s.batch_size * s.block_size == study.STEP


def test_each_depth_is_swept_and_then_trained_longer_at_its_best_rate(studied):
    run, calls = studied
    run('--part=depth')
    assert len(calls) == 4 * len(study.DEPTHS)
    for name in study.DEPTHS:
        rates = {called: o['learning_rate'] for called, o in calls if called.startswith(f'{name}-')}
        assert rates.pop(f'{name}-10000000') == '0.0018'        # the fixture's best
        assert sorted(rates.values()) == sorted(map(str, study.DEPTH_RATES))


def test_the_list_is_one_shell_command_a_job(studied, capsys, monkeypatch, tmp_path):
    run, calls = studied
    run('--part=law', '--list')
    lines = capsys.readouterr().out.splitlines()
    n_jobs = len(study.SIZES) + len(study.SECOND_SEED)
    assert not calls and len(lines) == n_jobs
    assert all('--trunk' not in line.split(' && ')[0] for line in lines)
    assert all('--trunk' in words for line in lines for words in line.split(' && ')[1:])
    monkeypatch.setattr(study, 'finished', lambda out_dir, options: 'gpt_4' in out_dir or out_dir.endswith('-10000000'))
    monkeypatch.setattr(study, 'results', lambda name, checkpoint: study.train(name, '', []))
    run('--part=law', '--list')
    assert len(capsys.readouterr().out.splitlines()) == n_jobs - 1     # what is finished goes into the table
    names = {row['name'] for row in csv.DictReader(open(tmp_path / 'study.csv'))}
    assert {name for name, _ in calls} == names and 'gpt_4-20000000' in names and 'gpt_1-10000000' in names
    assert names == {row['name'] for row in csv.DictReader(open(tmp_path / 'study_curves.csv'))}


def test_the_nine_sizes_see_the_data_once_by_two_recipes(studied, capsys):
    run, calls = studied
    run('--part=nine', '--list')
    seen = {}                                           # in the order of the list
    for line in capsys.readouterr().out.splitlines():
        words = shlex.split(line)
        s = configure(Training, words[2:])
        seen[os.path.basename(s.out_dir)] = s
        assert s.run_name == os.path.basename(s.out_dir) and s.resume
        assert words[1].endswith('train.py')
        n_tokens = 39_830_264
        meta = {'untransposed': n_tokens, 'splits': {'train': {'tokens': n_tokens}}}
        steps = plan_run(s, meta, n_tokens).n_steps
        assert steps == n_tokens // (s.batch_size * s.block_size)
        kind = s.positions, s.key_offset, s.qk_norm, s.conv_taps
        if s.run_name.endswith('-modern'):
            assert s.arch == 'gpt' and kind == ('rotary', True, True, 4) and steps == 19_448
            assert (s.batch_size, s.beta2, s.embedding_lr) == (8, 0.99, 0.1)
            assert (s.schedule, s.min_lr, s.warmup_steps) == ('wsd', 0, 200)
            rate = 0.0057 * (160 / s.n_embd) * (2 / s.n_layer) ** 0.5
            if s.run_name == 'gpt_micro-modern':
                rate = configure(Training, study.model_options('gpt_4')).learning_rate
            assert s.learning_rate == pytest.approx(rate, rel=0.1)
        else:
            assert kind == ('learned', False, False, 0) and steps == 2_431
            assert (s.batch_size, s.learning_rate, s.init) == (64, 3e-4, 'gpt2')
            assert (s.schedule, s.embedding_lr) == ('cosine', None)
    assert not calls
    gpts = [f'gpt_{size}' for size in ('large', 'medium', 'small', 'tiny', 'micro')]
    rnns = [f'rnn_{size}' for size in ('large', 'medium', 'small', 'tiny')]
    assert list(seen)[:5] == [f'{size}-modern' for size in gpts]
    assert sorted(list(seen)[5:]) == sorted(f'{size}-original' for size in gpts + rnns)


def test_finished_runs_of_the_nine_go_into_their_own_table(studied, capsys, monkeypatch, tmp_path):
    run, calls = studied
    monkeypatch.setattr(study, 'finished', lambda out_dir, options: 'gpt_micro-' in out_dir)
    monkeypatch.setattr(study, 'results', lambda name, checkpoint: study.train(name, '', []))
    run('--part=nine', '--list')
    assert len(capsys.readouterr().out.splitlines()) == 12
    groups = {row['name']: row['group'] for row in csv.DictReader(open(tmp_path / 'nine.csv'))}
    assert groups == {'gpt_micro-modern': 'modern', 'gpt_micro-original': 'original'}
    curves = list(csv.DictReader(open(tmp_path / 'nine_curves.csv')))
    assert {point['name'] for point in curves} == set(groups)
    assert not (tmp_path / 'study.csv').exists()
    run('--part=nine')                              # what the table has is not trained again
    assert len(calls) == 14 == len({name for name, _ in calls})


def test_a_text_of_another_length_gets_as_many_notes_and_dearer_tokens_are_fewer(studied, tmp_path):
    run, calls = studied
    for kind in ('char', 'v1000'):
        (tmp_path / f'data-{kind}').mkdir()
        (tmp_path / f'data-{kind}' / 'meta.json').write_text('')
    run('--part=ablations', f'--data_dir={tmp_path}/data')
    tokens = {name: int(o['max_tokens']) for name, o in calls}
    assert tokens['gpt_3-characters-seed1'] == 6 * tokens['gpt_3-as_it_is-seed1'] == 6 * study.ABLATION_TOKENS['study']
    base, vocabulary, context = [
        GPT(GPTConfig(vocab, block_size, 2, 3, 96, positions='rotary', key_offset=True, qk_norm=True, conv_taps=4)).flops_per_token()
        for vocab, block_size in ((5000, 256), (1000, 256), (5000, 1024))]
    assert tokens['gpt_3-vocabulary_1000-seed2'] == pytest.approx(5e6 * base / vocabulary, abs=1)
    assert tokens['gpt_3-context_1024-seed1'] == pytest.approx(5e6 * base / context, abs=1)


def test_ablations_are_paired_by_seed_with_the_noise_of_all_seeds(tmp_path, capsys):
    def rows(group, losses):
        return [{'name': f'gpt_2-{group}-seed{seed}', 'group': group, 'seed': seed, 'loss_per_note': loss}
                for seed, loss in losses.items()]

    for row in rows(study.BASE, {1: 4.0, 2: 4.2, 3: 4.1}) + rows('other', {1: 3.9, 2: 4.0}) + rows('char', {3: 5.0}):
        runner.write_row(tmp_path / 'ablations.csv', row, ['name'])
    study.differences(runner.read_rows(tmp_path / 'ablations.csv'))
    table = [[cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    # Two seeds of the other and three without it leave 1 + 2 degrees of freedom: the sum of squares is 0.005 + 0.02, t is 3.182
    half = 3.182446 * (2 * 0.025 / 3 / 2) ** 0.5
    other = ['other', 'gpt_2', '4.100', '3.950', '-0.100, -0.200', f'{-0.15 - half:+.3f} to {-0.15 + half:+.3f}']
    char = f'{0.9 - half * 2 ** 0.5:+.3f} to {0.9 + half * 2 ** 0.5:+.3f}'
    assert table == [other, ['char', 'gpt_2', '4.100', '5.000', '+0.900', char]]


def test_seeds_that_are_far_apart_have_an_interval_of_their_own_and_widen_no_other(tmp_path, capsys):
    losses = {study.BASE: (4.0, 4.01), 'late': (5.0, 6.0), 'a': (3.9, 3.92), 'b': (3.8, 3.81)}
    for name, both in losses.items():
        for seed, loss in enumerate(both, 1):
            row = {'name': f'gpt_2-{name}-seed{seed}', 'group': name, 'seed': seed, 'loss_per_note': loss}
            runner.write_row(tmp_path / 'ablations.csv', row, ['name'])
    study.differences(runner.read_rows(tmp_path / 'ablations.csv'))
    ends = [[float(end) for end in line.split('|')[-2].split(' to ')] for line in capsys.readouterr().out.splitlines()[2:]]
    far, near = 12.7062 * 0.99 / 2, 3.182446 * (2 * (2 * 0.01 ** 2 + 0.02 ** 2) / 2 / 3 / 2) ** 0.5
    middles = [(1.495, far), (-0.095, near), (-0.2, near)]
    assert ends == [[pytest.approx(m - half, abs=1e-3), pytest.approx(m + half, abs=1e-3)] for m, half in middles]
