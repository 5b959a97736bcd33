"""Makefile: what is done is not done again, what others made is never deleted. The scripts are played by a shell script."""
import os
import shutil
import subprocess

import pytest

from conftest import ROOT

SCRIPT = """#!/bin/bash
echo "$1 $2" >> calls
case $1 in
    prepare.py) mkdir -p data/bundled; touch data/bundled/meta.json;;
    train.py) name=$(basename $2 .py); mkdir -p out/$name; echo weights > out/$name/ckpt.pt;;
    fit_scaling.py) mkdir -p out/scaling; touch out/scaling/scaling.json;;
    sample.py) mkdir -p samples; touch samples/01.abc samples/index.html;;
esac
"""


@pytest.fixture
def make(tmp_path):
    """make in a copy of the repository whose Python is SCRIPT; returns the calls of it."""
    shutil.copy(os.path.join(ROOT, 'Makefile'), tmp_path)
    shutil.copytree(os.path.join(ROOT, 'config'), tmp_path / 'config')
    (tmp_path / 'python').write_text(SCRIPT)
    (tmp_path / 'python').chmod(0o755)

    def run(*targets):
        (tmp_path / 'calls').write_text('')
        subprocess.run(['make', 'PY=./python', *targets], cwd=tmp_path, check=True, capture_output=True, timeout=60,
                       env={k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')})
        return (tmp_path / 'calls').read_text().split('\n')[:-1]
    return run


def test_make_trains_the_family_once(make, tmp_path):
    calls = make()
    scripts = [call.split()[0] for call in calls]
    assert scripts[0] == 'prepare.py' and sorted(scripts[1:]) == ['fit_scaling.py', 'sample.py', *['train.py'] * 8]
    assert scripts.index('fit_scaling.py') >= 8             # behind all runs, the tunes behind the one that writes them
    assert calls.index('sample.py --ckpt=out/quick_best/best.pt') > calls.index('train.py config/quick_best.py')
    assert make() == []


def test_a_fresh_date_of_a_config_deletes_no_run(make, tmp_path):
    make()
    for path in (tmp_path / 'config').iterdir():
        os.utime(path, (2e9, 2e9))
    assert make() == []


def test_a_changed_config_puts_the_finished_run_aside(make, tmp_path):
    make()
    with open(tmp_path / 'config' / 'quick_gpt_1.py', 'a') as f:
        f.write('# another text\n')
    assert make()[0] == 'train.py config/quick_gpt_1.py'
    former, = (tmp_path / 'out' / 'former').iterdir()
    assert former.name.startswith('quick_gpt_1-') and (former / 'ckpt.pt').read_text() == 'weights\n'


def test_clean_leaves_what_make_did_not_make(make, tmp_path):
    make()
    others = ['data/lakh/meta.json', 'out/gpt_large/ckpt.pt', 'samples/mine/01.abc', 'downloads/lmd_full.tar.gz']
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('theirs')
    make('clean')
    assert all((tmp_path / name).read_text() == 'theirs' for name in others)
    for name in ('data/bundled', 'out/quick_gpt_1', 'out/scaling', 'samples/01.abc'):
        assert not (tmp_path / name).exists()
