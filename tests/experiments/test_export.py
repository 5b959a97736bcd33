"""experiments/export.py: a small file of a model that sample.py reads, and the one in results/."""
import sys

import pytest
import test_train
import torch

import sample
from experiments import export
from music.notation import decode
from plumbing.checkpoint import read_checkpoint
from sampling.constrain import Reader
from sampling.generate import generate
from sampling.prompt import marks_of
from sampling.tune import Tune
from train import build_model

data = test_train.data          # a fixture


def test_an_exported_model_is_the_checkpoint_s_in_bf16_without_what_training_needs(data, tmp_path, monkeypatch, capsys):
    test_train.run(monkeypatch, data, tmp_path / 'a')
    monkeypatch.setattr(sys, 'argv', ['export.py', f'--ckpt={tmp_path}/a/ckpt.pt', f'--to={tmp_path}/a.pt'])
    export.main()
    assert 'nats/note' in capsys.readouterr().out
    models = []
    for path in (tmp_path / 'a' / 'ckpt.pt', tmp_path / 'a.pt'):
        checkpoint = read_checkpoint(str(path))
        models.append(build_model(checkpoint['config']['arch'], checkpoint['config']['model']))
        models[-1].load_state_dict(checkpoint['model'])
    idx = torch.randint(0, checkpoint['meta']['vocab_size'], (2, 8))
    whole, small = (model.eval()(idx)[0] for model in models)
    assert torch.allclose(small, whole, atol=0.05) and not torch.equal(small, whole)
    assert checkpoint['val'] and 'optimizer' not in checkpoint and 'history' not in checkpoint


@pytest.mark.parametrize('options', [[], ['--ckpt=none.pt'], ['--ckpt=none.pt', '--to=b.pt']])
def test_mistakes_are_one_line(options, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['export.py', *options])
    with pytest.raises(SystemExit) as e:
        export.main()
    assert e.value.code == 2 and capsys.readouterr().err.count('\n') == 1


def test_the_model_in_the_clone_writes_tunes_where_nothing_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = sample.best_checkpoint()
    assert path == sample.BUNDLED_CKPT and 'results' in capsys.readouterr().out
    model, tokenizer, checkpoint = sample.load(path, 'cpu')
    tunes = [Tune(tokenizer, (1, i), Reader(**marks_of(checkpoint['meta'])), key=sample.key_of(checkpoint, 1, i))
             for i in range(4)]
    generate(model, tokenizer, tunes, top_p=0.9)
    assert sum(len(decode(sample.finish(tune)).notes) for tune in tunes) > 80 and checkpoint['val']['per_note'] < 1.4
