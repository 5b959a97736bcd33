"""Tune books: ABC 2.1 files as other people write them -> notes. (The way back is abcfile.py.)

    for title, music, reason in read_abc(decoded(open('book.abc', 'rb').read())):
        ...                                         # music is None where there is a reason

Every tune is read or rejected; a reason is a short name to count under. What is played is what
counts: repeats, endings, jumps (D.C., D.S., Fine, coda) and `P:` orders are played out (unfold.py).
Tuplets, broken rhythm, chords, ties, overlays `&` and `&&`, voices, inline fields and %%MIDI
program/channel/drummap are followed. Slurs, decorations, chord symbols, annotations and lyrics are
skipped. Music.remarks counts what else is: grace notes, blocks and lines of words, "D.C." above the
notes where no Fine makes it clear, a tempo in words.

A tune begins at its `X:`. Text without any, such as what is pasted into a chat, is searched for
headers; a line of ``` ends a tune like an empty line. Text without `X:` that starts with `L:1/8`
may be our own compact notation (notation.py), one tune a paragraph.

An accidental holds to the barline in all octaves unless `propagate-accidentals` says `not` or
`octave`. Times are exact until the end, when notes off the grid of 24 units a quarter (quintuplets,
64ths) are rounded to it. Modes become the key signature that they are written with, called major if
their third is.
"""
import re

from music import notation
from music.abcsplit import split_tunes
from music.abctune import TuneReader
from music.unfold import AbcError, play


def read_abc(text):
    """Yield (title, Music, None) or (title, None, reason) for each tune of the text, in order."""
    text = text.lstrip('\ufeff').replace('\r\n', '\n').replace('\r', '\n')
    is_numbered = re.search(r'^[ \t]*X:', text, re.M)
    has_our_voices = re.search(r'^V:\d+ (program=|drums)', text, re.M)
    if text.startswith('L:1/8\n') and has_our_voices and not is_numbered:
        for paragraph in re.split(r'\n\s*\n', text.strip()):
            try:
                yield '', notation.decode(paragraph + '\n'), None
            except notation.NotationError:
                yield '', None, 'not our compact notation'
        return
    defaults, tunes = split_tunes(text)
    for lines in tunes:
        titles = [line[2:].strip().replace(r'\%', '%') for line in lines if line[:2] == 'T:']
        title = titles[0] if titles else ''
        try:
            tune = TuneReader().read(defaults + lines)
            voices = {name: line.bars for name, line in tune.voices.items()}
            yield title, play(voices, tune.order, tune.staves, title, tune.remarks), None
        except AbcError as e:
            yield title, None, str(e)
    if not tunes:
        yield '', None, 'no tune: neither an X: nor a K: line'
