"""experiments/choice.py: more time or other data give another size and number of passes; a resumed run keeps its own."""
import json
import os

import pytest
import torch
from test_repeats import made_rows

from experiments import choice
from scaling import repeats


@pytest.fixture(scope='module')
def law():
    return repeats.fit(made_rows())


@pytest.fixture
def machine(monkeypatch, law):
    """A machine of a known speed, and a known law."""
    monkeypatch.setattr(repeats, 'fit', lambda rows: law)
    monkeypatch.setattr(choice, 'step_times', lambda vocab_size, device, dropout: lambda width: 2048 * width / 4e6)
    monkeypatch.setattr(choice, 'step_time', lambda width, vocab_size, device, dropout, batch_size: 256 * batch_size * width / 4e6)


def folder(tmp_path, tokens, copies=0, tokens_of_tune=100):
    path = tmp_path / f'{tokens}-{copies}-{tokens_of_tune}'
    path.mkdir()
    counts = {'tunes': tokens // tokens_of_tune * (1 + copies), 'tokens': tokens * (1 + copies), 'notes': 10, 'characters': 10}
    meta = {'vocab_size': 1000, 'tokenizer': {'kind': 'bpe'}, 'untransposed': tokens, 'splits': {'train': counts, 'val': counts}}
    (path / 'meta.json').write_text(json.dumps(meta))
    return str(path)


def test_fewer_data_are_seen_more_often_and_by_a_smaller_model(tmp_path, machine, capsys):
    few, many = (choice.choose(folder(tmp_path, tokens), 10) for tokens in (10_000, 10_000_000))
    assert few['n_embd'] < many['n_embd'] and few['epochs'] > many['epochs'] and few['max_tokens'] < many['max_tokens']
    assert (few['batch_size'], many['batch_size']) == (2, 8) and (few['dropout'], many['dropout']) == (0.1, 0.0)
    assert capsys.readouterr().out.count('passes are best') == 2


def test_a_few_long_tunes_are_seen_less_often_than_many_short_ones_of_as_many_tokens(tmp_path, machine):
    long, short = (choice.choose(folder(tmp_path, 300_000, tokens_of_tune=length), 100) for length in (5000, 50))
    assert 1.5 * long['max_tokens'] < short['max_tokens'] and long['n_embd'] <= short['n_embd']


def test_a_few_tunes_are_passed_over_twice_if_there_is_time(tmp_path, machine):
    data = folder(tmp_path, 60_000, copies=5, tokens_of_tune=5000)
    assert choice.choose(data, 10)['max_tokens'] == pytest.approx(2 * 360_000, rel=0.01)
    assert choice.choose(data, 0.02)['max_tokens'] < 360_000


def test_the_budget_fits_the_time(tmp_path, machine):
    data = folder(tmp_path, 50_000_000)
    for minutes in (1, 10, 100):
        chosen = choice.choose(data, minutes)
        seconds = chosen['max_tokens'] / (4e6 / chosen['n_embd'])
        assert seconds <= 60 * minutes * 1.01 and seconds > 30 * minutes
    with_copies = choice.choose(folder(tmp_path, 100_000, copies=5), 10)
    assert with_copies['max_tokens'] <= with_copies['epochs'] * 600_000 + 2048


def test_a_resumed_run_keeps_what_was_chosen_and_torchrun_chooses_nothing(tmp_path, machine, monkeypatch, capsys):
    data, out = folder(tmp_path, 100_000), tmp_path / 'out'
    out.mkdir()
    chosen = choice.choose(data, 10)
    train = {name: value for name, value in chosen.items() if name not in ('n_embd', 'dropout')}
    model = {name: chosen[name] for name in ('n_embd', 'dropout')}
    torch.save({'model': {}, 'meta': {}, 'config': {'arch': 'gpt', 'train': train, 'model': model}}, out / 'ckpt.pt')
    assert choice.choose(data, 600, resume=str(out)) == chosen
    with pytest.raises(SystemExit):
        choice.choose(data, 0)
    assert "'minutes' must be above 0" in capsys.readouterr().err
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(SystemExit):
        choice.choose(data, 10)
    assert 'under torchrun' in capsys.readouterr().err


def test_steps_are_timed_for_every_width(monkeypatch):
    monkeypatch.setattr(choice, 'STEP', (8, 64))                    # shorter windows than a run's
    step_s = choice.step_times(300, 'cpu', 0.1)
    times = [step_s(width) for width in choice.WIDTHS]
    assert all(s > 0 for s in times) and times == sorted(times)
    assert os.path.exists(os.path.dirname(choice.REPEATS))
