"""The page in a real browser (Chromium, driven over its debugging pipe; no further packages)."""
import base64
import json
import os
import re
import select
import shutil
import subprocess
import time
import urllib.parse

import numpy as np
import pytest

from conftest import miss, need
from music.engrave import engrave
from music.metrics import statistics
from music.midi import read_midi, write_midi
from music.musicxml import musicxml
from music.notation import decode, encode
from music.score import read_score
from sampling.page import SCORE_WIDTHS, listening_page, page

CHROMIUM = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'
TEXTS = ["""L:1/8
M:3/4
Q:1/4=120
K:G
V:1 program=0
V:2 program=73
V:3 drums
[V:1]D2|
[V:1]G2A/2B/2c[GB]2|[V:2]D6-|[V:3]C,,2^F,2D,,2|
[V:2]D6|[V:3]C,,2^F,2D,,2|
[M:2/4][Q:1/4=60][V:1][DGB]4|[V:2]G4|
""", "L:1/8\nM:4/4\nQ:1/4=200\nK:Em\nV:1 program=105\n[V:1]E2G2B2e2|\n[V:1][E8B4]|\n"]


@pytest.fixture(scope='module')
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    tunes = []
    for i, text in enumerate(TEXTS):
        music = decode(text)
        music.title = f'Tune {i + 1}'
        write_midi(music, str(folder / 'x.mid'))
        sheet = musicxml(music)
        tunes.append({'music': music, 'text': text, 'abc': f'X:1\n% <tune> {i} </script>\n', 'midi': (folder / 'x.mid').read_bytes(),
                      'musicxml': sheet, 'scores': [engrave(sheet, width, f'0{i + 1}') for width in SCORE_WIDTHS],
                      'statistics': statistics(music), 'prompt_bars': i, 'file': f'0{i + 1}'})
    path = folder / 'index.html'
    path.write_text(page(tunes, 'about', {'ckpt': 'out/gpt/best.pt', 'redrawn': {'mostly silent': 2}}), encoding='utf-8')
    return path


def test_page_is_self_contained(html):
    text = html.read_text(encoding='utf-8')
    assert not re.findall(r'''(?:src|href)\s*=\s*["'](?!data:)''', text) and '@import' not in text and 'http' not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [len(tune['notes']) for tune in data['tunes']] == [len(decode(text).notes) for text in TEXTS]
    assert [tune['prompt_end'] for tune in data['tunes']] == [0, 96]


class Browser:
    """Headless Chromium with one page, spoken to in JSON messages over two pipes."""

    def __init__(self, width=1200, height=1000, dark=False, scale=1):
        to_read, self.to = os.pipe()
        self.read, to_write = os.pipe()
        command = (f'exec 3<&{to_read} 4>&{to_write}; exec {need(*CHROMIUM)} --headless --no-sandbox --disable-gpu --no-first-run --mute-audio '
                   '--remote-debugging-pipe --user-data-dir="$0"')
        self.folder = subprocess.check_output(['mktemp', '-d'], text=True).strip()
        self.process = subprocess.Popen(['bash', '-c', command, self.folder], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(to_write)
        self.number, self.buffer, self.events, self.session = 0, b'', [], None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self.session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log'):
            self.call(domain + '.enable')
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        self.call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def message(self, seconds=60):
        until = time.time() + seconds
        while b'\0' not in self.buffer:
            if not select.select([self.read], [], [], max(0, until - time.time()))[0]:
                raise TimeoutError('the browser does not answer')
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                raise RuntimeError('the browser has ended')
            self.buffer += chunk
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': parameters}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self.message()
            if answer.get('id') == self.number:
                assert 'error' not in answer, answer
                return answer['result']
            self.events.append(answer)

    def open(self, path):
        self.call('Page.navigate', url=f'file://{path}')
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events if 'method' in event):
            self.events.append(self.message())

    def value(self, expression):
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def click(self, selector):
        box = self.value(f'(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()')
        for kind in ('mousePressed', 'mouseReleased'):
            self.call('Input.dispatchMouseEvent', type=kind, x=box[0], y=box[1], button='left', clickCount=1)

    def wait(self, expression, seconds=20):
        until = time.time() + seconds
        while not self.value(expression):
            assert time.time() < until, f'{expression} did not come true'
            time.sleep(0.05)

    def complaints(self):
        self.value('0')
        return [event for event in self.events if event.get('method') in ('Runtime.exceptionThrown', 'Log.entryAdded')
                or event.get('method') == 'Runtime.consoleAPICalled' and event['params']['type'] in ('error', 'warning')]

    def screenshot(self, path):
        with open(path, 'wb') as f:
            f.write(base64.b64decode(self.call('Page.captureScreenshot')['data']))

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.to), os.close(self.read)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope='module')
def browser(html):
    try:
        browser = Browser()
    except (RuntimeError, TimeoutError) as e:
        miss(f'Chromium does not start here: {e}')
    browser.open(html)
    yield browser
    browser.close()


def test_play_starts_the_audio_and_moves_the_cursor_and_stop_stops_both(browser):
    assert browser.value('audio === null')
    browser.click('.tune .play')
    browser.wait("audio !== null && audio.context.state === 'running'")
    browser.wait("Number(document.querySelector('canvas').dataset.cursor) > 0")
    first = browser.value("Number(document.querySelector('canvas').dataset.cursor)")
    browser.wait(f"Number(document.querySelector('canvas').dataset.cursor) > {first} + 5")
    assert browser.value('player.next') > 0
    browser.click('#toggle')
    browser.wait('!player.playing')
    still = browser.value('position()')
    assert still > 0
    time.sleep(0.3)
    assert browser.value('position()') == still
    assert browser.complaints() == []


def test_the_whole_tune_is_played_then_the_next_one(browser):
    browser.value("$('speed').value = 150; play(data.tunes[0], data.tunes[0].seconds - .3); 0")
    browser.wait('player.next === data.tunes[0].events.length || player.tune === data.tunes[1]')
    browser.wait('player.tune === data.tunes[1] && player.playing')
    browser.value("stop(0); $('speed').value = 100; 0")
    assert browser.complaints() == []


def test_sound_is_heard_from_each_family_and_drum(browser):
    """Rendered offline with the page's own synthesis: no program and no drum is silent, and none is far from the others."""
    levels = browser.value('''(async () => {
      await startAudio(); const real = audio.context, levels = [];
      for (const [drum, n] of [...Array(16).keys()].map(i => [false, i * 8]).concat([35, 38, 42, 46, 49, 45, 56, 81].map(p => [true, p]))) {
        const context = new OfflineAudioContext(1, 44100 * .6, 44100);
        audio.context = context; audio.waves = new Map();
        drum ? playDrum(n, .01, 1, context.destination) : playNote(n, 60, .01, .5, 1, context.destination);
        const samples = (await context.startRendering()).getChannelData(0);
        levels.push(Math.max(...samples.map(Math.abs)));
      }
      audio.context = real; audio.waves = new Map();
      return levels; })()''')
    assert len(levels) == 24 and min(levels) > 0.005 and max(levels) < 0.8, levels
    assert browser.complaints() == []


HEADS = "[...document.querySelectorAll('.sheet')].map(score => score.querySelectorAll('[data-note]').length)"
MARKED = "[...document.querySelectorAll('.sheet .on')].map(head => Number(head.dataset.note))"


def test_scores_are_seen_and_share_no_ids(browser):
    browser.wait(f'{HEADS}.every(heads => heads)')
    assert all(heads >= len(decode(text).notes) for heads, text in zip(browser.value(HEADS), TEXTS))
    ids = browser.value("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert len(ids) == len(set(ids))
    boxes = browser.value("[...document.querySelectorAll('.sheet [data-note] .notehead')].map(head => head.getBoundingClientRect()).map(box => [box.width, box.height])")
    assert boxes and all(width > 4 and height > 3 for width, height in boxes)
    assert browser.complaints() == []


def test_the_notes_that_sound_are_marked_in_the_score(browser):
    browser.wait(f'{HEADS}.every(heads => heads)')
    notes = decode(TEXTS[0]).notes
    assert browser.value(MARKED) == []
    browser.click('.tune .play')
    browser.wait('player.playing')
    for onset in (24, 60, 96 + 24):                             # in units; the clock of the audio stands still for the look
        marked = browser.value(f"(() => {{ const running = position; player.position = secondsOf(data.tunes[0])({onset}) + .001; player.playing = true;"
                               f" player.zero = audio.context.currentTime - player.position / player.rate; mark(data.tunes[0]); return {MARKED}; }})()")
        sounding = [row for row, (start, units, *_) in enumerate(notes.tolist()) if start <= onset < start + units]
        assert sorted(set(marked)) == sounding, onset
    colours = browser.value("[...document.querySelectorAll('.sheet .on .notehead use')].map(use => getComputedStyle(use).fill)")
    ink = browser.value("getComputedStyle(document.querySelector('.sheet .clef')).fill")
    assert colours and ink not in colours
    browser.click('#toggle')
    browser.wait('!player.playing')
    assert browser.value(MARKED) == []
    assert browser.complaints() == []


def test_a_click_on_a_note_plays_from_there(browser):
    browser.wait(f'{HEADS}.every(heads => heads)')
    row = int(np.flatnonzero(decode(TEXTS[0]).notes[:, 0] > 150)[0])
    browser.value(f"document.querySelector('.sheet [data-note=\"{row}\"] .notehead').dispatchEvent(new MouseEvent('click', {{bubbles: true}})); 0")
    browser.wait('player.playing')
    assert browser.value('position()') >= browser.value(f'secondsOf(data.tunes[0])({decode(TEXTS[0]).notes[row, 0]})') - 0.2
    browser.value('stop(0); 0')
    assert browser.complaints() == []


def test_tempo_map_agrees_with_ours(browser):
    music = decode(TEXTS[0])
    seconds = len(music.notes) / statistics(music)['notes_per_second']
    assert browser.value('data.tunes[0].seconds') == pytest.approx(seconds)


def test_links_hold_the_files(browser, tmp_path):
    browser.wait("[...document.querySelectorAll('.files a')].every(a => !a.href.endsWith('#'))")
    links = browser.value("[...document.querySelectorAll('.files a')].map(a => [a.download, a.href, a.title])")
    assert [name for name, *_ in links] == [f'{i}.{kind}' for i in ('01', '02') for kind in ('musicxml', 'abc', 'mid')]
    assert all(use and use in browser.value("$('files').textContent") for *_, use in links)         # what it is for
    contents = browser.value("Promise.all([...document.querySelectorAll('.files a')].map(async a => {"
                             " const blob = await (await fetch(a.href)).blob(), bytes = new Uint8Array(await blob.arrayBuffer());"
                             " return [...bytes]; }))")
    contents = [bytes(content) for content in contents]
    assert contents[4] == b'X:1\n% <tune> 1 </script>\n'
    for text, score, midi in zip(TEXTS, contents[::3], contents[2::3]):
        np.testing.assert_array_equal(read_score(score)[0].notes, decode(text).notes)
        assert encode(read_midi(midi)[0]).count('|') >= text.count('|') - 1


def test_tabs_show_the_text_and_the_theme_can_be_changed(browser):
    assert browser.value("[...document.querySelectorAll('.panel')].every(p => p.hidden)")
    browser.value("document.querySelectorAll('.tabs button')[1].click(); 0")
    shown = browser.value("[...document.querySelectorAll('.panel')].filter(p => !p.hidden).map(p => p.textContent)")
    assert shown == [TEXTS[0]]
    before = browser.value("getComputedStyle(document.body).backgroundColor")
    browser.click('#theme')
    assert browser.value("getComputedStyle(document.body).backgroundColor") != before
    assert browser.complaints() == []


def test_a_blind_choice_between_pairs_of_tunes_is_saved_with_their_names(browser, html):
    music = [decode(text) for text in TEXTS]
    pairs = [[(f'model {i:02}', music[0]), ('held-out', music[1])] for i in range(1, 9)]
    path = html.parent / 'listening.html'
    path.write_text(listening_page(pairs, seed=1), encoding='utf-8')
    other = Browser()
    try:
        other.open(path)
        shown = other.value('document.body.innerText')
        assert 'Pair 8' in shown and 'model' not in shown and 'held' not in shown
        sources = other.value('data.tunes.map(tune => tune.source)')
        assert [sorted(sources[i:i + 2]) for i in range(0, 16, 2)] == [['held-out', f'model {i:02}'] for i in range(1, 9)]
        assert len({source[:5] for source in sources[::2]}) == 2            # the model is now A, now B
        other.click('.side:nth-of-type(2) .play')                           # B of the first pair
        other.wait('player.playing && player.tune === data.tunes[1]')
        other.value("stop(); document.querySelectorAll('.choice')[0].click(); 0")                   # A of the first pair
        other.value("document.querySelectorAll('.choice')[3 * 2 + 2].click(); 0")                   # neither of the third
        other.value("document.querySelectorAll('.choice')[1].click(); 0")                           # B after all
        link = other.value("[document.querySelector('#statistics a').download, document.querySelector('#statistics a').href]")
        rows = json.loads(urllib.parse.unquote(link[1].split(',', 1)[1]))
        assert link[0] == 'choices.json' and rows == [
            {'pair': 1, 'A': sources[0], 'B': sources[1], 'choice': 'B', 'preferred': sources[1]},
            {'pair': 3, 'A': sources[4], 'B': sources[5], 'choice': '', 'preferred': None}]
        assert other.complaints() == []
    finally:
        other.close()


@pytest.mark.parametrize('dark', [False, True])
def test_page_and_scores_fit_a_phone(html, dark):
    phone = Browser(width=390, height=844, dark=dark)
    try:
        phone.open(html)
        assert phone.value('document.documentElement.scrollWidth') <= 390
        phone.wait(f'{HEADS}.some(heads => heads)')
        assert phone.value("data.tunes.filter(tune => tune.form).every(tune => tune.form === tune.scores[1])")
        assert phone.value('document.documentElement.scrollWidth') <= 390
        assert phone.value("document.querySelector('.sheet > div').getBoundingClientRect().width") <= 390
        staff = phone.value("(() => { const box = document.querySelector('.sheet .staff path').getBoundingClientRect(), all = [...document.querySelector('.sheet .staff').querySelectorAll(':scope > path')]"
                            ".map(line => line.getBoundingClientRect().y); return Math.max(...all) - Math.min(...all); })()")
        assert staff > 15                                       # pixels from the lowest to the highest line
        ink, paper = (phone.value(f"getComputedStyle(document.querySelector('{where}')).{what}") for where, what in (('.sheet .clef', 'fill'), ('.tune', 'backgroundColor')))
        light = [sum(map(int, re.findall(r'\d+', colour)[:3])) / 3 for colour in (ink, paper)]
        assert (light[0] > 200 and light[1] < 60) if dark else (light[0] < 60 and light[1] > 200)
        assert phone.complaints() == []
    finally:
        phone.close()
