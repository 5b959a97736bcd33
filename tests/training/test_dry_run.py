"""train.py --dry_run: what a run would take, and nothing is trained or written."""
import os
import re

import pytest
import test_train
from test_train import MODERN, TINY, assert_same_run, run

import train
from model import GPT, GPTConfig

data = test_train.data          # a fixture


def dry(monkeypatch, data, out, capsys, *options):
    capsys.readouterr()
    argv = ['train.py', f'--data_dir={data}', f'--out_dir={out}', *TINY, *options, '--dry_run']
    with monkeypatch.context() as m:
        m.setattr(train.sys, 'argv', argv)
        train.main()
    return capsys.readouterr().out


@pytest.mark.parametrize('options', [(), MODERN, ('--arch=lstm',), ('--average_fraction=0.3', '--schedule=wsd')], ids=str)
def test_it_says_what_a_run_takes_and_writes_nothing(options, monkeypatch, data, tmp_path, capsys):
    said = dry(monkeypatch, data, tmp_path / 'out', capsys, *options, '--eval_interval=4')
    assert not os.listdir(tmp_path)
    assert '10 steps of 64 tokens = 640 (0.59 epochs)' in said and '3 evaluations of' in said
    assert re.search(r'memory: \d+\.\d\d GB', said) and 'nothing was trained or written' in said
    if not options:
        flops = 640 * GPT(GPTConfig(32, 16, 2, 2, 16)).flops_per_token()
        assert f'10 steps, {flops:.2e} FLOPs, about 0:0' in said


def test_it_leaves_a_run_in_the_folder_alone(monkeypatch, data, tmp_path, capsys):
    whole = run(monkeypatch, data, tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    for options in ((), ('--resume',), ('--seed=2',)):
        said = dry(monkeypatch, data, tmp_path, capsys, *options)
        assert 'nothing was trained or written' in said
    assert files == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert_same_run(whole, run(monkeypatch, data, tmp_path, '--resume'))


def test_the_steps_that_are_left_are_those_that_count(monkeypatch, data, tmp_path, capsys):
    run(monkeypatch, data, tmp_path, '--schedule=wsd', '--cooldown_fraction=0.5', '--epochs=9')
    said = dry(monkeypatch, data, tmp_path, capsys, '--schedule=wsd', '--cooldown_fraction=0.5', '--epochs=9',
               '--max_tokens=1280', '--resume')
    assert '15 steps, ' in said                     # of 20; the first 5 are those of the shorter run
