"""Music files -> clean, leak-free tokens: data/NAME/{train,val,test}.bin and all that is known of
them.

    python prepare.py                           # the music bundled with music21 -> data/bundled
    python prepare.py --source=lakh             # downloads the Lakh MIDI dataset -> data/lakh
    python prepare.py --source=midis/,more.tar.gz --out_dir=data/mine
    python prepare.py --source=mine/ --like=results/tunes.pt    # for fine-tuning that model

    find -> convert -> exact duplicates -> split -> near-duplicates -> tokenizer (bpe.py) -> .bin

A tune's side (train, val, test) is a hash of its own music and never changes, whatever else is in
the corpus. A train tune that is nearly one in val or test is left out, and so is a test tune that
is nearly one in val. Conversion is saved in shards: a run that was interrupted goes on after the
last whole one, and ends with the files of an undisturbed run.
"""
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice

import numpy as np

import bpe
from configurator import configure, fail
from corpus import shards, sources
from corpus.convert import SCORES, Form
from corpus.selection import FEWEST_TUNES, keys_of, select, sides_of
from corpus.summary import histogram, table
from music.transpose import transposed
from plumbing.checkpoint import read_checkpoint
from plumbing.files import atomic_write
from plumbing.progress import Progress


@dataclass
class Settings:
    # Where the music is and where the data go.
    source: str | list[str] = 'bundled' # bundled, lakh, a folder, a .tar.*, a .zip, or a list a,b,c
    out_dir: str | None = None          # None: data/NAME-OF-SOURCE
    overwrite: bool = False             # also if out_dir was made from another source

    # What models are to read. None: repeats on (not for lakh), the others for scores and ABC alone.
    like: str | None = None             # a checkpoint or data folder: with its notation, tokenizer
    converter: str = 'builtin'          # or midi2abc (Debian: abcmidi), as in the original study
    beats: bool | None = None           # a space before what starts on a beat
    repeats: bool | None = None         # repeated sections once, with marks
    phrases: bool | None = None         # a mark after every fourth bar

    # The tokenizer.
    tokenizer: str = 'bpe'              # or char: an id per character, vocab_size follows from it
    vocab_size: int | None = None       # all ids, <|tune|> too; None: 1,000 or 5,000, by its notes
    tokenizer_chars: int = 50_000_000   # at most so much of train, chosen by hash, trains it

    # The split.
    val_fraction: float | None = None   # of the tunes; None: a tenth, 40 tunes, or a hundredth
    test_fraction: float | None = None  # as val_fraction
    transpose: int | None = None        # 0..11 copies of a train tune; None: 3 for bundled, 5 or 0
    near_duplicates: bool = True        # leave out near-duplicates across the split
    seed: int = 0                       # of the split

    # The work.
    time_limit_s: float = 60.0          # for a file; one that takes longer, twice, is left out
    shard_files: int = 100              # files converted between two savings
    workers: int = 0                    # processes; 0: all cores

    def __post_init__(self):
        self.tokenizer_text = None      # that of --like


MARKS = 'beats', 'repeats', 'phrases'

# Below so many notes of train a tune has 5 transposed copies, and a default vocabulary 1,000 ids,
# which suit small models, instead of 5,000: README, "Your own music".
FEW_NOTES, SMALL_VOCABULARY = 5_000_000, 20_000_000


def check(s):
    """Fill in what depends on the source; exit with one line if a setting makes no sense."""
    s.source = [s.source] if isinstance(s.source, str) else s.source
    for source in s.source:
        sources.check(source)
    if s.out_dir == '':
        fail("out_dir: '' is no folder")
    if s.out_dir is None:
        name = '+'.join(map(sources.name_of, s.source))[:100]
        s.out_dir = os.path.join('data', name or 'corpus')

    if s.converter not in ('builtin', 'midi2abc'):
        fail(f"converter: {s.converter!r} must be 'builtin' or 'midi2abc'")
    if s.tokenizer not in ('bpe', 'char'):
        fail(f"tokenizer: {s.tokenizer!r} must be 'bpe' or 'char'")

    # What is not given is as the bundled tune books are best prepared; of other music most of it
    # is chosen when its size is known, see `suit`.
    if s.like is not None:
        adopt(s)
    is_bundled = s.source == ['bundled']
    if is_bundled and s.vocab_size is None and s.like is None:
        s.vocab_size = 1000
    if is_bundled and s.val_fraction is None:
        s.val_fraction = 0.05
    if is_bundled and s.test_fraction is None:
        s.test_fraction = 0.05
    if is_bundled and s.transpose is None:
        s.transpose = 3 if s.converter == 'builtin' else 0
    if s.vocab_size is not None and not 1 < s.vocab_size <= 65535:
        fail(f'vocab_size: {s.vocab_size} must be in 2..65,535, so that an id fits 16 bits')
    if s.val_fraction is not None and not 0 <= s.val_fraction < 1:
        fail(f'val_fraction: {s.val_fraction} must be in 0..1')
    if s.test_fraction is not None and not 0 <= s.test_fraction < 1 - (s.val_fraction or 0):
        fail(f'test_fraction: {s.test_fraction} must be such that something is left to train on')
    if s.transpose is not None and not 0 <= s.transpose <= 11:
        fail(f'transpose: {s.transpose} must be in 0..11')
    if s.tokenizer_chars <= 0:
        fail(f'tokenizer_chars: {s.tokenizer_chars} must be above 0')
    if not 0 < s.time_limit_s <= 86_400:
        fail(f'time_limit_s: {s.time_limit_s} must be above 0 and at most a day, 86,400')
    if not 0 < s.shard_files <= 1_000_000:
        fail(f'shard_files: {s.shard_files} must be above 0 and at most 1,000,000')
    if not 0 <= s.workers <= 1000:
        fail(f'workers: {s.workers} must be in 0..1000')
    s.workers = s.workers or os.cpu_count()

    if s.converter == 'midi2abc':
        for name in ('transpose', *MARKS):
            if getattr(s, name):
                fail(f"{name}: {getattr(s, name)!r} must be off with converter='midi2abc'")
        if not shutil.which('midi2abc'):
            fail("converter: midi2abc is not installed (Debian: apt install abcmidi); "
                 "converter='builtin' needs nothing")
    return s


def adopt(s):
    """Notation and tokenizer of --like: its settings become ours, `s.tokenizer_text` its tokenizer.

    Exits (2) with one line if another one was asked for.
    """
    if os.path.isdir(s.like):
        try:
            with open(os.path.join(s.like, 'meta.json'), encoding='utf-8') as f:
                meta = json.load(f)
            with open(os.path.join(s.like, 'tokenizer.json'), encoding='utf-8') as f:
                s.tokenizer_text = f.read()
        except (OSError, ValueError) as e:
            fail(f'like: {s.like} is no folder that prepare.py wrote ({e})')
    else:
        checkpoint = read_checkpoint(s.like)
        meta, s.tokenizer_text = checkpoint['meta'], checkpoint['tokenizer']
    try:
        theirs = {'vocab_size': meta['vocab_size'], 'tokenizer': meta['tokenizer']['kind']}
        for name, default in Form()._asdict().items():
            theirs[name] = meta['settings'].get(name, default)
        bpe.Tokenizer.from_json(s.tokenizer_text)
    except (KeyError, TypeError, AttributeError, ValueError):
        fail(f'like: {s.like} holds no tokenizer and settings of prepare.py')
    for name, value in theirs.items():
        asked = getattr(s, name)
        if asked not in (value, getattr(Settings, name)):
            fail(f'{name}: {asked!r} here and {value!r} in {s.like}: leave it out')
        setattr(s, name, value)


def suit_marks(s):
    """Choose the marks that are not given.

    Repeats: on, but not for lakh, which is as in the original study. Beats and phrases: on for
    music that was written down as bars and beats, as the first files of each source tell; a MIDI
    file's bars are often not those of its music, and there they cost more than they tell.
    """
    if None not in [getattr(s, mark) for mark in MARKS]:
        return
    files = [item.name for source in s.source for item in islice(sources.items(source), 200)]
    written = [name for name in files if name.lower().endswith(('.abc', *SCORES))]
    is_written = 2 * len(written) > len(files)
    fitting = {'beats': is_written, 'repeats': 'lakh' not in s.source, 'phrases': is_written}
    for mark, fits in fitting.items():
        if getattr(s, mark) is None:
            setattr(s, mark, fits and s.converter == 'builtin')


def suit(s, n_tunes):
    """Choose the sides' shares of `n_tunes` different tunes, where they are not given.

    A tenth, or 40 tunes if that is less: enough to tell two models apart; of thousands of tunes a
    hundredth, as in the original study.
    """
    if s.val_fraction is None and 0 < n_tunes < FEWEST_TUNES:
        tunes = f'{n_tunes} tune{"s" * (n_tunes != 1)}'
        fail(f'source: {tunes} in {", ".join(s.source)}: training needs {FEWEST_TUNES} at least, '
             'some to validate and to test; a single tune can be the beginning of others: '
             'python sample.py --prompt=FILE')
    share = round(max(0.01, min(0.1, 40 / max(1, n_tunes))), 4)
    if s.val_fraction is None:
        s.val_fraction = share
    if s.test_fraction is None:
        s.test_fraction = min(share, 1 - s.val_fraction)


def suit_train(s, n_tunes, n_notes):
    """Choose vocabulary and transposed copies for what is to be trained on, where not given.

    Returns whether the vocabulary may be smaller than that, if the music has too few patterns.
    """
    is_default = s.vocab_size is None
    if s.vocab_size is None:
        s.vocab_size = 1000 if n_notes < SMALL_VOCABULARY else 5000
    if s.transpose is None:
        s.transpose = 5 if n_notes < FEW_NOTES and s.converter == 'builtin' else 0
    marks = [mark for mark in MARKS if getattr(s, mark)]
    print(f'{n_tunes:,} tunes to train on, {n_notes:,} notes: vocabulary {s.vocab_size:,}, '
          f'{s.transpose} transposed copies of each; marks: {", ".join(marks) or "none"}; '
          f'val {s.val_fraction:g} and test {s.test_fraction:g} of all tunes')
    return is_default


def claim(s):
    """Make out_dir and write into it what it is made from. Exits with one line if that was another
    source.
    """
    path = os.path.join(s.out_dir, 'source.json')
    mine = [source if source in sources.NAMED else os.path.abspath(source) for source in s.source]
    meta = read_json(s, 'meta.json', is_meta)
    theirs = read_json(s, 'source.json', is_list_of_names)
    if theirs is None and meta is not None:  # an earlier version wrote no source.json
        theirs = meta['settings']['source']
    if theirs not in (None, mine, s.source) and not s.overwrite:
        fail(f"out_dir: {s.out_dir} is of {', '.join(theirs)}; give another --out_dir, "
             'or --overwrite to replace it')
    os.makedirs(s.out_dir, exist_ok=True)
    if theirs != mine:
        with atomic_write(path, 'w', encoding='utf-8') as f:
            f.write(json.dumps(mine))


def read_json(s, name, is_whole):
    """What a file of out_dir holds, or None if it is not there. Exits with one line if it is
    damaged; with --overwrite that is None, too.
    """
    path = os.path.join(s.out_dir, name)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding='utf-8') as f:
            value = json.load(f)
        if is_whole(value):
            return value
        why = 'prepare.py wrote something else'
    except ValueError as e:                                     # no JSON, or no UTF-8
        why = e
    if not s.overwrite:
        fail(f'out_dir: {path} is damaged ({why}); give another --out_dir, '
             'or --overwrite to replace the data')


def is_list_of_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_meta(value):
    settings = value.get('settings') if isinstance(value, dict) and 'inputs' in value else None
    return isinstance(settings, dict) and is_list_of_names(settings.get('source'))


def order_of(tunes, name, copies):
    """List of (index, semitones) of a side's tunes, transposed copies first, then the tunes
    untransposed.

    Both parts are in the order of hashes: any stretch of one is a fair sample of it.
    """
    order = []
    for i in np.flatnonzero(tunes['side'] == name).tolist():
        key = tunes['key'][i].decode()
        choices = sorted((hashlib.sha256(f'{key}:{n}'.encode()).hexdigest(), i, n)
                         for n in range(-5, 7) if n)
        order += [(key, i, 0), *choices[:copies]]
    return [(i, semitones) for _, i, semitones in sorted(order, key=lambda one: (one[2] == 0, one))]


def texts_of(order, tunes, paths):
    """Yield (index, semitones, text) in that order; copies that would leave the range of MIDI are
    passed over.
    """
    for i, semitones in order:
        text = shards.read_text(paths[tunes['shard'][i]], tunes['at'][i], tunes['size'][i])
        text = transposed(text, semitones) if semitones else text
        if text is not None:
            yield i, semitones, text


def train_tokenizer(order, tunes, paths, s, may_be_smaller):
    """Tokenizer of the first `tokenizer_chars` characters of train, and of its first tune in any
    case; or that of --like.
    """
    if s.like is not None:
        return bpe.Tokenizer.from_json(s.tokenizer_text)

    def texts():
        read = 0
        with Progress('tokenizer', 'million characters read', 10 ** 6) as progress:
            for *_, text in texts_of(order, tunes, paths):
                read += len(text)
                if len(text) < read > s.tokenizer_chars:
                    break
                progress.show(read)
                yield text
    try:
        return bpe.train(texts(), s.vocab_size, s.tokenizer, may_be_smaller)
    except ValueError as e:
        fail(str(e))


def write_tokens(name, order, tunes, paths, tokenizer, threads, binary, plain):
    """Write a side's tokens to file `binary`, its text to `plain` (or None). Returns (counts,
    tokens of each tune, {key in a header: [tunes, of these not transposed]}).
    """
    counts, lengths, keys = Counter(tunes=0, tokens=0, characters=0, notes=0, bars=0), [], {}
    texts = texts_of(order, tunes, paths)
    with Progress(f'tokens of {name}', 'MB', 10 ** 6) as progress:
        while batch := list(islice(texts, 100)):
            encoded = tokenizer.encode_batch([text for *_, text in batch], threads)
            for (i, semitones, text), ids in zip(batch, encoded):
                np.array([tokenizer.tune, *ids], np.uint16).tofile(binary)
                if plain:
                    plain.write('\n' + text if lengths else text)
                lengths.append(1 + len(ids))
                counts.update(tunes=1, tokens=1 + len(ids), characters=len(text))
                counts.update(notes=int(tunes['notes'][i]), bars=int(tunes['bars'][i]))
                if key := re.search('^K:(.*)', text, re.M):
                    both = keys.setdefault(key[1], [0, 0])
                    both[0] += 1
                    both[1] += not semitones
            progress.show(counts['characters'], counts['tunes'] / len(order))
    return dict(counts), np.array(lengths), keys


def main(argv=None):
    s = check(configure(Settings, argv))
    try:
        prepare(s)
    except OSError as e:                            # no right to write, a full disk
        fail(f'out_dir: {e.filename or s.out_dir}: {e.strerror or e}')


def settings_of(s):
    """What decides the data, for meta.json."""
    return {name: value for name, value in asdict(s).items()
            if name not in ('out_dir', 'overwrite', 'workers')}


def prepare(s):
    claim(s)
    folder = os.path.join(s.out_dir, 'shards')
    suit_marks(s)
    form = Form(s.converter, s.beats, s.repeats, s.phrases)
    paths, not_read = shards.convert_all(s.source, folder, form, s.shard_files, s.workers,
                                         s.time_limit_s)
    not_read = {suffix: n for suffix, n in sorted(not_read.items()) if n}

    versions = {name: importlib.metadata.version(name)
                for name in (*shards.LIBRARIES, 'music21', 'rustbpe', 'tiktoken')}
    names = [os.path.basename(path) for path in paths]
    asked = [settings_of(s), s.tokenizer_text]
    inputs = shards.hash_of([asked, names, not_read, versions], [__file__, bpe.__file__])
    meta_path = os.path.join(s.out_dir, 'meta.json')
    meta = read_json(s, 'meta.json', is_meta)
    if meta and meta['inputs'] == inputs:
        print(table(meta))
        print(f'{s.out_dir} is up to date')
        return

    keys = keys_of(paths)
    suit(s, len(keys))
    lacks = bpe.Tokenizer.from_json(s.tokenizer_text).lacks if s.like else None
    tunes, left_out, quantisation, remarks, leakage = select(paths, s, sides_of(keys, s), lacks)
    filters = {}
    for why in sorted({reason for _, reason, _, _ in left_out}):
        lost = [notes for _, reason, notes, _ in left_out if reason == why]
        filters[why] = {'tunes': len(lost), 'notes': sum(lost)}
    is_train = tunes['side'] == 'train'
    if not is_train.any():
        why = ', '.join(f"{count['tunes']:,} {reason}" for reason, count in filters.items())
        why = why or 'no file of music'
        if not_read:
            why += '; not read: ' + ', '.join(f'{n:,} {suffix}' for suffix, n in not_read.items())
        fail(f"source: no tune to train on in {', '.join(s.source)}: {why}")
    may_be_smaller = suit_train(s, int(is_train.sum()), int(tunes['notes'][is_train].sum()))
    orders = {name: order_of(tunes, name, s.transpose if name == 'train' else 0)
              for name in ('train', 'val', 'test')}
    n_untransposed = sum(semitones == 0 for _, semitones in orders['train'])
    tokenizer = train_tokenizer(orders['train'], tunes, paths, s, may_be_smaller)

    with ExitStack() as files:  # the new files take their names when all are written
        written = []

        def output(name, mode='w', **options):
            path = os.path.join(s.out_dir, name)
            written.append(files.enter_context(atomic_write(path, mode, **options)))
            return written[-1]

        splits, lengths, keys = {}, {}, {}
        for name, order in orders.items():
            binary = output(f'{name}.bin', 'wb')
            plain = None if name == 'train' else output(f'{name}.abc', encoding='utf-8', newline='')
            splits[name], lengths[name], keys[name] = write_tokens(
                name, order, tunes, paths, tokenizer, s.workers, binary, plain)
        failures = output('failures.tsv', encoding='utf-8', errors='surrogateescape')
        failures.writelines(f'{file}\t{reason}\t{like}\n' for file, reason, _, like in left_out)
        output('tokenizer.json', encoding='utf-8').write(tokenizer.to_json())
        for file in written:  # a disk that is full says so before anything is replaced
            file.flush()
            os.fsync(file.fileno())
        # gone first and back last: with it the folder is of one piece
        if os.path.exists(meta_path):
            os.remove(meta_path)
    histogram(lengths, os.path.join(s.out_dir, 'lengths.png'))
    meta = {'vocab_size': tokenizer.vocab_size,
            'tokenizer': {'kind': tokenizer.kind, 'hash': tokenizer.hash, 'tune': tokenizer.tune},
            'splits': splits, 'untransposed': int(lengths['train'][-n_untransposed:].sum()),
            'keys': keys['train'], 'filters': filters, 'not_read': not_read, 'remarks': remarks,
            'quantisation': quantisation, 'leakage': leakage, 'settings': settings_of(s),
            'versions': versions, 'inputs': inputs}
    with atomic_write(meta_path, 'w', encoding='utf-8') as f:
        f.write(json.dumps(meta, indent=1) + '\n')
    print(table(meta))


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from here')
