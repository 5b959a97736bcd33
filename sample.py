"""Sample tunes from a checkpoint: .abc, .mid and sheet music of each, a page to listen to them, and statistics.

    python sample.py --out_midi                                # ten tunes of the best checkpoint in out/ -> samples/
    python sample.py --ckpt=out/gpt_small/best.pt --num_samples=50 --temperature=0.9
    python sample.py --prompt=mine.mid --prompt_bars=4         # go on after the first four bars of a file
    python sample.py --key=Em --meter=6/8 --programs=73,24     # what is asked for stands in the header
    python sample.py --prompt=mine.mid --fill=9-16             # these bars anew, between what stands before and behind
    python sample.py --accompany=melody.mid --programs=0,0,0   # three more voices for piano to a melody
    python sample.py --num_samples=200 --statistics_only       # samples/metrics.json alone, nothing drawn again

Then open samples/index.html in a browser. With `constrain` a reader of the notation (sampling/constrain.py) refuses
each token after which no tune is possible, so every bar fills its meter; without it the texts are the model's own. A
tune that is too short, mostly silent or goes in circles is drawn again, and how many were is reported.
"""
import glob
import json
import math
import os
import re
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from bpe import Tokenizer
from configurator import configure, fail
from music.abcfile import write_abc
from music.engrave import engrave
from music.metrics import goes_in_circles, statistics
from music.midi import write_midi
from music.musicxml import musicxml
from music.notation import NotationError, decode
from music.repeats import MARKS
from music.tunebook import read_abc
from plumbing.checkpoint import read_checkpoint, try_checkpoint
from plumbing.files import atomic_write
from sampling.accompany import accompaniment, find_score
from sampling.fill import BEHIND, CANDIDATES, fill, find_gap
from sampling.generate import Tune, generate
from sampling.measures import measure, print_measures
from sampling.page import SCORE_WIDTHS, draw_roll, page
from sampling.prompt import marks_of, prompt_text, start_reader
from train import build_model


@dataclass
class Settings:
    ckpt: str | None = None             # checkpoint; None: the lowest loss per note in out/, else results/tunes.pt
    out_dir: str = 'samples'            # gets 01.abc, .mid, .musicxml, .svg, .png, ..., metrics.json, index.html
    data_dir: str | None = None         # tunes to compare with; None: what the checkpoint was trained on
    num_samples: int = 10               # tunes
    max_bars: int = 64                  # a tune that has not ended by then is cut there
    max_tokens: int = 2000              # likewise; the open bar is dropped
    temperature: float = 1.0            # 0: always the most likely token
    top_p: float = 0.97                 # draw from the most likely tokens that hold this share; 1: from all
    top_k: int | None = None            # draw from so many at most
    seed: int = 1                       # tune i depends on (seed, i) alone
    constrain: bool = True              # refuse what cannot become a tune
    prompt: str | None = None           # ABC text, an .abc, .mid or .musicxml file: how the tunes begin
    prompt_bars: int | None = None      # so many bars of it; None: all
    fill: str | None = None             # bars of the prompt to write anew, such as 9-16; a pickup is bar 0
    accompany: str | None = None        # the same, a tune whose voices stay; `programs` are added
    meter: str | None = None            # asked for in the header, such as 3/4
    key: str | None = None              # such as Em
    tempo: int | None = None            # quarters per minute
    programs: list[str] | None = None   # a voice each: General MIDI program or drums, such as 0,33,drums
    out_midi: bool = False              # also write .mid files
    statistics_only: bool = False       # write metrics.json alone, draw nothing again
    batch_size: int = 32                # tunes at a time


GIVEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'results', 'tunes.pt')      # a model in the clone
MIN_NOTES, MAX_REST_SHARE = 20, 0.5     # a tune with fewer notes, or silent for longer, is drawn again
REDRAWS = 20                            # attempts at one tune
COPY_TOKENS = 20_000_000                # at most so much of train is searched for copied passages


def check(s):
    least = dict.fromkeys(('num_samples', 'max_bars', 'max_tokens', 'batch_size', 'top_k'), 1)
    for name, n in {**least, 'temperature': 0, 'prompt_bars': 0}.items():
        if getattr(s, name) is not None and getattr(s, name) < n:
            fail(f'--{name} must be at least {n}')
    if not 0 < s.top_p <= 1:
        fail('--top_p must be above 0 and at most 1')
    asked = [name for name in ('meter', 'key', 'tempo', 'programs') if getattr(s, name) is not None]
    if asked and not s.constrain:
        fail(f'--{asked[0]} needs the constraint: leave --constrain on')
    prompt = s.prompt and s.prompt.strip()
    if asked and prompt:
        fail(f'--{asked[0]} and --prompt exclude each other: the prompt has a header of its own')
    if s.fill is not None and not (prompt and s.constrain):
        fail('--fill needs the constraint: leave --constrain on' if prompt else '--fill needs a --prompt to fill')
    if s.accompany is not None:
        if not (s.programs and s.accompany.strip()):
            fail('--accompany needs a tune, and the voices to add, such as --programs=0,33,drums')
        if prompt or len(asked) > 1:
            fail(f'--accompany and --{"prompt" if prompt else asked[0]} exclude each other: the tune has a header')


# ---- checkpoint

def best_checkpoint():
    """Path of the lowest validation loss per note in out/, among those with the validation tunes of the latest one."""
    found = {}                                              # path -> (loss, what tells validation tunes from others)
    for path in sorted(glob.glob('out/*/best.pt') + glob.glob('out/*/ckpt.pt')):
        checkpoint = try_checkpoint(path)
        if checkpoint and checkpoint.get('val'):            # else not whole, or not evaluated yet
            found[path] = checkpoint['val']['per_note'], {**checkpoint['meta']['splits']['val'], 'tokens': None}
    if not found and os.path.exists(GIVEN):
        print('no checkpoint with a validation loss in out/: the tunes are those of the model in results/')
        return GIVEN
    if not found:
        fail('no checkpoint with a validation loss in out/: train one first (python train.py), or name one with --ckpt')
    latest = max(found, key=os.path.getmtime)
    group = [path for path in found if found[path][1] == found[latest][1]]
    best = min(group, key=lambda path: found[path][0])
    if len(group) < len(found):
        print(f'{best} is the best on the data of {latest}, the latest checkpoint in out/; '
              f'trained on other data and left out: {len(found) - len(group)}')
    return best


def load(path, device):
    """(model, tokenizer, checkpoint) of a file written by train.py."""
    checkpoint = read_checkpoint(path)
    try:
        config, tokenizer = checkpoint['config'], Tokenizer.from_json(checkpoint['tokenizer'])
        model = build_model(config['arch'], config['model'])
        model.load_state_dict(checkpoint['model'])
    except Exception as e:
        fail(f'{path} is no checkpoint of this version of train.py: {type(e).__name__} {str(e).splitlines()[0][:100]}')
    # By columns: a head that lies so in memory multiplies ten rows in 0.6 of the time.
    model.head.weight.data = model.head.weight.data.t().contiguous().t()
    return model.to(device).eval(), tokenizer, checkpoint


# ---- tunes

def read_tune(text, converter):
    """Music of a text such as the converter of prepare.py writes; None if it is none."""
    if converter == 'midi2abc':
        return next(read_abc('X:1\n' + text))[1]
    try:
        return decode(text)
    except NotationError:
        return None


def key_of(checkpoint, seed, i):
    """Key of tune i where nobody asks for one, None if the checkpoint knows no keys: as often as among the training
    tunes that are not transposed, and spread evenly over the tunes of a seed (steps of the golden ratio)."""
    keys = checkpoint['meta'].get('keys', {})
    shares = np.cumsum([own for _, own in keys.values()])
    if not len(shares) or not shares[-1]:
        return None
    place = (np.random.default_rng(seed).random() + i * (5 ** 0.5 - 1) / 2) % 1
    return list(keys)[np.searchsorted(shares, place * shares[-1], side='right')]


def finish(tune):
    """Text of a tune cut at its last whole bar, without open ties and empty bars at the end; all of one that ended."""
    if tune.ended:
        return tune.text
    lines = tune.text[:tune.text.rfind('\n') + 1].splitlines(keepends=True)
    while lines and (lines[-1].rstrip('$\n').endswith('Z|') or lines[-1].strip() in MARKS[:2]):    # nothing sounds
        lines.pop()
    if lines and lines[-1].startswith('['):
        lines[-1] = lines[-1].replace('-', '')
    return ''.join(lines)


def fault(music):
    """The reason to draw a tune again, or None."""
    if music is None:
        return 'not readable'
    stats = statistics(music)
    if stats['notes'] < MIN_NOTES:
        return f'with fewer than {MIN_NOTES} notes'
    if goes_in_circles(music):
        return 'going in circles'
    return 'mostly silent' if stats['rest_share'] > MAX_REST_SHARE else None


def sample_tunes(model, tokenizer, start, s, converter):
    """(tunes, their first draws, {reason: tunes drawn again}, counts of `generate`); a Tune's `music` may be None.
    `start`: makes a Tune of a seed."""
    tunes, missing, redrawn, totals = [None] * s.num_samples, list(range(s.num_samples)), Counter(), Counter()
    max_bars = s.max_bars if converter == 'builtin' else math.inf           # the lines of others are no bars
    max_tokens = s.max_tokens
    if s.accompany:                                                         # as long as what is accompanied
        max_bars = max_tokens = math.inf
    for attempt in range(REDRAWS):
        new = [start((s.seed, i, attempt)) for i in missing]
        totals.update(generate(model, tokenizer, new, s.batch_size, max_tokens, max_bars, s.temperature, s.top_p,
                               s.top_k))
        for i, tune in zip(missing, new):
            tune.text = finish(tune)
            tune.music = read_tune(tune.text, converter)
            tunes[i] = tune
        if attempt == 0:
            first_draws = list(tunes)
        faults = {i: fault(tunes[i].music) for i in missing}
        missing = [i for i in missing if faults[i]]
        redrawn.update(faults[i] for i in missing)
        if not missing or s.statistics_only or s.accompany or s.temperature == 0:
            break
    return tunes, first_draws, redrawn, totals


def fill_tunes(model, tokenizer, reader, prompt, s):
    """(tunes with their gap filled, counts of `generate`)."""
    gap = find_gap(prompt, s.fill, reader)
    tunes, counts, sizes = fill(model, tokenizer, gap, reader, [(s.seed, i) for i in range(s.num_samples)],
                                batch_size=s.batch_size, temperature=s.temperature, top_p=s.top_p, top_k=s.top_k)
    for tune in tunes:
        tune.music = read_tune(tune.text, 'builtin')
    print(f'{CANDIDATES} fillings for each tune, weighed by the next {BEHIND} bars; effective sample size '
          f'{min(sizes):.1f} to {max(sizes):.1f}, mean {np.mean(sizes):.1f}')
    return tunes, {**counts, 'effective_sample_sizes': sizes}


# ---- statistics

def reference(s, checkpoint):
    """(held-out tunes, training tunes) to compare with, lists of Music; None, and one line, where there are none."""
    data_dir = s.data_dir or checkpoint['config']['train']['data_dir']
    without = 'no comparison with held-out tunes, no search for copies'
    for name in ('meta.json', 'tokenizer.json', 'train.bin', 'val.abc', 'test.abc'):
        if not os.path.isfile(os.path.join(data_dir, name)):
            return print(f'no {name} in {data_dir!r}: {without}')
    with open(os.path.join(data_dir, 'meta.json'), encoding='utf-8') as f:
        meta = json.load(f)
    if any(meta[part] != checkpoint['meta'][part] for part in ('tokenizer', 'splits')):
        if s.data_dir is None:
            return print(f'{data_dir} no longer holds what the checkpoint was trained on: {without}')
        print(f'{data_dir} is not what the checkpoint was trained on: compared with it as --data_dir asks')
    held_out = []
    for split in ('val', 'test'):
        with open(os.path.join(data_dir, f'{split}.abc'), encoding='utf-8') as f:
            held_out += [text.strip('\n') + '\n' for text in f.read().split('\n\n') if text.strip()]
    tokenizer = Tokenizer.load(os.path.join(data_dir, 'tokenizer.json'))
    path = os.path.join(data_dir, 'train.bin')
    n = os.path.getsize(path) // 2
    copies = n - meta.get('untransposed', n)            # transposed: they tell nothing about runs in any key
    ids = np.fromfile(path, np.uint16, COPY_TOKENS, offset=2 * copies)
    tunes = np.split(ids, np.flatnonzero(ids == tokenizer.tune))[1:]
    train = [tokenizer.decode(tune.tolist()) for tune in tunes[:-1] + tunes[-1:] * (len(ids) < COPY_TOKENS)]
    return [[music for text in texts if (music := read_tune(text, meta['settings']['converter']))]
            for texts in (held_out, train)]


# ---- writing

def write(path, text):
    with atomic_write(path, 'w', encoding='utf-8', newline='') as f:
        f.write(text)


def write_tunes(tunes, result, checkpoint, s):
    """.abc, .mid, .musicxml, .svg and .png of each tune, and the page."""
    for name in os.listdir(s.out_dir):                       # of a former run with more tunes
        if re.fullmatch(r'\d{2,}\.(abc|mid|musicxml|svg|png)', name):
            os.remove(os.path.join(s.out_dir, name))
    on_page, converter = [], checkpoint['meta']['settings']['converter']
    for i, tune in enumerate(tunes, 1):
        music, file, midi = tune.music, f'{i:02}', None
        base = os.path.join(s.out_dir, file)
        if music is not None:
            music.title = f'Tune {i}'
        abc = f'X:1\nT:Tune {i}\n{tune.text}' if converter == 'midi2abc' else music and write_abc(music)
        if abc:
            write(base + '.abc', abc)
        if music is None:
            print(f'tune {i} is not readable: left out' + ', but for its text' * bool(abc))
            continue
        if s.out_midi:
            write_midi(music, base + '.mid')
            with open(base + '.mid', 'rb') as f:
                midi = f.read()
        sheet = musicxml(music)
        scores = [engrave(sheet, width, file) for width in SCORE_WIDTHS]
        write(base + '.musicxml', sheet)
        write(base + '.svg', scores[0])
        draw_roll(music, base + '.png')
        on_page.append({'music': music, 'text': tune.text, 'abc': abc, 'midi': midi, 'scores': scores,
                        'statistics': statistics(music), 'prompt_bars': tune.n_prompt_bars, 'file': file})
    about = [f'{checkpoint["config"]["arch"].upper()}, {checkpoint["num_params"]["total"]:,} parameters',
             f'temperature {s.temperature:g}, top-p {s.top_p:g}, seed {s.seed}',
             'every bar checked while sampling' if s.constrain else 'without a constraint']
    if result['val']:
        about.insert(1, f'{result["val"]["per_note"]:.2f} nats a note')
    index = os.path.join(s.out_dir, 'index.html')
    write(index, page(on_page, ' · '.join(about), result))
    print(f'open {index}')


def main():
    s = configure(Settings)
    check(s)
    path = s.ckpt or best_checkpoint()
    model, tokenizer, checkpoint = load(path, 'cuda' if torch.cuda.is_available() else 'cpu')
    val, converter = checkpoint['val'] or {}, checkpoint['meta']['settings']['converter']
    print(f'{path}: {checkpoint["config"]["arch"]}, {model.num_params()["total"]:,} parameters' +
          (f', validation loss {val["per_note"]:.3f} nats a note' if val else ''))
    if converter == 'midi2abc':
        if any((s.prompt, s.accompany, s.meter, s.key, s.tempo, s.programs)):
            fail('a prompt and what is asked for are in our notation, and this checkpoint writes what midi2abc does')
        print('trained on what midi2abc writes: the tunes are the texts of the model, without the constraint')
        s.constrain = False
    marks = marks_of(checkpoint['meta'])
    prompt = prompt_text(s, marks)
    reader = start_reader(s, tokenizer, prompt, marks) if s.constrain else None

    begin = time.perf_counter()
    if s.fill is not None:
        tunes, counts = fill_tunes(model, tokenizer, reader, prompt, s)
        first_draws, redrawn = tunes, Counter()
    else:
        as_it_is = s.key or s.temperature == 0 or s.top_k == 1
        start = lambda seed: Tune(tokenizer, seed, reader, prompt, None if as_it_is else key_of(checkpoint, *seed[:2]))
        if s.accompany:
            given = read_tune(prompt, converter) or fail('the tune to accompany is not whole: let it end at a barline')
            score = find_score(given, s.programs, reader)
            start = lambda seed: accompaniment(tokenizer, seed, reader, score)
        tunes, first_draws, redrawn, counts = sample_tunes(model, tokenizer, start, s, converter)
    seconds = time.perf_counter() - begin
    rate = counts['tokens'] / seconds
    print(f'{s.num_samples} tunes, {counts["tokens"]:,} tokens in {seconds:.1f} s: {rate:,.0f} tokens/s')
    if s.constrain:
        print('the constraint ' + ', '.join(f'{name} {counts[name]:,}' for name in ('dropped', 'forced', 'cut')))
    for reason, n in redrawn.items():
        print(f'{n} {reason}' + ('' if s.statistics_only else ': drawn again'))

    result = {'ckpt': path, 'settings': vars(s), 'val': val, 'redrawn': redrawn,
              'generation': {**counts, 'seconds': seconds},
              **measure(tunes, first_draws, reference(s, checkpoint), s.seed, converter)}
    print_measures(result)
    os.makedirs(s.out_dir, exist_ok=True)
    if not s.statistics_only:
        write_tunes(tunes, result, checkpoint, s)
    write(os.path.join(s.out_dir, 'metrics.json'), json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
