"""Music files -> clean, leak-free tokens: data/NAME/{train,val,test}.bin and all that is known of them.

    python prepare.py                                           # the music bundled with music21 -> data/bundled
    python prepare.py --source=lakh                             # downloads the Lakh MIDI dataset -> data/lakh
    python prepare.py --source=midis/,more.tar.gz --out_dir=data/mine

    find -> convert (midi.py, notation.py) -> exact duplicates -> split -> near-duplicates -> tokenizer (bpe.py) -> .bin

A tune's side (train, val, test) is a hash of its own music and never changes, whatever else is in the corpus. A train tune that
is nearly one in val or test is left out, and so is a test tune that is nearly one in val. Conversion is saved in shards; a run
that was interrupted goes on after the last whole shard, and ends with the same files as an undisturbed one.
"""
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

import bpe
from configurator import configure, fail
from corpus import dedupe, shards, sources
from corpus.summary import histogram, table
from music import transpose
from plumbing.files import atomic_write
from plumbing.progress import Progress


@dataclass
class Settings:
    source: str | list[str] = 'bundled'     # bundled, lakh, a folder, a .tar.gz/.tar.xz/.zip, or a list of them (a,b,c)
    out_dir: str | None = None              # where to; None: data/NAME-OF-SOURCE
    converter: str = 'builtin'              # builtin, or midi2abc (of Debian's abcmidi) as in the original study
    tokenizer: str = 'bpe'                  # bpe, or char: an id per character, vocab_size is then what it takes
    vocab_size: int | None = None           # ids, every one counted, <|tune|> too; None: 1,000 for bundled, else 5,000
    tokenizer_chars: int = 50_000_000       # at most so much of train, chosen by hash, trains the tokenizer
    val_fraction: float | None = None       # of the tunes; None: 0.05 for bundled, else 0.01
    test_fraction: float | None = None      # as val_fraction
    transpose: int | None = None            # 0..11 transposed copies of each train tune; None: 3 for bundled, else 0
    near_duplicates: bool = True            # leave out near-duplicates across the split
    time_limit_s: float = 60.0              # for a file; what takes longer is left out
    shard_files: int = 100                  # files converted between two savings
    workers: int = 0                        # processes; 0: all cores
    seed: int = 0                           # of the split


# ------------------------------------------------------------------------------------------------------------- settings

def check(s):
    """Fill in what depends on the source; exit with one line if a setting makes no sense."""
    s.source = [s.source] if isinstance(s.source, str) else s.source
    for source in s.source:
        sources.check(source)
    bundled = s.source == ['bundled']
    s.out_dir = s.out_dir or os.path.join('data', re.sub(r'\W.*', '', os.path.basename(os.path.abspath(s.source[0]))) or 'corpus')
    s.vocab_size = s.vocab_size or (1000 if bundled else 5000)
    s.val_fraction = (0.05 if bundled else 0.01) if s.val_fraction is None else s.val_fraction
    s.test_fraction = (0.05 if bundled else 0.01) if s.test_fraction is None else s.test_fraction
    s.transpose = (3 if bundled and s.converter == 'builtin' else 0) if s.transpose is None else s.transpose
    s.workers = s.workers or os.cpu_count()
    for name, is_fine, what in (
            ('converter', s.converter in ('builtin', 'midi2abc'), "'builtin' or 'midi2abc'"),
            ('tokenizer', s.tokenizer in ('bpe', 'char'), "'bpe' or 'char'"),
            ('vocab_size', 1 < s.vocab_size <= 65535, 'at most 65,535, so that an id fits 16 bits'),
            ('val_fraction', 0 <= s.val_fraction < 1, 'in 0..1'),
            ('test_fraction', 0 <= s.test_fraction < 1 - s.val_fraction, 'such that something is left to train on'),
            ('transpose', 0 <= s.transpose <= 11, 'in 0..11'),
            ('transpose', s.transpose == 0 or s.converter == 'builtin', "0 with converter='midi2abc', whose text we do not read"),
            ('tokenizer_chars', s.tokenizer_chars > 0, 'above 0'), ('time_limit_s', s.time_limit_s > 0, 'above 0'),
            ('shard_files', s.shard_files > 0, 'above 0'), ('workers', s.workers > 0, '0 or more')):
        if not is_fine:
            fail(f'{name}: {getattr(s, name)!r} must be {what}')
    if s.converter == 'midi2abc' and not shutil.which('midi2abc'):
        fail("converter: midi2abc is not installed (Debian: apt install abcmidi); converter='builtin' needs nothing")
    return s


# ------------------------------------------------------------------------------------------------------------ selection

TUNE = np.dtype([('key', 'S64'), ('side', 'U5'), ('shard', np.int32), ('at', np.int64), ('size', np.int64),
                 ('notes', np.int32), ('bars', np.int32), ('kept', bool)])


class LeftOut:
    """What is left out: counted by reason, and listed in failures.tsv (file, reason, and the file that it is like)."""

    def __init__(self, file):
        self.file, self.counts = file, {}

    def add(self, name, reason, notes, like=''):
        count = self.counts.setdefault(reason, {'tunes': 0, 'notes': 0})
        count['tunes'] += 1
        count['notes'] += notes
        self.file.write(f'{name}\t{reason}\t{like}\n')


def side(key, s):
    """'val', 'test' or 'train': a function of the tune's own music and the seed alone."""
    u = int(hashlib.sha256(f'{s.seed}:{key}'.encode()).hexdigest()[:16], 16) / 2 ** 64
    return 'val' if u < s.val_fraction else 'test' if u < s.val_fraction + s.test_fraction else 'train'


def select(paths, s, left_out):
    """(TUNE array of what is kept, sorted by key: an order that is no file's; quantisation figures; leakage figures)."""
    rows, names, held_out, quantised = [], [], {}, Counter()    # held_out: index of a tune of val or test -> its sketch
    for i, path in enumerate(paths):
        for record in shards.records_of(path):
            name = re.sub(r'\s', ' ', record['file'])
            if 'reason' in record:
                left_out.add(name, record['reason'], record.get('notes', 0))
                continue
            count_report(record['report'], quantised)
            where = side(record['key'], s)
            if where != 'train':
                held_out[len(rows)] = record['sketch']
            rows.append((record['key'], where, i, *(record[name] for name in ('at', 'size', 'notes', 'bars')), True))
            names.append(name)
    tunes = np.array(rows, TUNE)
    del rows
    _, first, which = np.unique(tunes['key'], return_index=True, return_inverse=True)
    first = first[which]
    tunes['kept'] = first == np.arange(len(tunes))
    for i in np.flatnonzero(~tunes['kept']).tolist():
        left_out.add(names[i], 'same music as another', int(tunes['notes'][i]), names[first[i]])
    leakage = leave_out_near(paths, tunes, names, held_out, s.near_duplicates, left_out)
    tunes = tunes[tunes['kept']]
    return tunes[np.argsort(tunes['key'], kind='stable')], quantisation_figures(quantised), leakage


def leave_out_near(paths, tunes, names, held_out, leave_out, left_out):
    """Unmark test tunes near val, then train tunes near what is left of both. Returns how many tunes leak after that."""
    keys = {where: set(tunes['key'][tunes['kept'] & (tunes['side'] == where)].tolist()) for where in ('train', 'val', 'test')}
    leakage = {'same_music': sum(len(keys[a] & keys[b]) for a, b in (('train', 'val'), ('train', 'test'), ('test', 'val'))),
               'test_near_val': 0, 'train_near_val_or_test': 0}

    def index(*where):
        indices = [i for i in held_out if tunes['kept'][i] and tunes['side'][i] in where]
        return indices, dedupe.Near([held_out[i] for i in indices])

    def judge(i, sketch, indices, near, leak, reason):
        like = near.of(sketch)
        if like and leave_out:
            tunes['kept'][i] = False
            left_out.add(names[i], reason, int(tunes['notes'][i]), names[indices[like[0]]])
        elif like:
            leakage[leak] += 1

    val = index('val')
    for i in held_out:
        if tunes['side'][i] == 'test' and tunes['kept'][i]:
            judge(i, held_out[i], *val, 'test_near_val', 'nearly a tune of val')
    both = index('val', 'test')
    i = -1
    with Progress('near-duplicates', 'tunes') as progress:
        for path in paths:
            for record in shards.records_of(path):
                if 'reason' not in record:
                    i += 1
                    if tunes['side'][i] == 'train' and tunes['kept'][i]:
                        judge(i, record['sketch'], *both, 'train_near_val_or_test', 'nearly a tune of val or test')
            progress.show(i + 1, (i + 1) / max(len(tunes), 1))
    return leakage


def count_report(report, total):
    """Add a file's report of its quantisation (midi.quantise; None for sources that need none) to the sums."""
    if report:
        total.update({name: value for name, value in report.items() if name != 'shift'})
        total.update(files=1, files_exact=report['onsets_within_twelfth'] >= 0.995 * report['notes'])


def quantisation_figures(total):
    """What quantisation changed in the MIDI files that were converted, as shares and means."""
    if not total['files']:
        return {}
    return {'files': total['files'], 'notes': total['notes'], 'repaired_files': total['repaired'],
            'keys_estimated': total['key_estimated'],
            'onsets_within_twelfth_quarter': total['onsets_within_twelfth'] / total['notes'],
            'files_with_995_of_1000_such_onsets': total['files_exact'] / total['files'],
            'mean_onset_move_quarters': total['onset_error'] / total['notes'],
            'mean_duration_quarters': total['duration'] / total['notes'],
            'mean_duration_change_quarters': total['duration_change'] / total['notes'],
            'merged_unisons': total['merged_unisons'] / total['notes']}


# --------------------------------------------------------------------------------------------------------------- tokens

def train_order(tunes, copies):
    """List of (index, semitones) of the train tunes and their transposed copies, by hash: any part is a fair sample."""
    order = []
    for i in np.flatnonzero(tunes['side'] == 'train').tolist():
        key = tunes['key'][i].decode()
        order.append((key, i, 0))
        shifts = sorted([n for n in range(-5, 7) if n], key=lambda n: hashlib.sha256(f'{key}:{n}'.encode()).digest())
        order += [(hashlib.sha256(f'{key}:{n}'.encode()).hexdigest(), i, n) for n in shifts[:copies]]
    return [(i, semitones) for _, i, semitones in sorted(order)]


def texts_of(order, tunes, paths):
    """Yield (index, text) in that order; copies that would leave the range of MIDI are passed over."""
    for i, semitones in order:
        text = shards.read_text(paths[tunes['shard'][i]], tunes['at'][i], tunes['size'][i])
        text = transpose.transposed(text, semitones) if semitones else text
        if text is not None:
            yield i, text


def train_tokenizer(order, tunes, paths, s):
    """Tokenizer of the first `tokenizer_chars` characters of train."""
    def texts():
        read = 0
        with Progress('tokenizer', 'million characters read', 10 ** 6) as progress:
            for _, text in texts_of(order, tunes, paths):
                read += len(text)
                if read > s.tokenizer_chars and read > len(text):
                    break
                progress.show(read)
                yield text
    try:
        return bpe.train(texts(), s.vocab_size, s.tokenizer)
    except ValueError as e:
        fail(str(e))


def write_tokens(name, order, tunes, paths, tokenizer, s):
    """Write NAME.bin, and NAME.abc for the sides that are read by people. Returns (counts for meta.json, tokens of each tune)."""
    counts, lengths, batch = Counter(tunes=0, tokens=0, characters=0, notes=0, bars=0), [], []
    binary, plain = (os.path.join(s.out_dir, f'{name}.{suffix}.tmp') for suffix in ('bin', 'abc'))
    with (open(binary, 'wb') as out, open(plain, 'w', encoding='utf-8', newline='') as text_out,
          Progress(f'tokens of {name}', 'MB', 10 ** 6) as progress):
        def flush():
            for ids in tokenizer.encode_batch(batch, s.workers):
                np.array([tokenizer.tune, *ids], np.uint16).tofile(out)
                lengths.append(len(ids) + 1)
            batch.clear()

        size = 0
        for n, (i, text) in enumerate(texts_of(order, tunes, paths), 1):
            if name != 'train':
                text_out.write(text if n == 1 else '\n' + text)
            counts.update(tunes=1, characters=len(text), notes=int(tunes['notes'][i]), bars=int(tunes['bars'][i]))
            batch.append(text)
            size += len(text)
            if size > 1 << 22:
                flush()
                size = 0
            progress.show(counts['characters'], n / len(order))
        flush()
        counts['tokens'] = sum(lengths)
        for f in (out, text_out):
            f.flush()
            os.fsync(f.fileno())
    if name == 'train':
        os.remove(plain)
    return dict(counts), np.array(lengths)


# ----------------------------------------------------------------------------------------------------------------- main

def main(argv=None):
    s = check(configure(Settings, argv))
    os.makedirs(s.out_dir, exist_ok=True)
    folder = os.path.join(s.out_dir, 'shards')
    paths = shards.convert_all(s.source, folder, s.converter, s.shard_files, s.workers, s.time_limit_s)
    settings = {k: v for k, v in asdict(s).items() if k not in ('out_dir', 'workers')}
    inputs = json.dumps([settings, [os.path.basename(path) for path in paths], versions(), own_code()])
    inputs = hashlib.sha256(inputs.encode()).hexdigest()
    meta_path = os.path.join(s.out_dir, 'meta.json')
    if os.path.exists(meta_path):
        with open(meta_path, encoding='utf-8') as f:
            meta = json.load(f)
        if meta['inputs'] == inputs:
            print(table(meta))
            print(f'{s.out_dir} is up to date')
            return
    with open(os.path.join(s.out_dir, 'failures.tsv.tmp'), 'w', encoding='utf-8', errors='surrogateescape') as f:
        left_out = LeftOut(f)
        tunes, quantisation, leakage = select(paths, s, left_out)
        f.flush()
        os.fsync(f.fileno())
    orders = {name: [(i, 0) for i in np.flatnonzero(tunes['side'] == name).tolist()] for name in ('val', 'test')}
    orders['train'] = train_order(tunes, s.transpose)
    if not orders['train']:
        why = (', '.join(f"{c['tunes']:,} {reason}" for reason, c in left_out.counts.items())
               or 'no file that ends in ' + ', '.join(sources.SUFFIXES))
        fail(f"source: no tune to train on in {', '.join(s.source)}: {why}")
    tokenizer = train_tokenizer(orders['train'], tunes, paths, s)
    splits, lengths = {}, {}
    for name in ('train', 'val', 'test'):
        splits[name], lengths[name] = write_tokens(name, orders[name], tunes, paths, tokenizer, s)
    meta = {'vocab_size': tokenizer.vocab_size,
            'tokenizer': {'kind': tokenizer.kind, 'hash': tokenizer.hash, 'tune': tokenizer.tune},
            'splits': splits, 'filters': dict(sorted(left_out.counts.items())), 'quantisation': quantisation, 'leakage': leakage,
            'settings': settings, 'versions': versions(), 'inputs': inputs}
    histogram(lengths, os.path.join(s.out_dir, 'lengths.png'))
    publish(s.out_dir, meta, tokenizer)
    print(table(meta))


def publish(folder, meta, tokenizer):
    """Give the new files their names; meta.json goes first and comes last, so that with it the folder is always of one piece."""
    meta_path = os.path.join(folder, 'meta.json')
    if os.path.exists(meta_path):
        os.remove(meta_path)
    for name in ('train.bin', 'val.bin', 'test.bin', 'val.abc', 'test.abc', 'failures.tsv'):
        os.replace(os.path.join(folder, name + '.tmp'), os.path.join(folder, name))
    with atomic_write(os.path.join(folder, 'tokenizer.json'), 'w', encoding='utf-8') as f:
        f.write(tokenizer.to_json())
    with atomic_write(meta_path, 'w', encoding='utf-8') as f:
        f.write(json.dumps(meta, indent=1) + '\n')


def versions():
    return {name: importlib.metadata.version(name) for name in ('numpy', 'symusic', 'mido', 'music21', 'rustbpe', 'tiktoken')}


def own_code():
    """Hash of the code after the conversion, as shards.code_version is of the code before."""
    digest = hashlib.sha256()
    for path in (__file__, bpe.__file__, transpose.__file__):
        with open(path, 'rb') as f:
            digest.update(f.read())
    return digest.hexdigest()


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on from here')
