"""A MIDI file as conventional ABC for people and other programs, and back.

    python -m music in.mid out.abc
    python -m music in.abc out.mid
"""
import os
import sys

from configurator import fail
from music.abcfile import write_abc
from music.midi import read_midi, write_midi
from music.quantise import MidiError
from music.tunebook import read_abc
from plumbing.files import atomic_write


def main(paths):
    """What this module says; a book's tunes are numbered."""
    kinds = [os.path.splitext(path)[1].lower() for path in paths]
    if len(paths) != 2 or kinds not in (['.mid', '.abc'], ['.midi', '.abc'], ['.abc', '.mid']):
        fail('usage: python -m music in.mid out.abc, or python -m music in.abc out.mid')
    source, target = paths
    try:
        if kinds[1] == '.abc':
            music, _ = read_midi(source)
            with atomic_write(target, 'w', encoding='utf-8') as f:
                f.write(write_abc(music, title=os.path.splitext(os.path.basename(source))[0]))
            return print(f'{target}: {len(music.notes):,} notes, {len(music.voices)} voices')
        with open(source, encoding='utf-8', errors='replace') as f:
            tunes = list(read_abc(f.read()))
        good = [(title, music) for title, music, _ in tunes if music is not None]
        for i, (title, music) in enumerate(good, 1):
            path = target if len(good) == 1 else f'{os.path.splitext(target)[0]}-{i}.mid'
            write_midi(music, path)
            print(f'{path}: {title or "untitled"}, {len(music.notes):,} notes, {len(music.voices)} voices')
        for title, _, reason in (t for t in tunes if t[1] is None):
            print(f'{source}: {title or "untitled"}: {reason}', file=sys.stderr)
        if not good:
            fail(f'{source}: no tune that can be read')
    except OSError as e:
        fail(f'{e.filename}: {e.strerror}')
    except MidiError as e:
        fail(f'{source}: {e}')


main(sys.argv[1:])
