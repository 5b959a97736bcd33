"""Makefile: what is done is not done again, what others made is never deleted. A shell script stands in for Python."""
import functools
import os
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT

SCRIPT = f"""#!/bin/bash
if [ $1 = configurator.py ]; then exec {sys.executable} "$@"; fi
echo "$*" >> calls
case $1 in
    prepare.py) mkdir -p data/bundled; touch data/bundled/meta.json;;
    train.py) out=$(sed 's/.*--out_dir=\\([^ ]*\\).*/\\1/' <<< "$*"); mkdir -p $out; echo weights > $out/ckpt.pt;;
    fit_scaling.py) mkdir -p out/scaling; touch out/scaling/scaling.json;;
    sample.py) mkdir -p samples; touch samples/01.abc samples/index.html;;
esac
"""


def run(folder, *arguments):
    """make in the folder; returns the calls of its Python, which is SCRIPT."""
    (folder / 'calls').write_text('')
    subprocess.run(['make', 'PY=./python', *arguments], cwd=folder, check=True, capture_output=True, timeout=60,
                   env={k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')})
    return (folder / 'calls').read_text().split('\n')[:-1]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A folder like a clone in which make has run to its end, and the calls of that."""
    folder = tmp_path_factory.mktemp('clone')
    for name in ('Makefile', 'configurator.py'):
        shutil.copy(os.path.join(ROOT, name), folder)
    shutil.copytree(os.path.join(ROOT, 'config'), folder / 'config')
    (folder / 'python').write_text(SCRIPT)
    (folder / 'python').chmod(0o755)
    return folder, run(folder)


@pytest.fixture
def make(made, tmp_path):
    """make, again, in a copy of that folder, which is tmp_path."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return functools.partial(run, tmp_path)


def trained(calls):
    """The names of the runs that were trained."""
    return [call.partition('--out_dir=out/')[2].split()[0] for call in calls if call.startswith('train.py')]


def test_make_trains_the_family_once(made, make):
    calls = made[1]
    scripts = [call.split()[0] for call in calls]
    assert scripts[0] == 'prepare.py' and sorted(scripts[1:]) == ['fit_scaling.py', 'sample.py', *['train.py'] * 8]
    assert scripts.index('fit_scaling.py') >= 8             # after all runs
    assert [name for name in trained(calls) if name.startswith('quick_rnn')] and len(set(trained(calls))) == 8
    best, = [i for i, call in enumerate(calls) if call.startswith('train.py config/quick_best.py')]
    assert calls.index('sample.py --ckpt=out/quick_best/best.pt --out_midi') > best
    assert make() == []


def test_a_fresh_date_or_a_comment_of_a_config_trains_nothing(make, tmp_path):
    with open(tmp_path / 'config' / 'quick_gpt.py', 'a') as f:
        f.write('# another text\n')
    for path in (tmp_path / 'config').iterdir():
        os.utime(path, (2e9, 2e9))
    assert make() == []


def test_after_a_change_of_a_family_only_runs_with_changed_settings_are_trained_again(make, tmp_path):
    with open(tmp_path / 'config' / 'quick_gpt.py', 'a') as f:
        f.write('if n_embd == 64:\n    learning_rate = 0.02\n')
    calls = make()
    assert trained(calls) == ['quick_gpt_2'] and [call.split()[0] for call in calls[1:]] == ['fit_scaling.py']
    former, = (tmp_path / 'out' / 'former').iterdir()
    assert former.name.startswith('quick_gpt_2-') and (former / 'ckpt.pt').read_text() == 'weights\n'
    assert make() == []


def test_a_run_with_other_flags_is_trained_again(make):
    flags = 'quick_gpt_1=config/quick_gpt.py --n_embd=32 --seed=2'
    assert trained(make(flags)) == ['quick_gpt_1'] and make(flags) == []


def test_clean_leaves_what_make_did_not_make(make, tmp_path):
    others = ['data/lakh/meta.json', 'out/gpt_large/ckpt.pt', 'samples/mine/01.abc', 'downloads/lmd_full.tar.gz']
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('theirs')
    make('clean')
    assert all((tmp_path / name).read_text() == 'theirs' for name in others)
    for name in ('data/bundled', 'out/quick_gpt_1', 'out/scaling', 'out/.config', 'samples/01.abc'):
        assert not (tmp_path / name).exists()
