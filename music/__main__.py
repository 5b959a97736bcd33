"""MIDI, ABC and MusicXML, each turned into any of the others: the suffixes of the files say which.

    python -m music in.mid out.abc
    python -m music in.abc out.musicxml  # of several tunes: out-1.musicxml, out-2.musicxml, ...
    python -m music in.mxl out.mid

Read are .mid .midi .kar .rmi, .abc, and .musicxml .xml .mxl; written are .mid .midi, .abc, and
.musicxml .xml .mxl. What could not be kept as it was is said in a line on stderr.
"""
import os
import sys
import zipfile
from pathlib import Path

from configurator import fail
from music.abcfile import write_abc
from music.encoding import decoded
from music.midi import read_midi, write_midi
from music.musicxml import musicxml
from music.notes import remarks_line
from music.quantise import MidiError
from music.score import read_score
from music.tunebook import read_abc
from plumbing.files import atomic_write

MIDI = '.mid', '.midi'
READ_AS_MIDI = *MIDI, '.kar', '.rmi'
SCORES = '.musicxml', '.xml', '.mxl'
READABLE, WRITABLE = (*READ_AS_MIDI, '.abc', *SCORES), (*MIDI, '.abc', *SCORES)
CONTAINER = ('<?xml version="1.0" encoding="UTF-8"?>\n<container><rootfiles><rootfile '
             'full-path="score.musicxml"/></rootfiles></container>\n')


def read(source):
    """List of (title, Music or None, reason or None) of a file; the title is '' where it has
    none.
    """
    data, suffix = source.read_bytes(), source.suffix.lower()
    if suffix == '.abc':
        return list(read_abc(decoded(data)))
    reader = read_midi if suffix in READ_AS_MIDI else read_score
    music, _ = reader(data)
    return [(music.title, music, None)]


def write(music, title, target):
    suffix = target.suffix.lower()
    if suffix in MIDI:
        write_midi(music, target)
    elif suffix == '.mxl':
        with atomic_write(target) as f, zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('META-INF/container.xml', CONTAINER)
            archive.writestr('score.musicxml', musicxml(music, title))
    else:
        text = write_abc(music, title) if suffix == '.abc' else musicxml(music, title)
        with atomic_write(target, 'w', encoding='utf-8') as f:
            f.write(text)


def main(arguments):
    if '-h' in arguments or '--help' in arguments:
        print(__doc__)
        return
    if len(arguments) != 2:
        fail('usage: python -m music IN OUT, such as in.mid out.abc')
    source, target = map(Path, arguments)
    if source.suffix.lower() not in READABLE:
        fail(f"{source}: a file to read ends in {', '.join(READABLE)}")
    if target.suffix.lower() not in WRITABLE:
        fail(f"{target}: a file to write ends in {', '.join(WRITABLE)}")
    if target.exists() and os.path.samefile(source, target):
        fail(f'{target}: would replace the file that is read')
    if not target.parent.is_dir():
        fail(f'{target.parent}: no such folder')

    try:
        tunes = read(source)
        good = [(title, music) for title, music, _ in tunes if music is not None]
        for i, (title, music) in enumerate(good, 1):
            path = target if len(good) == 1 else target.with_stem(f'{target.stem}-{i}')
            write(music, title or source.stem, path)
            name = title or 'untitled'
            print(f'{path}: {name}, {len(music.notes):,} notes, {len(music.voices)} voices')
            if line := remarks_line(music):
                print(f'{source}: {name}: {line}', file=sys.stderr)
    except OSError as e:
        fail(f'{e.filename or target}: {e.strerror or e}')
    except MidiError as e:
        fail(f'{source}: {e}')
    reasons = [(title or 'untitled', reason) for title, _, reason in tunes if reason]
    if not good:
        fail(f'{source}: {reasons[0][1] if reasons else "no tune that can be read"}')
    for title, reason in reasons:
        print(f'{source}: {title}: {reason}', file=sys.stderr)


if __name__ == '__main__':
    main(sys.argv[1:])
