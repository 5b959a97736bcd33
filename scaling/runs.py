"""Runs: read from a table or from checkpoints, checked, and sorted into those that one law may describe.

A run is a dict: name, arch, n_total and n_non_embedding (parameters), tokens, loss, and whatever else is known of it.
"""
import csv
import glob
import math
import os

import numpy as np

from configurator import fail
from plumbing.checkpoint import read_checkpoint
from scaling.report import listed, short

SIZES = ('total', 'non_embedding')
POSITIVE = ('n_total', 'n_non_embedding', 'tokens', 'loss', 'loss_per_note', 'loss_per_token', 'flops', 'learning_rate')
NUMBERS = (*POSITIVE, 'loss_se', 'seconds', 'recalled_share', 'recalled_loss', 'rest_loss')
# What all runs of one law must share and, if they are GPTs, the kind of attention (the original's where it is unknown).
ALIKE = ('tokens', 'epochs', 'batch_size', 'block_size', 'optimizer', 'beta2', 'schedule', 'decayed', 'weight_decay',
         'init', 'tokenizer', 'val_set', 'group')
ATTENTION = {'positions': 'learned', 'key_offset': False, 'qk_norm': False, 'conv_taps': 0}


def read_table(path):
    """Runs of a CSV file: list of dicts with the columns as keys; exits (2) where it is unusable."""
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file)
            lines, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        fail(f'{path}: {e.strerror if isinstance(e, OSError) else e}')
    if 'loss' not in columns or not {'n_total', 'n_non_embedding'} & set(columns):
        fail(f'{path}: needs the column loss and at least one of n_total, n_non_embedding; '
             f'it has {", ".join(columns) or "none"}')
    if not lines:
        fail(f'{path}: no line below the header')
    rows = []
    for number, line in enumerate(lines, 2):
        run = {key: value.strip() for key, value in line.items() if key and isinstance(value, str) and value.strip()}
        run['arch'] = run.get('arch', 'model').lower()
        run.setdefault('name', f'{run["arch"]}, line {number}')
        rows.append(check_run(run, f'{path}, line {number}'))
    for which in SIZES:
        if 0 < sum(f'n_{which}' in run for run in rows) < len(rows):
            fail(f'{path}: the column n_{which} has empty cells')
    return rows


def check_run(run, where):
    """`run` with its numbers as floats; exits (2) where one is not usable, above all the loss."""
    for key in (key for key in NUMBERS if key in run):
        try:
            run[key] = float(run[key])
        except ValueError:
            fail(f'{where}: {key} is {run[key]!r}, not a number')
        if not 0 <= run[key] < math.inf or run[key] == 0 and key in POSITIVE:
            fail(f'{where}: {key} is {run[key]:g}; it must be a positive number'
                 + (' (leave a diverged run out of the fit, but say so)' if 'loss' in key else ''))
    if 'loss' not in run:
        fail(f'{where}: the loss is missing')
    return run


def read_checkpoints(patterns):
    """(runs, curves, cautions) of checkpoint files; curves[name]: {'arch', 'n', 'history'} to draw."""
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern) or [pattern] if os.path.exists(path)})
    if not paths:
        fail(f'no checkpoint at {", ".join(patterns)}: train one first (python train.py), name the files, '
             'or give --table=points.csv')
    rows, curves, cautions = [], {}, []
    for path in paths:
        checkpoint = read_checkpoint(path)
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
        name = path if name in curves else name
        try:
            if not checkpoint['val']:
                cautions.append(f'{name} is left out: it has not been evaluated yet.')
                continue
            run = run_of(checkpoint, name)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            fail(f'{path} is no checkpoint of train.py ({type(e).__name__}: {e})')
        rows.append(check_run(run, path))
        curves[name] = {'arch': run['arch'], 'n': run['n_total'], 'history': checkpoint['history']}
    return rows, curves, cautions


def run_of(checkpoint, name):
    """The small fields of a checkpoint that a fit needs; tokens and seconds are those of its last evaluation."""
    arch, train, model = (checkpoint['config'][key] for key in ('arch', 'train', 'model'))
    meta, val, params = (checkpoint[key] for key in ('meta', 'val', 'num_params'))
    tokenizer, splits = meta['tokenizer'], meta['splits']
    last = [entry for entry in checkpoint['history'] if 'val' in entry][-1]
    run = {'name': name, 'arch': arch, 'seed': train['seed'], 'tokens': float(last['tokens']),
           'n_total': float(params['total']), 'n_non_embedding': float(params['non_embedding']),
           'loss': val['loss'], 'loss_per_token': val['loss'], 'loss_per_note': val['per_note'], 'loss_se': val['se'],
           'epochs': max(1, math.ceil(last['tokens'] / splits['train']['tokens'] - 0.02)),
           'block_size': model['block_size'], 'decayed': 'yes' if last['step'] == checkpoint['n_steps'] else 'no',
           'tokenizer': f'{tokenizer["kind"]} {meta["vocab_size"]} {str(tokenizer["hash"])[:8]}',
           'val_set': f'{splits["val"]["tunes"]} tunes, {splits["val"]["notes"]} notes', 'seconds': last['time_s'],
           'machine': f'{train["device"]} {train["dtype"]} x {train["ranks"]}'}
    recipe = ('batch_size', 'optimizer', 'beta2', 'schedule', 'learning_rate', 'weight_decay', 'init')
    run |= {key: train[key] for key in recipe if key in train} | {key: model[key] for key in ATTENTION if key in model}
    if 'recalled' in val:
        run |= {'recalled_share': val['recalled']['share'], 'recalled_loss': val['recalled']['loss'],
                'rest_loss': val['rest']['loss']}
    if 'flops_per_token' in checkpoint:
        run['flops'] = float(checkpoint['flops_per_token'] * last['tokens'])
    return run


def curve_of(history, points=64):
    """The training curve in a few points, {'tokens', 'loss'}: means over stretches that lengthen with their middle."""
    steps = [row for row in history if 'loss' in row]
    if not steps:
        return []
    tokens, loss = (np.array([row[key] for row in steps], float) for key in ('tokens', 'loss'))
    stretch = np.ceil(points * np.sqrt(tokens / tokens[-1]) - 1e-9)
    return [{'tokens': float(tokens[stretch == k].mean()), 'loss': round(float(loss[stretch == k].mean()), 4)}
            for k in np.unique(stretch)]


def curves_path(table):
    """Where the training curves of a table's runs lie: table.csv -> table_curves.csv."""
    return f'{os.path.splitext(table)[0]}_curves.csv'


def read_curves(table, rows):
    """As read_checkpoints' curves, of the file beside a table if there is one; `rows`: the table's runs."""
    path, curves = curves_path(table), {}
    if os.path.exists(path):
        runs = {run['name']: run for run in rows}
        with open(path, newline='', encoding='utf-8') as file:
            for number, line in enumerate(csv.DictReader(file), 2):
                if run := runs.get(line.get('name')):
                    try:
                        point = {key: float(line[key]) for key in ('tokens', 'loss')}
                    except (KeyError, TypeError, ValueError):
                        fail(f'{path}, line {number}: needs a number of tokens and a loss')
                    curve = {'arch': run['arch'], 'n': size_of(run), 'history': []}
                    curves.setdefault(run['name'], curve)['history'].append(point)
        for name, curve in curves.items():
            run = runs[name]
            end = {'tokens': run.get('tokens'), 'val': {'loss': run.get('loss_per_token', run['loss'])}}
            curve['history'] += [end] if end['tokens'] else []
    return curves


def read_foretold(table):
    """Of prediction.csv beside a table: what experiments/forecast.py said of runs before they were trained."""
    path = os.path.join(os.path.dirname(table), 'prediction.csv')
    if not os.path.exists(path):
        return []
    with open(path, newline='', encoding='utf-8') as file:
        lines = list(csv.DictReader(file))
    for number, line in enumerate(lines, 2):
        if not line.get('name') or not line.get('law') or line.get('from') not in ('sizes', 'runs'):
            fail(f'{path}, line {number}: needs a name, a law, and sizes or runs under from')
        try:
            line |= {key: float(line[key]) for key in ('predicted', 'low', 'high')}
        except (KeyError, TypeError, ValueError):
            fail(f'{path}, line {number}: needs the numbers predicted, low and high')
    return lines


def with_seen(foretold, rows):
    """Those forecasts whose runs are among `rows` by now, with their arch, flops, loss `seen` and `miss`."""
    runs = {run['name']: run for run in rows}
    seen = [one | {key: runs[one['name']].get(key) for key in ('arch', 'flops')} | {'seen': runs[one['name']]['loss']}
            for one in foretold if one['name'] in runs]
    return [one | {'miss': one['predicted'] / one['seen'] - 1} for one in seen]


def choose_unit(rows):
    """Set each run's `loss` to nats per note if every run has that, else leave it; returns the unit in words."""
    if not all('loss_per_note' in run for run in rows):
        return 'nats per token'
    for run in rows:
        run.setdefault('loss_per_token', run['loss'])
        run['loss_se'] = run.get('loss_se', 0) * run['loss_per_note'] / run['loss_per_token']
        run['loss'] = run['loss_per_note']
    return 'nats per note'


def size_of(run):
    return run.get('n_total', run.get('n_non_embedding'))


def n_sizes(rows):
    return len({size_of(run) for run in rows})


def conditions(rows, ignore=()):
    """For each run what it must share with others of its law: dicts of words.

    Token counts within 2% of each other (a tail that fills no step) get one word, so that they count as alike.
    """
    words, first, alike = {}, 0, []
    for tokens in sorted({run['tokens'] for run in rows if 'tokens' in run}):
        first = tokens if tokens > 1.02 * first else first
        words[tokens] = short(first)
    for run in rows:
        alike.append({key: str(words[run[key]] if key == 'tokens' else run[key])
                      for key in ALIKE if key in run and key not in ignore})
        if run['arch'] == 'gpt':
            kind = [(key, str(run.get(key, usual))) for key, usual in ATTENTION.items()]
            parts = [key if value == 'True' else f'{key} {value}' for key, value in kind if value not in ('False', '0')]
            alike[-1]['attention'] = ' + '.join(parts).removeprefix('positions ')
    return alike


def group_runs(rows, ignore=()):
    """Runs that may share a law, as a list of (conditions, runs): most sizes first, of equals most tokens.

    Sizes count only where an architecture has the three that a law needs. What is no GPT cannot differ from one in its
    kind of attention, and is in the group of each.
    """
    known, groups = conditions(rows, ignore), {}
    for kind in sorted({alike['attention'] for alike in known if 'attention' in alike} or {'none'}):
        for run, alike in zip(rows, known):
            if alike.get('attention', kind) == kind:
                groups.setdefault(tuple((alike | {'attention': kind}).items()), []).append(run)

    def rank(group):
        sizes = [n_sizes([run for run in group if run['arch'] == arch]) for arch in {run['arch'] for run in group}]
        return -sum(n for n in sizes if n > 2), -max(sizes), -max(run.get('tokens', 0) for run in group)
    return [(dict(alike), group) for alike, group in sorted(groups.items(), key=lambda item: rank(item[1]))]


def choose_l_n(rows):
    """(conditions, runs, cautions): the group with most sizes, and in one sentence what differs in the rest."""
    alike, group = group_runs(rows)[0]
    rest = [words for run, words in zip(rows, conditions(rows)) if not any(run is other for other in group)]
    parts = []
    for key in (*ALIKE, 'attention'):
        theirs = dict.fromkeys(words.get(key, 'unknown') for words in rest if key in words or key != 'attention')
        theirs.pop(alike.get(key, 'unknown'), None)
        if theirs:
            parts.append(f'{key} ({listed(list(theirs), 4)})')
    return alike, group, [f'L(N) is of {len(group)} of the {len(rows)} runs; the others differ in '
                          f'{" and ".join(parts)}.'] if rest else []


def choose_l_nd(rows):
    """Of runs of one architecture those alike in all but size and tokens, if they are enough for L(N, D), else None."""
    for _, group in group_runs(rows, ignore=('tokens',)):
        tokens = [alike['tokens'] for alike in conditions(group)]
        pairs = {(size_of(run), words) for run, words in zip(group, tokens)}
        if n_sizes(group) >= 3 and len(set(tokens)) >= 3 and len(pairs) >= 8:
            return sorted(group, key=lambda run: (size_of(run), run['tokens']))


def best_rates(rows):
    """(runs, cautions): of a size trained at several learning rates, alike in all else, only the best rate's runs stay.

    Averaged, a sweep would stand above the loss that the size can reach, and the more so the wider it is.
    """
    losses = {}
    cells = [(run['arch'], size_of(run), *alike.items()) for run, alike in zip(rows, conditions(rows))]
    for run, cell in zip(rows, cells):
        losses.setdefault(cell, {}).setdefault(run.get('learning_rate'), []).append(math.log(run['loss']))
    best = {cell: min(rates, key=lambda rate: np.mean(rates[rate])) for cell, rates in losses.items()}
    worse = [run for run, cell in zip(rows, cells) if run.get('learning_rate') != best[cell]]
    text = f'Left out, because another learning rate did better at the same size: {listed([w["name"] for w in worse])}.'
    return [run for run in rows if not any(run is other for other in worse)], [text] if worse else []


def average_seeds(rows, key):
    """One point per value of run[key]: (values, geometric mean losses), ascending."""
    cells = {}
    for run in rows:
        cells.setdefault(run[key], []).append(math.log(run['loss']))
    values = sorted(cells)
    return values, [math.exp(np.mean(cells[value])) for value in values]
