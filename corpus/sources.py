"""Where music comes from: folders, archives (read as a stream, never unpacked), the bundled books,
Lakh by download.

    not_read = Counter()
    for item in items('midis.tar.gz', not_read):    # an Item a file, in an order that never changes
        ...
    not_read['.txt']                                # files that are no music, by suffix
"""
import bz2
import gzip
import hashlib
import importlib.util
import lzma
import os
import re
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass

from configurator import fail
from plumbing.progress import Progress

NAMED = ('bundled', 'lakh')
SUFFIXES = ('.mid', '.midi', '.kar', '.rmi', '.abc', '.mxl', '.musicxml', '.xml')
ARCHIVES = ('.tar', '.tar.gz', '.tgz', '.tar.xz', '.tar.bz2', '.zip')
MAX_BYTES = 16 << 20                # a larger file is no piece of music
SNIFFED = 1 << 14                   # bytes of an .xml in which a score says that it is one

LAKH_URL = 'http://hog.ee.columbia.edu/craffel/lmd/lmd_full.tar.gz'
LAKH_MD5 = '2536ce3fd2cede53ddaa264f731859ab'
LAKH_PATH = os.path.join('data', 'downloads', 'lmd_full.tar.gz')
RETRY_S = 3                         # between two attempts to download
BUNDLED = (('bach', '.mxl'), ('airdsAirs', '.abc'), ('oneills1850', '.abc'),
           ('ryansMammoth', '.abc'))


@dataclass
class Item:
    name: str                       # path inside the source
    stamp: str                      # changes when the file does
    data: object                    # path (str), content (bytes), or None for a file over MAX_BYTES
    fraction: float                 # how much of the source has been read with this file, 0..1


def check(source):
    """Exit with one line if `source` is nothing that can be read."""
    if source in NAMED or os.path.isdir(source):
        return
    if not os.path.isfile(source) or not source.lower().endswith(ARCHIVES + SUFFIXES):
        what = 'is of another kind' if os.path.isfile(source) else 'is not there'
        fail(f"source: {source!r} {what}; give 'bundled', 'lakh', a folder, or an archive "
             f"({', '.join(ARCHIVES)})")


def name_of(source):
    """What the data of a source are called: its last part, without the suffix of an archive."""
    name = os.path.basename(os.path.abspath(source))
    return re.sub(r'\.(tar(\.\w+)?|tgz|zip)$', '', name, flags=re.I)


def items(source, not_read=None):
    """Iterator of Items. Counts files that are no music in the Counter `not_read`, by suffix.

    Exits with one line if an archive is damaged or Lakh cannot be downloaded.
    """
    not_read = Counter() if not_read is None else not_read
    if source == 'bundled':
        return bundled_files(not_read)
    if source == 'lakh':
        download(LAKH_URL, LAKH_PATH, LAKH_MD5)
        source = LAKH_PATH
    if os.path.isdir(source):
        return folder_files(source, not_read)
    if source.lower().endswith(SUFFIXES):
        return path_items(os.path.dirname(source), [os.path.basename(source)], not_read)
    return archive_files(source, not_read)


def is_music(name, head):
    """By its suffix; of an .xml by its first bytes, `head` (a function)."""
    if is_hidden(name) or not name.lower().endswith(SUFFIXES):
        return False
    return not name.lower().endswith('.xml') or is_score(head())


def is_hidden(name):
    return os.path.basename(name).startswith('.')


def is_score(head):
    """Do these first bytes of an .xml say that it is MusicXML, in whatever encoding, or zipped?"""
    return head.startswith(b'PK') or any(f'score-{kind}wise'.encode() in head.replace(b'\0', b'')
                                         for kind in ('part', 'time'))


def kind_of(name):
    """Under which a file is counted that is not read."""
    if is_hidden(name):
        return 'hidden'
    suffix = os.path.splitext(name)[1].lower()
    return suffix if re.fullmatch(r'\.\w{1,10}', suffix) else 'no suffix'


def head_of(path):
    if not os.path.isfile(path):                                # a pipe would be waited for
        return b''
    try:
        with open(path, 'rb') as f:
            return f.read(SNIFFED)
    except OSError:                                             # to be named when it is converted
        return b'score-partwise'


def path_items(folder, names, not_read):
    for i, name in enumerate(names, 1):
        path = os.path.join(folder, name)
        if not os.path.isfile(path):  # removed meanwhile, a dangling link, a pipe
            not_read[kind_of(name)] += 1
            continue
        info = os.stat(path)
        data = path if info.st_size <= MAX_BYTES else None
        yield Item(name, f'{info.st_size}:{info.st_mtime_ns}', data, i / len(names))


def folder_files(folder, not_read):
    """All music under `folder`, by name."""
    names = []
    for parent, folders, files in os.walk(folder):
        # an out_dir of prepare.py: music, but not from outside
        if 'source.json' in files and 'shards' in folders:
            not_read['prepared data'] += 1
            folders.clear()
            continue
        not_read['hidden folder'] += sum(is_hidden(name) for name in folders)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            path = os.path.join(parent, name)
            if is_music(name, lambda: head_of(path)):
                names.append(os.path.relpath(path, folder))
            else:
                not_read[kind_of(name)] += 1
    return path_items(folder, sorted(names), not_read)


def bundled_files(not_read):
    """The chorales and tune books in the music21 package, without importing it."""
    package = importlib.util.find_spec('music21')
    corpus = os.path.join(package.submodule_search_locations[0], 'corpus') if package else ''
    names = []
    for folder, suffix in BUNDLED:
        if os.path.isdir(os.path.join(corpus, folder)):
            names += [os.path.join(folder, name)
                      for name in sorted(os.listdir(os.path.join(corpus, folder)))
                      if name.endswith(suffix)]
    if not names:
        fail('source: the bundled music is in the package music21, which is not there; '
             'pip install -r requirements.txt')
    return path_items(corpus, names, not_read)


def archive_files(path, not_read):
    """Music in a .zip or .tar.*, in its own order. One member at a time is in memory."""
    try:
        yield from (zip_files if path.lower().endswith('.zip') else tar_files)(path, not_read)
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError,
            NotImplementedError) as e:  # the last: a compression that Python does not know
        fail(f'source: archive {path!r} is damaged ({e})')


def tar_files(path, not_read):
    size = os.path.getsize(path)
    suffix = path.lower().rsplit('.', 1)[1]
    unpack = {'tar': lambda raw: raw, 'xz': lzma.open, 'bz2': bz2.open}.get(suffix, gzip.open)
    with (open(path, 'rb') as raw, unpack(raw) as stream,
          tarfile.open(fileobj=stream, mode='r|') as tar):
        for member in tar:
            tar.members = []  # else tarfile keeps every header it has ever read
            if member.isdir():
                continue
            data, is_file = None, member.isfile()
            if is_file and member.name.lower().endswith(SUFFIXES) and member.size <= MAX_BYTES:
                data = tar.extractfile(member).read()
            if is_file and is_music(member.name, lambda: (data or b'score-partwise')[:SNIFFED]):
                yield Item(member.name, stamp(data), data, raw.tell() / size)
            else:
                not_read[kind_of(member.name)] += 1
        while stream.read(1 << 20):  # to its end, where a cut-off archive shows
            pass


def zip_files(path, not_read):
    def head(member):
        with archive.open(member) as f:
            return f.read(SNIFFED)

    with zipfile.ZipFile(path) as archive:
        files = [m for m in archive.infolist() if not m.is_dir()]
        if any(m.flag_bits & 1 and m.filename.lower().endswith(SUFFIXES) for m in files):
            fail(f'source: archive {path!r} is encrypted')
        members = []
        for member in files:
            if is_music(member.filename, lambda: head(member)):
                members.append(member)
            else:
                not_read[kind_of(member.filename)] += 1
        for i, member in enumerate(members, 1):
            data = archive.read(member) if member.file_size <= MAX_BYTES else None
            yield Item(member.filename, stamp(data), data, i / len(members))


def stamp(data):
    return hashlib.sha256(data).hexdigest()[:16] if data is not None else 'large'


def download(url, path, md5, attempts=5):
    """Fetch `url` to `path` unless it is there, going on where an earlier try stopped. Exits with
    a line if that fails.

    The file appears under its name only when it is whole and its md5 is right. Until then it is
    `path`.part.
    """
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    part = path + '.part'
    for attempt in range(attempts):
        try:
            fetch(url, part)
            break
        except urllib.error.HTTPError as e:
            if e.code == 416:  # nothing is left: the part is whole, or of another file
                break
            fail(f'download: {url} answers {e.code} {e.reason}; fetch the file by other means '
                 f'and put it at {path}')
        except OSError as e:  # urllib's URLError, timeouts, resets
            reason = getattr(e, 'reason', e)
            if attempt == attempts - 1:
                fail(f'download: {url} cannot be reached ({reason}); run again to go on, '
                     f'or put the file at {path}')
            print(f'download: interrupted ({reason}), trying again', flush=True)
            time.sleep(RETRY_S)
    digest = hashlib.md5()
    with open(part, 'rb') as f:
        while block := f.read(1 << 20):
            digest.update(block)
        os.fsync(f.fileno())
    if digest.hexdigest() != md5:
        os.remove(part)
        fail(f'download: {url} arrived with md5 {digest.hexdigest()} instead of {md5}; '
             'the file was removed, run again')
    os.replace(part, path)


def fetch(url, part):
    """Append what is missing of `url` to the file `part`. Raises OSError if the connection ends
    early.
    """
    have = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={'Range': f'bytes={have}-'} if have else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        if answer.status != 206:                                # the server does not resume
            have = 0
        length = answer.headers.get('Content-Length')
        total = have + int(length) if length else None
        mode = 'ab' if have else 'wb'
        with open(part, mode) as f, Progress('download', 'MB', 2 ** 20) as progress:
            while block := answer.read(1 << 18):
                f.write(block)
                progress.show(f.tell() - have, f.tell() / total if total else None)
            if total and f.tell() < total:
                raise OSError(f'connection closed at {f.tell():,} of {total:,} bytes')
