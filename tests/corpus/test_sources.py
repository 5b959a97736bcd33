"""sources.py: folders and archives give the same files; a download goes on where it stopped, and says in one line why it cannot."""
import collections
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile

import pytest

from corpus import sources

FILES = {'b/two.mid': b'MThd two', 'a.mid': b'MThd one', 'b/c/book.abc': b'X:1\nK:C\nC|\n', 'x.KAR': b'MThd kar'}
OTHERS = {'readme.txt': b'no music', '.hidden.mid': b'MThd', 'b/._two.mid': b'resource fork'}


def pack(path):
    """An archive of FILES and OTHERS; the kind follows from the name."""
    if str(path).endswith('.zip'):
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in (FILES | OTHERS).items():
                archive.writestr(name, data)
        return str(path)
    with tarfile.open(path, 'w:' + str(path).rsplit('.', 1)[1].replace('tgz', 'gz').replace('tar', '')) as archive:
        for name, data in (FILES | OTHERS).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def lay_out(folder):
    for name, data in (FILES | OTHERS).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def content(item):
    if isinstance(item.data, bytes):
        return item.data
    with open(item.data, 'rb') as f:
        return f.read()


@pytest.mark.parametrize('kind', ['folder', 'x.tar', 'x.tar.gz', 'x.tgz', 'x.tar.xz', 'x.tar.bz2', 'x.zip'])
def test_folder_and_every_archive_give_the_music_and_nothing_else(tmp_path, kind):
    source = lay_out(tmp_path / 'folder') if kind == 'folder' else pack(tmp_path / kind)
    sources.check(source)
    found = list(sources.items(source))
    assert {item.name: content(item) for item in found} == FILES
    assert 0 < found[-1].fraction <= 1 and [i.fraction for i in found] == sorted(i.fraction for i in found)
    assert [(i.name, i.stamp) for i in found] == [(i.name, i.stamp) for i in sources.items(source)]


def test_folder_is_read_in_the_order_of_names(tmp_path):
    assert [item.name for item in sources.items(lay_out(tmp_path))] == sorted(FILES)


def test_a_changed_file_has_another_stamp(tmp_path):
    before = {item.name: item.stamp for item in sources.items(lay_out(tmp_path))}
    (tmp_path / 'a.mid').write_bytes(b'MThd other')
    after = {item.name: item.stamp for item in sources.items(str(tmp_path))}
    assert {name for name in before if before[name] != after[name]} == {'a.mid'}


@pytest.mark.parametrize('kind', ['folder', 'x.tar.gz', 'x.zip'])
def test_a_huge_file_is_named_but_not_read(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(sources, 'MAX_BYTES', 8)
    source = lay_out(tmp_path / 'folder') if kind == 'folder' else pack(tmp_path / kind)
    assert {item.name for item in sources.items(source) if item.data is None} == {'b/c/book.abc'}


SCORE = '<?xml version="1.0"?>\n<!DOCTYPE score-partwise>\n<score-partwise version="4.0"></score-partwise>'
MIXED = {'plain.xml': SCORE.encode(), 'wide.XML': SCORE.encode('utf-16'), 'b/timewise.xml': SCORE.replace('part', 'time').encode(),
         'b/pack.mxl': b'PK\3\4', 'UPPER.MXL': b'PK\3\4', 'build.xml': b'<project name="x"/>', 'page.pdf': b'%PDF', 'b/Page.PDF': b'%PDF',
         'README': b'words', 'odd.a suffix of many words': b'?', '.DS_Store': b'?', 'b/._plain.xml': SCORE.encode()}
MUSIC = {'plain.xml', 'wide.XML', 'b/timewise.xml', 'b/pack.mxl', 'UPPER.MXL'}


@pytest.mark.parametrize('kind', ['folder', 'x.tar.gz', 'x.zip'])
def test_xml_is_read_where_it_is_a_score_and_what_is_not_read_is_counted(tmp_path, kind, monkeypatch):
    monkeypatch.setattr('test_sources.FILES', MIXED)
    monkeypatch.setattr('test_sources.OTHERS', {})
    not_read = collections.Counter()
    source = lay_out(tmp_path / 'folder') if kind == 'folder' else pack(tmp_path / kind)
    found = {item.name: content(item) for item in sources.items(source, not_read)}
    assert found == {name: MIXED[name] for name in MUSIC}
    assert {what: n for what, n in not_read.items() if n} == {'.pdf': 2, '.xml': 1, 'no suffix': 2, 'hidden': 2}


def test_what_is_no_file_in_a_folder_is_counted_and_not_waited_for(tmp_path):
    os.symlink('nowhere', tmp_path / 'gone.mid')
    os.mkfifo(tmp_path / 'pipe.mid')
    os.mkfifo(tmp_path / 'pipe.xml')
    (tmp_path / '.git').mkdir()
    not_read = collections.Counter()
    assert list(sources.items(str(tmp_path), not_read)) == []
    assert not_read == {'.mid': 2, '.xml': 1, 'hidden folder': 1}


@pytest.mark.parametrize('kind', ['x.tar.gz', 'x.tar.xz', 'x.tar', 'x.zip'])
def test_a_damaged_archive_is_one_line_and_exit_2(tmp_path, kind, capsys):
    path = pack(tmp_path / kind)
    with open(path, 'rb') as f:
        data = f.read()
    with open(path, 'wb') as f:
        f.write(data[:len(data) // 3] if not kind.endswith('.tar') else b'?' * 2000)
    with pytest.raises(SystemExit) as e:
        list(sources.items(path))
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and path in error


def test_a_source_that_is_not_there_is_one_line_and_exit_2(tmp_path, capsys):
    (tmp_path / 'notes.txt').write_text('no music')
    for source in (str(tmp_path / 'nowhere'), str(tmp_path / 'notes.txt')):
        with pytest.raises(SystemExit) as e:
            sources.check(source)
        error = capsys.readouterr().err
        assert e.value.code == 2 and error.count('\n') == 1 and source in error


def test_the_bundled_music_is_4248_tunes_in_books_and_408_chorales():
    found = list(sources.items('bundled'))
    assert sum(item.name.endswith('.mxl') for item in found) == 408
    assert sum(content(item).count(b'X:') for item in found if item.name.endswith('.abc')) == 4248


# ------------------------------------------------------------------------------------------------------------- download

BODY = bytes(range(256)) * 4000
MD5 = hashlib.md5(BODY).hexdigest()


class Server:
    """HTTP server of `body`. `break_after`: bytes after which it drops each of the first `breaks` answers."""

    def __init__(self, breaks=0, break_after=300_000, ranges=True, status=None, body=BODY):
        self.requests, state = [], {'breaks': breaks}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get('Range')
                outer.requests.append(asked)
                if status:
                    self.send_error(status)
                    return
                begin = int(asked.split('=')[1].rstrip('-')) if asked and ranges else 0
                if begin >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if asked and ranges else 200)
                self.send_header('Content-Length', str(len(body) - begin))
                self.end_headers()
                rest = body[begin:]
                if state['breaks'] > 0:
                    state['breaks'] -= 1
                    rest = rest[:break_after]
                self.wfile.write(rest)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}/lmd_full.tar.gz'

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def fetch(server, path, md5=MD5):
    sources.download(server.url, str(path), md5, attempts=3)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(sources, 'RETRY_S', 0)


def failing(capsys, server, path, md5=MD5):
    with pytest.raises(SystemExit) as e:
        fetch(server, path, md5)
    error = capsys.readouterr().err
    assert e.value.code == 2 and error.count('\n') == 1 and server.url in error
    assert not path.exists()
    return error


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path):
    with Server(breaks=2) as server:
        fetch(server, tmp_path / 'downloads' / 'x')
    assert (tmp_path / 'downloads' / 'x').read_bytes() == BODY
    assert server.requests == [None, 'bytes=300000-', 'bytes=600000-']


def test_the_next_run_goes_on_with_the_part_of_the_last(tmp_path, capsys):
    path = tmp_path / 'x'
    with Server(breaks=3, break_after=100_000) as server:
        failing(capsys, server, path)
    assert (tmp_path / 'x.part').stat().st_size == 300_000
    with Server() as server:
        fetch(server, path)
    assert path.read_bytes() == BODY and server.requests == ['bytes=300000-'] and not (tmp_path / 'x.part').exists()


def test_a_server_without_ranges_starts_again(tmp_path):
    (tmp_path / 'x.part').write_bytes(b'?' * 1000)
    with Server(ranges=False) as server:
        fetch(server, tmp_path / 'x')
    assert (tmp_path / 'x').read_bytes() == BODY


def test_a_part_that_is_whole_is_only_checked(tmp_path):
    (tmp_path / 'x.part').write_bytes(BODY)
    with Server() as server:
        fetch(server, tmp_path / 'x')
    assert (tmp_path / 'x').read_bytes() == BODY


def test_what_is_there_is_not_fetched_again(tmp_path):
    (tmp_path / 'x').write_bytes(BODY)
    with Server() as server:
        fetch(server, tmp_path / 'x')
    assert server.requests == []


def test_wrong_md5_is_one_line_and_leaves_nothing(tmp_path, capsys):
    with Server() as server:
        assert 'md5' in failing(capsys, server, tmp_path / 'x', '0' * 32)
    assert os.listdir(tmp_path) == []


def test_not_found_is_one_line(tmp_path, capsys):
    with Server(status=404) as server:
        assert '404' in failing(capsys, server, tmp_path / 'x')


def test_no_network_is_one_line_that_says_where_to_put_the_file(tmp_path, capsys):
    server = Server()
    server.server.server_close()                        # nobody listens on the port any more
    error = failing(capsys, server, tmp_path / 'x')
    assert 'cannot be reached' in error and str(tmp_path / 'x') in error
