"""Checkpoints, or a table of runs, -> scaling laws with intervals, a report and pictures.

    python fit_scaling.py                                        # every out/*/ckpt.pt
    python fit_scaling.py out/gpt_*/ckpt.pt --out_dir=out/gpts
    python fit_scaling.py --table=results/original_study.csv     # columns arch,n_total,n_non_embedding,tokens,loss, ...
    python fit_scaling.py --table=runs.csv --predict=1e7,5e7     # the loss of 10M parameters after 50M tokens
    python fit_scaling.py --table=runs.csv --flops=1e17          # the best size and tokens for a budget

One law holds for runs alike in all but size. Where tokens vary, too, L(N, D) is fitted; L(N) and GPT against LSTM are
of the token count with most sizes. Beside a table may lie its training curves (runs_curves.csv) and prediction.csv,
what was foretold of runs before they were trained. The loss is per note where every run has it, else per token: of one
tokenizer and validation set the two differ by a constant factor, so exponents and ratios are the same.
"""
import json
import os
from dataclasses import dataclass, field

import numpy as np

from configurator import configure, fail
from plumbing.files import atomic_write
from scaling import collapse, frontier, heldout, isoflop, laws, plots, plots_nd, report, runs


@dataclass
class Settings:
    paths: list[str] = field(default_factory=lambda: ['out/*/ckpt.pt'])     # checkpoints; patterns allowed
    table: str | None = None            # a CSV file with a line a run, instead of checkpoints
    out_dir: str = 'out/scaling'        # of scaling.json, report.md and the pictures
    predict: list[float] | None = None  # N or N,D: print the loss that the laws foretell for such a run
    flops: float | None = None          # print the best size and tokens for so much training compute
    bootstraps: int = 1000              # resamples of the runs for the intervals of L(N, D)
    seed: int = 0                       # of the resampling


def fit_l_n(group):
    """(laws, efficiency or None, cautions) of runs that are alike in all but size."""
    fits, efficiency, cautions = {}, None, []
    for arch in sorted({run['arch'] for run in group}):
        own = [run for run in group if run['arch'] == arch]
        if runs.n_sizes(own) < 3:
            cautions.append(f'{report.spoken(arch)}: at most {runs.n_sizes(own)} model size(s) alike; a law needs 3.')
            continue
        fits[arch] = {}
        for which in runs.SIZES:
            if f'n_{which}' in own[0]:
                n, loss = runs.average_seeds(own, f'n_{which}')
                fits[arch][which] = {'pure': laws.fit_pure(n, loss), 'offset': laws.fit_offset(n, loss)}
        cautions += report.cautions_on_law(arch, own, next(iter(fits[arch].values())))
    if {'gpt', 'lstm'} <= set(fits):
        efficiency = compare(group)
        cautions += report.cautions_on_efficiency(efficiency)
    return fits, efficiency, cautions


def compare(group):
    """GPT against LSTM in parameters; `by`: in all measures that are known, wall time only on one kind of machine."""
    gpt, lstm = ([run for run in group if run['arch'] == arch] for arch in ('gpt', 'lstm'))
    measures = {which: f'n_{which}' for which in runs.SIZES} | {'flops': 'flops', 'seconds': 'seconds'}
    if len({run.get('machine') for run in gpt + lstm}) > 1:
        del measures['seconds']
    by = {name: laws.efficiency(*runs.average_seeds(gpt, key), *runs.average_seeds(lstm, key))
          for name, key in measures.items() if all(run.get(key) for run in gpt + lstm)}
    return next(iter(by.values())) | {'by': by}


def fit_l_nd(rows, bootstraps, seed):
    """({arch: L(N, D)}, cautions) of every architecture with enough runs that are alike in all but size and tokens.

    Hoffmann's law over total parameters, further `by_size` (the same over other counts), `forms` (what each form
    misses), `chosen` (the law that foretells best, chosen without the largest size and the longest runs), `slices`
    (each number of tokens alone) and `frontier` (the best use of a budget, by the chosen form over the count that makes
    compute).
    """
    fits, cautions = {}, []
    for arch in sorted({run['arch'] for run in rows}):
        group = runs.choose_l_nd([run for run in rows if run['arch'] == arch and 'tokens' in run])
        if not group:
            continue
        by_size = {size: heldout.fit(group, size, 'hoffmann', bootstraps, seed) for size in heldout.counts(group)}
        choice = heldout.choose(heldout.compare(heldout.smaller(group)))
        kept, form = heldout.used(group, choice['sizes']), choice['form']
        chosen = heldout.fit(kept, choice['size'], form, bootstraps, seed) | {'sizes': choice['sizes']}
        size = 'compute' if 'compute' in by_size else next(iter(by_size))
        budget = chosen if size == choice['size'] else heldout.fit(kept, size, form, bootstraps, seed)
        law = fits[arch] = next(iter(by_size.values())) | {'forms': heldout.compare(group)}
        n, d, loss = (by_size[size]['data'][key] for key in ('n', 'd', 'loss'))
        law |= {'by_size': by_size, 'chosen': chosen, 'budget': budget, 'slices': heldout.at_each_d(kept, chosen),
                'isoflops': isoflop.isoflops(n, d, loss, seed=seed) if budget['size'] == 'compute' else []}
        used = budget['data']['flops']
        law['frontier'] = best_uses(budget, np.geomspace(used.min(), 10 * used.max(), 13))
        decades = 10.0 ** (np.floor(np.log10(used.max())) + np.arange(3))
        law['optimum'] = best_uses(budget, sorted([*decades, *(curve['flops'] for curve in law['isoflops'])]))
        cautions += report.cautions_on_l_nd(arch, kept, chosen)
    return fits, cautions


def best_uses(law, flops):
    """compute_optimal for these budgets, and whether any of its answers lies beyond the data."""
    rows = frontier.compute_optimal(law, flops, law['flops_per_n_d'])
    return [row | {'extrapolated': bool(beyond(law['data'], row))} for row in rows]


def analyse(rows, bootstraps, seed, cautions=()):
    """What scaling.json holds: loss_unit, conditions (of L(N)), laws, efficiency, l_nd, runs, l_n_runs, cautions."""
    unit = runs.choose_unit(rows)
    rows, of_rates = runs.best_rates(rows)
    alike, group, of_rest = runs.choose_l_n(rows)
    fits, efficiency, of_l_n = fit_l_n(group)
    l_nd, of_l_nd = fit_l_nd(rows, bootstraps, seed)
    if not fits and not l_nd:
        fail(' '.join(['nothing to fit.', *of_l_n, *of_rest]))
    cautions = [*cautions, *of_rates, *report.cautions_on_runs(rows), *of_l_nd, *(of_rest + of_l_n if fits else [])]
    return {'loss_unit': unit, 'conditions': alike, 'laws': fits, 'efficiency': efficiency, 'l_nd': l_nd or None,
            'runs': rows, 'l_n_runs': [run['name'] for run in group], 'cautions': cautions}


def beyond(data, point):
    """{'n', 'd', 'flops'}: how many times the nearest of the data the point is, where it is outside of them."""
    nearest = {key: np.clip(value, min(data[key]), max(data[key])) for key, value in point.items() if key in data}
    return {key: float(point[key] / near) for key, near in nearest.items() if abs(point[key] / near - 1) > 0.01}


def forecasts(result, n=None, d=None, flops=None):
    """What each architecture's law says of a run of n parameters and d tokens, or of the best run for so many flops.

    A list of dicts: arch, law, size (kind of parameters: total if known), n, d, loss, loss_ci (95% prediction
    interval), beyond (see above); for a budget also n_ci, d_ci, d_per_n, d_per_n_ci. L(N, D) answers where it is
    fitted and d or flops is given, else the pure L(N), which knows but one number of tokens.
    """
    answers, l_nd = [], (result['l_nd'] or {}) if d or flops else {}
    for arch in sorted(l_nd.keys() | (result['laws'].keys() if n else set())):
        if arch in l_nd:
            law, name, point = l_nd[arch], 'L(N, D)', {'n': n, 'd': d}
            if flops:
                law = law['budget']
                point, = frontier.compute_optimal(law, [flops], law['flops_per_n_d'])
            size, data, (loss, *ends) = law['size'], law['data'], frontier.forecast(law, point['n'], point['d'])
        else:
            name, point = f'L(N) at {result["conditions"].get("tokens", "an unknown number of")} tokens', {'n': n}
            size, law = next((which, forms['pure']) for which, forms in result['laws'][arch].items())
            data, (loss, *ends) = {'n': law['sizes']}, laws.forecast(law, n)
        answers.append({**point, 'arch': arch, 'law': name, 'size': size, 'loss': loss, 'loss_ci': ends,
                        'beyond': beyond(data, point)})
    return answers


def as_json(result):
    """The text of scaling.json: inf and nan become null, and the bootstrap's draws stay out."""
    def without_draws(value):
        if not isinstance(value, dict):
            return value
        return {key: without_draws(inner) for key, inner in value.items() if key != 'draws'}
    plain = json.dumps(without_draws(result), default=lambda array: array.tolist())
    return json.dumps(json.loads(plain, parse_constant=lambda name: None), indent=1)


def main():
    s = configure(Settings)
    if s.table and s.paths != Settings().paths:
        fail('give checkpoints or --table, not both')
    if s.bootstraps < 100:
        fail(f'bootstraps is {s.bootstraps}; 95% intervals need at least 100')
    if s.predict is not None and (len(s.predict) not in (1, 2) or min(s.predict) <= 0) or s.flops and s.flops < 0:
        fail('predict is written N or N,D (parameters and tokens), flops is one number; all are positive')
    if s.table:
        rows, cautions = runs.read_table(s.table), []
        curves, foretold = runs.read_curves(s.table, rows), runs.read_foretold(s.table)
    else:
        (rows, curves, cautions), foretold = runs.read_checkpoints(s.paths), []
    if not rows:
        fail('no run with a validation loss: ' + ' '.join(cautions))
    result = analyse(rows, s.bootstraps, s.seed, cautions)
    result['foretold'] = runs.with_seen(foretold, result['runs'])
    collapsed = collapse.collapse(curves, result['runs'])
    result['cautions'] += report.cautions_on_curves(collapsed, collapse.FAR)
    if s.flops and not result['l_nd']:
        fail('flops needs L(N, D), which needs runs of 3 sizes at 3 token counts, 8 in all, alike in all else')
    asked = [*(forecasts(result, *s.predict) if s.predict else []), *forecasts(result, flops=s.flops)]
    texts = {'report.md': report.page(result), 'scaling.json': as_json(result)}
    pictures = {'scaling.png': plots.draw_scaling(result)} if result['laws'] else {}
    if result['l_nd']:
        pictures |= {'law.png': plots_nd.draw_laws(result), 'optimum.png': plots_nd.draw_optimum(result['l_nd'])}
    if curves:
        pictures['training_curves.png'] = plots.draw_training_curves(curves)
    if collapsed:
        pictures['collapse.png'] = plots_nd.draw_collapse(collapsed)
    try:
        os.makedirs(s.out_dir, exist_ok=True)
        for name, content in (texts | pictures).items():
            with atomic_write(os.path.join(s.out_dir, name)) as file:
                file.write(content.encode()) if name in texts else content.savefig(file, dpi=150)
    except OSError as e:
        fail(f'cannot write to {s.out_dir}: {e.strerror}')
    plots.plt.close('all')
    print(texts['report.md'], *report.forecast_lines(asked, result['loss_unit']), sep='\n')
    print(f'written: {s.out_dir}/{{{", ".join([*texts, *pictures])}}}')


if __name__ == '__main__':
    main()
