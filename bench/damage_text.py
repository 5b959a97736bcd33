"""Damaged ABC and MusicXML: the bundled tunes cut off, with characters, numbers or lines changed, or
with snippets in them that stand for trouble.

Each must be read and come through the notation note for note, or be refused with a reason. Nothing
may crash or hang.

    python bench/damage_text.py --mutations=2000            # of each format
"""
import io
import os
import random
import re
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure  # noqa: E402
from corpus import pool, sources  # noqa: E402
from music.encoding import decoded  # noqa: E402
from music.notation import decode, encode  # noqa: E402
from music.quantise import MidiError  # noqa: E402
from music.score import read_score, unpacked  # noqa: E402
from music.tunebook import read_abc  # noqa: E402

KINDS = ('cut off', 'characters', 'numbers', 'lines', 'snippets', 'bytes')
BATCH = 50                                          # mutations a job
ABC_SNIPPETS = [
    '&&', '&', '(& ', ' &)', '!D.C.!', '!D.S.!', '!segno!', '!coda!', '!fine!', '"D.C. al Fine"',
    '|:', ':|', '::', '[1', '|2', '||', '|]', '(9:9:9', '(3', '>>>', '-', '{', '}', '[', ']', '"',
    '[V:2]', '[K:Dm]', '[M:5/8]', '[L:1/1024]', 'Z9', '\nP:B\n', '\nP:(AB)9\n', '\nQ:1/4 1/8=\n',
    '\nQ:1/0=3\n', '\nK:\n', '\nK:C perc\n', '\n%%MIDI drummap ^C 300\n', '\n%%MIDI channel 10\n',
    '\n%%begintext\n', '\n%%endtext\n', '\n```\n', '\n\n', '\nX:1\n', '\nU:S=!fine!\n', '\nV:\n',
    '\nThese are words\n', '\n%%percmap D 36\n', '[1-999', ':' * 30 + '|']
XML_SNIPPETS = [
    '<sound dacapo="yes"/>', '<sound dalsegno="a"/>', '<sound segno="a"/>', '<sound coda="c"/>',
    '<sound fine="yes"/>', '<sound tempo="x"/>', '<sound forward-repeat="yes"/>',
    '<sound><midi-instrument id="q"><midi-program>999</midi-program></midi-instrument></sound>',
    '<sound><instrument-change/></sound>', '<direction><words>D.S. al Coda</words></direction>',
    '<barline><repeat direction="backward" times="99999"/></barline>',
    '<barline><ending number="1-999" type="start"/></barline>',
    '<backup><duration>9</duration></backup>',
    '<attributes><divisions>0</divisions></attributes>', '<note/>', '<note><grace/></note>',
    '<attributes><measure-style><measure-repeat type="start">2</measure-repeat></measure-style>'
    '</attributes>', '<direction><metronome><beat-unit>quarter</beat-unit><beat-unit>eighth'
    '</beat-unit></metronome></direction>', '<metronome><beat-unit-dot/></metronome>',
    '<attributes><key><fifths>9</fifths></key></attributes>', '</measure>', '<measure>', '</part>',
    '<attributes><time><beats>x</beats><beat-type>0</beat-type></time></attributes>', '<!--', '&x;']


@dataclass
class Settings:
    mutations: int = 2000                               # of each format
    time_limit_s: float = 120.0                         # for BATCH mutations
    seed: int = 1


def damage(text, kind, rng, snippets):
    """`text` with one to six damages of one of KINDS but the last."""
    if kind == 'cut off':
        return text[:rng.randrange(len(text) + 1)]
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        if kind == 'characters':
            new = ''.join(rng.choices(text + '\0\ud7ff', k=rng.randint(0, 3)))
            text = text[:at] + new + text[at + rng.randint(0, 3):]
        elif kind == 'numbers':
            places = [match.span() for match in re.finditer(r'\d+', text)] or [(at, at)]
            start, stop = rng.choice(places)
            new = rng.choice(['', '0', '-1', '7', '1e9', '99999', '0.5', '9' * 5000])
            text = text[:start] + new + text[stop:]
        elif kind == 'lines':
            lines = text.split('\n')
            line = lines.pop(rng.randrange(len(lines)))
            lines[rng.randint(0, len(lines)):0] = [line] * rng.randint(0, 2)
            text = '\n'.join(lines)
        else:
            if snippets is XML_SNIPPETS:                # between two elements
                at = text.rfind('>', 0, at) + 1
            text = text[:at] + rng.choice(snippets) + text[at:]
    return text


def flipped(data, rng):
    """`data` with up to twenty bits flipped, or as UTF-16."""
    if rng.random() < 0.2:
        return data.decode('latin-1').encode('utf-16')
    data = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def zipped(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('score.xml', text)
    return file.getvalue()


def one_of(sources_, rng):
    """(text, snippets, function that yields the music of bytes) of a tune or a score, ABC or not as
    rng says."""
    path = rng.choice(sources_)
    with open(path, 'rb') as f:
        data = f.read()
    if path.endswith('.abc'):
        tunes = re.split(r'^(?=X:)', decoded(data), flags=re.M)
        text = ''.join(rng.sample(tunes, min(3, len(tunes))))
        return text, ABC_SNIPPETS, lambda data: [music for _, music, _ in read_abc(decoded(data))]
    return unpacked(data).decode(), XML_SNIPPETS, lambda data: [read_score(data)[0]]


def outcomes(job):
    """Counter of (kind, outcome) over BATCH mutations of `paths`."""
    paths, seed = job
    rng, counts = random.Random(seed), Counter()
    for _ in range(BATCH):
        kind = rng.choice(KINDS)
        text, snippets, read = one_of(paths, rng)
        if kind == 'bytes':
            is_score = snippets is XML_SNIPPETS and rng.random() < 0.5
            data = flipped(zipped(text) if is_score else text.encode(), rng)
        else:
            data = damage(text, kind, rng, snippets).encode('utf-8', 'replace')
        try:
            tunes = [music for music in read(data) if music is not None]
            same = all((decode(encode(music)).notes == music.notes).all() for music in tunes)
            outcome = 'read' if tunes and same else 'refused' if same else 'CHANGED BY THE NOTATION'
        except MidiError:
            outcome = 'refused'
        except Exception as e:
            outcome = f'CRASH: {type(e).__name__}'
        counts[kind, outcome] += 1
    return counts


def main():
    s = configure(Settings)
    paths = [item.data for item in sources.items('bundled')]
    for suffix in ('.abc', '.mxl'):
        rng, total, lost = random.Random(s.seed), Counter(), 0
        chosen = [path for path in paths if path.endswith(suffix)]
        jobs = [(chosen, rng.random()) for _ in range(-(-s.mutations // BATCH))]
        for _, counts in pool.run(outcomes, jobs, os.cpu_count(), s.time_limit_s):
            if isinstance(counts, pool.Lost):
                lost += 1
                print(f'a job of {BATCH} mutations was lost: {counts.reason}')
            else:
                total.update(counts)
        columns = sorted({outcome for _, outcome in total})
        print(f'{suffix:<16}' + ''.join(f'{column:>12}' for column in columns))
        for kind in KINDS:
            print(f'{kind:<16}' + ''.join(f'{total[kind, column]:>12,}' for column in columns))
        print(f'{sum(total.values()):,} mutations, {lost} jobs lost\n')


if __name__ == '__main__':
    main()
