"""accompany.py: voices written to given ones, which stay note for note."""
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import bpe
import sample
from model import GPT, GPTConfig
from music.metrics import exact_bars
from music.midi import write_midi
from music.notation import decode, encode
from music.notes import Music, Voice, bar_starts
from sampling.accompany import find_score
from sampling.constrain import Reader
from sampling.generate import generate
from sampling.given import Around

PIECE = '''L:1/8
M:3/4
Q:1/4=120
K:G
V:1 program=0
V:2 program=0
V:3 program=33
V:4 drums
[V:1]d2|[V:3]G,2|
[V:1]G2A2B2|[V:2]B,2C2D2|[V:3]G,6-|[V:4]C,2^F,2^F,2|
[V:2]D6|[V:3]G,6|
[V:1]c6-|[V:4]C,2^F,2^F,2|
[M:4/4][K:F][V:1]c2A2F2/3G2/3A2/3[FA]2|[V:2]F8|[V:3]F,8|
[V:3]F,2z2A,2C2|
Z|
[V:1]F8|[V:2]C8|[V:3]F,8|[V:4]C,8|
'''


@pytest.fixture(scope='module', params=['bpe', 'char'])
def world(request):
    """(tokenizer, a tiny model that has learned a little)"""
    rng = random.Random(0)
    texts = [PIECE.replace('G2A2B2', ''.join(rng.choice('GABcde') + '2' for _ in range(3))) for _ in range(20)]
    tokenizer = bpe.train(texts, 110, request.param)
    ids = torch.tensor([i for text in texts for i in [tokenizer.tune, *tokenizer.encode(text)]])
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.vocab_size, 160, 1, 2, 32, positions='rotary', key_offset=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        at = torch.randint(len(ids) - 65, (8,))
        x_BT = torch.stack([ids[a:a + 65] for a in at])
        optimizer.zero_grad()
        model(x_BT[:, :-1], x_BT[:, 1:])[1].backward()
        optimizer.step()
    return tokenizer, model.eval()


ONE_KIND = pytest.mark.parametrize('world', ['bpe'], indirect=True)         # is enough


def part(*kept):
    """Some voices of PIECE, and the programs of the others."""
    music = decode(PIECE)
    notes = music.notes[np.isin(music.notes[:, 3], kept)].copy()
    notes[:, 3] = [kept.index(voice) for voice in notes[:, 3]]
    others = [v for i, v in enumerate(music.voices) if i not in kept]
    return replace(music, notes=notes, voices=[music.voices[i] for i in kept]), ['drums' if v.is_drum else str(v.program) for v in others]


def written(world, music, programs, n=3, seed=1, marks=None, **settings):
    tokenizer, model = world
    reader = Reader(alphabet={token for token in tokenizer.tokens if len(token) == 1}, **(marks or {}))
    score = find_score(music, programs, reader)
    tunes = [Around(tokenizer, (seed, i), reader, score) for i in range(n)]
    generate(model, tokenizer, tunes, max_tokens=np.inf, max_bars=np.inf, **{'top_p': 0.95, **settings})
    assert all(tune.ended for tune in tunes), [(t.text[-300:], t.stuck) for t in tunes]
    return [tune.text for tune in tunes]


def lines_of(music, voices):
    """Notes of some voices, without their number, sorted."""
    return sorted((*note[:3], music.voices[note[3]].program, music.voices[note[3]].is_drum)
                  for note in music.notes.tolist() if note[3] in voices)


@pytest.mark.parametrize('kept', [(0,), (3,), (1, 2), (0, 1, 2)])
def test_given_voices_stay_note_for_note_and_all_bars_are_exact(world, kept):
    music, programs = part(*kept)
    texts = written(world, music, programs, n=2)
    for text in texts:
        tune = decode(text)
        assert tune.voices == decode(PIECE).voices
        assert exact_bars(text) == (len(bar_starts(music)) - 1,) * 2
        assert (tune.meters, tune.tempos, tune.keys, tune.pickup) == (music.meters, music.tempos, music.keys, music.pickup)
        places = [0 if voice == 1 and 0 not in kept else voice for voice in kept]      # of two for piano it comes first
        assert lines_of(tune, places) == lines_of(music, range(len(kept)))
        assert bar_starts(tune)[-1] == bar_starts(music)[-1]
        assert len(tune.notes) > len(music.notes)


@ONE_KIND
def test_the_seed_decides_and_not_the_batch(world):
    music, programs = part(0)
    texts = written(world, music, programs)
    assert written(world, music, programs, batch_size=2) == texts and written(world, music, programs, n=2) == texts[:2]
    assert written(world, music, programs, seed=2) != texts


def test_voices_stand_in_the_order_that_models_know():
    melody, bass = (Music(np.array([[0, 24, pitch, 0]], np.int32), [Voice(5)]) for pitch in (67, 40))
    drums = replace(melody, voices=[Voice(8, True)])
    header = lambda music, programs: find_score(music, programs, Reader()).before.splitlines()[4:]
    assert header(melody, ['drums', '5', '0']) == ['V:1 program=0', 'V:2 program=5', 'V:3 program=5', 'V:4 drums']
    place = lambda music, programs: list(find_score(music, programs, Reader()).bars[0].cells)
    assert (place(melody, ['5', '0']), place(bass, ['5', '0']), place(bass, ['5', '5', '6'])) == ([1], [2], [2])
    assert header(drums, ['0', 'drums=3']) == ['V:1 program=0', 'V:2 drums=3', 'V:3 drums=8'] and place(drums, ['0']) == [1]


def test_notes_off_the_grid_stay_and_beats_and_phrases_are_marked():
    marks = {'beats': True, 'phrases': True}
    music = Music(np.array([[1, 22, 67, 0], [24, 95, 69, 0], [119, 553, 71, 0]], np.int32), [Voice(0)])
    text = encode(replace(music, voices=[Voice(0)]), **marks) + '[V:1]G2 A2 B2 c2|\n'
    assert '|$\n' in text
    tokenizer = bpe.train([PIECE, text.replace('V:1', 'V:2')] * 3, 90)
    torch.manual_seed(0)
    model = GPT(GPTConfig(90, 160, 1, 2, 16))
    for new in written((tokenizer, model), music, ['33'], marks=marks):
        assert lines_of(decode(new), [0]) == lines_of(music, [0]) and Reader(**marks).feed(new).can_end


def test_a_model_chooses_whether_a_voice_after_the_given_one_sounds(world):
    """Of the bars with a given cell some have more after it and some have not, also where one
    token is a whole cell."""
    music, programs = part(0)
    lines = [line for text in written(world, music, programs, n=4) for line in text.splitlines() if line.startswith('[V:1]')]
    assert {line.count('[V:') == 1 for line in lines} == {False, True}


@ONE_KIND
def test_a_piece_longer_than_the_context_is_accompanied(world):
    music, programs = part(0)
    span = bar_starts(decode(PIECE))[-1]
    notes = np.concatenate([music.notes + [i * span, 0, 0, 0] for i in range(3)])
    music = replace(music, notes=notes, meters=[(0, 4, 4)], keys=[(0, 0, 'major')], pickup=0)
    for text in written(world, music, programs, n=2):
        assert lines_of(decode(text), [0]) == lines_of(music, [0]) and len(world[0].encode(text)) > 160


@pytest.mark.parametrize('settings,message', [
    ({}, '--programs'), ({'accompany': '', 'programs': ['0']}, '--accompany'), ({'programs': ['0'], 'prompt': 'x'}, '--prompt'), ({'programs': ['0'], 'key': 'G'}, '--key'),
    ({'programs': ['0'], 'constrain': False}, '--constrain')])
def test_settings_that_contradict_accompany_are_one_line(settings, message, capsys):
    with pytest.raises(SystemExit) as stop:
        sample.check(sample.Settings(**{'accompany': 'melody.mid', **settings}))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count('\n') == 1 and message in err


@pytest.mark.parametrize('name,data,message', [
    ('empty.abc', b'', 'empty'), ('empty.mid', b'', 'empty.mid'), ('none.abc', b'no tune\n', 'no music'), ('away.mid', None, 'away.mid')])
def test_a_file_without_music_is_one_line(tmp_path, capsys, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    for option in ('accompany', 'prompt'):
        with pytest.raises(SystemExit) as stop:
            sample.prompt_text(sample.Settings(**{option: str(tmp_path / name)}), {'beats': False, 'repeats': False, 'phrases': False})
        err = capsys.readouterr().err
        assert stop.value.code == 2 and err.count('\n') == 1 and message in err


def test_more_voices_than_the_notation_holds_are_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        find_score(part(0)[0], ['0'] * 256, Reader())
    assert stop.value.code == 2 and '256' in capsys.readouterr().err


def test_a_voice_without_notes_is_accompanied_and_a_tune_without_any_is_one_line(capsys):
    music = part(0, 1)[0]
    score = find_score(replace(music, notes=music.notes[music.notes[:, 3] == 0]), ['33'], Reader())
    assert score.before.count('program=0') == 2 and all(bar.forbidden & 2 for bar in score.bars)
    with pytest.raises(SystemExit) as stop:
        find_score(replace(music, notes=music.notes[:0]), ['33'], Reader())
    assert stop.value.code == 2 and 'no notes' in capsys.readouterr().err


@ONE_KIND
def test_sample_py_fills_and_accompanies(world, tmp_path, monkeypatch, capsys):
    tokenizer, model = world
    meta = {'tokenizer': {'hash': tokenizer.hash}, 'splits': {}, 'settings': {'converter': 'builtin'}}
    torch.save({'config': {'arch': 'gpt', 'model': vars(model.config), 'train': {'data_dir': 'none'}}, 'meta': meta, 'model': model.state_dict(),
                'tokenizer': tokenizer.to_json(), 'num_params': model.num_params(), 'val': {'per_note': 1.0}}, tmp_path / 'm.pt')
    write_midi(part(0)[0], str(tmp_path / 'melody.mid'))
    (tmp_path / 'tune.abc').write_text(PIECE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, 'CANDIDATES', 4)
    for arguments in (['--accompany=melody.mid', '--programs=0,33,drums'], ['--prompt=tune.abc', '--fill=3-5']):
        monkeypatch.setattr('sys.argv', ['sample.py', '--ckpt=m.pt', '--num_samples=2', *arguments])
        sample.main()
        page = (tmp_path / 'samples' / 'index.html').read_text()
        assert '100.0% bars exact' in capsys.readouterr().out and (tmp_path / 'samples' / '02.abc').exists()
        assert 'V:4 drums' in page and '[V:1]G2A2B2|' in page and '[V:1]F8|' in page
    for arguments in (['--accompany=' + PIECE[:-3], '--programs=0'], ['--accompany=' + PIECE, '--programs=200'], ['--prompt=tune.abc', '--fill=']):
        monkeypatch.setattr('sys.argv', ['sample.py', '--ckpt=m.pt', *arguments])
        with pytest.raises(SystemExit) as stop:
            sample.main()
        assert stop.value.code == 2 and capsys.readouterr().err.count('\n') == 1
