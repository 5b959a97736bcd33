"""Checkpoints, or a table of runs, -> scaling laws with intervals, a report and two pictures.

    python fit_scaling.py                                        # every out/*/ckpt.pt
    python fit_scaling.py out/gpt_*/ckpt.pt --out_dir=out/gpts
    python fit_scaling.py --table=results/original_study.csv     # columns arch,n_total,n_non_embedding,tokens,loss, ...
    python fit_scaling.py --table=runs.csv --predict=1e7,5e7     # the loss of 10M parameters after 50M tokens
    python fit_scaling.py --table=runs.csv --flops=1e17          # the best size and tokens for a budget

One law holds for runs alike in all but size (scaling/runs.py). Where tokens vary, too, L(N, D) is fitted as well
(scaling/frontier.py); L(N) and GPT against LSTM (scaling/laws.py) are of the token count with most sizes. The loss is
per note where every run has it, else per token: with one tokenizer and validation set the two differ by a constant
factor, so exponents and ratios are the same.
"""
import json
import math
import os
from dataclasses import dataclass, field

import numpy as np

from configurator import configure, fail
from plumbing.files import atomic_write
from scaling import frontier, laws, plots, report, runs


@dataclass
class Settings:
    paths: list[str] = field(default_factory=lambda: ['out/*/ckpt.pt'])     # checkpoints; patterns allowed
    table: str | None = None            # a CSV file with a line a run, instead of checkpoints
    out_dir: str = 'out/scaling'        # scaling.json, report.md, scaling.png and, of checkpoints, training_curves.png
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
            cautions.append(f'{report.spoken(arch)}: no law, as it needs 3 sizes and there are {runs.n_sizes(own)}.')
            continue
        fits[arch] = {}
        for which in runs.sizes_known(own):
            n, loss = runs.average_seeds(own, f'n_{which}')
            fits[arch][which] = {'pure': laws.fit_pure(n, loss), 'offset': laws.fit_offset(n, loss)}
        cautions += report.cautions_on_law(arch, own, next(iter(fits[arch].values())))
    if {'gpt', 'lstm'} <= set(fits):
        efficiency = compare(group)
        cautions += report.cautions_on_efficiency(efficiency)
    return fits, efficiency, cautions


def compare(group):
    """GPT against LSTM in parameters; `by`: in all measures that are known, wall time only if of one kind of machine."""
    gpt, lstm = ([run for run in group if run['arch'] == arch] for arch in ('gpt', 'lstm'))
    measures = {which: f'n_{which}' for which in runs.sizes_known(gpt)} | {'flops': 'flops', 'seconds': 'seconds'}
    if len({run.get('machine') for run in gpt + lstm}) > 1:
        del measures['seconds']
    by = {name: laws.efficiency(*runs.average_seeds(gpt, key), *runs.average_seeds(lstm, key))
          for name, key in measures.items() if all(run.get(key) for run in gpt + lstm)}
    return next(iter(by.values())) | {'by': by}


def fit_l_nd(rows, bootstraps, seed):
    """({arch: L(N, D)}, cautions) of every architecture with enough runs that are alike in all but size and tokens."""
    fits, cautions = {}, []
    for arch in sorted({run['arch'] for run in rows}):
        group = runs.choose_l_nd([run for run in rows if run['arch'] == arch and 'tokens' in run])
        if not group:
            continue
        size = runs.sizes_known(group)[0]
        n, d, loss = (np.array([run[key] for run in group]) for key in (f'n_{size}', 'tokens', 'loss'))
        trunks = {}             # a size's cool-downs of one seed share a trunk
        clusters = [trunks.setdefault((run[f'n_{size}'], run.get('seed')), len(trunks)) for run in group]
        law = fits[arch] = frontier.fit_l_nd(n, d, loss, bootstraps, seed, clusters)
        known = all('flops' in run for run in group)
        factor = np.median([run['flops'] for run in group] / (n * d)) if known else frontier.FLOPS_PER_N_D
        used = factor * n * d
        law |= {'size': size, 'flops_per_n_d': factor, 'data': {'n': n, 'd': d, 'flops': used, 'loss': loss}}
        law['frontier'] = frontier.compute_optimal(law, np.geomspace(used.min(), 10 * used.max(), 13), factor)
        for row in law['frontier']:
            row['extrapolated'] = bool(beyond(law['data'], row))
        cautions += report.cautions_on_l_nd(arch, group, law)
    return fits, cautions


def analyse(rows, bootstraps, seed, cautions=()):
    """All that scaling.json holds: loss_unit, conditions (of L(N)), laws, efficiency, l_nd, runs, cautions."""
    unit = runs.choose_unit(rows)
    rows, of_rates = runs.best_rates(rows)
    alike, group, of_rest = runs.choose_l_n(rows)
    fits, efficiency, of_l_n = fit_l_n(group)
    l_nd, of_l_nd = fit_l_nd(rows, bootstraps, seed)
    if not fits and not l_nd:
        most = max(runs.n_sizes([run for run in group if run['arch'] == arch]) for arch in {r['arch'] for r in group})
        fail(f'nothing to fit: among {report.count(len(rows), "run")} are at most {report.count(most, "model size")} of '
             f'one architecture trained alike; a law needs 3. {" ".join(of_rest)}'.strip())
    for run in rows:
        run['in_l_n'] = run['arch'] in fits and any(run is other for other in group)
    cautions = [*cautions, *of_rates, *report.cautions_on_runs(rows), *of_l_nd, *(of_rest + of_l_n if fits else [])]
    return {'loss_unit': unit, 'conditions': alike, 'laws': fits, 'efficiency': efficiency, 'l_nd': l_nd or None,
            'runs': rows, 'cautions': cautions}


def beyond(data, point):
    """How far the point {'n', 'd', 'flops'} is from the data (arrays under the same keys), in words."""
    texts = []
    for key, word in {'n': 'size', 'd': 'number of tokens', 'flops': 'budget'}.items():
        if key in data and key in point:
            low, high = min(data[key]), max(data[key])
            if point[key] > 1.01 * high:
                texts.append(f'{point[key] / high:.3g} times the largest {word} ({report.short(high)})')
            elif point[key] < low / 1.01:
                texts.append(f'{low / point[key]:.3g} times below the smallest {word} ({report.short(low)})')
    return texts


def forecasts(result, n, d=None):
    """What each architecture's law says of a run of n parameters, total if they are known, and d tokens: list of dicts.

    Keys: arch, law, size (kind of parameters), n, d, loss, loss_ci (95% prediction interval), beyond (list of words).
    L(N, D) answers where it is fitted and d is given, else the pure L(N), which knows but one number of tokens.
    """
    answers, l_nd = [], (result['l_nd'] or {}) if d else {}
    for arch in sorted(l_nd.keys() | result['laws'].keys()):
        if arch in l_nd:
            law, name, point = l_nd[arch], 'L(N, D)', {'n': n, 'd': d}
            size, data, (loss, *ends) = law['size'], law['data'], frontier.forecast(law, n, d)
        else:
            name, point = f'L(N) at {result["conditions"].get("tokens", "an unknown number of")} tokens', {'n': n}
            size, law = next((which, forms['pure']) for which, forms in result['laws'][arch].items())
            data, (loss, *ends) = {'n': law['sizes']}, laws.forecast(law, n)
        answers.append({'arch': arch, 'law': name, 'size': size, **point, 'loss': loss, 'loss_ci': ends,
                        'beyond': beyond(data, point)})
    return answers


def best_use(result, flops):
    """The best run of so much training compute by each L(N, D), as `forecasts`, with n_ci, d_ci, d_per_n, d_per_n_ci."""
    answers = []
    for arch, law in result['l_nd'].items():
        best, = frontier.compute_optimal(law, [flops], law['flops_per_n_d'])
        _, *ends = frontier.forecast(law, best['n'], best['d'])
        answers.append({**best, 'arch': arch, 'law': 'L(N, D)', 'size': law['size'], 'loss_ci': ends,
                        'beyond': beyond(law['data'], best)})
    return answers


def plain(value):
    """JSON-ready: numpy to Python, inf and nan to null; the bootstrap draws stay out."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items() if key != 'draws'}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def main():
    s = configure(Settings)
    if s.table and s.paths != Settings().paths:
        fail('give checkpoints or --table, not both')
    if s.bootstraps < 100:
        fail(f'bootstraps is {s.bootstraps}; 95% intervals need at least 100')
    if s.predict is not None and (len(s.predict) not in (1, 2) or min(s.predict) <= 0) or s.flops and s.flops < 0:
        fail('predict is written N or N,D (parameters and tokens), flops is one number; all are positive')
    rows, curves, cautions = (runs.read_table(s.table), {}, []) if s.table else runs.read_checkpoints(s.paths)
    if not rows:
        fail('no run with a validation loss: ' + ' '.join(cautions))
    result = analyse(rows, s.bootstraps, s.seed, cautions)
    if s.flops and not result['l_nd']:
        fail('flops needs L(N, D), which needs runs of 3 sizes at 3 token counts, 8 in all, alike in all else')
    asked = [*(forecasts(result, *s.predict) if s.predict else []), *(best_use(result, s.flops) if s.flops else [])]
    texts = {'report.md': report.page(result), 'scaling.json': json.dumps(plain(result), indent=1, allow_nan=False)}
    pictures = {'scaling.png': plots.draw_scaling(result)}
    pictures |= {'training_curves.png': plots.draw_training_curves(curves)} if curves else {}
    try:
        os.makedirs(s.out_dir, exist_ok=True)
        for name, figure in pictures.items():
            with atomic_write(os.path.join(s.out_dir, name)) as file:
                figure.savefig(file, dpi=150)
        for name, content in texts.items():
            with atomic_write(os.path.join(s.out_dir, name), 'w', encoding='utf-8') as file:
                file.write(content)
    except OSError as e:
        fail(f'cannot write to {s.out_dir}: {e.strerror}')
    print(texts['report.md'], *report.forecast_lines(asked, result['loss_unit']), sep='\n')
    print(f'written: {s.out_dir}/{{{", ".join([*texts, *pictures])}}}')


if __name__ == '__main__':
    main()
