"""Checkpoints, or a table of runs, -> scaling laws with intervals, a report and two pictures.

    python fit_scaling.py                                        # every out/*/ckpt.pt
    python fit_scaling.py out/gpt_*/ckpt.pt --out_dir=out/gpts
    python fit_scaling.py --table=results/original_study.csv     # arch,n_total,n_non_embedding,tokens,loss[,seed,group,note,...]

This file reads runs, sorts them into groups that may be compared, has laws.py (L(N), GPT against LSTM) and frontier.py
(L(N, D)) fit each group, and writes out_dir/scaling.json, report.md, scaling.png and training_curves.png (plots.py).
The loss is per note where every run has it, else per token; within a group, where all share one tokenizer and validation
set, the two differ by a constant factor, so exponents and ratios are the same for both.
"""
import csv
import glob
import io
import json
import math
import os
import pickle
import zipfile
from dataclasses import dataclass, field

import numpy as np

from configurator import configure, fail
from plumbing.files import atomic_write
from scaling import frontier, laws, plots
from scaling.report import cautions_of, cautions_on_runs, count, efficiency_cautions, interval, report, short, spoken


@dataclass
class Settings:
    paths: list[str] = field(default_factory=lambda: ['out/*/ckpt.pt'])     # checkpoints; patterns allowed; also without --paths=
    table: str | None = None            # a CSV file with a line a run, instead of checkpoints
    out_dir: str = 'out/scaling'        # where the results go
    bootstraps: int = 1000              # resamples of the runs for the intervals of L(N, D)
    seed: int = 0                       # of the resampling


NUMBERS = ('n_total', 'n_non_embedding', 'tokens', 'loss', 'loss_per_note', 'loss_per_token', 'loss_se', 'flops', 'seconds',
           'learning_rate')
ALIKE = ('tokens', 'epochs', 'batch_size', 'block_size', 'optimizer', 'schedule', 'decayed', 'weight_decay', 'init', 'tokenizer',
         'val_set', 'group')         # what all runs of one law must share
SIZES = {'total': 'n_total', 'non_embedding': 'n_non_embedding'}


# ---- runs ----

def read_table(path):
    """Runs of a CSV file: list of dicts with the columns as keys, numbers checked; exits (2) where the file is unusable."""
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        fail(f'{path}: {e.strerror if isinstance(e, OSError) else e}')
    if 'loss' not in columns or not set(SIZES.values()) & set(columns):
        fail(f'{path}: needs the column loss and at least one of n_total, n_non_embedding; it has {", ".join(columns) or "none"}')
    if not rows:
        fail(f'{path}: no line below the header')
    runs = []
    for number, row in enumerate(rows, 2):
        run = {key: value.strip() for key, value in row.items() if key and isinstance(value, str) and value.strip()}
        for key in NUMBERS:
            if key in run:
                try:
                    run[key] = float(run[key])
                except ValueError:
                    fail(f'{path}, line {number}: {key} is {run[key]!r}, not a number')
        run['arch'] = run.get('arch', 'model').lower()
        run.setdefault('name', f'{run["arch"]}, line {number}')
        runs.append(check_run(run, f'{path}, line {number}'))
    for name in sorted(set(SIZES.values()) & set(columns)):
        if any(name in run for run in runs) and not all(name in run for run in runs):
            fail(f'{path}: the column {name} has empty cells')
    return runs


def read_checkpoints(patterns):
    """(runs, curves, cautions) of checkpoint files; curves[name] holds the training history. Tensors stay on the disk."""
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern) or [pattern] if os.path.exists(path)})
    if not paths:
        fail(f'no checkpoint at {", ".join(patterns)}: train one first (python train.py), name the files, or give --table=points.csv')
    runs, curves, cautions = [], {}, []
    for path in paths:
        ckpt = load_checkpoint(path)
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
        if any(run['name'] == name for run in runs):
            name = path
        try:
            if not ckpt['val']:
                cautions.append(f'{name} is left out: it has not been evaluated yet.')
                continue
            run = run_of(ckpt, name)
        except (KeyError, IndexError, TypeError, ValueError) as e:
            fail(f'{path}: not a checkpoint of train.py ({type(e).__name__}: {e})')
        runs.append(check_run(run, path))
        curves[name] = curve_of(ckpt, run)
    return runs, curves, cautions


def load_checkpoint(path):
    import torch  # here, so that fitting a table starts at once
    try:
        return torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, zipfile.BadZipFile, ValueError) as e:
        fail(f'{path}: cannot be read as a checkpoint ({(str(e).splitlines() or [type(e).__name__])[0][:120]})')


def run_of(ckpt, name):
    """The small fields of a checkpoint that a fit needs; tokens and seconds are those of its last evaluation."""
    train, model, meta, val = ckpt['config']['train'], ckpt['config']['model'], ckpt['meta'], ckpt['val']
    last, splits = [entry for entry in ckpt['history'] if 'val' in entry][-1], meta['splits']
    run = {'name': name, 'arch': ckpt['config']['arch'], 'seed': train['seed'], 'tokens': float(last['tokens']),
           'n_total': float(ckpt['num_params']['total']), 'n_non_embedding': float(ckpt['num_params']['non_embedding']),
           'loss': val['loss'], 'loss_per_token': val['loss'], 'loss_per_note': val['per_note'], 'loss_se': val['se'],
           'epochs': max(1, math.ceil(last['tokens'] / splits['train']['tokens'] - 0.02)), 'batch_size': train['batch_size'],
           'block_size': model['block_size'], 'optimizer': train['optimizer'], 'schedule': train['schedule'],
           'learning_rate': train['learning_rate'], 'weight_decay': train['weight_decay'], 'init': train['init'],
           'decayed': 'yes' if last['step'] == ckpt['n_steps'] else 'no',
           'tokenizer': f'{meta["tokenizer"]["kind"]} {meta["vocab_size"]} {str(meta["tokenizer"]["hash"])[:8]}',
           'val_set': f'{splits["val"]["tunes"]} tunes, {splits["val"]["notes"]} notes', 'seconds': last['time_s'],
           'machine': f'{train["device"]} {train["dtype"]} x {train["ranks"]}'}
    if 'flops_per_token' in ckpt:
        run['flops'] = float(ckpt['flops_per_token'] * last['tokens'])
    return run


def curve_of(ckpt, run):
    """A training run to draw: {'arch', 'n', 'train' and 'val': lists of (tokens, loss per token), 'flops_per_token' or None}."""
    return {'arch': run['arch'], 'n': run['n_total'], 'flops_per_token': ckpt.get('flops_per_token'),
            'train': [(e['tokens'], e['loss']) for e in ckpt['history'] if 'loss' in e],
            'val': [(e['tokens'], e['val']['loss']) for e in ckpt['history'] if 'val' in e]}


def check_run(run, where):
    """`run`, if its numbers are usable: positive and finite, above all the loss."""
    for key in NUMBERS:
        if key in run and not (math.isfinite(run[key]) and run[key] > 0 or key in ('seconds', 'loss_se') and run[key] >= 0):
            fail(f'{where}: {key} is {run[key]:g}; it must be a positive number'
                 + (' (leave a diverged run out of the fit, but say so)' if 'loss' in key else ''))
    if 'loss' not in run:
        fail(f'{where}: the loss is missing')
    return run


def choose_unit(runs):
    """Set each run's `loss` to nats per note if every run has that, else leave it per token; returns the unit in words."""
    if all('loss_per_note' in run for run in runs):
        for run in runs:
            run.setdefault('loss_per_token', run['loss'])
            run['loss_se'] = run.get('loss_se', 0) * run['loss_per_note'] / run['loss_per_token']
            run['loss'] = run['loss_per_note']
        return 'nats per note'
    return 'nats per token'


# ---- groups ----

def conditions(run, leave_out=()):
    """What must be alike among the runs of one law, as a dict; unknown things are left out."""
    return {key: run[key] for key in ALIKE if key in run and key not in leave_out}


def round_tokens(runs):
    """Token counts within 2% of each other (a tail that fills no step) get one rounded label, so that they count as alike."""
    labels, first = {}, None
    for tokens in sorted({run['tokens'] for run in runs if 'tokens' in run}):
        if first is None or tokens > 1.02 * first:
            first = tokens
        labels[tokens] = short(first)
    return labels


def group_runs(runs, leave_out=()):
    """Runs that may share a law, as a list of (conditions, runs); most sizes first, then most tokens."""
    labels, groups = round_tokens(runs), {}
    for run in runs:
        alike = conditions(run, leave_out)
        if 'tokens' in alike:
            alike['tokens'] = labels[run['tokens']]
        groups.setdefault(json.dumps(alike, sort_keys=True, default=str), (alike, []))[1].append(run)

    def rank(group):
        return -len({(run['arch'], size_of(run)) for run in group[1]}), -max(run.get('tokens', 0) for run in group[1])
    return sorted(groups.values(), key=rank)


def best_rates(runs):
    """(runs, caution or None): of a size trained at several learning rates, alike in all else, only the best rate's runs stay.

    Averaged, a sweep would stand above the loss that the size can reach, and the more so the wider it is.
    """
    labels, cells = round_tokens(runs), {}
    for run in runs:
        alike = (run['arch'], size_of(run), labels.get(run.get('tokens')), tuple(conditions(run, ('tokens',)).items()))
        cells.setdefault(alike, {}).setdefault(run.get('learning_rate'), []).append(run)
    kept = {id(run) for rates in cells.values()
            for run in min(rates.values(), key=lambda same: np.mean([math.log(r['loss']) for r in same]))}
    left_out = [run['name'] for run in runs if id(run) not in kept]
    return ([run for run in runs if id(run) in kept],
            f'Left out, because another learning rate did better at the same size: {", ".join(left_out)}.' if left_out else None)


def size_of(run):
    return run.get('n_total', run.get('n_non_embedding'))


def differences(groups):
    """What differs between groups, in words: 'tokens (100M, 50M) and optimizer (adamw, muon)'."""
    parts = []
    for key in ALIKE:
        values = list(dict.fromkeys(str(alike.get(key, 'unknown')) for alike, _ in groups))
        if len(values) > 1:
            parts.append(f'{key} ({", ".join(values[:6])}{", ..." if len(values) > 6 else ""})')
    return ' and '.join(parts)


def average_seeds(runs, key):
    """One point per value of run[key] (a column, or a tuple of columns): (values, geometric mean losses, names), ascending."""
    keys = (key,) if isinstance(key, str) else key
    cells = {}
    for run in runs:
        cells.setdefault(tuple(run[k] for k in keys), []).append(run)
    values = sorted(cells)
    loss = [math.exp(np.mean([math.log(run['loss']) for run in cells[v]])) for v in values]
    names = [' + '.join(run['name'] for run in cells[v]) for v in values]
    return [v[0] if isinstance(key, str) else v for v in values], loss, names


# ---- laws ----

def fit_group(alike, runs, seed):
    """Laws of one homogeneous group: {'conditions', 'runs', 'laws', 'diagnosis', 'efficiency', 'cautions'}."""
    group = {'conditions': alike, 'runs': [run['name'] for run in runs], 'laws': {}, 'diagnosis': {}, 'efficiency': None,
             'cautions': []}
    for arch in sorted({run['arch'] for run in runs}):
        own = [run for run in runs if run['arch'] == arch]
        sizes = len({size_of(run) for run in own})
        if sizes < 3:
            group['cautions'].append(f'{spoken(arch)} has {count(sizes, "size")} here; a law needs at least 3, so none is fitted.')
            continue
        group['laws'][arch], group['diagnosis'][arch] = {}, {}
        for which, key in SIZES.items():
            if key not in own[0]:
                continue
            n, loss, names = average_seeds(own, key)
            pure = laws.fit_pure(n, loss, seed)
            offset = laws.fit_offset(n, loss, seed)
            tests = laws.diagnose(n, loss, offset['ssr'] if len(n) > 3 else None)
            tests['outliers'] = [names[i] for i in tests['outliers']]
            group['laws'][arch][which] = {'pure': pure, 'offset': offset}
            group['diagnosis'][arch][which] = tests
        group['cautions'] += cautions_of(arch, own, group['laws'][arch], group['diagnosis'][arch])
    if {'gpt', 'lstm'} <= set(group['laws']):
        group['efficiency'] = compare(runs)
        group['cautions'] += efficiency_cautions(group['efficiency'])
    return group


def compare(runs):
    """GPT against LSTM at equal loss: in parameters of both kinds, training FLOPs and, on one kind of machine, wall time."""
    result = {}
    one_machine = len({run.get('machine') for run in runs}) == 1
    for name, key in (*SIZES.items(), ('flops', 'flops'), *([('seconds', 'seconds')] if one_machine else [])):
        if all(run.get(key) for run in runs if run['arch'] in ('gpt', 'lstm')):
            gpt, lstm = (average_seeds([run for run in runs if run['arch'] == arch], key) for arch in ('gpt', 'lstm'))
            result[name] = laws.efficiency(*gpt[:2], *lstm[:2])
    best = result.get('total') or result['non_embedding']
    return {**best, 'by': result}


def fit_l_nd(runs, bootstraps, seed):
    """L(N, D) of every architecture that varies both, among runs alike but for their tokens: {arch: law}, cautions."""
    fits, notes = {}, []
    for arch in sorted({run['arch'] for run in runs}):
        own = [run for run in runs if run['arch'] == arch and 'tokens' in run]
        groups = group_runs(own, leave_out=('tokens',))
        groups.sort(key=lambda group: -min(3, len(set(round_tokens(group[1]).values()))))     # where tokens vary first, then as they were
        for alike, members in groups[:1]:
            key = 'n_total' if 'n_total' in members[0] else 'n_non_embedding'
            cells, loss, names = average_seeds(members, (key, 'tokens'))
            n, d = np.array(cells).T
            distinct_d = len(set(round_tokens(members).values()))
            if distinct_d < 3 or len(set(n)) < 3 or len(n) < 8:
                if distinct_d > 1:
                    notes.append(f'L(N, D) is not fitted to {spoken(arch)}: it needs 8 runs with 3 sizes and 3 token counts that are '
                                 f'alike in all else; there are {len(n)} with {len(set(n))} and {distinct_d}.')
                continue
            law = frontier.fit_l_nd(n, d, loss, bootstraps, seed)
            ratios = [run['flops'] / (run[key] * run['tokens']) for run in members if 'flops' in run]
            law.update(arch=arch, size=key, conditions=alike, points=[{'n': a, 'd': b, 'loss': c} for a, b, c in zip(n, d, loss)],
                       flops_per_n_d=float(np.median(ratios)) if len(ratios) == len(members) else frontier.FLOPS_PER_N_D)
            used = law['flops_per_n_d'] * n * d
            law['frontier'] = frontier.compute_optimal(law, np.geomspace(used.min(), 10 * used.max(), 13), law['flops_per_n_d'])
            for row in law['frontier']:
                inside = n.min() <= row['n'] <= n.max() and d.min() <= row['d'] <= d.max()
                row['extrapolated'] = not inside or row['flops'] > 1.01 * used.max()
            for i in law['outliers']:
                notes.append(f'{names[i]} stands {law["residuals"][i]:+.1%} off L(N, D) of {spoken(arch)}; it is kept, and the Huber loss '
                             'lets it pull little.')
            if not law['identified']:
                notes.append(f'L(N, D) of {spoken(arch)} is poorly determined: alpha {interval(law["ci"]["alpha"])}, '
                             f'beta {interval(law["ci"]["beta"])}.')
            if len(groups) > 1:
                notes.append(f'L(N, D) of {spoken(arch)} uses one homogeneous group; the others differ in {differences(groups)}.')
            fits[arch] = law
    return fits, notes


# ---- main ----

def plain(value):
    """JSON-ready: numpy to Python, inf and nan to null; the bootstrap draws stay out."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if k != 'draws'}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def analyse(runs, bootstraps, seed, cautions=()):
    """All that scaling.json holds: laws, efficiency, l_nd, groups, runs, cautions."""
    unit = choose_unit(runs)
    runs, left_out = best_rates(runs)
    grouped = group_runs(runs)
    groups = [fit_group(alike, members, seed) for alike, members in grouped]
    l_nd, notes = fit_l_nd(runs, bootstraps, seed)
    if not l_nd and not any(group['laws'] for group in groups):
        most = max(len({size_of(r) for r in members if r['arch'] == arch}) for _, members in grouped for arch in {r['arch'] for r in runs})
        fail(f'nothing to fit: among {count(len(runs), "run")} are at most {count(most, "model size")} of one architecture trained '
             'alike; a law needs 3' + (f' (they differ in {differences(grouped)})' if len(grouped) > 1 else ''))
    groups.sort(key=lambda group: -sum(len(forms[next(iter(forms))]['pure']['sizes']) for forms in group['laws'].values()))
    texts = [*cautions, *([left_out] if left_out else []), *cautions_on_runs(runs, grouped, differences(grouped))]
    said = {}
    for number, group in enumerate(groups, 1):
        for text in group['cautions'] if group['laws'] or len(groups) == 1 else []:
            said.setdefault(text, []).append(str(number))
    for text, numbers in said.items():
        texts.append(text if len(groups) == 1 else f'Group{"s" * (len(numbers) > 1)} {", ".join(numbers)}: {text}')
    main_arch = max(l_nd, key=lambda arch: l_nd[arch]['runs'], default=None)
    return {'loss_unit': unit, 'laws': groups[0]['laws'], 'efficiency': groups[0]['efficiency'], 'l_nd': l_nd.get(main_arch),
            'l_nd_by_arch': l_nd, 'cautions': texts + notes, 'groups': groups, 'runs': runs}


def main():
    settings = configure(Settings)
    if settings.table and settings.paths != Settings().paths:
        fail('give checkpoints or --table, not both')
    if settings.bootstraps < 100:
        fail(f'bootstraps is {settings.bootstraps}; 95% intervals need at least 100')
    runs, curves, cautions = (read_table(settings.table), {}, []) if settings.table else read_checkpoints(settings.paths)
    if not runs:
        fail('no run with a validation loss: ' + ' '.join(cautions))
    result = analyse(runs, settings.bootstraps, settings.seed, cautions)
    text = report(result, result['loss_unit'])
    pictures = {'scaling.png': plots.draw_scaling(result)}
    if curves:
        pictures['training_curves.png'] = plots.draw_training_curves(curves)
    try:
        os.makedirs(settings.out_dir, exist_ok=True)
        for name, figure in pictures.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=150)
            with atomic_write(os.path.join(settings.out_dir, name)) as file:
                file.write(buffer.getvalue())
        for name, content in ('report.md', text), ('scaling.json', json.dumps(plain(result), indent=1, allow_nan=False)):
            with atomic_write(os.path.join(settings.out_dir, name), 'w', encoding='utf-8') as file:
                file.write(content)
    except OSError as e:
        fail(f'cannot write to {settings.out_dir}: {e.strerror}')
    print(text)
    print(f'written: {settings.out_dir}/{{scaling.json, report.md, {", ".join(pictures)}}}'
          + ('' if curves else ' (training curves need checkpoints)'))


if __name__ == '__main__':
    main()
