"""A MIDI file as conventional ABC for people and other programs, and back. The tunes of a book are numbered.

    python -m music in.mid out.abc
    python -m music in.abc out.mid
"""
import sys
from pathlib import Path

from configurator import fail
from music.abcfile import write_abc
from music.midi import read_midi, write_midi
from music.quantise import MidiError
from music.tunebook import read_abc
from plumbing.files import atomic_write


def main(arguments):
    if '-h' in arguments or '--help' in arguments:
        return print(__doc__)
    kinds = [Path(argument).suffix.lower().replace('.midi', '.mid') for argument in arguments]
    if kinds not in (['.mid', '.abc'], ['.abc', '.mid']):
        fail('usage: python -m music in.mid out.abc, or python -m music in.abc out.mid')
    source, target = map(Path, arguments)
    try:
        if kinds[0] == '.mid':
            music, _ = read_midi(source)
            with atomic_write(target, 'w', encoding='utf-8') as f:
                f.write(write_abc(music, source.stem))
            return print(f'{target}: {len(music.notes):,} notes, {len(music.voices)} voices')
        tunes = list(read_abc(source.read_text(encoding='utf-8', errors='replace')))
        good = [(title, music) for title, music, _ in tunes if music]
        for i, (title, music) in enumerate(good, 1):
            path = target if len(good) == 1 else target.with_stem(f'{target.stem}-{i}')
            write_midi(music, path)
            print(f'{path}: {title or "untitled"}, {len(music.notes):,} notes, {len(music.voices)} voices')
    except OSError as e:
        fail(f'{e.filename}: {e.strerror}')
    except MidiError as e:
        fail(f'{source}: {e}')
    for title, _, reason in tunes:
        if reason:
            print(f'{source}: {title or "untitled"}: {reason}', file=sys.stderr)
    if not good:
        fail(f'{source}: no tune that can be read')


main(sys.argv[1:])
