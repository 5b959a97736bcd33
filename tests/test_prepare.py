"""prepare.py: what is written is what was read, nothing leaks, nothing moves, and a killed run ends as an undisturbed one."""
import collections
import copy
import functools
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter

import numpy as np
import pytest
import torch
from test_dedupe import mixture, tune
from test_sources import Server

import bpe
import prepare
from conftest import ROOT, need
from corpus import dedupe, pool, shards, sources
from corpus.convert import Form
from corpus.summary import histogram
from music import notation
from music.midi import write_midi
from music.transpose import transposed
from plumbing.files import atomic_write

SMALL = ['--vocab_size=300', '--transpose=0', '--val_fraction=0.15', '--test_fraction=0.15', '--workers=1', '--shard_files=8',
         '--beats=False', '--repeats=False', '--phrases=False']
pool_run, converted = pool.run, {}


def run_here(function, jobs, workers, time_limit_s):
    """pool.run without workers, which take long to start; and what was converted before is not converted again."""
    for name, data, form, *rest in jobs:
        job, is_path = (name, data, form, *rest), isinstance(data, str)
        key = name, form, is_path, pathlib.Path(data).read_bytes() if is_path else data
        if key not in converted:
            converted[key] = pool.outcome_of(function, job)
        yield job, copy.deepcopy(converted[key])


def as_text(lengths, path):
    """The numbers of the picture that prepare.py draws, which takes half a second."""
    with atomic_write(path, 'w') as f:
        f.write(repr({name: n.tolist() for name, n in lengths.items()}))


@pytest.fixture(scope='module', autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as m:
        m.setattr(pool, 'run', run_here)
        m.setattr(prepare, 'histogram', as_text)
        yield


@functools.cache
def midi_of(seed):
    """Content of a MIDI file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'x.mid')
        write_midi(tune(seed, voices=1 + seed % 3, notes=60), path)
        return path.read_bytes()


def lay_out(folder, seeds, **planted):
    """A MIDI file for each seed, and what else is given (name=Music)."""
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        (folder / f'{seed:03}.mid').write_bytes(midi_of(seed))
    for name, music in planted.items():
        write_midi(music, folder / f'{name}.mid')
    return str(folder)


def run(source, out, *more):
    prepare.main([f'--source={source}', f'--out_dir={out}', *SMALL, *more])
    with open(os.path.join(out, 'meta.json')) as f:
        return json.load(f)


def texts_of(out, name):
    """Texts of the tunes in NAME.bin, and all its ids."""
    tokenizer = bpe.Tokenizer.load(os.path.join(out, 'tokenizer.json'))
    ids = np.fromfile(os.path.join(out, f'{name}.bin'), np.uint16)
    starts = np.flatnonzero(ids == tokenizer.tune).tolist()
    assert not len(ids) or starts[0] == 0
    return [tokenizer.decode(ids[a + 1:b].tolist()) for a, b in zip(starts, starts[1:] + [len(ids)])], ids


def hashes(out):
    return {name: hashlib.sha256(open(os.path.join(out, name), 'rb').read()).hexdigest()
            for name in sorted(os.listdir(out)) if os.path.isfile(os.path.join(out, name))}


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    """60 tunes and, under other names: 5 that are the same, 6 transposed, noise, and one of a few notes."""
    folder = tmp_path_factory.mktemp('corpus')
    lay_out(folder, range(60))
    for seed in range(5):
        music = tune(seed, voices=1 + seed % 3, notes=60)
        music.title = 'the same'
        write_midi(music, folder / f'same{seed}.mid')
    for seed in range(10, 16):
        music = tune(seed, voices=1 + seed % 3, notes=60)
        music.notes[music.notes[:, 3] < len(music.voices) - 1, 2] += 2
        write_midi(music, folder / f'higher{seed}.mid')
    (folder / 'noise.mid').write_bytes(random.Random(0).randbytes(1000))
    write_midi(tune(99, notes=5), folder / 'short.mid')
    music = tune(98, notes=60)
    music.notes = music.notes[:15]
    write_midi(music, folder / 'few.mid')
    return str(folder)


@pytest.fixture(scope='module')
def prepared(corpus, tmp_path_factory):
    out = str(tmp_path_factory.mktemp('out'))
    return out, run(corpus, out)


def test_counts_in_meta_are_those_of_the_files_written(prepared):
    out, meta = prepared
    assert meta['vocab_size'] == 300
    for name, counts in meta['splits'].items():
        texts, ids = texts_of(out, name)
        music = [notation.decode(text) for text in texts]
        assert all(notation.encode(m) == text for m, text in zip(music, texts))
        assert counts == {'tunes': len(texts), 'tokens': len(ids), 'characters': sum(map(len, texts)),
                          'notes': sum(len(m.notes) for m in music), 'bars': sum(t.count('|\n') for t in texts)}
        assert ids.max() < meta['vocab_size']
        if name != 'train':
            with open(os.path.join(out, f'{name}.abc')) as f:
                assert f.read() == '\n'.join(texts)
    assert not os.path.exists(os.path.join(out, 'train.abc'))


def test_every_file_is_a_tune_or_has_a_named_reason(corpus, prepared):
    out, meta = prepared
    with open(os.path.join(out, 'failures.tsv')) as f:
        failures = [line.rstrip('\n').split('\t') for line in f]
    reasons = {name: reason for name, reason, _ in failures}
    assert len(reasons) == len(failures)
    tunes = sum(counts['tunes'] for counts in meta['splits'].values())
    assert tunes + len(failures) == len(os.listdir(corpus))
    assert collections.Counter(reasons.values()) == {reason: counts['tunes'] for reason, counts in meta['filters'].items()}
    assert reasons['few.mid'] == 'fewer than 20 notes' and 'noise.mid' in reasons
    assert [like for name, _, like in failures if name.startswith('same')] == [f'{seed:03}.mid' for seed in range(5)]


def test_no_train_tune_is_near_one_held_out_counted_by_brute_force(prepared):
    out, meta = prepared
    figures = {name: [set(dedupe.figures(notation.decode(text)).tolist()) for text in texts_of(out, name)[0]]
               for name in meta['splits']}
    for a, b in (('train', 'val'), ('train', 'test'), ('test', 'val')):
        assert figures[a] and max(len(x & y) / len(x | y) for x in figures[a] for y in figures[b]) < dedupe.THRESHOLD
    assert meta['leakage'] == {'same_music': 0, 'test_near_val': 0, 'train_near_val_or_test': 0}


def test_with_near_duplicates_kept_the_leak_is_counted(corpus, prepared, tmp_path):
    meta = run(corpus, str(tmp_path), '--near_duplicates=false')
    left_out = [counts['tunes'] for reason, counts in prepared[1]['filters'].items() if reason.startswith('nearly')]
    assert sum(left_out) == meta['leakage']['train_near_val_or_test'] + meta['leakage']['test_near_val'] > 0


def sides(out):
    return {text: name for name in ('train', 'val', 'test') for text in texts_of(out, name)[0]}


def test_adding_files_moves_no_tune_and_leaks_nothing(tmp_path):
    source = lay_out(tmp_path / 'in', range(40))
    run(source, str(tmp_path / 'before'))
    before = sides(str(tmp_path / 'before'))
    bridges = {f'bridge{i}': mixture(tune(i, 3, 60), tune(i + 1, 3, 60), 0.5) for i in range(2, 38, 3)}
    lay_out(tmp_path / 'in', range(40, 60), **bridges)
    meta = run(source, str(tmp_path / 'after'))
    after = sides(str(tmp_path / 'after'))
    assert all(after[text] == name for text, name in before.items() if text in after)
    assert len(set(before) & set(after)) > 0.7 * len(before)
    assert sum(counts['tunes'] for reason, counts in meta['filters'].items() if reason.startswith('nearly')) > 0
    sketches = [(dedupe.sketch(notation.decode(text)), name) for text, name in after.items()]
    assert not [1 for s, a in sketches for t, b in sketches if a != b and dedupe.similarity(s, t) >= dedupe.THRESHOLD]


def test_folder_and_archive_give_the_same_tokens(corpus, prepared, tmp_path):
    with tarfile.open(tmp_path / 'x.tar.gz', 'w:gz') as archive:
        archive.add(corpus, 'x')
    out = str(tmp_path / 'out')
    run(tmp_path / 'x.tar.gz', out)
    assert {n: h for n, h in hashes(out).items() if n.endswith(('.bin', '.abc', 'tokenizer.json'))} == {
        n: h for n, h in hashes(prepared[0]).items() if n.endswith(('.bin', '.abc', 'tokenizer.json'))}


def test_a_run_killed_at_any_moment_ends_as_an_undisturbed_one(corpus, tmp_path, monkeypatch):
    out = str(tmp_path / 'out')
    command = [sys.executable, prepare.__file__, f'--source={corpus}', f'--out_dir={out}', *SMALL, '--workers=2']

    def written(folder, part):
        return sum(part in name for name in os.listdir(folder)) if os.path.isdir(folder) else 0
    has_a_shard, has_most_shards, writes_tokens = (
        lambda: written(f'{out}/shards', '.json'), lambda: written(f'{out}/shards', '.json') > 6, lambda: written(out, '.bin'))
    for moment in (has_a_shard, has_most_shards, writes_tokens):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not moment():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL or moment is writes_tokens     # which are soon written
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    monkeypatch.setattr(prepare, 'histogram', histogram)
    run(corpus, str(tmp_path / 'undisturbed'))
    assert hashes(out) == hashes(str(tmp_path / 'undisturbed'))


def test_a_second_run_does_nothing_and_another_vocabulary_converts_nothing(corpus, prepared, tmp_path, capsys):
    out = str(tmp_path / 'out')
    shutil.copytree(prepared[0], out)
    before = {name: os.stat(os.path.join(out, name)).st_mtime_ns for name in os.listdir(out)}
    run(corpus, out)
    assert 'up to date' in capsys.readouterr().out
    assert {name: os.stat(os.path.join(out, name)).st_mtime_ns for name in before} == before
    shards = {name: os.stat(os.path.join(out, 'shards', name)).st_mtime_ns for name in os.listdir(os.path.join(out, 'shards'))}
    assert run(corpus, out, '--vocab_size=200')['vocab_size'] == 200
    assert {name: os.stat(os.path.join(out, 'shards', name)).st_mtime_ns for name in shards} == shards


def test_workers_and_shards_do_not_change_the_result(corpus, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, 'run', pool_run)
    run(corpus, str(tmp_path), '--workers=2', '--shard_files=1000')
    mine, theirs = hashes(str(tmp_path)), hashes(prepared[0])
    assert {n for n in mine if mine[n] != theirs[n]} == {'meta.json'}              # which names the settings


def test_char_tokenizer_is_one_token_a_character(corpus, tmp_path):
    meta = run(corpus, str(tmp_path), '--tokenizer=char')
    assert meta['tokenizer']['kind'] == 'char'
    for counts in meta['splits'].values():
        assert counts['tokens'] == counts['characters'] + counts['tunes']


def test_lakh_is_downloaded_and_streamed(corpus, prepared, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / 'x.tar.gz', 'w:gz') as archive:
        archive.add(corpus, 'lmd_full')
    body = (tmp_path / 'x.tar.gz').read_bytes()
    with Server(breaks=1, break_after=len(body) // 2, body=body) as server:
        monkeypatch.setattr(sources, 'LAKH_URL', server.url)
        monkeypatch.setattr(sources, 'LAKH_MD5', hashlib.md5(body).hexdigest())
        monkeypatch.setattr(sources, 'LAKH_PATH', str(tmp_path / 'downloads' / 'lmd_full.tar.gz'))
        monkeypatch.setattr(sources, 'RETRY_S', 0)
        run('lakh', str(tmp_path / 'out'))
    assert len(server.requests) == 2 and hashes(str(tmp_path / 'out'))['train.bin'] == hashes(prepared[0])['train.bin']


def test_a_corpus_without_a_readable_file_is_one_line(tmp_path, capsys):
    (tmp_path / 'noise.mid').write_bytes(b'nothing')
    with pytest.raises(SystemExit) as e:
        run(tmp_path, str(tmp_path / 'out'))
    assert e.value.code == 2 and '1 no MIDI header' in capsys.readouterr().err


def test_names_may_be_any_bytes(tmp_path):
    source = lay_out(tmp_path / 'in', range(12))
    odd = os.path.join(os.fsencode(source), b'\xff\t.mid')
    try:
        os.rename(os.path.join(os.fsencode(source), b'000.mid'), odd)
    except OSError:
        pytest.skip('this file system wants UTF-8')
    with open(odd, 'wb') as f:
        f.write(b'nothing')
    run(source, str(tmp_path / 'out'))
    assert b'\xff .mid\tno MIDI header\t\n' in (tmp_path / 'out' / 'failures.tsv').read_bytes()


# ----------------------------------------------------------------------------------------------- what a shard depends on

def busy(names):
    """pool.run on a machine on which the files `names` take too long."""
    calm = pool.run

    def run(*arguments):
        for job, outcome in calm(*arguments):
            yield job, pool.Lost('longer than 60 s', by_chance=True) if job[0] in names else outcome
    return run


def test_what_a_busy_machine_lost_is_tried_again_by_the_next_run(corpus, prepared, tmp_path, monkeypatch, capsys):
    out = str(tmp_path)
    names = {'003.mid', '004.mid', '059.mid'}
    for message in ('003', 'up to date'):
        with monkeypatch.context() as m:
            m.setattr(pool, 'run', busy(names))
            assert run(corpus, out)['filters']['longer than 60 s'] == {'tunes': 3, 'notes': 0}
        said = capsys.readouterr().out + (tmp_path / 'failures.tsv').read_text()
        assert message in said
    with monkeypatch.context() as m:
        m.setattr(pool, 'run', busy({'004.mid'}))                   # others are lost than before, in the same shards
        assert run(corpus, out)['filters']['longer than 60 s']['tunes'] == 1
    run(corpus, out)
    assert hashes(out) == hashes(prepared[0])
    assert set(os.listdir(tmp_path / 'shards')) == set(os.listdir(os.path.join(prepared[0], 'shards')))


@pytest.mark.parametrize('library', shards.LIBRARIES)
def test_another_version_of_a_library_converts_again(corpus, prepared, monkeypatch, library):
    folder = os.path.join(prepared[0], 'shards')

    def are_there():
        return [os.path.exists(path + '.json') for path, _, _ in shards.planned([corpus], folder, Form(), 8)]
    assert all(are_there())
    version = shards.importlib.metadata.version
    monkeypatch.setattr(shards.importlib.metadata, 'version', lambda name: '0.0' if name == library else version(name))
    assert not any(are_there())


def test_every_file_of_the_rooms_that_convert_decides_what_a_shard_is(corpus, tmp_path):
    for room in ('corpus', 'music', 'plumbing'):
        shutil.copytree(os.path.join(ROOT, room), tmp_path / room)
    shutil.copy(os.path.join(ROOT, 'configurator.py'), tmp_path)
    script = ('import glob, sys; from corpus import shards\n'
              'def path(): return next(shards.planned([sys.argv[1]], "x", "builtin", 8))[0]\n'
              'for name in sorted(glob.glob("corpus/*.py") + glob.glob("music/*.py")):\n'
              '    before = path(); open(name, "a").write("#"); assert path() != before, name\n')
    subprocess.run([sys.executable, '-c', script, corpus], cwd=tmp_path, check=True)


# ----------------------------------------------------------------------------------------------------- names of folders

def folder_of(source, monkeypatch, *more):
    """out_dir that prepare.py gives a source."""
    monkeypatch.setattr(sources, 'check', lambda source: None)
    return prepare.check(prepare.configure(prepare.Settings, [f'--source={source}', *more])).out_dir


def test_default_folders_keep_what_makes_sources_different(monkeypatch):
    expected = {'bundled': 'bundled', 'lakh': 'lakh', 'rock-80s': 'rock-80s', 'rock-90s/': 'rock-90s', 'a/lakh-clean/': 'lakh-clean',
                'x.y.tar.gz': 'x.y', 'x.TGZ': 'x', 'x.tar': 'x', 'x.tar.xz': 'x', 'my midis.zip': 'my midis', '/': 'corpus',
                'rock-80s,b/more.zip': 'rock-80s+more'}
    for source, name in expected.items():
        assert folder_of(source, monkeypatch) == os.path.join('data', name)
    assert folder_of('x', monkeypatch, '--out_dir=here') == 'here'


def refusal(capsys, source, out, *more):
    before = hashes(out)
    with pytest.raises(SystemExit) as e:
        run(source, out, *more)
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and '--out_dir' in error and '--overwrite' in error
    assert hashes(out) == before
    return error


def test_data_of_another_source_are_replaced_only_when_told_to(corpus, prepared, tmp_path, monkeypatch, capsys):
    out, other = str(tmp_path / 'out'), lay_out(tmp_path / 'other', range(20))
    shutil.copytree(prepared[0], out)
    assert corpus in refusal(capsys, other, out)
    os.remove(os.path.join(out, 'source.json'))                     # as an earlier version left it
    assert corpus in refusal(capsys, other, out)
    monkeypatch.chdir(os.path.dirname(corpus))
    run(os.path.basename(corpus) + '/', str(tmp_path / 'relative'))
    assert run(corpus, str(tmp_path / 'relative'), '--vocab_size=200')['vocab_size'] == 200
    assert run(other, out, '--overwrite')['settings']['source'] == [other]
    run(other, out)
    assert 'up to date' in capsys.readouterr().out


def test_shards_of_an_interrupted_run_of_another_source_are_not_taken_over(corpus, tmp_path, capsys, monkeypatch):
    out, other = str(tmp_path / 'out'), lay_out(tmp_path / 'other', range(20))

    def interrupted(*arguments):
        for outcome in calm(*arguments):                            # in the order in which they end: whichever it is
            yield outcome
            if os.listdir(os.path.join(out, 'shards')):
                raise KeyboardInterrupt
    calm = pool.run
    with monkeypatch.context() as m:
        m.setattr(pool, 'run', interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(other, out)
    assert os.listdir(os.path.join(out, 'shards')) and not os.path.exists(os.path.join(out, 'meta.json'))
    assert other in refusal(capsys, corpus, out)
    run(other, out)


# ----------------------------------------------------------------------------------------------- nothing lost in silence

def test_remarks_and_files_that_are_not_read_are_counted_and_shown(tmp_path, capsys):
    source = lay_out(tmp_path / 'in', range(40))
    for seed in (3, 4, 5):                                          # the last track loses its end, then its last note too
        path = tmp_path / 'in' / f'{seed:03}.mid'
        path.write_bytes(path.read_bytes()[:-4 if seed < 5 else -8])
    (tmp_path / 'in' / 'page.pdf').write_bytes(b'%PDF')
    (tmp_path / 'in' / 'README').write_text('words')
    meta = run(source, str(tmp_path / 'out'))
    shown = capsys.readouterr().out
    assert meta['not_read'] == {'.pdf': 1, 'no suffix': 1}
    assert meta['remarks']['repaired: tracks that are cut off'] == {'tunes': 3, 'times': 3}
    assert meta['remarks']['repaired: notes without an end'] == {'tunes': 1, 'times': 1}
    assert meta['quantisation']['repaired_files'] == 3
    for line in (r'\.pdf +1', r'no suffix +1', r'repaired: tracks that are cut off +3 +3'):
        assert re.search(line, shown)
    (tmp_path / 'in' / 'more.pdf').write_bytes(b'%PDF')
    assert run(source, str(tmp_path / 'out'))['not_read'] == {'.pdf': 2, 'no suffix': 1}


def test_a_folder_without_music_says_what_is_in_it(tmp_path, capsys):
    for name in ('a.pdf', 'b.pdf', 'c.mscz'):
        (tmp_path / name).write_bytes(b'?')
    with pytest.raises(SystemExit):
        run(tmp_path, str(tmp_path / 'out'))                        # which is in the source, and no part of it
    assert 'no file of music; not read: 1 .mscz, 2 .pdf, 1 prepared data' in capsys.readouterr().err


@pytest.mark.parametrize('where', ['file', 'file/below', '/proc/nowhere'])
def test_an_out_dir_that_cannot_be_made_is_one_line(corpus, tmp_path, where, capsys):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(SystemExit) as e:
        run(corpus, os.path.join(tmp_path, where))
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and where in error
    assert (tmp_path / 'file').read_text() == 'mine'


@pytest.mark.parametrize('name', ['meta.json', 'source.json'])
@pytest.mark.parametrize('content', [b'', b'{"vocab_size": 3', b'\xff\xfe', b'[1, 2]', b'{"inputs": 1, "settings": {"source": 3}}', b'3'])
def test_a_broken_json_is_one_line_unless_it_may_be_replaced(corpus, prepared, tmp_path, name, content, capsys):
    out = str(tmp_path / 'out')
    shutil.copytree(prepared[0], out)
    with open(os.path.join(out, name), 'wb') as f:
        f.write(content)
    error = refusal(capsys, corpus, out)
    assert name in error


def test_a_broken_meta_is_replaced_with_overwrite(corpus, prepared, tmp_path):
    out = str(tmp_path / 'out')
    shutil.copytree(prepared[0], out)
    with open(os.path.join(out, 'meta.json'), 'w') as f:
        f.write('{')
    run(corpus, out, '--overwrite')
    assert hashes(out) == hashes(prepared[0])


@pytest.mark.parametrize('room', [0, 1, 3])
def test_a_full_disk_is_one_line_and_leaves_the_former_data(corpus, prepared, tmp_path, room, monkeypatch, capsys):
    """`room`: how many files still fit."""
    out = str(tmp_path / 'out')
    shutil.copytree(prepared[0], out)
    fsync, before, left = os.fsync, hashes(out), [room]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, 'No space left on device')
        fsync(descriptor)
    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', full)
        with pytest.raises(SystemExit) as e:
            run(corpus, out, '--vocab_size=200')
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and 'No space left' in error
    assert hashes(out) == before


# -------------------------------------------------------------------------------------------------------- transposition

def test_keys_of_train_are_counted_with_their_transposed_copies(corpus, tmp_path):
    meta = run(corpus, str(tmp_path), '--transpose=2', '--vocab_size=200')
    tokenizer = bpe.Tokenizer.load(str(tmp_path / 'tokenizer.json'))
    ids = np.fromfile(tmp_path / 'train.bin', np.uint16).tolist()
    keys = re.findall('^K:(.*)', tokenizer.decode([i for i in ids if i != tokenizer.tune]), re.M)
    assert {key: n for key, (n, _) in meta['keys'].items()} == Counter(keys)
    assert sum(own for _, own in meta['keys'].values()) * 3 >= len(keys) == meta['splits']['train']['tunes']


def test_transpose_adds_copies_to_train_only(corpus, prepared, tmp_path):
    out = str(tmp_path)
    meta = run(corpus, out, '--transpose=2')
    assert meta['splits']['train']['tunes'] == 3 * prepared[1]['splits']['train']['tunes']
    train, originals = texts_of(out, 'train')[0], texts_of(prepared[0], 'train')[0]
    assert not collections.Counter(originals) - collections.Counter(train)
    assert set(train) < {transposed(text, n) for text in originals for n in range(-5, 7)}
    ids, tokenizer = np.fromfile(tmp_path / 'train.bin', np.uint16), bpe.Tokenizer.load(str(tmp_path / 'tokenizer.json'))
    assert tokenizer.decode([i for i in ids[-meta['untransposed']:].tolist() if i != tokenizer.tune]) == ''.join(originals)
    for name in ('val', 'test'):
        assert sorted(texts_of(out, name)[0]) == sorted(texts_of(prepared[0], name)[0])


# --------------------------------------------------------------------------------------------------------------- sources

def test_beats_repeats_and_phrases_are_marks_in_the_same_music_on_the_same_sides(corpus, prepared, tmp_path):
    meta = run(corpus, str(tmp_path), '--beats', '--repeats', '--phrases')
    assert meta['leakage'] == prepared[1]['leakage'] and meta['filters'] == prepared[1]['filters']
    for name in ('train', 'val', 'test'):
        marked, plain = (texts_of(out, name)[0] for out in (str(tmp_path), prepared[0]))
        assert [notation.encode(notation.decode(text)) for text in marked] == plain
        assert marked == [notation.encode(notation.decode(text), beats=True, repeats=True, phrases=True) for text in plain]
    assert any(' ' in line for text in marked for line in text.splitlines() if line[0] == '[')


def test_midi2abc_gives_its_own_text_of_the_same_tunes_on_the_same_sides(corpus, prepared, tmp_path):
    need('midi2abc')
    meta = run(corpus, str(tmp_path), '--converter=midi2abc')
    for name in ('train', 'val', 'test'):
        assert meta['splits'][name]['notes'] == prepared[1]['splits'][name]['notes']
        for text in texts_of(str(tmp_path), name)[0]:
            assert 'K:' in text and not text.startswith('X:') and '\nT:' not in text and corpus not in text


@pytest.mark.parametrize('flag, named', [
    ('--source=nowhere', 'nowhere'), ('--source=EMPTY', 'EMPTY'), ('--converter=abc', 'converter'), ('--tokenizer=word', 'tokenizer'),
    ('--val_fraction=1.5', 'val_fraction'), ('--test_fraction=0.9', 'test_fraction'), ('--transpose=12', 'transpose'),
    ('--vocab_size=70000', 'vocab_size'), ('--vocab_size=60000', 'vocab_size'), ('--vocab_size=10', 'vocab_size'),
    ('--workers=-1', 'workers'), ('--workers=100000', 'workers'), ('--vocab_size=0', 'vocab_size'), ('--time_limit_s=1e999', 'time_limit_s'),
    ('--time_limit_s=0', 'time_limit_s'), ('--shard_files=0', 'shard_files'), ('--tokenizer_chars=0', 'tokenizer_chars'), ('--out_dir=', 'out_dir'),
    ('--val_fraction=-0.1', 'val_fraction'), ('--test_fraction=-0.1', 'test_fraction'), ('--transpose=-1', 'transpose'),
    ('--vocabulary=5000', 'vocabulary')])
def test_a_mistake_is_one_line_and_exit_2_and_makes_no_data(corpus, tmp_path, flag, named, capsys):
    (tmp_path / 'EMPTY').mkdir()
    flag = flag.replace('EMPTY', str(tmp_path / 'EMPTY'))
    with pytest.raises(SystemExit) as e:
        prepare.main([f'--source={corpus}', f'--out_dir={tmp_path / "out"}', *SMALL, '--val_fraction=0.3', flag])
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and named in error
    assert not os.path.exists(tmp_path / 'out' / 'meta.json') and not os.path.exists(tmp_path / 'out' / 'train.bin')


def simple_tunes(folder, count, accidental=''):
    """ABC files of one voice in C major, all of them different."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        rng = random.Random(i)
        bars = [''.join(rng.choice('CDEFGABcde') for _ in range(8)) for _ in range(12)]
        bars[5] = accidental + bars[5]
        text = 'X:1\nT:tune\nM:4/4\nL:1/8\nK:C\n' + '|'.join(bars) + '|\n'
        (folder / f'{accidental}{i}.abc').write_text(text)
    return str(folder)


@pytest.mark.parametrize('count', [10, 26, 60])
def test_defaults_prepare_a_small_corpus_with_every_side(tmp_path, count, capsys):
    out = str(tmp_path / 'data')
    prepare.main([f'--source={simple_tunes(tmp_path / "mine", count)}', f'--out_dir={out}', '--workers=1'])
    meta = json.load(open(os.path.join(out, 'meta.json')))
    assert all(meta['splits'][side]['tunes'] >= 1 for side in ('val', 'test'))
    assert meta['splits']['train']['tunes'] > 4 * count     # with transposed copies
    assert meta['vocab_size'] <= 1000
    assert '5 transposed copies of each; marks: beats, repeats, phrases' in capsys.readouterr().out


def test_marks_suit_the_source_and_what_is_given_stays(corpus, tmp_path):
    abc = simple_tunes(tmp_path / 'mine', 3)
    for source, options, marks in ((corpus, {}, (False, True, False)), (abc, {}, (True, True, True)),
                                   (corpus, {'beats': True, 'repeats': False}, (True, False, False)),
                                   (corpus, {'converter': 'midi2abc'}, (False, False, False))):
        s = prepare.Settings(source=[source], **options)
        prepare.suit_marks(s)
        assert (s.beats, s.repeats, s.phrases) == marks, (source, options)


def test_lakh_has_no_marks_as_in_the_original_study(monkeypatch):
    monkeypatch.setattr(prepare.sources, 'items', lambda source: iter([]))
    s = prepare.Settings(source=['lakh'])
    prepare.suit_marks(s)
    assert (s.beats, s.repeats, s.phrases) == (False, False, False)


@pytest.mark.parametrize('count', [1, 9])
def test_fewer_tunes_than_a_split_needs_are_one_line(tmp_path, count, capsys):
    with pytest.raises(SystemExit) as end:
        prepare.main([f'--source={simple_tunes(tmp_path / "mine", count)}', f'--out_dir={tmp_path}/data', '--workers=1'])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count('\n') == 1 and f'{count} tune' in error and '--prompt' in error


def test_shares_follow_the_size_of_the_corpus():
    for n, share in ((10, 0.1), (100, 0.1), (400, 0.1), (1000, 0.04), (4000, 0.01), (178_561, 0.01)):
        s = prepare.check(prepare.Settings(source='lakh'))
        prepare.suit(s, n)
        assert (s.val_fraction, s.test_fraction) == (share, share)
    for notes, vocabulary, copies in ((10 ** 4, 1000, 5), (10 ** 6, 1000, 5), (10 ** 7, 1000, 0), (10 ** 8, 5000, 0)):
        s = prepare.check(prepare.Settings(source='lakh', val_fraction=0.1, test_fraction=0.1))
        assert prepare.suit_train(s, 1, notes) and (s.vocab_size, s.transpose) == (vocabulary, copies)
        s = prepare.check(prepare.Settings(source='lakh', val_fraction=0.1, test_fraction=0.1, vocab_size=77, transpose=2))
        assert not prepare.suit_train(s, 1, notes) and (s.vocab_size, s.transpose) == (77, 2)


@pytest.fixture(scope='module')
def simple(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simple')
    out = str(folder / 'data')
    prepare.main([f'--source={simple_tunes(folder / "mine", 40)}', f'--out_dir={out}', '--workers=1', '--phrases=False',
                  '--vocab_size=100', '--transpose=0'])
    return out


def test_like_takes_over_tokenizer_and_notation_of_a_folder_or_a_checkpoint(simple, tmp_path):
    meta = json.load(open(f'{simple}/meta.json'))
    checkpoint = {'model': {}, 'config': {}, 'meta': meta, 'tokenizer': open(f'{simple}/tokenizer.json').read()}
    torch.save(checkpoint, tmp_path / 'ckpt.pt')
    source = simple_tunes(tmp_path / 'mine', 12)
    texts = []
    for like in (simple, tmp_path / 'ckpt.pt'):
        out = str(tmp_path / f'data{len(texts)}')
        prepare.main([f'--source={source}', f'--like={like}', f'--out_dir={out}', '--workers=1', '--transpose=0'])
        new = json.load(open(f'{out}/meta.json'))
        assert new['tokenizer'] == meta['tokenizer'] and new['vocab_size'] == 100
        assert new['settings']['beats'] and not new['settings']['phrases']
        texts.append(texts_of(out, 'train')[0])
    assert texts[0] == texts[1] and ' ' in texts[0][0].splitlines()[-1]


def test_like_leaves_out_and_names_tunes_with_characters_that_its_tokenizer_lacks(simple, tmp_path):
    source, out = simple_tunes(tmp_path / 'mine', 12), str(tmp_path / 'data')
    simple_tunes(tmp_path / 'mine', 3, accidental='^F')
    prepare.main([f'--source={source}', f'--like={simple}', f'--out_dir={out}', '--workers=1', '--transpose=0'])
    meta = json.load(open(f'{out}/meta.json'))
    assert sum(c['tunes'] for c in meta['splits'].values()) == 12
    assert meta['filters']['characters that the tokenizer lacks']['tunes'] == 3
    names = [line.split('\t')[0] for line in open(f'{out}/failures.tsv')]
    assert sorted(map(os.path.basename, names)) == ['^F0.abc#1', '^F1.abc#1', '^F2.abc#1']


@pytest.mark.parametrize('flags, named', [
    (['--vocab_size=200'], 'vocab_size'), (['--phrases=True'], 'phrases'), (['--tokenizer=char'], 'tokenizer'),
    (['--like=nowhere.pt'], 'nowhere.pt'), ([f'--like={__file__}'], 'no checkpoint'),
    (['--like={other}'], 'no tokenizer')])
def test_like_and_what_contradicts_it_is_one_line(simple, tmp_path, flags, named, capsys):
    other = tmp_path / 'other'                  # a folder of another program
    other.mkdir()
    (other / 'meta.json').write_text('{"a": 1}')
    (other / 'tokenizer.json').write_text('x')
    with pytest.raises(SystemExit) as end:
        prepare.main([f'--source={simple_tunes(tmp_path / "mine", 12)}', f'--like={simple}', f'--out_dir={tmp_path}/data',
                      *[flag.format(other=other) for flag in flags]])
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count('\n') == 1 and named in error
    assert not os.path.exists(f'{tmp_path}/data')
