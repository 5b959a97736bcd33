"""Damaged MIDI, ABC and MusicXML: real files cut off, with bits, bytes, characters, numbers, lines
or elements changed, or with snippets in them that stand for trouble.

Each must be read and come through the notation note for note, or be refused with a reason. Nothing
may crash, and nothing may take more than ten seconds of CPU time.

    python bench/damage.py FOLDER --mutations=10000         # of each format that FOLDER has
    python bench/damage.py bundled --mutations=2000         # the tune books and chorales of music21
"""
import io
import os
import random
import re
import sys
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure, fail  # noqa: E402
from corpus import pool, sources  # noqa: E402
from corpus.convert import SCORES, read  # noqa: E402
from music.encoding import decoded  # noqa: E402
from music.notation import decode, encode  # noqa: E402
from music.score import unpacked  # noqa: E402

MIDI_KINDS = ('cut off', 'bits flipped', 'bytes replaced', 'header changed', 'noise')
TEXT_KINDS = ('cut off', 'characters', 'numbers', 'lines', 'elements', 'snippets', 'bytes')
FORMATS = {'.mid': MIDI_KINDS, '.abc': TEXT_KINDS, '.musicxml': TEXT_KINDS}
BATCH = 50                                          # mutations a job
MAX_BYTES = 400_000                                 # of a file; in MIDI 40,000
TOO_SLOW_S = 10
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
    paths: list[str] = field(default_factory=list)      # folders, archives, or bundled
    files: int = 150                                    # of each format, chosen by chance
    mutations: int = 10_000                             # of each format
    time_limit_s: float = 300.0                         # for BATCH mutations
    seed: int = 1


def format_of(name):
    """Key of FORMATS."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SCORES:
        return '.musicxml'
    return '.abc' if suffix == '.abc' else '.mid'


# ---- The damages

def damage_midi(data, kind, rng):
    """Bytes of a MIDI file with damages of one of MIDI_KINDS."""
    data = bytearray(data)
    if kind == 'cut off':
        return bytes(data[:rng.randrange(len(data))])
    if kind == 'bits flipped':
        return flipped(data, rng)
    if kind == 'bytes replaced':
        at = rng.randrange(len(data))
        data[at:at + rng.randint(1, 50)] = rng.randbytes(rng.randint(0, 50))
    elif kind == 'header changed':
        data[rng.randrange(min(60, len(data)))] = rng.randrange(256)
    else:
        data = b'MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\1\0' + rng.randbytes(rng.randint(0, 500))
    return bytes(data)


def damage_text(text, kind, rng, snippets):
    """Bytes of a text with one to six damages of one of TEXT_KINDS."""
    is_score = snippets is XML_SNIPPETS
    if kind == 'cut off':
        return text[:rng.randrange(len(text) + 1)].encode()
    if kind == 'bytes':
        if rng.random() < 0.2:
            return text.encode('latin-1', 'replace').decode('latin-1').encode('utf-16')
        data = zipped(text) if is_score and rng.random() < 0.5 else text.encode()
        return flipped(bytearray(data), rng)

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
        elif kind == 'elements':
            text = without_element(text, at, is_score)
        else:
            at = text.rfind('>', 0, at) + 1 if is_score else at         # between two elements
            text = text[:at] + rng.choice(snippets) + text[at:]
    return text.encode('utf-8', 'replace')


def flipped(data, rng):
    """`data` with up to twenty bits flipped."""
    for _ in range(rng.randint(1, 20) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def without_element(text, at, is_score):
    """`text` without what begins first at or after `at`: an element with all that is in it, or what
    is between two spaces or barlines of ABC."""
    if is_score:
        pattern = re.compile(r'<([\w-]+)(?:\s[^<>]*)?(?:/>|>(?:.*?</\1>))', re.S)
    else:
        pattern = re.compile(r'[^\s|]+')
    match = pattern.search(text, at)
    return text[:match.start()] + text[match.end():] if match else text


def zipped(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('score.xml', text)
    return file.getvalue()


def damaged(data, suffix, kind, rng):
    """Bytes of a damaged copy; of a tune book, of three of its tunes."""
    if suffix == '.mid':
        return damage_midi(data, kind, rng)
    if suffix == '.musicxml':
        return damage_text(decoded(unpacked(data)), kind, rng, XML_SNIPPETS)
    tunes = re.split(r'^(?=X:)', decoded(data), flags=re.M)
    return damage_text(''.join(rng.sample(tunes, min(3, len(tunes)))), kind, rng, ABC_SNIPPETS)


# ---- The reading

def outcome_of(data, suffix):
    """What becomes of a damaged file: read, repaired, refused, or what must not be, in capitals."""
    start = time.process_time()
    try:
        tunes = [music for music, _, _ in read(f'x{suffix}', data) if music is not None]
        same = all((decode(encode(music)).notes == music.notes).all() for music in tunes)
    except Exception as e:
        return f'CRASH: {type(e).__name__}'
    if time.process_time() - start > TOO_SLOW_S:
        return 'TOO SLOW'
    if not same:
        return 'CHANGED BY THE NOTATION'
    if not tunes:
        return 'refused'
    is_repaired = any(what.startswith('repaired') for music in tunes for what in music.remarks)
    return 'repaired' if is_repaired else 'read'


def is_fault(outcome):
    return outcome[:2].isupper()


def outcomes(job):
    """(Counter of (kind, outcome) over BATCH mutations of `paths`, CPU seconds of the slowest one,
    the worst inputs as (outcome, bytes))."""
    paths, suffix, seed = job
    rng, counts, slowest, worst = random.Random(seed), Counter(), 0, []
    for _ in range(BATCH):
        kind, path = rng.choice(FORMATS[suffix]), rng.choice(paths)
        with open(path, 'rb') as f:
            data = damaged(f.read(), suffix, kind, rng)
        start = time.process_time()
        outcome = outcome_of(data, suffix)
        slowest = max(slowest, time.process_time() - start)
        counts[kind, outcome] += 1
        if is_fault(outcome):
            worst.append((outcome, data))
    return counts, slowest, worst


def main():
    s = configure(Settings)
    found = {suffix: [] for suffix in FORMATS}
    for source in s.paths:
        sources.check(source)
        for item in sources.items(source):
            suffix = format_of(item.name)
            limit = MAX_BYTES // 10 if suffix == '.mid' else MAX_BYTES
            if isinstance(item.data, str) and 0 < os.path.getsize(item.data) < limit:
                found[suffix].append(item.data)
    if not any(found.values()):
        fail("give folders with music files, or 'bundled'")

    for suffix, paths in found.items():
        if paths:
            report(suffix, paths, s)


def report(suffix, paths, s):
    """Damage files of one format and print a table; the first inputs of each fault are kept."""
    rng = random.Random(s.seed)
    paths = rng.sample(sorted(paths), min(s.files, len(paths)))
    total, slowest, lost, kept = Counter(), 0, 0, {}
    jobs = [(paths, suffix, rng.random()) for _ in range(-(-s.mutations // BATCH))]
    for job, result in pool.run(outcomes, jobs, os.cpu_count(), s.time_limit_s):
        if isinstance(result, pool.Lost):
            lost += 1
            print(f'a job of {BATCH} mutations was lost: {result.reason} (seed {job[2]})')
            continue
        counts, seconds, worst = result
        total.update(counts)
        slowest = max(slowest, seconds)
        kept.update({outcome: data for outcome, data in worst if outcome not in kept})

    columns = sorted({outcome for _, outcome in total},
                     key=lambda outcome: (is_fault(outcome), outcome))
    print(f'{suffix:<16}' + ''.join(f'{column:>12}' for column in columns))
    for kind in FORMATS[suffix]:
        print(f'{kind:<16}' + ''.join(f'{total[kind, column]:>12,}' for column in columns))
    print(f'{sum(total.values()):,} mutations of {len(paths)} files, {lost} jobs lost; the slowest '
          f'took {slowest:.1f} s of CPU\n')
    for outcome, data in kept.items():
        print(f'{outcome}: {len(data):,} bytes that begin with {data[:300]!r}')


if __name__ == '__main__':
    main()
