"""plumbing/files.py: a file is the former one or the new one, never a part of it."""
import os

import pytest

from plumbing.files import atomic_write, link_or_copy


def test_a_write_that_fails_keeps_the_former_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'file'
    path.write_text('former')
    with pytest.raises(RuntimeError), atomic_write(path, 'w') as f:
        f.write('new')
        raise RuntimeError
    assert path.read_text() == 'former' and os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('left_over', [True, False])
def test_a_second_name_keeps_what_the_first_one_held(links, left_over, tmp_path, monkeypatch):
    """With links and on a file system that has none; `left_over`: by a process that was killed."""
    if not links:
        monkeypatch.setattr(os, 'link', lambda *args: (_ for _ in ()).throw(OSError('no links here')))
    one, two = tmp_path / 'one', tmp_path / 'two'
    two.write_text('former')
    if left_over:
        (tmp_path / 'two.tmp').write_text('half')
    with atomic_write(one, 'w') as f:
        f.write('first')
    link_or_copy(one, two)
    assert two.read_text() == 'first' and (os.stat(one).st_ino == os.stat(two).st_ino) == links
    with atomic_write(one, 'w') as f:
        f.write('second')
    assert two.read_text() == 'first' and sorted(os.listdir(tmp_path)) == ['one', 'two']


def test_a_copy_that_fails_keeps_the_former_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'link', lambda *args: (_ for _ in ()).throw(OSError('no links here')))
    (tmp_path / 'two').write_text('former')
    with pytest.raises(OSError):
        link_or_copy(tmp_path / 'nothing', tmp_path / 'two')
    assert (tmp_path / 'two').read_text() == 'former' and os.listdir(tmp_path) == ['two']
