"""sample.py: the whole run, what is asked for, and mistakes in one line."""
import json
import os
import random
import sys
import types
from collections import Counter

import mido
import numpy as np
import pytest
import test_generate
import torch
from test_generate import BLOCK, folk_tune

import bpe
import sample
from lstm import LSTM, LSTMConfig
from music.midi import read_midi, write_midi
from music.musicxml import musicxml
from music.notation import decode, encode
from music.tunebook import read_abc
from sampling.constrain import Reader
from sampling.generate import Tune, generate

world = test_generate.world      # a fixture


class Result:
    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


@pytest.fixture
def run(monkeypatch, capsys):
    """The script as from the command line, in this process (torch takes seconds to import)."""
    def run(*arguments, cwd=None):
        if cwd:
            monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', ['sample.py', *map(str, arguments)])
        code = 0
        try:
            sample.main()
        except SystemExit as e:
            code = e.code
        return Result(code, *capsys.readouterr())
    return run


def test_the_whole_run_from_the_best_checkpoint_twice_the_same(run, world, tmp_path):
    folder, tokenizer, _ = world
    for arch in ('gpt', 'lstm'):
        os.makedirs(tmp_path / 'out' / arch)
        os.link(folder / f'{arch}.pt', tmp_path / 'out' / arch / 'ckpt.pt')
    (tmp_path / 'out' / 'broken').mkdir()
    (tmp_path / 'out' / 'broken' / 'ckpt.pt').write_bytes(b'cut off')
    first = run('--out_midi', '--num_samples=4', '--max_bars=12', cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert 'out/gpt/ckpt.pt' in first.stdout
    files = sorted(os.listdir(tmp_path / 'samples'))
    assert files == sorted([f'0{i}.{kind}' for i in range(1, 5) for kind in ('abc', 'mid', 'musicxml', 'png', 'svg')] + ['index.html', 'metrics.json'])
    metrics = json.loads((tmp_path / 'samples' / 'metrics.json').read_text())
    assert metrics['first_draws']['readable'] == metrics['first_draws']['bars_exact'] == 1
    assert metrics['comparison']['notes']['n'] == 4 and metrics['comparison']['notes']['baseline'] > 0.3
    assert len(metrics['copying']['held_out']) == 24 and len(metrics['copying']['samples']) == 4
    for i in range(4):
        music = read_midi(str(tmp_path / 'samples' / f'0{i + 1}.mid'))[0]
        played = sum(m.type == 'note_on' and m.velocity > 0 for m in mido.MidiFile(tmp_path / 'samples' / f'0{i + 1}.mid') if not m.is_meta)
        assert len(music.notes) == played == metrics['tunes'][i]['notes'] >= 20
    before = {name: (tmp_path / 'samples' / name).read_bytes() for name in files if name[-3:] in ('abc', 'mid', 'tml')}
    again = run('--out_midi', '--num_samples=4', '--max_bars=12', '--out_dir=again', cwd=tmp_path)
    assert again.returncode == 0
    assert before == {name: (tmp_path / 'again' / name).read_bytes() for name in before}
    fewer = run('--num_samples=1', '--max_bars=12', cwd=tmp_path)
    assert fewer.returncode == 0 and sorted(os.listdir(tmp_path / 'samples')) == ['01.abc', '01.musicxml', '01.png', '01.svg', 'index.html', 'metrics.json']


def test_tunes_begin_with_the_prompt_whatever_its_form(run, world, tmp_path):
    text = folk_tune(random.Random(5))
    header, bars = text[:text.index('[')], text[text.index('['):].splitlines(keepends=True)
    music = decode(text)
    write_midi(music, str(tmp_path / 'p.mid'))
    (tmp_path / 'p.abc').write_text('X:1\nT:a tune\nM:3/4\nL:1/8\nQ:1/4=120\nK:G\nG2A2B2|c2d2e2|G6|\n')
    header_of_abc = encode(next(read_abc((tmp_path / 'p.abc').read_text()))[1])
    (tmp_path / 'p.musicxml').write_text(musicxml(music))
    (tmp_path / 'p.XML').write_text(musicxml(music))
    for prompt, whole in ((text, text), (tmp_path / 'p.musicxml', encode(read_midi(tmp_path / 'p.mid')[0])), (tmp_path / 'p.XML', encode(music)), ((header + bars[0]).replace('\n', '\\n'), header + bars[0]), (tmp_path / 'p.mid', encode(music)), (tmp_path / 'p.abc', header_of_abc)):
        for n in (None, 0, 1):
            got = sample.prompt_text(sample.Settings(prompt=str(prompt), prompt_bars=n), {"beats": False, "repeats": False, "phrases": False})
            assert got == ''.join(whole.splitlines(keepends=True)[:None if n is None else n + whole.count('\nV:') + 4])
            tune = Tune(world[1], (0,), Reader(), got)
            generate(world[2]['lstm'], world[1], [tune], max_bars=14)
            assert tune.text.startswith(got) and len(tune.text) > len(got)
    result = run(f'--ckpt={world[0] / "lstm.pt"}', '--num_samples=1', '--max_bars=14', f'--prompt={tmp_path / "p.mid"}', '--prompt_bars=2', f'--out_dir={tmp_path / "o"}')
    assert result.returncode == 0, result.stderr
    assert encode(read_midi(str(tmp_path / 'p.mid'))[0]).splitlines()[6] in (tmp_path / 'o' / 'index.html').read_text()


def test_what_is_asked_for_is_in_every_tune(run, world, tmp_path):
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=3', '--max_bars=6', '--meter=6/8', '--key=F', '--tempo=120', '--programs=0,33', f'--out_dir={tmp_path}')
    assert result.returncode == 0, result.stderr
    for i in (1, 2, 3):
        text = (tmp_path / f'0{i}.abc').read_text()
        assert 'M:6/8' in text and 'K:F' in text and '%%MIDI program 33' in text.replace('program 2 33', 'program 33')


@pytest.mark.parametrize('arguments, message', [
    (['--meter=7/5'], '--meter=7/5'), (['--meter=waltz'], '--meter'), (['--key=H'], '--key=H'), (['--programs=0,200'], '200'), (['--tempo=0'], '--tempo'),
    (['--top_k=0'], '--top_k'), (['--top_p=0'], '--top_p'), (['--temperature=-1'], '--temperature'), (['--num_samples=0'], '--num_samples'),
    (['--prompt=this is no music'], 'no music'), (['--prompt=none.mid'], 'none.mid'), (['--prompt=bad.mid'], 'bad.mid'), (['--prompt=bad.abc'], 'bad.abc'),
    (['--prompt=bad.musicxml'], 'bad.musicxml'), (['--prompt=none.mxl'], 'none.mxl'),
    (['--key=G', '--constrain=false'], '--key'), (['--key=G', '--prompt=L:1/8'], '--key'), (['--ckpt=none.pt'], 'none.pt'), (['--ckpt=bad.mid'], 'bad.mid'),
    (['--ckpt=old.pt'], 'old.pt'), (['--ckpt=other.pt'], 'other.pt')])
def test_mistakes_end_in_one_line(run, world, tmp_path, arguments, message):
    (tmp_path / 'bad.mid').write_bytes(b'no midi at all')
    (tmp_path / 'bad.abc').write_text('no tune in here\n')
    (tmp_path / 'bad.musicxml').write_text('<score-partwise><part/>')
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    torch.save({'model': checkpoint['model'], 'version': 0}, tmp_path / 'old.pt')
    checkpoint['config']['model']['n_embd'] = 64
    torch.save(checkpoint, tmp_path / 'other.pt')
    result = run(*([] if any('--ckpt' in a for a in arguments) else [f'--ckpt={world[0] / "gpt.pt"}']), *arguments, '--num_samples=1' if 'num_samples' not in arguments[0] else '--max_bars=2', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1 and message in result.stderr
    assert not (tmp_path / 'samples').exists()


def test_without_data_the_rest_is_done(run, world, tmp_path):
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=1', f'--data_dir={tmp_path / "none"}', f'--out_dir={tmp_path / "o"}', '--prompt=')
    assert result.returncode == 0 and 'no comparison' in result.stdout
    assert 'comparison' not in json.loads((tmp_path / 'o' / 'metrics.json').read_text())


def test_no_checkpoint_is_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, 'GIVEN', str(tmp_path / 'none.pt'))         # nor the one of the clone
    with pytest.raises(SystemExit) as e:
        sample.best_checkpoint()
    assert e.value.code == 2 and 'train one first' in capsys.readouterr().err


def foreign_tune(rng):
    """A tune as midi2abc writes it: other ABC, without number and title."""
    bars = [''.join(rng.choice('GABcde') + '2' for _ in range(3)) + '|' for _ in range(10)]
    return 'M: 3/4\nL: 1/8\nQ:1/4=120\nK:C % 0 sharps\nV:1\n%%MIDI program 0\n' + '\n'.join(bars) + '\n'


@pytest.fixture
def foreign(world, tmp_path):
    """Checkpoint and folder of data prepared with --converter=midi2abc: a model that has nearly learned one tune by heart."""
    rng = random.Random(3)
    texts = {split: [foreign_tune(rng) for _ in range(n)] for split, n in (('train', 2), ('val', 6), ('test', 6))}
    tokenizer = bpe.train(texts['train'], vocab_size=60)
    for split in ('val', 'test'):
        (tmp_path / f'{split}.abc').write_text('\n'.join(texts[split]))
    (tmp_path / 'tokenizer.json').write_text(tokenizer.to_json())
    ids = [i for text in texts['train'] for i in [tokenizer.tune, *tokenizer.encode(text)]]
    np.array(ids, np.uint16).tofile(tmp_path / 'train.bin')
    meta = {'tokenizer': {'hash': tokenizer.hash}, 'splits': {split: {'tunes': len(texts[split])} for split in texts}, 'settings': {'converter': 'midi2abc'}}
    (tmp_path / 'meta.json').write_text(json.dumps(meta))
    config = LSTMConfig(tokenizer.vocab_size, BLOCK, 1, 48)
    torch.manual_seed(1)
    model, ids = LSTM(config), torch.tensor(ids)[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(120):
        optimizer.zero_grad()
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        optimizer.step()
    torch.save({'config': {'arch': 'lstm', 'model': vars(config), 'train': {'data_dir': str(tmp_path)}}, 'model': model.state_dict(), 'meta': meta,
                'tokenizer': tokenizer.to_json(), 'num_params': model.num_params(), 'val': {'per_note': 2.0}}, tmp_path / 'foreign.pt')
    return tmp_path


def test_a_model_of_midi2abc_writes_its_own_texts_without_constraint_and_they_are_measured_where_they_can_be_read(run, foreign):
    result = run(f'--ckpt={foreign / "foreign.pt"}', '--num_samples=3', '--max_tokens=400', '--out_midi', cwd=foreign)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('without the constraint') == 1
    metrics = json.loads((foreign / 'samples' / 'metrics.json').read_text())
    assert metrics['settings']['constrain'] is False and 'bars_exact' not in metrics['first_draws']
    assert metrics['first_draws']['readable'] > 0 and metrics['comparison']['notes']['held_out'] == 30 and metrics['copying']['train_tunes'] == 2
    texts = [(foreign / 'samples' / f'0{i}.abc').read_text() for i in (1, 2, 3)]
    assert all(text.startswith(f'X:1\nT:Tune {i}\nM: 3/4\nL: 1/8\n') for i, text in enumerate(texts, 1))
    read = [next(read_abc(text))[1] for text in texts]
    assert [m['notes'] for m in metrics['tunes']] == [len(music.notes) for music in read if music]
    assert sum(name.endswith('.mid') for name in os.listdir(foreign / 'samples')) == len(metrics['tunes'])


@pytest.mark.parametrize('asked', ['--key=G', '--prompt=K:C'])
def test_what_needs_our_notation_is_refused_for_a_model_of_midi2abc_in_one_line(run, foreign, asked):
    result = run(f'--ckpt={foreign / "foreign.pt"}', asked, cwd=foreign)
    assert result.returncode == 2 and result.stderr.count('\n') == 1 and 'midi2abc' in result.stderr


def test_data_other_than_what_the_checkpoint_was_trained_on_are_compared_with_on_demand_only(run, world, tmp_path):
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    checkpoint['meta']['splits']['train']['tunes'] += 1                     # the folder was prepared anew since
    torch.save(checkpoint, tmp_path / 'old.pt')
    arguments = f'--ckpt={tmp_path / "old.pt"}', '--num_samples=2', '--max_bars=12', '--statistics_only'
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 0 and 'no longer holds' in result.stdout and 'copies' in result.stdout
    assert not {'comparison', 'copying'} & set(json.loads((tmp_path / 'samples' / 'metrics.json').read_text()))
    named = run(*arguments, f'--data_dir={world[0]}')
    assert named.returncode == 0 and 'is not what the checkpoint was trained on' in named.stdout
    assert {'comparison', 'copying'} <= set(json.loads((tmp_path / 'samples' / 'metrics.json').read_text()))
    same = run(f'--ckpt={world[0] / "gpt.pt"}', *arguments[1:], f'--data_dir={world[0]}')
    assert same.returncode == 0 and 'trained on' not in same.stdout


def test_losses_on_other_validation_tunes_do_not_compete_for_the_best_checkpoint(world, tmp_path, monkeypatch, capsys):
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    for name, loss, notes, written in (('a', 1.2, 100, 50), ('b', 1.1, 100, 100), ('other', 0.5, 90, 60)):
        checkpoint['val'], checkpoint['meta']['splits']['val'] = {'per_note': loss}, {'tunes': 3, 'notes': notes, 'tokens': int(10 * loss)}
        (tmp_path / 'out' / name).mkdir(parents=True)
        torch.save(checkpoint, tmp_path / 'out' / name / 'best.pt')
        os.utime(tmp_path / 'out' / name / 'best.pt', (written, written))
    monkeypatch.chdir(tmp_path)
    assert sample.best_checkpoint() == 'out/b/best.pt'
    said = capsys.readouterr().out
    assert said.count('\n') == 1 and 'out/b/best.pt' in said and 'left out: 1\n' in said
    os.utime('out/other/best.pt', (200, 200))
    assert sample.best_checkpoint() == 'out/other/best.pt'
    os.remove('out/other/best.pt')
    capsys.readouterr()
    assert sample.best_checkpoint() == 'out/b/best.pt' and capsys.readouterr().out == ''


def test_tunes_that_nobody_wants_are_drawn_again_and_counted(monkeypatch):
    header = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n'
    bars = [f'[V:1]{a}{b}{a}{b} {b}{a}{b}{a}|\n' for a, b in zip('CDEFGABcde', 'GABcdefgab')]
    texts = [header + 9 * bars[0], header + bars[0], header + ''.join(bars)]
    monkeypatch.setattr(sample, 'generate', lambda *_: {})
    start = lambda seed: types.SimpleNamespace(text=texts[seed[2]], ended=True)
    tunes, first_draws, redrawn, _ = sample.sample_tunes(None, None, start, sample.Settings(num_samples=1), 'builtin')
    assert (tunes[0].text, first_draws[0].text) == (texts[2], texts[0])
    assert redrawn == {'going in circles': 1, 'with fewer than 20 notes': 1}


def test_keys_follow_the_tunes_that_are_not_transposed_and_are_spread_evenly():
    checkpoint = {'meta': {'keys': {'G': [10, 5], 'F#': [10, 0], 'D': [8, 2]}}}
    for n, slack in ((10, 1.5), (200, 2), (2000, 3)):
        for seed in range(5):
            keys = Counter(sample.key_of(checkpoint, seed, i) for i in range(n))
            assert set(keys) == {'G', 'D'} and abs(keys['G'] - n * 5 / 7) <= slack
    assert [sample.key_of(checkpoint, 0, i) for i in range(9)] != [sample.key_of(checkpoint, 1, i) for i in range(9)]
    for meta in ({}, {'keys': {}}, {'keys': {'G': [10, 0]}}):
        assert sample.key_of({'meta': meta}, 1, 0) is None
