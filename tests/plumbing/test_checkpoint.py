"""plumbing/checkpoint.py: what is no checkpoint ends in one line, or in None where many are searched."""
import pytest
import torch

from plumbing.checkpoint import read_checkpoint, try_checkpoint


@pytest.mark.parametrize('mmap', [True, False])
def test_a_checkpoint_is_read_whole(tmp_path, mmap):
    torch.save({'model': {'weight': torch.arange(5)}, 'config': {}, 'meta': {}, 'step': 3}, tmp_path / 'ckpt.pt')
    checkpoint = read_checkpoint(tmp_path / 'ckpt.pt', mmap=mmap)
    assert checkpoint['step'] == 3 and checkpoint['model']['weight'].tolist() == [0, 1, 2, 3, 4]
    assert try_checkpoint(tmp_path / 'ckpt.pt')['step'] == 3


@pytest.mark.parametrize('content', [None, b'', b'no checkpoint', 'cut', 'folder', 'list', 'weights alone'])
def test_what_is_no_checkpoint_ends_in_one_line_or_in_none(tmp_path, capsys, content):
    path = tmp_path / 'ckpt.pt'
    if content == 'cut':
        torch.save({'weight': torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content == 'folder':
        path.mkdir()
    elif content == 'list':
        torch.save([torch.zeros(3)], path)
    elif content == 'weights alone':
        torch.save({'model': {'weight': torch.zeros(3)}}, path)
    elif content is not None:
        path.write_bytes(content)
    assert try_checkpoint(path) is None
    with pytest.raises(SystemExit) as stop:
        read_checkpoint(path)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count('\n') == 1 and 'no checkpoint' in err and str(path) in err
