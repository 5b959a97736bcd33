"""config/: families whose settings follow from a size."""
import csv
import os

import pytest

from configurator import configure
from conftest import ROOT
from experiments.study import SIZES, model_options
from train import Settings, build_model

FAMILIES = {'gpt': 'n_embd', 'rnn': 'hidden_size', 'quick_gpt': 'n_embd', 'quick_rnn': 'hidden_size'}


def settings(family, *options):
    return configure(Settings, [os.path.join(ROOT, 'config', f'{name}.py') for name in family.split()] + list(options))


def of_size(family, size, *options):
    return settings(family, f'--{FAMILIES[family]}={size}', *options)


@pytest.mark.parametrize('size', SIZES)
def test_a_size_of_the_study_is_what_its_committed_rows_were_trained_with(size):
    with open(os.path.join(ROOT, 'results', 'study.csv')) as f:
        row = next(row for row in csv.DictReader(f) if row['name'] == f'{size}-5000000')
    s = configure(Settings, model_options(size))
    counts = build_model(s.arch, {**vars(s), 'vocab_size': 5000}).num_params()
    assert (counts['total'], counts['non_embedding']) == (int(row['n_total']), int(row['n_non_embedding']))
    for name in ('arch', 'batch_size', 'block_size', 'beta2', 'learning_rate', 'weight_decay', 'init'):
        assert str(getattr(s, name)) == row[name], name


@pytest.mark.parametrize('family', FAMILIES)
def test_the_learning_rate_falls_with_the_size(family):
    rates = [of_size(family, size).learning_rate for size in range(32, 1025, 32)]
    assert all(more > less > 0 for more, less in zip(rates, rates[1:]))
    assert of_size(family, 256, '--n_layer=6').learning_rate < of_size(family, 256, '--n_layer=4').learning_rate < rates[7]


@pytest.mark.parametrize('family', ['gpt', 'quick_gpt'])
def test_heads_have_32_channels_unless_their_number_is_given(family, capsys):
    assert [of_size(family, size).n_head for size in (32, 96, 256)] == [1, 3, 8]
    assert of_size(family, 180, '--n_head=6').n_head == 6
    for size in (0, 16, 100):
        with pytest.raises(SystemExit) as e:
            of_size(family, size)
        err = capsys.readouterr().err
        assert e.value.code == 2 and 'multiple of 32' in err and err.count('\n') == 1


def test_a_run_of_a_family_is_named_after_its_size():
    assert of_size('gpt', 256).run_name == 'gpt-256' and of_size('quick_rnn', 96).run_name == 'quick_rnn-96'
    assert settings('gpt original', '--n_embd=256').run_name == 'gpt-256-original'
    assert of_size('gpt', 288, '--n_layer=6').run_name == 'gpt-6x288'
    assert settings('gpt_micro modern').run_name == 'gpt_micro-modern'
