"""Sample tunes from a checkpoint: each as .abc, .mid, .musicxml and sheet music, a page to listen
to them, and statistics.

    python sample.py --out_midi                                # ten tunes of the best checkpoint
    python sample.py --ckpt=out/gpt_small/best.pt --num_samples=50 --temperature=0.9
    python sample.py --best_of=4                               # of four draws the likeliest one
    python sample.py --prompt=mine.mid --prompt_bars=4         # go on after the first four bars
    python sample.py --key=Em --meter=6/8 --programs=73,24     # ask for what the header says
    python sample.py --prompt=mine.mid --fill=9-16             # infill bars 9-16, given both sides
    python sample.py --accompany=melody.mid --programs=0,0,0   # add three piano voices to a melody
    python sample.py --num_samples=200 --statistics_only       # write samples/metrics.json alone

Then open samples/index.html in a browser. .abc is for text editors and ABC programs, .mid for
players and sequencers, .musicxml for score editors such as MuseScore.

With `constrain` an incremental reader of the notation (sampling/constrain.py) rejects each token
after which no tune is possible, so every bar fills its meter; without it the texts are the model's
own. A tune that is too short, loops or is mostly silent is drawn again; how many were is printed.
`best_of` gives more regular rhythms and more repetition, not tunes that are nearer to real ones:
with the bundled model and four draws the overlap with held-out tunes falls from 0.83 to 0.74.
"""
import glob
import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from bpe import Tokenizer
from configurator import configure, fail
from music.notation import NotationError, decode
from music.repeats import MARKS
from music.tunebook import read_abc
from plumbing.checkpoint import read_checkpoint, try_checkpoint
from sampling.accompany import find_score
from sampling.fill import CANDIDATES, WEIGHTED_BARS, fill, find_gap
from sampling.generate import generate
from sampling.given import Around
from sampling.judge import fault, nats_per_note
from sampling.measures import measure, print_measures
from sampling.output import all_or_nothing, write, write_listening_test, write_tunes
from sampling.prompt import marks_of, prompt_text, start_reader
from sampling.tune import Tune
from train import build_model


@dataclass
class Settings:
    ckpt: str | None = None             # None: lowest loss/note in out/, else results/tunes.pt
    out_dir: str = 'samples'            # gets 01.abc .mid .musicxml .svg, metrics.json, index.html
    data_dir: str | None = None         # tunes to compare with; None: those of the training
    num_samples: int = 10               # tunes
    min_bars: int = 8                   # a shorter tune is drawn again
    max_bars: int = 64                  # a tune is cut there; the bars of a prompt do not count
    max_tokens: int = 2000              # likewise; the unfinished bar is dropped
    temperature: float = 1.0            # 0: always the most likely token
    top_p: float = 0.97                 # from the most likely tokens of this share; 1: from all
    top_k: int | None = None            # from the k most likely tokens; None: no such limit
    best_of: int = 1                    # draw each tune so often, keep the likeliest per note
    seed: int = 1                       # tune i depends on (seed, i) alone
    constrain: bool = True              # reject tokens after which no tune is possible
    prompt: str | None = None           # how tunes begin: ABC text or a file (.abc .mid .musicxml)
    prompt_bars: int | None = None      # so many bars of it; None: all
    fill: str | None = None             # bars of the prompt to infill, such as 9-16; a pickup is 0
    accompany: str | None = None        # as prompt: a tune to which voices (`programs`) are added
    meter: str | None = None            # asked for in the header, such as 3/4
    key: str | None = None              # such as Em
    tempo: int | None = None            # quarters per minute
    programs: list[str] | None = None   # a voice each, such as 0,33,drums: General MIDI from 0
    out_midi: bool = False              # also write .mid files
    listening_test: bool = False        # also write listening.html: held-out tune or model, blind
    statistics_only: bool = False       # write metrics.json alone, draw nothing again
    batch_size: int = 32                # tunes that are sampled side by side


BUNDLED_CKPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'results', 'tunes.pt')
REDRAWS = 20                            # rounds of draws for a tune until it has no fault
COPY_TOKENS = 20_000_000                # of train.bin that are searched for copied passages


def check(s):
    """One line and exit status 2 for a setting out of range, or two that contradict each other."""
    for name in ('num_samples', 'max_bars', 'max_tokens', 'best_of', 'batch_size'):
        if getattr(s, name) < 1:
            fail(f'--{name} must be at least 1')
    if s.min_bars < 0:
        fail('--min_bars must be at least 0')
    if s.top_k is not None and s.top_k < 1:
        fail('--top_k must be at least 1')
    if s.prompt_bars is not None and s.prompt_bars < 0:
        fail('--prompt_bars must be at least 0')
    if not 0 <= s.temperature < math.inf:
        fail('--temperature must be at least 0, and finite')
    if not 0 < s.top_p <= 1:
        fail('--top_p must be above 0 and at most 1')
    if s.tempo is not None and not 1 <= s.tempo <= 9999:
        fail('--tempo must be 1 to 9999 quarters per minute')

    # What the header says can be asked for where the constraint writes it, and nothing else gives
    # it.
    asked = [name for name in ('meter', 'key', 'tempo', 'programs') if getattr(s, name) is not None]
    prompt = s.prompt and s.prompt.strip()
    if asked and not s.constrain:
        fail(f'--{asked[0]} needs the constraint: leave --constrain on')
    if asked and prompt:
        fail(f'--{asked[0]} and --prompt exclude each other: the prompt has a header of its own')
    if s.fill is not None and not prompt:
        fail('--fill needs a --prompt to fill')
    if s.fill is not None and not s.constrain:
        fail('--fill needs the constraint: leave --constrain on')
    if s.accompany is not None and not (s.programs and s.accompany.strip()):
        fail('--accompany needs a tune, and the voices to add, such as --programs=0,33,drums')
    if s.accompany is not None and prompt:
        fail('--accompany and --prompt exclude each other: the tune has a header')
    if s.accompany is not None and len(asked) > 1:
        fail(f'--accompany and --{asked[0]} exclude each other: the tune has a header')
    if s.listening_test and s.statistics_only:
        fail('--listening_test and --statistics_only exclude each other')
    if s.best_of > 1 and s.temperature == 0:
        fail('--best_of needs a --temperature above 0, else all draws are the same')
    if s.best_of > 1 and s.fill is not None:
        fail('--best_of and --fill exclude each other: of the fillings one is drawn by weight')


# ---- checkpoint

def best_checkpoint():
    """Path of the lowest validation loss per note in out/, among the checkpoints that have the
    validation tunes of the latest one."""
    found = {}                          # path -> (loss, what tells validation tunes from others)
    for path in sorted(glob.glob('out/*/best.pt') + glob.glob('out/*/ckpt.pt')):
        checkpoint = try_checkpoint(path)
        if checkpoint and checkpoint.get('val'):            # else not whole, or not evaluated yet
            split = {**checkpoint['meta']['splits']['val'], 'tokens': None}
            found[path] = checkpoint['val']['per_note'], split
    if not found and os.path.exists(BUNDLED_CKPT):
        print('no checkpoint with a validation loss in out/: the bundled model in results/ is used')
        return BUNDLED_CKPT
    if not found:
        fail('no checkpoint with a validation loss in out/: '
             'train one first (python train.py), or name one with --ckpt')
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
        reason = f'{type(e).__name__} {str(e).splitlines()[0][:100]}'
        fail(f'{path} is no checkpoint of this version of train.py: {reason}')
    # A head that is stored by columns multiplies ten rows in 0.6 of the time.
    model.head.weight.data = model.head.weight.data.t().contiguous().t()
    return model.to(device).eval(), tokenizer, checkpoint


# ---- tunes

def read_tune(text, converter):
    """Music of a text such as the converter of prepare.py writes; None if it cannot be read."""
    if converter == 'midi2abc':
        return next(read_abc('X:1\n' + text))[1]
    try:
        return decode(text)
    except NotationError:
        return None


def key_of(checkpoint, seed, i):
    """Key of tune i where nobody asks for one, None if the checkpoint knows no keys: with the
    shares of the untransposed training tunes, and spread evenly over the tunes of a seed (steps of
    the golden ratio)."""
    keys = checkpoint['meta'].get('keys', {})               # name -> (tunes, untransposed tunes)
    shares = np.cumsum([untransposed for _, untransposed in keys.values()])
    if not len(shares) or not shares[-1]:
        return None
    place = (np.random.default_rng(seed).random() + i * (5 ** 0.5 - 1) / 2) % 1
    return list(keys)[np.searchsorted(shares, place * shares[-1], side='right')]


def finish(tune):
    """Text of a tune cut at its last whole bar, without open ties and empty bars at the end; the
    whole text of a tune that ended."""
    if tune.ended:
        return tune.text
    lines = tune.text[:tune.text.rfind('\n') + 1].splitlines(keepends=True)
    while lines and (lines[-1].rstrip('$\n').endswith('Z|') or lines[-1].strip() in MARKS[:2]):
        lines.pop()                                         # nothing sounds in it
    if lines and lines[-1].startswith('['):
        lines[-1] = lines[-1].replace('-', '')
    return ''.join(lines)


def sample_tunes(model, tokenizer, start, s, converter):
    """(tunes, their first draws, {fault: draws with it}, counts of `generate`).

    start: makes a Tune of a seed, which is (seed, number of the tune, number of the draw). A tune's
    `music` is None if it cannot be read."""
    max_bars, max_tokens = s.max_bars, s.max_tokens
    if converter != 'builtin':                              # the lines of others are no bars
        max_bars = math.inf
    if s.accompany:                                         # as long as what is accompanied
        max_bars = max_tokens = math.inf
    draw_again = not (s.statistics_only or s.accompany or s.temperature == 0)

    draws = [[] for _ in range(s.num_samples)]              # of each tune, all of them
    faultless = [[] for _ in range(s.num_samples)]
    faults, counts = Counter(), Counter()
    for _ in range(REDRAWS if draw_again else 1):
        new = [(i, start((s.seed, i, len(draws[i]) + k)))
               for i in range(s.num_samples) for k in range(s.best_of - len(faultless[i]))]
        if not new:
            break
        counts.update(generate(model, tokenizer, [tune for _, tune in new], s.batch_size,
                               max_tokens, max_bars, s.temperature, s.top_p, s.top_k))
        for i, tune in new:
            tune.text = finish(tune)
            tune.music = read_tune(tune.text, converter)
            found = fault(tune, min(s.min_bars, max_bars))
            draws[i].append(tune)
            if found:
                faults[found] += 1
            else:
                faultless[i].append(tune)

    tunes = []
    for good, all_draws in zip(faultless, draws):
        good = good or all_draws[-1:]
        if len(good) > 1:
            good = [min(good, key=lambda tune: nats_per_note(model, tokenizer, tune))]
        tunes.append(good[0])
    return tunes, [all_draws[0] for all_draws in draws], faults, counts


def fill_tunes(model, tokenizer, reader, gap, s):
    """(tunes with their gap filled, counts of `generate`)."""
    seeds = [(s.seed, i) for i in range(s.num_samples)]
    tunes, counts, sizes = fill(model, tokenizer, gap, reader, seeds, CANDIDATES,
                                batch_size=s.batch_size, temperature=s.temperature,
                                top_p=s.top_p, top_k=s.top_k)
    for tune in tunes:
        tune.music = read_tune(tune.text, 'builtin')
    print(f'{CANDIDATES} fillings for each tune, weighted by the {WEIGHTED_BARS} bars after it; '
          f'effective sample size {min(sizes):.1f} to {max(sizes):.1f}, mean {np.mean(sizes):.1f}')
    return tunes, {**counts, 'effective_sample_sizes': sizes}


# ---- statistics

def reference(s, checkpoint):
    """(held-out tunes, training tunes) to compare with, lists of Music; None where there are none,
    and one line that says so."""
    data_dir = s.data_dir or checkpoint['config']['train']['data_dir']
    without = 'no comparison with held-out tunes, no search for copies'
    for name in ('meta.json', 'tokenizer.json', 'train.bin', 'val.abc', 'test.abc'):
        if not os.path.isfile(os.path.join(data_dir, name)):
            print(f'no {name} in {data_dir!r}: {without}')
            return None
    try:
        with open(os.path.join(data_dir, 'meta.json'), encoding='utf-8') as f:
            meta = json.load(f)
        is_other = any(meta[part] != checkpoint['meta'][part] for part in ('tokenizer', 'splits'))
        converter = meta['settings']['converter']
        tokenizer = Tokenizer.load(os.path.join(data_dir, 'tokenizer.json'))
    except (ValueError, LookupError, TypeError) as e:
        print(f'{data_dir!r} is damaged ({type(e).__name__}: {e}): {without}')
        return None
    if is_other and s.data_dir is None:
        print(f'{data_dir} no longer holds what the checkpoint was trained on: {without}')
        return None
    if is_other:
        print(f'{data_dir} is not what the checkpoint was trained on: '
              'compared with it as --data_dir asks')

    held_out = []
    for split in ('val', 'test'):
        with open(os.path.join(data_dir, f'{split}.abc'), encoding='utf-8') as f:
            held_out += [text.strip('\n') + '\n' for text in f.read().split('\n\n') if text.strip()]

    # The search is in any key, so of the training tunes it needs the untransposed ones only. They
    # come last in train.bin. The last tune is left out if it is not read to its end.
    path = os.path.join(data_dir, 'train.bin')
    n_ids = os.path.getsize(path) // 2
    n_transposed = n_ids - meta.get('untransposed', n_ids)
    ids = np.fromfile(path, np.uint16, COPY_TOKENS, offset=2 * n_transposed)
    tunes = np.split(ids, np.flatnonzero(ids == tokenizer.tune))[1:]
    if len(ids) == COPY_TOKENS:
        tunes.pop()
    train = [tokenizer.decode(tune.tolist()) for tune in tunes]
    return [[music for text in texts if (music := read_tune(text, converter))]
            for texts in (held_out, train)]


def main():
    s = configure(Settings)
    check(s)
    path = s.ckpt or best_checkpoint()
    model, tokenizer, checkpoint = load(path, 'cuda' if torch.cuda.is_available() else 'cpu')
    val, converter = checkpoint['val'] or {}, checkpoint['meta']['settings']['converter']
    print(f'{path}: {checkpoint["config"]["arch"]}, {model.num_params()["total"]:,} parameters' +
          (f', validation loss {val["per_note"]:.3f} nats/note' if val else ''))
    if converter == 'midi2abc':
        if any((s.prompt, s.accompany, s.meter, s.key, s.tempo, s.programs)):
            fail('a prompt and what is asked for are in our notation, '
                 'and this checkpoint writes what midi2abc does')
        print('trained on what midi2abc writes: sampled without the constraint')
        s.constrain = False

    # What is given: a prompt, a header, a gap, or the voices of a tune.
    marks = marks_of(checkpoint['meta'])
    prompt = prompt_text(s, marks)
    reader = start_reader(s, tokenizer, prompt, marks) if s.constrain else None
    if s.fill is not None:
        gap = find_gap(prompt, s.fill, reader)
    if s.accompany:
        given = read_tune(prompt, converter)
        if given is None:
            fail('the tune to accompany is not whole: let it end at a barline')
        score = find_score(given, s.programs, reader)
    known = reference(s, checkpoint)
    if s.listening_test and known is None:
        fail('--listening_test needs held-out tunes: name their folder with --data_dir')
    try:
        os.makedirs(s.out_dir, exist_ok=True)
    except OSError as e:
        fail(f'--out_dir={s.out_dir}: {e.strerror}; it must be a folder, or be possible to make')

    def start(seed):
        if s.accompany:
            return Around(tokenizer, seed, reader, score)
        key = None                                          # the likeliest, or what is asked for
        if not s.key and s.temperature > 0 and s.top_k != 1:
            key = key_of(checkpoint, *seed[:2])
        return Tune(tokenizer, seed, reader, prompt, key)

    begin = time.perf_counter()
    if s.fill is not None:
        tunes, counts = fill_tunes(model, tokenizer, reader, gap, s)
        first_draws, faults = tunes, Counter()
    else:
        tunes, first_draws, faults, counts = sample_tunes(model, tokenizer, start, s, converter)
    seconds = time.perf_counter() - begin
    rate = counts['tokens'] / seconds
    print(f'{s.num_samples} tunes, {counts["tokens"]:,} tokens in {seconds:.1f} s: '
          f'{rate:,.0f} tokens/s')
    if s.constrain:
        print(f'constraint: {counts["dropped"]:,} tokens dropped to begin a bar again, '
              f'{counts["forced"]:,} forced, {counts["cut"]:,} tunes cut short')
    for what, n in faults.items():
        print(f'{n} {what}' + ('' if s.statistics_only else ': drawn again'))

    result = {'ckpt': path, 'settings': vars(s), 'val': val, 'redrawn': faults,
              'generation': {**counts, 'seconds': seconds},
              **measure(tunes, first_draws, known, s.seed, converter)}
    print_measures(result)
    with all_or_nothing(s.out_dir) as folder:
        if not s.statistics_only:
            write_tunes(folder, tunes, result, checkpoint, s)
        if s.listening_test:
            write_listening_test(folder, tunes, known[0], s)
        write(os.path.join(folder, 'metrics.json'), json.dumps(result, indent=1))
    if not s.statistics_only:
        print(f'open {os.path.join(s.out_dir, "index.html")}')


if __name__ == '__main__':
    main()
