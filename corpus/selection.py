"""Which converted tunes are kept, and on which side of the split: no music twice, none nearly on
two sides.

    tunes, left_out, quantisation, remarks, leakage = select(paths, settings, sides)

The sketches of train are read apart, one at a time, so that memory holds those of val and test
only.
"""
import hashlib
import re
from collections import Counter

import numpy as np

from corpus import dedupe, shards
from plumbing.progress import Progress

FEWEST_TUNES = 10                   # some to train on, some to validate and to test
TUNE = np.dtype([('key', 'S64'), ('side', 'U5'),  # hash of the music; train, val or test
                 # where its text is: in paths, in bytes
                 ('shard', np.int32), ('at', np.int64), ('size', np.int64),
                 ('notes', np.int32), ('bars', np.int32), ('kept', bool)])


def select(paths, s, sides, lacks=None):
    """What is kept of the shards at `paths`; `s`: settings of prepare.py, `sides`: as sides_of.

    Tunes are left out for whose text `lacks(text)` is true.

    Returns a TUNE array sorted by key, an order that is no file's; the list of what is left out,
    (file, reason, notes, the file that it is like or ''); and figures for meta.json of what
    quantisation changed, of what the readers remarked, and of what still leaks.
    """
    tunes, names, sketches, left_out, quantisation, remarks = read(paths, sides, lacks)

    def leave_out(likes, reason):
        """`likes`: {index of a tune: index of the tune that it is like}."""
        for i, j in likes.items():
            if not tunes['kept'][i]:
                continue
            tunes['kept'][i] = False
            left_out.append((names[i], reason, int(tunes['notes'][i]), names[j]))

    def kept(*sides):
        return np.flatnonzero(tunes['kept'] & np.isin(tunes['side'], sides)).tolist()

    keys, first, which = np.unique(tunes['key'], return_index=True, return_inverse=True)
    leave_out({i: j for i, j in enumerate(first[which].tolist()) if i != j},
              'same music as another')
    everything = kept('train', 'val', 'test')
    leakage = {'same_music': len(everything) - len(set(tunes['key'][everything].tolist()))}
    near_val = nearly_one_of(kept('val'), sketches, ((i, sketches[i]) for i in kept('test')))
    leakage['test_near_val'] = 0 if s.near_duplicates else len(near_val)
    if s.near_duplicates:
        leave_out(near_val, 'nearly a tune of val')
    near_held_out = nearly_one_of(kept('val', 'test'), sketches, train_sketches(paths, tunes))
    leakage['train_near_val_or_test'] = 0 if s.near_duplicates else len(near_held_out)
    if s.near_duplicates:
        leave_out(near_held_out, 'nearly a tune of val or test')
    tunes = tunes[tunes['kept']]
    return tunes[np.argsort(tunes['key'], kind='stable')], left_out, quantisation, remarks, leakage


def read(paths, sides, lacks):
    """(tunes, their files, {index of a tune of val or test: its sketch}, left_out of what is no
    tune, quantisation, {remark: how many tunes have it, how often}) of all that was converted.
    """
    rows, names, sketches, left_out, quantised, remarks = [], [], {}, [], Counter(), {}
    for shard, path in enumerate(paths):
        for record in shards.records_of(path):
            name = re.sub(r'\s', ' ', record['file'])
            if 'reason' in record:
                left_out.append((name, record['reason'], record.get('notes', 0), ''))
                continue
            place = shard, record['at'], record['size']
            is_kept = not (lacks and lacks(shards.read_text(path, *place[1:])))
            if not is_kept:
                left_out.append((name, 'characters that the tokenizer lacks', record['notes'], ''))
            report, where = record['report'], sides[record['key']]
            if report:  # of MIDI files, see music/quantise.py
                is_exact = report['onsets_within_twelfth'] >= 0.995 * report['notes']
                quantised.update(report, files=1, files_exact=is_exact)
            for what, times in record['remarks'].items():
                counted = remarks.setdefault(what, {'tunes': 0, 'times': 0})
                counted['tunes'] += 1
                counted['times'] += times
            if where != 'train':
                sketches[len(rows)] = record['sketch']
            rows.append((record['key'], where, *place, record['notes'], record['bars'],
                         is_kept))
            names.append(name)
    remarks = dict(sorted(remarks.items()))
    return np.array(rows, TUNE), names, sketches, left_out, quantisation_figures(quantised), remarks


def keys_of(paths):
    """The keys of all different tunes that were converted."""
    return {record['key'] for path in paths for record in shards.records_of(path)
            if 'key' in record}


def sides_of(keys, s):
    """{key: 'val', 'test' or 'train'}, of each a function of the tune's own music and the seed.

    Where that gives a held-out side of a small corpus no tune, it gets the one of lowest hash,
    which may then be another one when files are added.
    """
    hashes = sorted((int(hashlib.sha256(f'{s.seed}:{key}'.encode()).hexdigest()[:16], 16) / 2 ** 64,
                     key) for key in keys)
    sides = {}
    for u, key in hashes:
        held_out = 'val' if u < s.val_fraction else 'test'
        sides[key] = held_out if u < s.val_fraction + s.test_fraction else 'train'
    for name, share in (('val', s.val_fraction), ('test', s.test_fraction)):
        if share and len(keys) >= FEWEST_TUNES and name not in sides.values():
            key = next(key for _, key in hashes if sides[key] == 'train')
            sides[key] = name
            print(f'no tune falls into {name} by its hash: it gets the one of lowest hash, which '
                  'may be another one when files are added')
    return sides


def nearly_one_of(others, sketches, queries):
    """{index: index of the first of `others` that it is a near-duplicate of} for `queries`, pairs
    (index, sketch).
    """
    near = dedupe.Near([sketches[j] for j in others])
    found = ((i, near.of(sketch)) for i, sketch in queries)
    return {i: others[likes[0]] for i, likes in found if likes}


def train_sketches(paths, tunes):
    """Yield (index, sketch) of the tunes of train that are kept."""
    records = (record for path in paths for record in shards.records_of(path)
               if 'reason' not in record)
    with Progress('near-duplicates', 'tunes') as progress:
        for i, record in enumerate(records):
            if tunes['side'][i] == 'train' and tunes['kept'][i]:
                yield i, record['sketch']
            progress.show(i + 1, (i + 1) / len(tunes))


def quantisation_figures(total):
    """What quantisation changed in the MIDI files that were converted: counts, shares of the notes
    and means.
    """
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
