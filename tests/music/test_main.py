"""python -m music: every direction, and mistakes in one line."""
import os
import zipfile

import numpy as np
import pytest
from test_midi import END, MELODY, ON, notes_of, smf

from music import __main__ as program
from music.midi import read_midi, write_midi
from music.notes import Music, Voice
from music.score import read_score

TUNE = Music(np.array([[24 * i, 24, 60 + i % 5, v] for i in range(32) for v in (0, 1)], np.int32), [Voice(40), Voice(73)],
             [(0, 4, 4)], [(0, 96)], [(0, 0, 'major')])


def convert(folder, source, target, capsys):
    program.main([str(folder / source), str(folder / target)])
    return capsys.readouterr()


@pytest.mark.parametrize('target', ['b.mid', 'b.MIDI', 'b.abc', 'b.musicxml', 'b.xml', 'b.mxl'])
@pytest.mark.parametrize('source', ['a.mid', 'a.kar', 'a.abc', 'a.musicxml', 'a.xml', 'a.mxl', 'A.MXL'])
def test_every_direction_keeps_the_notes(tmp_path, source, target, capsys):
    write_midi(TUNE, tmp_path / 'first.mid')
    if source.endswith('.kar'):
        os.replace(tmp_path / 'first.mid', tmp_path / source)
    else:
        convert(tmp_path, 'first.mid', source, capsys)
    said = convert(tmp_path, source, target, capsys)
    assert said.out.startswith(str(tmp_path / target)) and '64 notes, 2 voices' in said.out and not said.err
    convert(tmp_path, target, 'last.mid', capsys)
    assert notes_of(read_midi(tmp_path / 'last.mid')[0]) == notes_of(TUNE)
    assert not [name for name in os.listdir(tmp_path) if name.endswith('.tmp')]


def test_an_mxl_names_its_score_in_its_container(tmp_path, capsys):
    write_midi(TUNE, tmp_path / 'a.mid')
    convert(tmp_path, 'a.mid', 'b.mxl', capsys)
    with zipfile.ZipFile(tmp_path / 'b.mxl') as archive:
        assert archive.namelist() == ['META-INF/container.xml', 'score.musicxml']
        assert b'full-path="score.musicxml"' in archive.read('META-INF/container.xml')
        assert len(read_score(archive.read('score.musicxml'))[0].notes) == 64


def test_a_book_becomes_a_file_a_tune(tmp_path, capsys):
    (tmp_path / 'book.abc').write_text('X:1\nT:One\nK:C\nCDEF|\n\nX:2\nT:Two\nK:C\nGABc|\n')
    convert(tmp_path, 'book.abc', 'x.musicxml', capsys)
    assert sorted(os.listdir(tmp_path)) == ['book.abc', 'x-1.musicxml', 'x-2.musicxml']
    assert '<movement-title>Two<' in (tmp_path / 'x-2.musicxml').read_text()


def test_what_was_repaired_is_one_line_on_stderr(tmp_path, capsys):
    (tmp_path / 'a.mid').write_bytes(smf(MELODY + ON(72) + b'\x83\x60' + END[1:]))
    said = convert(tmp_path, 'a.mid', 'b.abc', capsys)
    assert said.err == f'{tmp_path / "a.mid"}: untitled: repaired: notes without an end (1)\n'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1', 'utf-16', 'utf-16-be'])
def test_titles_are_read_in_their_encoding(tmp_path, encoding, capsys):
    text = 'X:1\nT:Håvards brødre\nK:C\nCDEF|\n'
    mark = '\ufeff' if encoding == 'utf-16-be' else ''
    (tmp_path / 'a.abc').write_bytes((mark + text).encode(encoding))
    assert 'Håvards brødre' in convert(tmp_path, 'a.abc', 'b.musicxml', capsys).out
    assert '>Håvards brødre<' in (tmp_path / 'b.musicxml').read_text(encoding='utf-8')


@pytest.mark.parametrize('arguments, named', [
    ([], 'usage'), (['a.mid'], 'usage'), (['a.mid', 'b.abc', 'c.abc'], 'usage'), (['a.txt', 'b.mid'], 'a.txt'),
    (['a.mid', 'b.pdf'], 'b.pdf'), (['a.mid', 'b.kar'], 'b.kar'), (['nowhere.mid', 'b.abc'], 'nowhere.mid: No such file'),
    (['noise.mid', 'b.abc'], 'noise.mid: no MIDI header'), (['a.mid', 'a.mid'], 'would replace'),
    (['a.mid', 'nowhere/b.abc'], 'no such folder'), (['folder.mid', 'b.abc'], 'folder.mid: Is a directory'),
    (['zero.mid', 'b.abc'], 'zero.mid: no ticks per quarter'), (['words.abc', 'b.mid'], 'words.abc: no tune'),
    (['words.xml', 'b.mid'], 'words.xml: no MusicXML'), (['a.mid', 'folder.abc'], 'folder.abc')])
def test_a_mistake_is_one_line_and_exit_2_and_writes_nothing(tmp_path, monkeypatch, arguments, named, capsys):
    monkeypatch.chdir(tmp_path)
    write_midi(TUNE, 'a.mid')
    for name in ('folder.mid', 'folder.abc'):
        (tmp_path / name).mkdir()
    (tmp_path / 'noise.mid').write_bytes(b'noise' * 20)
    (tmp_path / 'zero.mid').write_bytes(smf(MELODY + END, ticks=0))
    (tmp_path / 'words.abc').write_text('some words\n')
    (tmp_path / 'words.xml').write_text('<words/>')
    before = sorted(os.listdir())
    with pytest.raises(SystemExit) as e:
        program.main(arguments)
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and named in error
    assert sorted(os.listdir()) == before


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch, capsys):
    write_midi(TUNE, tmp_path / 'a.mid')
    (tmp_path / 'b.abc').write_text('former')

    def full(_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    for target in ('b.abc', 'c.mid', 'd.mxl'):
        with pytest.raises(SystemExit):
            convert(tmp_path, 'a.mid', target, capsys)
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and 'No space left' in error and target in error
    assert sorted(os.listdir(tmp_path)) == ['a.mid', 'b.abc'] and (tmp_path / 'b.abc').read_text() == 'former'
