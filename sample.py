"""Sample tunes from a checkpoint: .abc, .mid and a picture of each, a page to listen to them, and statistics.

    python sample.py --out_midi                                     # ten tunes of the best checkpoint in out/ -> samples/
    python sample.py --ckpt=out/gpt_small/best.pt --num_samples=50 --temperature=0.9
    python sample.py --prompt=mine.mid --prompt_bars=4              # go on after the first four bars of a file
    python sample.py --key=Em --meter=6/8 --programs=73,24          # what is asked for stands in the header
    python sample.py --num_samples=200 --statistics_only            # samples/metrics.json alone, nothing drawn again

Then open samples/index.html in a browser. With `constrain` a reader of the notation (constrain.py) refuses each token after
which no tune is possible, so every bar fills its meter; without it the texts are the model's own. A tune that is too short
or mostly silent is drawn again, and how many were is reported.
"""
import glob
import json
import os
import re
import time
from dataclasses import dataclass

import numpy as np
import torch

from bpe import Tokenizer
from configurator import configure, fail
from music.abcfile import write_abc
from music.metrics import STATISTICS, compare, exact_bars, longest_runs, statistics
from music.midi import read_midi, write_midi
from music.notation import NotationError, decode, encode
from music.notes import KEYS
from music.quantise import MidiError
from music.tunebook import read_abc
from plumbing.files import atomic_write
from sampling.constrain import METERS, VOICES, Reader
from sampling.generate import Tune, generate, lay_out
from sampling.page import draw_roll, page
from train import build_model


@dataclass
class Settings:
    ckpt: str | None = None             # checkpoint; None: the lowest validation loss per note in out/
    out_dir: str = 'samples'            # gets 01.abc, 01.mid, 01.png, ..., metrics.json, index.html
    data_dir: str | None = None         # tunes to compare with; None: what the checkpoint was trained on
    num_samples: int = 10               # tunes
    max_bars: int = 64                  # a tune that has not ended by then is cut there
    max_tokens: int = 2000              # likewise; the open bar is dropped
    temperature: float = 1.0            # 0: always the most likely token
    top_p: float = 0.9                  # draw from the most likely tokens that hold this share; 1: from all
    top_k: int | None = None            # draw from so many at most
    seed: int = 1                       # tune i depends on (seed, i) alone
    constrain: bool = True              # refuse what cannot become a tune
    prompt: str | None = None           # ABC text, an .abc or .mid file: how the tunes begin
    prompt_bars: int | None = None      # so many bars of it; None: all
    meter: str | None = None            # asked for in the header, such as 3/4
    key: str | None = None              # such as Em
    tempo: int | None = None            # quarters per minute
    programs: list[str] | None = None   # a voice each: General MIDI program or drums, such as 0,33,drums
    min_notes: int = 20                 # a tune with fewer is drawn again
    out_midi: bool = False              # also write .mid files
    statistics_only: bool = False       # write metrics.json alone, draw nothing again
    batch_size: int = 32                # tunes at a time
    device: str = 'auto'                # auto | cpu | cuda


REDRAWS = 20                            # attempts at one tune
MAX_REST_SHARE = 0.5                    # a tune that is silent for longer is drawn again
COPY_TOKENS = 20_000_000                # at most so much of train is searched for copied passages


# ---- checkpoint and prompt

def best_checkpoint():
    """Path of the checkpoint in out/ with the lowest validation loss per note."""
    losses = {}
    for path in sorted(glob.glob('out/*/best.pt') + glob.glob('out/*/ckpt.pt')):
        try:
            val = torch.load(path, map_location='cpu', weights_only=True, mmap=True).get('val')
        except Exception:                                   # not whole, or not ours: no candidate
            continue
        if val:
            losses[path] = val['per_note']
    if not losses:
        fail('no checkpoint with a validation loss in out/: train one first (python train.py), or name one with --ckpt')
    return min(losses, key=losses.get)


def load(path, device):
    """(model, tokenizer, checkpoint) of a file written by train.py."""
    if not os.path.isfile(path):
        fail(f'no checkpoint {path!r}')
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        config, tokenizer = checkpoint['config'], Tokenizer.from_json(checkpoint['tokenizer'])
        model = build_model(config['arch'], config['model'])
        model.load_state_dict(checkpoint['model'])
    except Exception as e:
        fail(f'{path} is no checkpoint of this version of train.py: {type(e).__name__} {str(e).splitlines()[0][:100]}')
    if tokenizer.vocab_size != config['model']['vocab_size']:
        fail(f'{path}: the tokenizer has {tokenizer.vocab_size} ids, the model {config["model"]["vocab_size"]}')
    return lay_out(model.to(device).eval()), tokenizer, checkpoint


def prompt_text(s):
    """The prompt in the notation, '' without one."""
    if s.prompt is None or not s.prompt.strip():
        return ''
    name, text = 'the prompt', s.prompt.replace('\\n', '\n')
    if s.prompt.lower().endswith(('.abc', '.mid', '.midi')):
        name = s.prompt
        if not os.path.isfile(name):
            fail(f'no prompt file {name!r}')
        if not name.lower().endswith('.abc'):
            try:
                return first_bars(encode(read_midi(name)[0]), s.prompt_bars)
            except MidiError as e:
                fail(f'{name} is no music: {e}')
        with open(name, encoding='utf-8', errors='replace') as f:
            text = f.read()
    text = text.lstrip()
    if Reader().feed(text) is None:                         # not our notation: any other ABC
        music, reason = None, 'no tune in it'
        for _, music, why in read_abc(text):
            if music is not None and len(music.notes):
                break
            music, reason = None, why or reason
        if music is None:
            fail(f'{name} is no music: {reason}')
        text = encode(music)
    return first_bars(text, s.prompt_bars)


def first_bars(text, n):
    lines = text.splitlines(keepends=True)
    n_header = sum(not line.startswith(('[', 'Z')) for line in lines)
    return text if n is None else ''.join(lines[:n_header + n])


def start_reader(s, tokenizer):
    """Reader of a tune with the header that is asked for, in the characters that the vocabulary has."""
    if s.meter is not None and s.meter not in METERS:
        fail(f'--meter={s.meter}: no meter that the notation has; it has such as 4/4, 3/4, 6/8')
    if s.key is not None and s.key not in KEYS:
        fail(f'--key={s.key}: no key that the notation has; it has {" ".join(KEYS)}')
    if s.tempo is not None and not 1 <= s.tempo <= 9999:
        fail(f'--tempo={s.tempo}: from 1 to 9999 quarters per minute')
    voices = None if s.programs is None else [f'program={p}' if p.isdigit() else p for p in s.programs]
    for voice in voices or ():
        if voice not in VOICES:
            fail(f'--programs: {voice!r} is neither a program from 0 to 127 nor drums')
    alphabet = {token for token in tokenizer.tokens if len(token) == 1}
    for name, values in (('meter', [s.meter]), ('key', [s.key]), ('tempo', [s.tempo]), ('programs', voices or [])):
        for value in values:
            if not alphabet.issuperset(str(value or '')):
                fail(f'--{name}: the vocabulary of this checkpoint cannot write {value!r}: its training data hold none')
    return Reader(s.meter, s.tempo and str(s.tempo), s.key, voices, alphabet)


# ---- tunes

def finish(tune):
    """Text of a tune cut at its last whole bar: no open ties, no empty bars at the end. A tune that ended is left as it is."""
    if tune.ended:
        return tune.text
    lines = tune.text[:tune.text.rfind('\n') + 1].splitlines(keepends=True)
    while lines and lines[-1].endswith('Z|\n'):
        lines.pop()
    if lines and lines[-1].startswith('['):
        lines[-1] = lines[-1].replace('-', '')
    return ''.join(lines)


def judge(text, min_notes):
    """(Music or None, reason to draw the tune again or None)."""
    try:
        music = decode(text)
    except NotationError:
        return None, 'not readable'
    stats = statistics(music)
    if stats['notes'] < min_notes:
        return music, f'with fewer than {min_notes} notes'
    return music, 'mostly silent' if stats['notes'] and stats['rest_share'] > MAX_REST_SHARE else None


def sample_tunes(model, tokenizer, reader, prompt, s):
    """(list of dict(text, music, tune), first draws likewise, {reason: tunes drawn again}, counts)."""
    kept, first, redrawn, totals = [None] * s.num_samples, None, {}, {}
    missing = list(range(s.num_samples))
    for attempt in range(REDRAWS):
        tunes = [Tune(tokenizer, (s.seed, i, attempt), reader if s.constrain else None, prompt) for i in missing]
        counts = generate(model, tokenizer, tunes, s.batch_size, s.max_tokens, s.max_bars, s.temperature, s.top_p, s.top_k)
        totals = {name: totals.get(name, 0) + n for name, n in counts.items()}
        again = []
        for i, tune in zip(missing, tunes):
            text = finish(tune)
            music, reason = judge(text, s.min_notes)
            kept[i] = {'text': text, 'music': music, 'tune': tune, 'attempt': attempt}
            if reason:
                redrawn[reason] = redrawn.get(reason, 0) + 1
                again.append(i)
        first = first or list(kept)
        missing = again
        if not missing or s.statistics_only or s.temperature == 0:
            break
    return kept, first, redrawn, totals


# ---- statistics

def reference(data_dir):
    """(held-out tunes, training tunes), lists of Music, from a data folder; None, and one line, without one."""
    if not data_dir or not os.path.exists(os.path.join(data_dir, 'meta.json')):
        print(f'no data in {data_dir!r}: no comparison with held-out tunes, no search for copies')
        return None
    held_out = []
    for split in ('val', 'test'):
        with open(os.path.join(data_dir, f'{split}.abc'), encoding='utf-8') as f:
            held_out += [decode(text.strip('\n') + '\n') for text in f.read().split('\n\n') if text.strip()]
    with open(os.path.join(data_dir, 'tokenizer.json'), encoding='utf-8') as f:
        tokenizer = Tokenizer.from_json(f.read())
    ids = np.fromfile(os.path.join(data_dir, 'train.bin'), dtype=np.uint16, count=COPY_TOKENS)
    starts = np.flatnonzero(ids == tokenizer.tune)
    ends = starts[1:].tolist() + [len(ids)] * (len(ids) < COPY_TOKENS)               # the last tune may be cut off
    train = [decode(tokenizer.decode(ids[a + 1:b].tolist())) for a, b in zip(starts, ends)]
    return held_out, train


def measure(kept, first, s, data_dir):
    """The statistics part of metrics.json."""
    texts = [tune['text'] for tune in first]
    bars = [exact_bars(text) for text in texts]
    valid = {'tunes': len(first),
             'readable': float(np.mean([tune['music'] is not None for tune in first])),
             'bars_exact': sum(good for good, _ in bars) / max(1, sum(n for _, n in bars)),
             'with_notes': float(np.mean([tune['music'] is not None and len(tune['music'].notes) > 0 for tune in first])),
             'ended_by_model': float(np.mean([tune['tune'].ended for tune in first])),
             'different': len(set(texts)) / len(texts)}
    music = [tune['music'] for tune in kept if tune['music'] is not None]
    ours = [statistics(m) for m in music]
    result = {'first_draws': valid, 'tunes': ours}
    known = reference(data_dir)
    if known and music:
        held_out, train = known
        result['comparison'] = compare(ours, [statistics(m) for m in held_out], seed=s.seed)
        runs = longest_runs(train, music + held_out)
        result['copying'] = {'samples': runs[:len(music)], 'held_out': runs[len(music):], 'train_tunes': len(train)}
        if len(music) < 200:
            result['caution'] = f'{len(music)} tunes: read an overlap beside its baseline only; 200 tunes make it steady'
    return result


def print_measures(result):
    first = result['first_draws']
    print(f'first draws: {first["readable"]:.1%} readable, {first["bars_exact"]:.1%} of bars exact, {first["with_notes"]:.1%} '
          f'with notes, {first["ended_by_model"]:.1%} ended by the model, {first["different"]:.1%} different')
    if 'comparison' in result:
        print(f'{"median":>36} {"samples":>9} {"held out":>9} {"overlap":>8} {"baseline":>8} {"n":>5}')
        for name, row in result['comparison'].items():
            cells = ['undefined' if row[c] is None else f'{row[c]:.3g}' for c in ('samples', 'held_out', 'overlap', 'baseline')]
            print(f'{STATISTICS[name]:>36} {cells[0]:>9} {cells[1]:>9} {cells[2]:>8} {cells[3]:>8} {row["n"]:>5}')
        known = [row for row in result['comparison'].values() if row['overlap'] is not None]
        if known:
            overlap, baseline = (np.mean([row[c] for row in known]) for c in ('overlap', 'baseline'))
            print(f'{f"mean of {len(known)}":>36} {"":>9} {"":>9} {overlap:>8.3f} {baseline:>8.3f}')
        for who, runs in (('samples', result['copying']['samples']), ('held out', result['copying']['held_out'])):
            print(f'longest run of notes that stands in train, in any key: {who} median {np.median(runs):.0f}, '
                  f'95% below {np.percentile(runs, 95):.0f}, longest {max(runs)}')
    if 'caution' in result:
        print('caution:', result['caution'])


# ---- writing

def write(path, text):
    with atomic_write(path, 'w', encoding='utf-8', newline='') as f:
        f.write(text)


def check(s):
    for name in ('num_samples', 'max_bars', 'max_tokens', 'batch_size'):
        if getattr(s, name) < 1:
            fail(f'--{name} must be at least 1')
    if s.top_k is not None and s.top_k < 1:
        fail('--top_k must be at least 1; leave it out to draw from all tokens')
    if not 0 < s.top_p <= 1:
        fail('--top_p must be above 0 and at most 1')
    if s.temperature < 0:
        fail('--temperature must be 0 or more')
    if s.prompt_bars is not None and s.prompt_bars < 0:
        fail('--prompt_bars must be 0 or more')
    asked = [name for name in ('meter', 'key', 'tempo', 'programs') if getattr(s, name) is not None]
    if asked and not s.constrain:
        fail(f'--{asked[0]} needs the constraint: leave --constrain on')
    if asked and s.prompt and s.prompt.strip():
        fail(f'--{asked[0]} and --prompt exclude each other: the prompt has a header of its own')


def main():
    s = configure(Settings)
    check(s)
    device = s.device if s.device != 'auto' else 'cuda' if torch.cuda.is_available() else 'cpu'
    prompt, path = prompt_text(s), s.ckpt or best_checkpoint()
    model, tokenizer, checkpoint = load(path, device)
    reader = start_reader(s, tokenizer)
    if s.constrain and not reader.feed(prompt):
        missing = ' '.join(sorted(set(prompt) - reader.alphabet))
        fail(f'the vocabulary of {path} cannot write the prompt: its training data hold no {missing}')
    val = checkpoint.get('val') or {}
    print(f'{path}: {checkpoint["config"]["arch"]}, {model.num_params()["total"]:,} parameters' +
          (f', validation loss {val["per_note"]:.3f} nats a note' if val else ''))

    start = time.perf_counter()
    kept, first, redrawn, counts = sample_tunes(model, tokenizer, reader, prompt, s)
    seconds = time.perf_counter() - start
    print(f'{s.num_samples} tunes, {counts["tokens"]:,} tokens in {seconds:.1f} s: {counts["tokens"] / seconds:,.0f} tokens/s'
          + f'; the constraint dropped {counts["dropped"]:,} more and forced {counts["forced"]:,}' * s.constrain)
    for reason, n in redrawn.items():
        print(f'{n} {reason}' + ('' if s.statistics_only else ': drawn again'))

    data_dir = s.data_dir or checkpoint['config']['train'].get('data_dir')
    result = {'ckpt': path, 'settings': vars(s), 'val': val, 'redrawn': redrawn, 'generation': {**counts, 'seconds': seconds},
              **measure(kept, first, s, data_dir)}
    print_measures(result)
    os.makedirs(s.out_dir, exist_ok=True)
    if not s.statistics_only:
        write_tunes(kept, result, checkpoint, s)
    write(os.path.join(s.out_dir, 'metrics.json'), json.dumps(result, indent=1))


def write_tunes(kept, result, checkpoint, s):
    """.abc, .mid and .png of each tune, and the page."""
    for name in os.listdir(s.out_dir):                       # of a former run with more tunes
        if re.fullmatch(r'\d{2,}\.(abc|mid|png)', name):
            os.remove(os.path.join(s.out_dir, name))
    tunes = []
    for i, tune in enumerate(kept, 1):
        if tune['music'] is None:
            print(f'tune {i} is not readable: left out')
            continue
        music, file = tune['music'], f'{i:02}'
        base = os.path.join(s.out_dir, file)
        music.title = f'Tune {i}'
        abc, midi = write_abc(music, music.title), None
        write(base + '.abc', abc)
        if s.out_midi:
            write_midi(music, base + '.mid')
            with open(base + '.mid', 'rb') as f:
                midi = f.read()
        draw_roll(music, base + '.png')
        tunes.append({'music': music, 'text': tune['text'], 'abc': abc, 'midi': midi, 'statistics': statistics(music),
                      'prompt_bars': tune['tune'].n_prompt_bars, 'file': file})
    about = [f'{checkpoint["config"]["arch"].upper()}, {checkpoint["num_params"]["total"] / 1e6:.1f} million parameters',
             f'temperature {s.temperature:g}, top-p {s.top_p:g}',
             'every bar checked while sampling' if s.constrain else 'without a constraint']
    if result['val']:
        about.insert(1, f'{result["val"]["per_note"]:.2f} nats a note')
    redrawn = [f'{n} {reason}, drawn again' for reason, n in result['redrawn'].items()]
    copying = None
    if 'copying' in result:
        ours, theirs = (np.median(result['copying'][who]) for who in ('samples', 'held_out'))
        copying = ('Longest run of notes that stands in the training tunes too, in any key: '
                   f'{ours:.0f} (median of the samples), {theirs:.0f} (median of held-out tunes).')
    write(os.path.join(s.out_dir, 'index.html'), page(
        tunes, f'{len(tunes)} sampled tunes', ' · '.join(about), '; '.join([f'{result["ckpt"]}, seed {s.seed}', *redrawn]),
        result.get('comparison'), copying, result.get('caution')))
    print(f'open {os.path.join(s.out_dir, "index.html")}')


if __name__ == '__main__':
    main()
