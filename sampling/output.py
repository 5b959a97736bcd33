"""The files of sampled tunes: .abc, .mid, .musicxml and .svg of each, and the page with all of
them."""
import os
import re
import tempfile
from contextlib import contextmanager

import numpy as np

from configurator import fail
from music.abcfile import write_abc
from music.engrave import engrave
from music.metrics import statistics
from music.midi import write_midi
from music.musicxml import musicxml
from music.notes import bar_starts
from plumbing.files import atomic_write
from sampling.page import SCORE_WIDTHS, listening_page, page


@contextmanager
def all_or_nothing(folder):
    """A temporary folder to write to, whose files go into `folder` when the block ends. Where the
    disk is full before, one line and exit status 2, and `folder` stays as it was."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix='.new-') as temporary:
            yield temporary
            new = os.listdir(temporary)
            if 'index.html' in new:                         # a former run may have had more tunes
                for name in os.listdir(folder):
                    if re.fullmatch(r'\d{2,}\.(abc|mid|musicxml|svg|png)|listening\.html', name):
                        os.remove(os.path.join(folder, name))
            for name in new:
                os.replace(os.path.join(temporary, name), os.path.join(folder, name))
    except OSError as e:
        fail(f'--out_dir={folder}: {e.strerror}; nothing was written')


def write(path, text):
    with atomic_write(path, 'w', encoding='utf-8', newline='') as f:
        f.write(text)


def write_tunes(folder, tunes, result, checkpoint, s):
    """.abc, .mid, .musicxml and .svg of each tune, and the page."""
    on_page, converter = [], checkpoint['meta']['settings']['converter']
    for i, tune in enumerate(tunes, 1):
        music, name, abc, midi = tune.music, f'{i:02}', None, None
        base = os.path.join(folder, name)

        # A text of midi2abc is ABC, readable for us or not.
        if music is not None:
            music.title = f'Tune {i}'
            abc = write_abc(music)
        if converter == 'midi2abc':
            abc = f'X:1\nT:Tune {i}\n{tune.text}'
        if abc is not None:
            write(base + '.abc', abc)
        if music is None:
            print(f'tune {i} cannot be read: left out' + ', but for its text' * (abc is not None))
            continue

        if s.out_midi:
            write_midi(music, base + '.mid')
            with open(base + '.mid', 'rb') as f:
                midi = f.read()
        sheet = musicxml(music)
        scores = [engrave(sheet, width, name) for width in SCORE_WIDTHS]
        write(base + '.musicxml', sheet)
        write(base + '.svg', scores[0])
        on_page.append({'music': music, 'text': tune.text, 'abc': abc, 'midi': midi,
                        'musicxml': sheet, 'scores': scores, 'statistics': statistics(music),
                        'prompt_bars': tune.n_prompt_bars, 'file': name})

    about = [f'{checkpoint["config"]["arch"].upper()}',
             f'{checkpoint["num_params"]["total"]:,} parameters']
    if result['val']:
        about.append(f'validation loss {result["val"]["per_note"]:.2f} nats/note')
    about += [f'temperature {s.temperature:g}', f'top-p {s.top_p:g}', f'seed {s.seed}']
    about.append('constrained: every bar is exact' if s.constrain else 'unconstrained')
    write(os.path.join(folder, 'index.html'), page(on_page, ' · '.join(about), result))


def write_listening_test(folder, tunes, held_out, s):
    """listening.html: each tune beside a held-out one of as many bars as are asked for."""
    fitting = [music for music in held_out
               if s.min_bars <= len(bar_starts(music)) - 1 <= s.max_bars]
    if not fitting:
        fail('no held-out tune has as many bars as --min_bars and --max_bars say')
    rng, pairs, order = np.random.default_rng(s.seed), [], []
    for i, tune in enumerate(tunes, 1):
        if tune.music is None:
            continue
        if not order:                           # each held-out tune once before any comes again
            order = rng.permutation(len(fitting)).tolist()
        pairs.append([(f'model {i:02}', tune.music), ('held-out', fitting[order.pop()])])
    write(os.path.join(folder, 'listening.html'), listening_page(pairs, s.seed))
