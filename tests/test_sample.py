"""sample.py: the whole run, what is asked for, and mistakes in one line."""
import json
import os
import random
import re
import resource
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
from sampling.generate import generate
from sampling.judge import fault, log_likelihood, nats_per_note
from sampling.tune import Tune

world = test_generate.world      # a fixture
HEADER = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n'


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
    first = run('--out_midi', '--listening_test', '--num_samples=3', '--max_bars=12', cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert 'out/gpt/ckpt.pt' in first.stdout
    files = sorted(os.listdir(tmp_path / 'samples'))
    assert files == sorted([f'0{i}.{kind}' for i in range(1, 4) for kind in ('abc', 'mid', 'musicxml', 'svg')] + ['index.html', 'listening.html', 'metrics.json'])
    metrics = json.loads((tmp_path / 'samples' / 'metrics.json').read_text())
    assert metrics['first_draws']['readable'] == metrics['first_draws']['bars_exact'] == 1
    pairs = json.loads(re.search(r'id="data">(.*?)</script>', (tmp_path / 'samples' / 'listening.html').read_text(), re.S)[1])['tunes']
    assert sorted(tune['source'] for tune in pairs) == ['held-out'] * 3 + [f'model 0{i}' for i in range(1, 4)]
    assert all(8 <= len(tune['bars']) - 1 <= 12 for tune in pairs)
    assert metrics['comparison']['notes']['n'] == 3 and metrics['comparison']['notes']['baseline'] > 0.3
    assert len(metrics['copying']['held_out']) == 24 and len(metrics['copying']['samples']) == 3
    for i in range(3):
        music = read_midi(str(tmp_path / 'samples' / f'0{i + 1}.mid'))[0]
        played = sum(m.type == 'note_on' and m.velocity > 0 for m in mido.MidiFile(tmp_path / 'samples' / f'0{i + 1}.mid') if not m.is_meta)
        assert len(music.notes) == played == metrics['tunes'][i]['notes'] >= 20
    before = {name: (tmp_path / 'samples' / name).read_bytes() for name in files if name[-3:] in ('abc', 'mid', 'tml')}
    again = run('--out_midi', '--listening_test', '--num_samples=3', '--max_bars=12', '--out_dir=again', cwd=tmp_path)
    assert again.returncode == 0
    assert before == {name: (tmp_path / 'again' / name).read_bytes() for name in before}
    fewer = run('--num_samples=1', '--max_bars=12', cwd=tmp_path)
    assert fewer.returncode == 0 and sorted(os.listdir(tmp_path / 'samples')) == ['01.abc', '01.musicxml', '01.svg', 'index.html', 'metrics.json']


def test_tunes_begin_with_the_prompt_whatever_its_form(run, world, tmp_path):
    text = folk_tune(random.Random(5))
    header, bars = text[:text.index('[')], text[text.index('['):].splitlines(keepends=True)
    music = decode(text)
    write_midi(music, str(tmp_path / 'p.mid'))
    (tmp_path / 'p.abc').write_text('X:1\nT:a tune\nM:3/4\nL:1/8\nQ:1/4=120\nK:G\nG2A2B2|c2d2e2|G6|\n')
    header_of_abc = encode(next(read_abc((tmp_path / 'p.abc').read_text()))[1])
    (tmp_path / 'p.musicxml').write_text(musicxml(music))
    (tmp_path / 'p.XML').write_text(musicxml(music))
    for name, same in (('p.kar', 'p.mid'), ('p.txt', 'p.abc')):
        (tmp_path / name).write_bytes((tmp_path / same).read_bytes())
    for prompt, whole in ((tmp_path / 'p.kar', encode(music)), (tmp_path / 'p.txt', header_of_abc), (text, text), (tmp_path / 'p.musicxml', encode(read_midi(tmp_path / 'p.mid')[0])), (tmp_path / 'p.XML', encode(music)), ((header + bars[0]).replace('\n', '\\n'), header + bars[0]), (tmp_path / 'p.mid', encode(music)), (tmp_path / 'p.abc', header_of_abc)):
        for n in (None, 0, 1):
            got = sample.prompt_text(sample.Settings(prompt=str(prompt), prompt_bars=n), {"beats": False, "repeats": False, "phrases": False})
            assert got == ''.join(whole.splitlines(keepends=True)[:None if n is None else n + whole.count('\nV:') + 4])
            tune = Tune(world[1], (0,), Reader(), got)
            generate(world[2]['lstm'], world[1], [tune], max_bars=2)
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
    (['--temperature=1e999'], '--temperature'), (['--top_p=1.01'], '--top_p'), (['--max_bars=0'], '--max_bars'), (['--min_bars=-1'], '--min_bars'),
    (['--best_of=0'], '--best_of'), (['--listening_test', '--statistics_only'], '--listening_test'), (['--listening_test', '--data_dir=none'], '--data_dir'), (['--best_of=2', '--temperature=0'], '--best_of'), (['--batch_size=0'], '--batch_size'), (['--max_tokens=0'], '--max_tokens'),
    (['--prompt_bars=-1'], '--prompt_bars'), (['--tempo=10000'], '--tempo'), (['--prompt=bad.txt'], 'a prompt is ABC text'), (['--prompt=bad.rtf'], 'a prompt is ABC text'),
    (['--prompt=none.txt'], 'No such file'), (['--prompt=none.rtf'], 'a prompt is ABC text'), (['--out_dir=bad.mid'], '--out_dir=bad.mid'), (['--out_dir=bad.mid/in'], '--out_dir=bad.mid/in'),
    (['--prompt=this is no music'], 'no music'), (['--prompt=none.mid'], 'none.mid'), (['--prompt=bad.mid'], 'bad.mid'), (['--prompt=bad.abc'], 'bad.abc'),
    (['--prompt=bad.musicxml'], 'bad.musicxml'), (['--prompt=none.mxl'], 'none.mxl'),
    (['--key=G', '--constrain=false'], '--key'), (['--key=G', '--prompt=L:1/8'], '--key'), (['--ckpt=none.pt'], 'none.pt'), (['--ckpt=bad.mid'], 'bad.mid'),
    (['--ckpt=old.pt'], 'old.pt'), (['--ckpt=other.pt'], 'other.pt')])
def test_mistakes_end_in_one_line(run, world, tmp_path, arguments, message):
    (tmp_path / 'bad.mid').write_bytes(b'no midi at all')
    for name in ('bad.abc', 'bad.txt', 'bad.rtf'):
        (tmp_path / name).write_text('no tune in here\n')
    (tmp_path / 'bad.musicxml').write_text('<score-partwise><part/>')
    checkpoint = torch.load(world[0] / 'gpt.pt', weights_only=True)
    torch.save({'model': checkpoint['model'], 'version': 0}, tmp_path / 'old.pt')
    checkpoint['config']['model']['n_embd'] = 64
    torch.save(checkpoint, tmp_path / 'other.pt')
    result = run(*([] if any('--ckpt' in a for a in arguments) else [f'--ckpt={world[0] / "gpt.pt"}']), *arguments, '--num_samples=1' if 'num_samples' not in arguments[0] else '--max_bars=2', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1 and message in result.stderr
    assert not (tmp_path / 'samples').exists() and (tmp_path / 'bad.mid').read_bytes() == b'no midi at all'


def test_without_data_the_rest_is_done(run, world, tmp_path):
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=1', f'--data_dir={tmp_path / "none"}', f'--out_dir={tmp_path / "o"}', '--prompt=')
    assert result.returncode == 0 and 'no comparison' in result.stdout
    assert 'comparison' not in json.loads((tmp_path / 'o' / 'metrics.json').read_text())


def test_no_checkpoint_is_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, 'BUNDLED_CKPT', str(tmp_path / 'none.pt'))
    with pytest.raises(SystemExit) as e:
        sample.best_checkpoint()
    assert e.value.code == 2 and 'train one first' in capsys.readouterr().err


def foreign_tune(rng):
    """A tune as midi2abc writes it: other ABC, without number and title."""
    bars = [''.join(rng.choice('GABcde') + '2' for _ in range(3)) + '|' for _ in range(10)]
    return 'M: 3/4\nL: 1/8\nQ:1/4=120\nK:C % 0 sharps\nV:1\n%%MIDI program 0\n' + '\n'.join(bars) + '\n'


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """Checkpoint and folder of data prepared with --converter=midi2abc: a model that has nearly learned one tune by heart."""
    tmp_path = tmp_path_factory.mktemp('foreign')
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
    checkpoint['meta']['splits']['train']['tunes'] += 1                     # the folder was prepared again since
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
    bars = [f'[V:1]{a}{b}{a}{b} {b}{a}{b}{a}|\n' for a, b in zip('CDEFGABcde', 'GABcdefgab')]
    texts = [HEADER + 9 * bars[0], HEADER + bars[0], HEADER + ''.join(bars[:7]), HEADER + ''.join(bars)]
    monkeypatch.setattr(sample, 'generate', lambda *_: {})
    start = lambda seed: types.SimpleNamespace(text=texts[seed[2]], ended=True, n_prompt_bars=0)
    tunes, first_draws, faults, _ = sample.sample_tunes(None, None, start, sample.Settings(num_samples=1), 'builtin')
    assert (tunes[0].text, first_draws[0].text) == (texts[3], texts[0])
    assert faults == {'looping': 1, 'with fewer than 20 notes': 1, 'with fewer than 8 bars': 1}


def bars_of(letters):
    """A bar for each letter and the one after it."""
    return ''.join(f'[V:1]{a}2{a}2{b}2{b}2|\n' for a, b in zip(letters, letters[1:]))


@pytest.mark.parametrize('settings', [{'min_bars': 5}, {'max_bars': 5}, {'min_bars': 0}])
def test_a_tune_as_short_as_is_asked_for_is_kept(settings, monkeypatch):
    monkeypatch.setattr(sample, 'generate', lambda *_: {})
    start = lambda seed: types.SimpleNamespace(text=HEADER + bars_of('CDEFGA'), ended=True, n_prompt_bars=0)
    assert not sample.sample_tunes(None, None, start, sample.Settings(num_samples=1, **settings), 'builtin')[2]


@pytest.mark.parametrize('prompt,rest,expected', [
    (10 * ['C'], 'CDEFGABc', None), (10 * ['C'], '', 'with nothing after the prompt'), (10 * ['C'], 12 * 'C', 'looping'),
    ('CDEFGABcd', 12 * 'C', 'looping'), ('CDEFGABcd', 'C', 'with nothing after the prompt'), ('CDEFGABcd', 'CD', None)])
def test_a_prompt_may_loop_but_what_follows_it_may_not_and_something_has_to(prompt, rest, expected):
    tune = types.SimpleNamespace(music=decode(HEADER + bars_of(prompt) + bars_of(rest)), n_prompt_bars=len(prompt) - 1)
    assert fault(tune, min_bars=8) == expected


def test_a_prompt_longer_than_max_bars_and_max_tokens_is_continued(run, world, tmp_path):
    rng = random.Random(3)
    bars = ''.join(f"[V:1]{rng.choice('GABcde')}2{rng.choice('GABcde')}4|\n" for _ in range(30))
    (tmp_path / 'p.abc').write_text('L:1/8\nM:3/4\nQ:1/4=120\nK:G\nV:1 program=0\nV:2 program=33\n' + bars)
    n_tokens = len(world[1].encode(bars))
    result = run(f'--ckpt={world[0] / "gpt.pt"}', '--num_samples=2', '--max_bars=10', f'--max_tokens={n_tokens // 2}',
                 '--prompt=p.abc', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    n_bars = [tune['bars'] for tune in json.loads((tmp_path / 'samples' / 'metrics.json').read_text())['tunes']]
    assert len(n_bars) == 2 and all(30 < n <= 40 for n in n_bars)


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
def test_of_several_draws_without_a_fault_the_likeliest_per_note_is_kept(world, arch):
    folder, tokenizer, models = world
    reader = Reader(alphabet=test_generate.alphabet(tokenizer))
    s = sample.Settings(num_samples=2, best_of=3, max_bars=8, min_bars=5, batch_size=4)
    start = lambda seed: Tune(tokenizer, seed, reader)
    tunes, *_ = sample.sample_tunes(models[arch], tokenizer, start, s, 'builtin')
    places = []
    for i, tune in enumerate(tunes):
        good, k = [], 0
        while len(good) < 3:
            other = start((1, i, k))
            generate(models[arch], tokenizer, [other], max_bars=8, top_p=0.97)
            other.text = sample.finish(other)
            other.music = decode(other.text)
            good += [] if fault(other, 5) else [other]
            k += 1
        best = min(good, key=lambda tune: nats_per_note(models[arch], tokenizer, tune))
        assert tune.text == best.text
        places.append(good.index(best))
    assert any(places)                                  # else the first draws would do


def test_nats_per_note_are_of_what_follows_the_prompt_and_of_the_end(world):
    folder, tokenizer, models = world
    header, bars = folk_tune(random.Random(2)).split('[', 1)
    first, second = ('[' + bars).splitlines(keepends=True)[:2]
    tune = Tune(tokenizer, (0,), prompt=header + first)
    for i in tokenizer.encode(second):
        tune.append(i)
    tune.ended, tune.music = True, decode(tune.text)
    ids = [*tune.ids, tokenizer.tune]
    assert len(ids) <= BLOCK
    p_T = models['gpt'](torch.tensor([ids]))[0][0, :-1].log_softmax(1).gather(1, torch.tensor(ids)[1:, None])[:, 0]
    nats = -p_T[tune.n_prompt_ids - 1:].sum().item()
    notes = len(tune.music.notes) - len(decode(header + first).notes)
    assert nats_per_note(models['gpt'], tokenizer, tune) == pytest.approx(nats / notes, rel=1e-4)


@pytest.mark.parametrize('arch', ['gpt', 'lstm'])
@torch.inference_mode()
def test_the_likelihood_of_a_long_tune_sees_at_least_half_a_context_of_each_token(world, arch):
    folder, tokenizer, models = world
    ids = [tokenizer.tune, *tokenizer.encode(folk_tune(random.Random(1)) * 3)]
    assert len(ids) > 2 * BLOCK
    for first in (1, 50, len(ids) - 1):
        naive, n = 0.0, first
        while n < len(ids):                             # windows as the docstring says, token by token
            begin = max(0, n - BLOCK // 2)
            for i in range(n, min(begin + BLOCK + 1, len(ids))):
                assert i - begin >= min(i, BLOCK // 2)
                naive += models[arch](torch.tensor([ids[begin:i]]))[0][0, -1].log_softmax(0)[ids[i]].item()
                n = i + 1
        assert log_likelihood(models[arch], ids, first) == pytest.approx(naive, rel=1e-4)


def test_a_full_disk_is_one_line_and_leaves_the_former_tunes(run, world, tmp_path):
    arguments = f'--ckpt={world[0] / "gpt.pt"}', '--max_bars=12', '--num_samples=1'
    assert run(*arguments, '--seed=3', cwd=tmp_path).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / 'samples').iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))      # no file may be larger: some fit, others do not
    try:
        result = run(*arguments, '--seed=2', cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.returncode == 2 and result.stderr.count('\n') == 1 and '--out_dir=samples' in result.stderr
    assert before == {path.name: path.read_bytes() for path in (tmp_path / 'samples').iterdir()}


def test_what_a_reader_repaired_or_skipped_in_the_prompt_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    music = decode(folk_tune(random.Random(5)))
    music.remarks.update({'repaired: notes without an end': 2, 'skipped: text blocks': 1})
    (tmp_path / 'p.mid').write_bytes(b'')
    monkeypatch.setattr('sampling.prompt.read_midi', lambda data: (music, {}))
    sample.prompt_text(sample.Settings(prompt=str(tmp_path / 'p.mid')), {'beats': False, 'repeats': False, 'phrases': False})
    said = capsys.readouterr().out
    assert said.count('\n') == 1 and 'notes without an end' in said and 'text blocks' in said


def test_keys_follow_the_tunes_that_are_not_transposed_and_are_spread_evenly():
    checkpoint = {'meta': {'keys': {'G': [10, 5], 'F#': [10, 0], 'D': [8, 2]}}}
    for n, slack in ((10, 1.5), (200, 2), (2000, 3)):
        for seed in range(5):
            keys = Counter(sample.key_of(checkpoint, seed, i) for i in range(n))
            assert set(keys) == {'G', 'D'} and abs(keys['G'] - n * 5 / 7) <= slack
    assert [sample.key_of(checkpoint, 0, i) for i in range(9)] != [sample.key_of(checkpoint, 1, i) for i in range(9)]
    for meta in ({}, {'keys': {}}, {'keys': {'G': [10, 0]}}):
        assert sample.key_of({'meta': meta}, 1, 0) is None
