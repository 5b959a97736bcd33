"""Runs: read from a table or from checkpoints, checked, and grouped into those one law may
describe.

A run is a dict: name, arch, n_total and n_non_embedding (parameters), tokens, loss, and whatever
else is known of it.
"""
import csv
import glob
import itertools
import math
import os
import re

import numpy as np

from configurator import fail
from plumbing.checkpoint import read_checkpoint
from scaling.report import listed, short

SIZES = ('total', 'non_embedding')
POSITIVE = ('n_total', 'n_non_embedding', 'tokens', 'loss', 'loss_per_note', 'loss_per_token',
            'flops', 'learning_rate')
NUMBERS = (*POSITIVE, 'loss_se', 'seconds', 'recalled_share', 'recalled_loss', 'rest_loss',
           'train_loss', 'n_layer')

# What all runs of one law must share, as far as the table knows it. The tokenizer counts by its
# kind and vocabulary, not by its hash: two tokenizers of one size, trained on nearly the same text,
# give the same losses. The validation music counts by its numbers of tunes and notes.
SHARED = ('tokens', 'epochs', 'batch_size', 'block_size', 'optimizer', 'beta2', 'schedule',
          'cooldown_fraction', 'warmup_steps', 'min_lr', 'anneal_fraction', 'average_fraction',
          'decayed', 'weight_decay', 'dropout', 'embedding_lr', 'head_lr', 'init', 'tokenizer',
          'notation', 'val_set', 'group')
RECIPE = ('batch_size', 'optimizer', 'beta2', 'schedule', 'learning_rate', 'weight_decay', 'init',
          'warmup_steps', 'min_lr', 'anneal_fraction', 'average_fraction', 'embedding_lr',
          'head_lr')
# The kind of attention of a GPT (the original's where it is unknown); all GPTs of a law share it.
ATTENTION = {'positions': 'learned', 'key_offset': False, 'qk_norm': False, 'conv_taps': 0}
# A GPT of the original attention has passed the copying transition if its loss on recalled targets,
# in nats/token, is below this. Fixed before the runs that it was made for (--part=nine).
COPIED = 1.5
# Conditions that only the runs of one architecture can differ in
OWN = ('attention', 'layers')
MOST_REASONS = 6        # a caution names so many reasons why runs are left out of a law


def read_table(path):
    """Runs of a CSV file, a list of dicts with the columns as keys; exits (2) where it is unusable.

    Reads what spreadsheets write: commas, semicolons or tabs between cells, spaces around the names
    of columns, empty lines, thousands separators.
    """
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            text = file.read()
            first = text.split('\n', 1)[0]
            delimiter = max(',;\t', key=first.count)
            lines = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        fail(f'{path}: {e.strerror if isinstance(e, OSError) else e}')
    columns = [name.strip() for name in lines[0]] if lines else []
    if 'loss' not in columns or not {'n_total', 'n_non_embedding'} & set(columns):
        fail(f'{path}: needs the column loss and at least one of n_total, n_non_embedding; '
             f'it has {", ".join(columns) or "none"}')
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        run = {key: cell.strip() for key, cell in zip(columns, cells) if key and cell.strip()}
        if not run:
            continue
        run['arch'] = run.get('arch', 'model').lower()
        run.setdefault('name', f'{run["arch"]}, line {number}')
        rows.append(check_run(run, f'{path}, line {number}', decimal_comma=delimiter == ';'))
    if not rows:
        fail(f'{path}: no line below the header')
    for which in SIZES:
        if 0 < sum(f'n_{which}' in run for run in rows) < len(rows):
            fail(f'{path}: the column n_{which} has empty cells')
    return rows


def as_number(text, decimal_comma=False):
    """'1,713,800' -> 1713800.0; '0,58' -> 0.58 if decimal_comma. Raises ValueError."""
    text = str(text)
    if decimal_comma:
        dots_group = text.count(',') == 1 or text.count('.') > 1       # 1.713,5 or 1.713.800
        text = text.replace('.', '') if dots_group else text
        text = text.replace(',', '.')
    elif re.fullmatch(r'\d{1,3}(,\d{3})+(\.\d*)?', text):
        text = text.replace(',', '')
    return float(text)


def check_run(run, where, decimal_comma=False):
    """`run` with its numbers as floats; exits (2) where one is not usable, above all the loss."""
    for key in NUMBERS:
        if key not in run:
            continue
        try:
            run[key] = as_number(run[key], decimal_comma)
        except ValueError:
            fail(f'{where}: {key} is {run[key]!r}, not a number')
        if not 0 <= run[key] < math.inf or run[key] == 0 and key in POSITIVE:
            hint = ' (leave a diverged run out of the fit, but say so)' if 'loss' in key else ''
            fail(f'{where}: {key} is {run[key]:g}; it must be a positive number{hint}')
    if 'loss' not in run:
        fail(f'{where}: the loss is missing')
    return run


def read_checkpoints(patterns):
    """(runs, curves, cautions) of checkpoint files.

    curves[name]: {'arch', 'n', 'history'} to draw.
    """
    paths = {path for pattern in patterns for path in glob.glob(pattern) or [pattern]}
    paths = sorted(path for path in paths if os.path.exists(path))
    if not paths:
        fail(f'no checkpoint at {", ".join(patterns)}: train one first (python train.py), '
             'name the files, or give --table=points.csv')
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
    """The row of a run: the small fields of its checkpoint that a fit needs.

    Tokens and seconds are those of the last evaluation; train_loss is the mean training loss of the
    last stretch of the curve (`curve_of`), nats per token.
    """
    arch, train, model = (checkpoint['config'][key] for key in ('arch', 'train', 'model'))
    meta, val, params = (checkpoint[key] for key in ('meta', 'val', 'num_params'))
    splits = meta['splits']
    last = [entry for entry in checkpoint['history'] if 'val' in entry][-1]
    curve = curve_of(checkpoint['history'])
    run = {
        'name': name, 'arch': arch, 'seed': train['seed'], 'tokens': float(last['tokens']),
        'n_total': float(params['total']), 'n_non_embedding': float(params['non_embedding']),
        'loss': val['loss'], 'loss_per_token': val['loss'], 'loss_per_note': val['per_note'],
        'loss_se': val['se'],
        'epochs': max(1, math.ceil(last['tokens'] / splits['train']['tokens'] - 0.02)),
        'block_size': model['block_size'],
        'decayed': 'yes' if last['step'] == checkpoint['n_steps'] else 'no',
        'tokenizer': tokenizer_of(meta), 'val_set': val_set_of(meta),
        'seconds': last['time_s'],
        'machine': f'{train["device"]} {train["dtype"]} x {train["ranks"]}'}
    run |= {key: train[key] for key in RECIPE if train.get(key) is not None}
    run |= {key: model[key] for key in ATTENTION if key in model}
    run |= {key: model[key] for key in ('n_layer', 'dropout') if key in model}
    if train['schedule'] == 'wsd' and 'cooldown_fraction' in train:
        run['cooldown_fraction'] = train['cooldown_fraction']
    if 'settings' in meta:
        run['notation'] = notation_of(meta['settings'])
    if curve:
        run['train_loss'] = curve[-1]['loss']
    if 'recalled' in val:
        run |= {'recalled_share': val['recalled']['share'],
                'recalled_loss': val['recalled']['loss'], 'rest_loss': val['rest']['loss']}
    if 'flops_per_token' in checkpoint:
        run['flops'] = float(checkpoint['flops_per_token'] * last['tokens'])
    return run


def tokenizer_of(meta):
    """'bpe 5000 58eb806d': kind, vocabulary and the beginning of its hash."""
    tokenizer = meta['tokenizer']
    return f'{tokenizer["kind"]} {meta["vocab_size"]} {str(tokenizer["hash"])[:8]}'


def val_set_of(meta):
    val = meta['splits']['val']
    return f'{val["tunes"]} tunes, {val["notes"]} notes'


def notation_of(settings):
    """The text that models read, in a word or two: 'plain', 'beats + repeats', 'midi2abc'."""
    if settings.get('converter', 'builtin') != 'builtin':
        return settings['converter']
    marks = [mark for mark in ('beats', 'repeats', 'phrases') if settings.get(mark)]
    return ' + '.join(marks) or 'plain'


def curve_of(history, points=64):
    """The training curve in a few points, {'tokens', 'loss'}: means over stretches that lengthen
    with their middle."""
    steps = [row for row in history if 'loss' in row]
    if not steps:
        return []
    tokens, loss = (np.array([row[key] for row in steps], float) for key in ('tokens', 'loss'))
    stretch = np.ceil(points * np.sqrt(tokens / tokens[-1]) - 1e-9)
    return [{'tokens': float(tokens[stretch == k].mean()),
             'loss': round(float(loss[stretch == k].mean()), 4)} for k in np.unique(stretch)]


def read_rows(path):
    """The rows of a table as dicts of text; none if there is no table."""
    if not os.path.exists(path):
        return []
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def curves_path(table):
    """Where the training curves of a table's runs lie: table.csv -> table_curves.csv."""
    return f'{os.path.splitext(table)[0]}_curves.csv'


def read_curves(table, rows):
    """As read_checkpoints' curves, of the file beside a table if there is one; `rows`: the table's
    runs."""
    path, curves = curves_path(table), {}
    runs = {run['name']: run for run in rows}
    for number, line in enumerate(read_rows(path), 2):
        if run := runs.get(line.get('name')):
            try:
                point = {key: float(line[key]) for key in ('tokens', 'loss')}
            except (KeyError, TypeError, ValueError):
                fail(f'{path}, line {number}: needs a number of tokens and a loss')
            curve = {'arch': run['arch'], 'n': size_of(run), 'history': []}
            curves.setdefault(run['name'], curve)['history'].append(point)
    for name, curve in curves.items():
        run = runs[name]
        if 'tokens' in run:
            val = {'loss': run.get('loss_per_token', run['loss'])}
            curve['history'].append({'tokens': run['tokens'], 'val': val})
    return curves


def choose_unit(rows):
    """Set each run's `loss` to nats per note if every run has that, else leave it; returns the unit
    in words."""
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
    """For each run what it must share with others of its law, a dict of words.

    Token counts within 2% of each other (a tail that fills no step) get one word. Of GPTs it holds
    the kind of attention. It holds the number of layers only where some architecture has three
    sizes of one depth: in a family that grows in depth and width, depth is part of the size.
    """
    words, first = {}, 0
    for tokens in sorted({run['tokens'] for run in rows if 'tokens' in run}):
        if tokens > 1.02 * first:
            first = tokens
        words[tokens] = short(first)
    deep = {arch for arch in {run['arch'] for run in rows} if has_sizes_of_one_depth(rows, arch)}
    shared = []
    for run in rows:
        own = {key: word(run[key]) for key in SHARED if key in run and key not in ignore}
        if 'tokens' in own:
            own['tokens'] = words[run['tokens']]
        if 'tokenizer' in own:
            own['tokenizer'] = ' '.join(own['tokenizer'].split()[:2])
        if 'warmup_steps' in own:
            own['warmup_steps'] = warmup_of(run)
        if run['arch'] == 'gpt':
            own['attention'] = attention_of(run)
        if run['arch'] in deep and 'n_layer' in run:
            own['layers'] = word(run['n_layer'])
        shared.append(own)
    return shared


def word(value):
    """A value as text, the same whether it was read as 0.1, '0.10' or 1e-1."""
    try:
        return f'{float(value):g}' if not isinstance(value, bool) else str(value)
    except ValueError:
        return str(value)


def has_sizes_of_one_depth(rows, arch):
    sizes = {}
    for run in rows:
        if run['arch'] == arch and 'n_layer' in run:
            sizes.setdefault(run['n_layer'], set()).add(size_of(run))
    return any(len(some) >= 3 for some in sizes.values())


def warmup_of(run):
    """'200 steps', or train.py's default where it is that: a share of the steps, not a number."""
    steps = float(run['warmup_steps'])
    if {'tokens', 'batch_size', 'block_size'} <= run.keys():
        n_steps = run['tokens'] // (float(run['batch_size']) * float(run['block_size']))
        if steps == min(500, n_steps // 10):
            return 'a tenth of the steps, at most 500'
    return f'{steps:g} steps'


def attention_of(run):
    """'learned', 'rotary + key_offset + qk_norm + conv_taps 4'."""
    parts = []
    for key, usual in ATTENTION.items():
        value = str(run.get(key, usual))
        if key == 'positions':
            parts.append(value)
        elif value == 'True':
            parts.append(key)
        elif value not in ('False', '0'):
            parts.append(f'{key} {value}')
    return ' + '.join(parts)


def group_runs(rows, ignore=()):
    """Runs that may share a law, a list of (conditions, runs): most sizes first, then most tokens.

    Sizes count only where an architecture has the three that a law needs. Conditions of one
    architecture alone (OWN), such as attention, do not part the others from it: an LSTM is in the
    group of each kind of GPT.
    """
    if not rows:
        return []
    known = conditions(rows, ignore)
    kinds = {}                          # arch -> the conditions of its own that occur
    for run, shared in zip(rows, known):
        own = tuple((key, shared[key]) for key in OWN if key in shared)
        kinds.setdefault(run['arch'], set()).add(own)
    groups = {}
    for combination in itertools.product(*map(sorted, kinds.values())):
        own_of = dict(zip(kinds, combination))
        of_gpt = own_of.get('gpt', combination[0])
        for run, shared in zip(rows, known):
            own = tuple((key, shared[key]) for key in OWN if key in shared)
            if own == own_of[run['arch']]:
                common = tuple((key, value) for key, value in shared.items() if key not in OWN)
                groups.setdefault((common + of_gpt, combination), []).append(run)

    def rank(group):
        sizes = [n_sizes([run for run in group if run['arch'] == arch])
                 for arch in {run['arch'] for run in group}]
        enough = sum(n for n in sizes if n > 2)
        return -enough, -max(sizes), -max(run.get('tokens', 0) for run in group)

    ranked = sorted(groups.items(), key=lambda item: rank(item[1]))
    return [(dict(shared), group) for (shared, _), group in ranked]


def past_copying(group):
    """(runs, cautions): without GPTs of the original attention that do not copy yet (COPIED).

    They learn to copy late and suddenly, so that a law of sizes to both sides of this transition
    measures how far each has come with copying. LSTMs and other kinds of attention all stay.
    """
    passed, late = [], []
    for run in group:
        is_original = run['arch'] == 'gpt' and attention_of(run) == ATTENTION['positions']
        is_late = is_original and run.get('recalled_loss', 0) >= COPIED
        (late if is_late else passed).append(run)
    if not late:
        return passed, []
    names = listed([run['name'] for run in late], len(late))
    return passed, [f'Of the {len(group)} comparable runs, {len(late)} are left out of the law of '
                    f'GPT: {names}. They have the original attention and have not passed the '
                    f'copying transition: recalled_loss is {COPIED:g} nats/token or more.']


def left_out(rows, group, law, ignore=()):
    """A caution, in a list, that names the runs of `rows` outside of `group` and what they differ
    in."""
    known = {id(run): shared for run, shared in zip(rows, conditions(rows, ignore))}
    reasons = {}
    for run in rows:
        if any(run is other for other in group):
            continue
        same_arch = [other for other in group if other['arch'] == run['arch']]
        theirs, ours = known[id(run)], known[id((same_arch or group)[0])]
        keys = [key for key in (*SHARED, *OWN) if theirs.get(key) != ours.get(key)
                and (same_arch or key not in OWN)]
        parts = [f'{key} {theirs.get(key, "unknown")}, not {ours.get(key, "unknown")}'
                 for key in keys]
        reasons.setdefault(' and '.join(parts), []).append(run['name'])
    if not reasons:
        return []
    texts = [f'{listed(names, 3)} ({reason})' for reason, names in reasons.items()]
    shown = '; '.join(texts[:MOST_REASONS])
    if len(texts) > MOST_REASONS:
        shown += f'; and {sum(map(len, list(reasons.values())[MOST_REASONS:]))} more runs'
    return [f'{law} is of {len(group)} of the {len(rows)} runs. Left out: {shown}.']


def choose_l_nd(rows):
    """Of runs of one architecture those that differ in size and tokens alone, by size and tokens.

    None if they are not enough for L(N, D): 3 sizes, 3 token counts and 8 pairs of both.
    """
    for _, group in group_runs(rows, ignore=('tokens',)):
        tokens = [shared['tokens'] for shared in conditions(group)]
        pairs = {(size_of(run), count) for run, count in zip(group, tokens)}
        if n_sizes(group) >= 3 and len(set(tokens)) >= 3 and len(pairs) >= 8:
            return sorted(group, key=lambda run: (size_of(run), run['tokens']))
    return None


def best_rates(rows):
    """(runs, cautions): of a size trained at several learning rates only the best rate's runs stay.

    The mean over a sweep would be above the loss that the size can reach, the more so the wider the
    sweep is.
    """
    losses = {}                         # (architecture, size, conditions) -> rate -> log losses
    cells = [(run['arch'], size_of(run), *shared.items())
             for run, shared in zip(rows, conditions(rows))]
    for run, cell in zip(rows, cells):
        rates = losses.setdefault(cell, {})
        rates.setdefault(run.get('learning_rate'), []).append(math.log(run['loss']))
    best = {cell: min(rates, key=lambda rate: np.mean(rates[rate]))
            for cell, rates in losses.items()}
    kept, worse = [], []
    for run, cell in zip(rows, cells):
        is_best = run.get('learning_rate') == best[cell]
        (kept if is_best else worse).append(run)
    if not worse:
        return kept, []
    names = listed([run['name'] for run in worse])
    return kept, [f'Left out, because another learning rate did better at the same size: {names}.']


def average_seeds(rows, key):
    """One point per value of run[key]: (values, geometric mean losses), ascending."""
    cells = {}
    for run in rows:
        cells.setdefault(run[key], []).append(math.log(run['loss']))
    values = sorted(cells)
    return values, [math.exp(np.mean(cells[value])) for value in values]
