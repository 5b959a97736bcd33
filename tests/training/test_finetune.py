"""train.py --init_from and --patience: another run's weights, a fresh optimiser, an end where val no longer improves."""
import os

import pytest
import test_train
import torch
from test_train import MODERN, assert_same_run, load, run, write_data

import train
from training.log import without_improvement

data = test_train.data          # a fixture
LSTM, GPT = ('--arch=lstm', '--hidden_size=24'), ('--n_layer=1', '--n_embd=24', *MODERN)
# run() gives the shape of its tiny model; here the shape comes from the checkpoint, so these are the defaults
SHAPELESS = ('--n_layer=2', '--n_head=4', '--n_embd=128', '--hidden_size=256', '--block_size=256')


@pytest.fixture(scope='module', params=[GPT, LSTM], ids=['gpt', 'lstm'])
def base(request, data, tmp_path_factory):
    """(path of a trained model, its checkpoint)."""
    out = tmp_path_factory.mktemp('base')
    with pytest.MonkeyPatch.context() as m:
        checkpoint = run(m, data, out, *request.param, '--learning_rate=2e-2')
    return str(out / 'ckpt.pt'), checkpoint


@pytest.fixture
def other(tmp_path):
    """Data of the same tokenizer, with other tunes."""
    (tmp_path / 'other').mkdir()
    return write_data(tmp_path / 'other', (900, 300, 77), seed=1)


def tuned(monkeypatch, data, out, base, *options):
    return run(monkeypatch, data, out, *SHAPELESS, f'--init_from={base}', '--batch_size=2', *options)


def test_a_run_begins_with_the_weights_and_the_shape_of_its_checkpoint(base, monkeypatch, other, tmp_path, capsys):
    path, checkpoint = base
    seen, update = [], train.update

    def noted(model, optimizer, *args):
        if not seen:
            seen.append(({name: p.detach().clone() for name, p in model.named_parameters()}, len(optimizer.state)))
        return update(model, optimizer, *args)
    with monkeypatch.context() as m:
        m.setattr(train, 'update', noted)
        new = tuned(m, other, tmp_path / 'tuned', path, '--dropout=0.2', '--eval_interval=4')
    weights, optimizer_states = seen[0]
    assert all(torch.equal(p, checkpoint['model'][name]) for name, p in weights.items()) and not optimizer_states
    assert new['config']['model'] == {**checkpoint['config']['model'], 'dropout': 0.2}
    assert new['config']['train']['init_from'] == path and new['step'] == 20

    # Loss before, best, after, and the time
    vals = [row['val']['per_note'] for row in new['history'] if 'val' in row]
    assert [row['step'] for row in new['history'] if 'val' in row] == [0, 4, 8, 12, 16, 20]
    before = run(monkeypatch, other, os.path.dirname(path), '--eval_only')['val'] and capsys.readouterr().out
    assert f'{vals[0]:.3f} nats/note' in before                     # of the base model on these data
    assert f'nats/note: {vals[0]:.3f} before, {min(vals):.3f} best, {vals[-1]:.3f} after' in before
    assert 'of training' in before and vals[-1] < vals[0]


def test_interrupted_fine_tuning_goes_on_bit_for_bit_without_its_base(base, monkeypatch, other, tmp_path):
    path, _ = base
    whole = tuned(monkeypatch, other, tmp_path / 'whole', path, '--dropout=0.2', '--eval_interval=5')
    for at in (1, 7):
        calls, update = [], train.update

        def killed(*args, calls=calls, update=update, at=at):
            calls.append(args)
            if len(calls) == at + 1:
                raise InterruptedError
            return update(*args)
        with monkeypatch.context() as m, pytest.raises(InterruptedError):
            m.setattr(train, 'update', killed)
            tuned(m, other, tmp_path / str(at), path, '--dropout=0.2', '--eval_interval=5', '--save_minutes=0')
        assert load(tmp_path / str(at))['step'] == at
        parts = tuned(monkeypatch, other, tmp_path / str(at), 'gone.pt', '--dropout=0.2', '--eval_interval=5', '--resume')
        assert_same_run(whole, parts)


def test_with_resume_an_empty_folder_begins_from_the_base(base, monkeypatch, other, tmp_path):
    path, _ = base
    assert_same_run(tuned(monkeypatch, other, tmp_path / 'a', path), tuned(monkeypatch, other, tmp_path / 'b', path, '--resume'))


@pytest.mark.parametrize('options, said', [(['--n_layer=5'], 'n_layer is 5 here'), (['--n_embd=64'], 'n_embd is 64 here'),
                                           (['--block_size=32'], 'block_size is 32 here'), (['--qk_norm=True', '--hidden_size=48'], ' here and ')])
def test_another_shape_is_one_line(base, options, said, monkeypatch, other, tmp_path, capsys):
    with pytest.raises(SystemExit) as e:
        tuned(monkeypatch, other, tmp_path / 'out', base[0], *options)
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and said in err and 'leave it out' in err
    assert not os.path.exists(tmp_path / 'out')


def test_another_tokenizer_is_one_line(base, monkeypatch, other, tmp_path, capsys):
    meta = open(f'{other}/meta.json').read()
    with open(f'{other}/meta.json', 'w') as f:
        f.write(meta.replace('"abc"', '"another"'))
    with pytest.raises(SystemExit) as e:
        tuned(monkeypatch, other, tmp_path / 'out', base[0])
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'another tokenizer' in err


@pytest.mark.parametrize('content', [b'', b'no checkpoint', {'weights': 1}])
def test_what_is_no_checkpoint_is_one_line(content, monkeypatch, other, tmp_path, capsys):
    path = tmp_path / 'base.pt'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(SystemExit) as e:
        tuned(monkeypatch, other, tmp_path / 'out', path)
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and 'is no checkpoint of train.py' in err


def test_an_exported_model_in_bf16_is_a_base(base, monkeypatch, other, tmp_path):
    path, checkpoint = base
    model = {name: weight.bfloat16() for name, weight in checkpoint['model'].items()}
    torch.save({**{name: checkpoint[name] for name in ('config', 'tokenizer', 'meta')}, 'model': model}, tmp_path / 'small.pt')
    new = tuned(monkeypatch, other, tmp_path / 'tuned', tmp_path / 'small.pt')
    assert all(weight.dtype == torch.float32 for weight in new['model'].values())


# ---- patience

def rows(*losses):
    return [{'step': i, 'val': {'loss': loss}} for i, loss in enumerate(losses)] + [{'step': 9, 'loss': 1.0}]


@pytest.mark.parametrize('losses, n', [((), 0), ((3,), 0), ((3, 2), 0), ((3, 2, 2), 1), ((3, 2, 2.5, 2.4), 2), ((1, 2, 3, 0.5), 0)])
def test_evaluations_without_improvement_are_counted_from_the_best(losses, n):
    assert without_improvement(rows(*losses)) == n


def patient(monkeypatch, data, out, losses, *options):
    """A run whose evaluations give these losses, in turn."""
    with monkeypatch.context() as m:
        given, evaluate = iter(losses), train.evaluate
        m.setattr(train, 'evaluate', lambda *args: {**evaluate(*args), 'loss': next(given)})
        return run(m, data, out, '--eval_interval=2', *options)


def test_patience_ends_a_run_that_then_counts_as_finished(monkeypatch, data, tmp_path, capsys):
    ended = patient(monkeypatch, data, tmp_path, [3.0, 2.0, 2.2, 2.1], '--patience=2')
    assert ended['step'] == 8 and load(tmp_path, 'best.pt')['step'] == 4
    said = capsys.readouterr().out
    assert 'ended after step 8: patience is 2' in said and f'{tmp_path}/best.pt: step 4' in said
    assert_same_run(ended, patient(monkeypatch, data, tmp_path, [], '--patience=2', '--resume'))    # evaluates nothing
    more = patient(monkeypatch, data, tmp_path, [1.9], '--patience=3', '--resume')
    assert more['step'] == 10 and load(tmp_path, 'best.pt')['step'] == 10


def test_a_run_that_improves_is_not_ended(monkeypatch, data, tmp_path):
    assert patient(monkeypatch, data, tmp_path, [3.0, 3.1, 2.0, 2.1, 1.9], '--patience=2')['step'] == 10
