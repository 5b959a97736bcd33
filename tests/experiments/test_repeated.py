"""experiments/repeats.py: what runs on repeated data are trained with, and which tunes a part of a corpus holds."""
from types import SimpleNamespace

import numpy as np
import pytest
import test_prepare as made

from experiments import repeats
from music.transpose import transposed
from scaling.commands import options_of, settings_of

WIDTHS = {'gpt_1': 32, 'gpt_2': 64, 'gpt_4': 128}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Prepared data of 40 files; its parts are made beside it."""
    folder = tmp_path_factory.mktemp('data')
    made.run(made.lay_out(folder / 'midi', range(40)), folder / 'books')
    return str(folder / 'books')


def test_a_part_is_the_first_tunes_with_their_copies_and_the_sides_of_the_whole(data):
    folder, about = repeats.part_of(data, 10, copies=2)
    whole, _ = made.texts_of(data, 'train')
    part, ids = made.texts_of(folder, 'train')
    assert part[-10:] == whole[:10]
    copies = {transposed(text, n) for text in whole[:10] for n in range(-5, 7) if n}
    assert len(part) == 30 and len(set(part)) == 30 and set(part[:-10]) <= copies
    assert about['train_tokens'] == len(ids) and about['unique_tunes'] == 10 and about['copies'] == 2
    alone, its_about = repeats.part_of(data, 10)
    assert its_about['unique_tokens'] == its_about['train_tokens'] == about['unique_tokens'] < len(ids)
    assert made.texts_of(alone, 'train')[0] == whole[:10]
    for name in ('val', 'test'):
        assert made.texts_of(folder, name)[0] == made.texts_of(data, name)[0]


def test_more_tunes_than_there_are_are_refused(data, capsys):
    with pytest.raises(SystemExit):
        repeats.part_of(data, 1000)
    assert 'fewer than 1,000' in capsys.readouterr().err


def test_a_change_changes_what_it_names_and_nothing_else(monkeypatch):
    monkeypatch.setattr(repeats, 'part_of', lambda folder, tunes, copies=0: (
        f'{folder}-{tunes}', {'train_tokens': 120 * tunes * (1 + copies), 'copies': copies}))
    jobs = list(repeats.jobs(SimpleNamespace(family='quick', data_dir='data', out_dir='out'),
                             lambda size: options_of('gpt', WIDTHS[size])))
    settings = {name: vars(settings_of(options)) for job in jobs for name, _, options, _ in job}
    assert len(settings) == sum(map(len, jobs)) > 60
    seen = set()
    for job in jobs:
        for name, _, _, about in job:
            change, base = about['changed'], name.replace(f'-{about["changed"]}', '')
            if base in settings and change:
                seen.add(change)
                other = {key for key, value in settings[base].items() if settings[name][key] != value}
                assert other - {'snapshots', 'trunk'} == {'copies5': set(), 'one_rate': {'embedding_lr', 'head_lr'}, 'decay1': {'weight_decay'},
                                                          'dropout0.1': {'dropout'}, 'dropout0.2': {'dropout'}}[change]
    assert seen == set(repeats.CHANGES)


def test_branches_decay_off_snapshots_of_the_longest_run(data):
    job = repeats.job(SimpleNamespace(data_dir=data, out_dir='out'), 'name', options_of('gpt', 64), 10, 64)
    (_, _, first, _), *others = job
    assert [name for name, *_ in job] == [f'name-{n}' for n in repeats.EPOCHS[:len(job)]] and others
    snapshots = next(option for option in first if option.startswith('--snapshots=')).split('=')[1].split(',')
    trunks = [option for _, _, options, _ in others for option in options if option.startswith('--trunk=')]
    assert trunks == [f'--trunk=out/name-64/trunk-{tokens}.pt' for tokens in snapshots]
    assert np.all(np.diff([int(tokens) for tokens in snapshots]) < 0)
