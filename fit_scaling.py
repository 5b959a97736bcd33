"""Checkpoints, or a table of runs -> scaling laws with intervals, a report and pictures.

    python fit_scaling.py                                        # every out/*/ckpt.pt
    python fit_scaling.py out/gpt_*/ckpt.pt --out_dir=out/gpts
    python fit_scaling.py --table=results/original_study.csv     # columns arch,n_total,tokens,loss
    python fit_scaling.py --table=runs.csv --predict=1e7,5e7     # loss at 10M N, 50M tokens
    python fit_scaling.py --table=runs.csv --flops=1e17          # best size and tokens of a budget
    python fit_scaling.py --table=results/repeats.csv --tunes=300    # few tunes, many passes
    python fit_scaling.py --table=results/repeats.csv --data_dir=data/mine      # a folder's tunes

Below the answer for a budget, tunes or a folder is the command of train.py with its time on this
machine, measured in a few training steps: let the machine do nothing else then.

A law describes runs that differ in size alone, or in size and tokens alone; the report names the
runs that it leaves out, and why. L(N, D) is fitted where tokens vary, too. L(N) and GPT against
LSTM are of the token count with most sizes. Beside a table may lie its training curves
(runs_curves.csv) and prediction.csv, the forecasts made before the runs. The loss is per note where
every run has it, else per token: with one tokenizer and validation set the two differ by a constant
factor, so exponents and ratios are the same.
"""
import json
import math
import os
from dataclasses import dataclass, field

import numpy as np

from configurator import configure, fail
from plumbing.files import atomic_write
from scaling import (
    beforehand,
    checks,
    collapse,
    frontier,
    heldout,
    isoflop,
    laws,
    parts,
    plots,
    plots_nd,
    repeats,
    report,
    runs,
)

REPEATS_BOOTSTRAPS = 100        # each is a fit of half a second


@dataclass
class Settings:
    paths: list[str] = field(default_factory=lambda: ['out/*/ckpt.pt'])     # patterns allowed
    table: str | None = None            # a CSV file with a line per run, instead of checkpoints
    out_dir: str = 'out/scaling'        # of scaling.json, report.md and the pictures
    predict: list[float] | None = None  # N or N,D: print the loss that the law predicts
    flops: float | None = None          # print the best size and tokens for this training compute,
                                        # and the command and time of that run
    tunes: list[int] | None = None      # of a table of repeated data: best size and passes, and
                                        # the commands and times of these runs
    data_dir: str | None = None         # the same for the data in this folder of prepare.py
    bootstraps: int = 1000              # resamples for L(N, D), more where intervals need them
    seed: int = 0                       # of the resampling


def fit_l_n(group, archs):
    """(laws, efficiency or None, cautions) of runs that differ in size alone.

    A caution says which of the architectures `archs` have too few sizes in the group.
    """
    fits, efficiency, cautions = {}, None, []
    for arch in sorted(archs):
        own = [run for run in group if run['arch'] == arch]
        if runs.n_sizes(own) < 3:
            cautions.append(f'{report.spoken(arch)}: at most {runs.n_sizes(own)} comparable model '
                            'size(s); a law needs 3.')
            continue
        fits[arch] = {}
        for which in runs.SIZES:
            if f'n_{which}' in own[0]:
                n, loss = runs.average_seeds(own, f'n_{which}')
                pure, offset = laws.fit_pure(n, loss), laws.fit_offset(n, loss)
                rule_error = loss[-2] / loss[-1] - 1        # the largest is as good as the next
                fits[arch][which] = {'pure': pure | {'rule_error': rule_error},
                                     'offset': offset | {'rule_error': rule_error}}
        cautions += report.cautions_on_law(arch, own, next(iter(fits[arch].values())))
    if {'gpt', 'lstm'} <= set(fits):
        efficiency = compare(group)
        cautions += report.cautions_on_efficiency(efficiency)
    return fits, efficiency, cautions


def compare(group):
    """GPT against LSTM in parameters; `by`: in all known measures, time on one machine only."""
    gpt, lstm = ([run for run in group if run['arch'] == arch] for arch in ('gpt', 'lstm'))
    measures = {which: f'n_{which}' for which in runs.SIZES}
    measures['flops'] = 'flops'
    if len({run.get('machine') for run in gpt + lstm}) == 1:
        measures['seconds'] = 'seconds'
    by = {}
    for name, key in measures.items():
        if all(run.get(key) for run in gpt + lstm):
            of_gpt, of_lstm = runs.average_seeds(gpt, key), runs.average_seeds(lstm, key)
            by[name] = laws.efficiency(*of_gpt, *of_lstm)
    return next(iter(by.values())) | {'by': by}


def analyse_l_nd(rows, bootstraps, seed):
    """({arch: dict}, cautions): L(N, D) of each architecture that has enough comparable runs.

    Keys of a dict: those of the Chinchilla form over total parameters, and
    by_size       the same form over each count of parameters
    chosen        the law with the lowest error on runs left out, with its `checks`
    of_chosen_form  its form over each count
    budget        its form over effective parameters, which answers for budgets
    forms         the errors of every form over every count
    rules         the errors of the chosen law beside those of rules that need no law
    parts         the laws of recalled and of new targets
    slices        each number of tokens alone
    isoflops, frontier, optimum     the best use of compute
    """
    fits, cautions = {}, []
    for arch in sorted({run['arch'] for run in rows}):
        own = [run for run in rows if run['arch'] == arch and 'tokens' in run]
        group = runs.choose_l_nd(own)
        if not group:
            continue

        # The form and the count: lowest error on the largest size and the longest runs of what
        # remains without the largest size and the longest runs
        choice = heldout.choose(heldout.compare(heldout.smaller(group)))

        def fit(size, form):
            law = heldout.fit(group, size, form, bootstraps, seed)
            return law | {'checks': checks.check(group, law, seed)}

        by_size = {size: fit(size, 'hoffmann') for size in heldout.counts(group)}
        of_chosen_form = by_size
        if choice['form'] != 'hoffmann':
            of_chosen_form = {size: fit(size, choice['form']) for size in by_size}
        chosen = of_chosen_form[choice['size']]
        budget = of_chosen_form.get('compute', chosen)

        # The best use of budgets, beside curves that need no law
        n, d, loss = (budget['data'][key] for key in ('n', 'd', 'loss'))
        curves = isoflop.isoflops(n, d, loss, seed=seed) if budget['size'] == 'compute' else []
        used = budget['data']['flops']
        decades = 10.0 ** (math.floor(math.log10(used.max())) + np.arange(2))
        budgets = sorted([*decades, *(curve['flops'] for curve in curves)])
        fits[arch] = next(iter(by_size.values())) | {
            'runs': [run['name'] for run in group],
            'by_size': by_size, 'chosen': chosen | {'sizes': 'all'},
            'of_chosen_form': of_chosen_form, 'budget': budget,
            'forms': heldout.compare(group), 'rules': chosen['checks']['rules'],
            'parts': parts.by_part(group, seed=seed), 'slices': heldout.at_each_d(group, chosen),
            'isoflops': curves, 'optimum': best_uses(budget, budgets, group),
            'frontier': best_uses(budget, np.geomspace(used.min(), 10 * used.max(), 13), group)}
        cautions += report.cautions_on_l_nd(arch, group, chosen)
        cautions += runs.left_out(own, group, f'L(N, D) of {report.spoken(arch)}', ('tokens',))
    return fits, cautions


def best_uses(law, flops, group):
    """compute_optimal for these budgets, with `extrapolated`: is any answer outside of the data?

    d_per_total and d_per_non_embedding are tokens per parameter in these counts, which are
    interpolated between the sizes of the group, in logs.
    """
    rows = frontier.compute_optimal(law, flops, law['flops_per_n_d'])
    counts = heldout.counts(group)
    log_n, first = np.unique(np.log(counts[law['size']]), return_index=True)
    for row in rows:
        row['extrapolated'] = bool(beyond(law['data'], row))
        for which in runs.SIZES:
            if which in counts and len(log_n) > 1:
                log_count = np.log(counts[which][first])
                slope = np.polyfit(log_n, log_count, 1)[0]
                at = np.interp(np.log(row['n']), log_n, log_count)
                at += slope * (np.log(row['n']) - np.clip(np.log(row['n']), log_n[0], log_n[-1]))
                row[f'd_per_{which}'] = float(row['d'] / np.exp(at))
    return rows


def analyse(rows, bootstraps, seed, cautions=()):
    """What scaling.json holds: loss_unit, conditions, laws, efficiency, l_nd, runs, cautions."""
    unit = runs.choose_unit(rows)
    rows, of_rates = runs.best_rates(rows)
    shared, group = runs.group_runs(rows)[0]            # the one of most sizes
    archs = {run['arch'] for run in group}
    of_rest = runs.left_out(rows, group, 'L(N)')
    group, of_copying = runs.past_copying(group)
    of_rest += of_copying
    fits, efficiency, of_l_n = fit_l_n(group, archs)
    l_nd, of_l_nd = analyse_l_nd(rows, bootstraps, seed)
    if not fits and not l_nd:
        fail(' '.join(['nothing to fit.', *of_l_n, *of_rest]))
    cautions = [*cautions, *of_rates, *report.cautions_on_runs(rows), *of_l_nd]
    if fits:
        cautions += of_rest + of_l_n
    return {'loss_unit': unit, 'conditions': shared, 'laws': fits, 'efficiency': efficiency,
            'l_nd': l_nd or None, 'runs': rows, 'l_n_runs': [run['name'] for run in group],
            'l_nd_runs': {arch: law['runs'] for arch, law in l_nd.items()}, 'cautions': cautions}


def beyond(data, point):
    """{'n', 'd', 'flops'}: how many times the nearest of the data, where the point is outside."""
    far = {}
    for key, value in point.items():
        if key in data:
            nearest = np.clip(value, min(data[key]), max(data[key]))
            if abs(value / nearest - 1) > 0.01:
                far[key] = float(value / nearest)
    return far


def forecasts(result, n=None, d=None, flops=None):
    """What each architecture's law says of a run of n parameters and d tokens, or of a budget.

    A list of dicts: arch, law, size (the count of parameters), n, d, loss, loss_ci (95% prediction
    interval), beyond (see above); for a budget also n_ci, d_ci, d_per_n, d_per_n_ci. L(N, D) in the
    chosen form answers where it is fitted and d or flops is given. Otherwise L(N) answers, which is
    of one number of tokens: with a floor if that fits significantly better. Exits (2) if d is given
    and no law can use it.
    """
    l_nd = (result['l_nd'] or {}) if d or flops else {}
    if (d or flops) and not l_nd:
        what = 'flops' if flops else 'the D of predict'
        fail(f'{what} needs L(N, D), which needs comparable runs of 3 sizes at 3 token counts, '
             '8 in all')
    answers = []
    for arch in sorted(l_nd or result['laws']):
        if l_nd:
            law, name, point = l_nd[arch]['chosen'], 'L(N, D)', {'n': n, 'd': d}
            if flops:
                law = l_nd[arch]['budget']
                point, = frontier.compute_optimal(law, [flops], law['flops_per_n_d'])
            size, data = law['size'], law['data']
            loss, *ends = frontier.forecast(law, point['n'], point['d'])
        else:
            tokens = result['conditions'].get('tokens', 'an unknown number of')
            size, forms = next(iter(result['laws'][arch].items()))
            has_floor = bool(forms['offset']['c_ci'][0])
            law = forms['offset'] if has_floor else forms['pure']
            name = f'L(N){" with a floor" if has_floor else ""} at {tokens} tokens'
            point, data = {'n': n}, {'n': law['sizes']}
            loss, *ends = (laws.forecast_offset if has_floor else laws.forecast)(law, n)
        answers.append({**point, 'arch': arch, 'law': name, 'size': size, 'loss': loss,
                        'loss_ci': ends, 'beyond': beyond(data, point)})
    return answers


def as_json(result):
    """The text of scaling.json: inf and nan become null, and the bootstrap's draws stay out."""
    def without_draws(value):
        if isinstance(value, list):
            return [without_draws(inner) for inner in value]
        if isinstance(value, dict):
            return {key: without_draws(inner) for key, inner in value.items() if key != 'draws'}
        return value
    plain = json.dumps(without_draws(result), default=lambda array: array.tolist())
    return json.dumps(json.loads(plain, parse_constant=lambda name: None), indent=1)


def check(s):
    """Exit with one line if a setting makes no sense."""
    if s.table and s.paths != Settings().paths:
        fail('give checkpoints or --table, not both')
    if s.bootstraps < 100:
        fail(f'bootstraps is {s.bootstraps}; 95% intervals need at least 100')
    if s.predict is not None:
        if len(s.predict) not in (1, 2) or not all(0 < v < math.inf for v in s.predict):
            fail('predict is written N or N,D: parameters and tokens, both positive')
    if s.tunes and s.data_dir:
        fail("give 'tunes' or 'data_dir', not both")
    if s.tunes is not None and not all(0 < number < 10 ** 9 for number in s.tunes):
        fail('tunes is a number of tunes or a list of them, each above 0')
    if s.flops is not None and not 0 < s.flops < math.inf:
        fail('flops is the training compute, one positive number')


def main():
    s = configure(Settings)
    check(s)
    if s.table:
        rows, cautions = runs.read_table(s.table), []
        curves, forecasts_made = runs.read_curves(s.table, rows), beforehand.read(s.table)
    else:
        (rows, curves, cautions), forecasts_made = runs.read_checkpoints(s.paths), []
    if not rows:
        fail('no run with a validation loss: ' + ' '.join(cautions))
    if repeats.is_table(rows):
        return repeated_data(s, rows)
    if s.tunes or s.data_dir:
        fail(f"'{'tunes' if s.tunes else 'data_dir'}' needs a table of runs on repeated data, such "
             f'as results/repeats.csv; {s.table or "these runs"} have no column unique_tokens')

    result = analyse(rows, s.bootstraps, s.seed, cautions)
    result['foretold'] = beforehand.with_seen(forecasts_made, result['runs'])
    collapsed = collapse.collapse(curves, result['runs'])
    result['cautions'] += report.cautions_on_curves(collapsed, collapse.FAR)
    asked = forecasts(result, *s.predict) if s.predict else []
    budgets = forecasts(result, flops=s.flops) if s.flops else []

    texts = {'report.md': report.page(result), 'scaling.json': as_json(result)}
    pictures = {}
    if result['laws']:
        pictures['scaling.png'] = plots.draw_scaling(result)
    if result['l_nd']:
        pictures['law.png'] = plots_nd.draw_law(result)
        pictures['residuals.png'] = plots_nd.draw_residuals(result)
        pictures['optimum.png'] = plots_nd.draw_optimum(result['l_nd'])
        if by_part := plots_nd.draw_parts(result):
            pictures['parts.png'] = by_part
    if curves:
        pictures['training_curves.png'] = plots.draw_training_curves(curves)
    if collapsed:
        pictures['collapse.png'] = plots_nd.draw_collapse(collapsed)
    write(s, texts, pictures)
    print(texts['report.md'], *report.forecast_lines(asked, result['loss_unit']), sep='\n')
    if budgets:
        from scaling import commands  # here, for torch takes seconds to import
    for one in budgets:
        own = [run for run in result['runs'] if run['name'] in result['l_nd_runs'][one['arch']]]
        print(*report.forecast_lines([one], result['loss_unit']), flush=True)
        print(*commands.of_budget(one, own, commands.data_of(result['runs'])), sep='\n')
    print(f'written: {s.out_dir}/{{{", ".join([*texts, *pictures])}}}')


def repeated_data(s, rows):
    """The law of runs that see few tunes many times: a page and a picture."""
    for name in ('predict', 'flops'):
        if getattr(s, name) is not None:
            fail(f'{name!r} is not for a table of repeated data; --tunes=300 is')
    if s.tunes or s.data_dir:
        from scaling import commands  # as above
        from training.data import load_meta
    meta = load_meta(s.data_dir) if s.data_dir else None
    try:
        law = repeats.fit(rows, min(s.bootstraps, REPEATS_BOOTSTRAPS), s.seed)
    except ValueError as e:
        fail(f'{s.table}: {e}')
    text = repeats.page(law, rows, s.tunes or (50, 300, 3000, 30_000))
    if s.tunes:
        text = '\n'.join([text, '', *commands.of_tunes(law, rows, s.tunes)])
    if meta:
        text = '\n'.join([text, '', *commands.of_folder(law, rows, s.data_dir, meta)])
    write(s, {'repeats.md': text + '\n'}, {'repeats.png': repeats.draw(law, rows)})
    print(text, f'written: {s.out_dir}/{{repeats.md, repeats.png}}', sep='\n\n')


def write(s, texts, pictures):
    try:
        os.makedirs(s.out_dir, exist_ok=True)
        for name, content in (texts | pictures).items():
            with atomic_write(os.path.join(s.out_dir, name)) as file:
                if name in texts:
                    file.write(content.encode())
                else:
                    content.savefig(file, dpi=150)
    except OSError as e:
        fail(f'cannot write to {s.out_dir}: {e.strerror}')
    plots.plt.close('all')


if __name__ == '__main__':
    main()
