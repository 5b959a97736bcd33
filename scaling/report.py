"""The words of fit_scaling.py: cautions, report.md, forecasts, and how numbers and intervals are spelled."""

SPOKEN = {'gpt': 'GPT', 'lstm': 'LSTM', 'total': 'total parameters', 'non_embedding': 'non-embedding parameters',
          'compute': 'parameters that make compute', 'flops': 'training FLOPs', 'seconds': 'wall time'}
FORMULAS = {'hoffmann': 'E + A/N^α + B/D^β', 'gadre': 'E + A/N^α + B/D^α', 'coupled': 'E + A/N^α + B/(D^β·N^γ)',
            'kaplan': 'E + ((A/N^α)^(1/κ) + (B/D^β)^(1/κ))^κ'}
OF_FORM = {'gamma': 'coupled', 'kappa': 'kaplan'}       # numbers that one form alone has


def spoken(name):
    return SPOKEN.get(name, name)


def listed(words, most=6):
    """'a, b, c and 4 more'."""
    return ', '.join(words[:most]) + (f' and {len(words) - most} more' if len(words) > most else '')


def interval(ends, form='.3f'):
    """'[0.071, 0.256]'; `form` is a format or a function that spells a number. An open end is infinite."""
    low, high = (form(v) if callable(form) and v is not None else v if v is None else format(v, form) for v in ends)
    return f'[{low or "-∞"}, {high or "∞"}]'


def short(value):
    """1,713,800 -> '1.71M'."""
    for power, letter in ((12, 'T'), (9, 'G'), (6, 'M'), (3, 'k')):
        if 10 ** power * 0.9995 <= value < 10 ** 15:
            return f'{value / 10 ** power:.3g}{letter}'
    return f'{value:.3g}'


def cautions_on_law(arch, group, forms):
    """Sentences on what L(N) of one architecture does not tell, or tells wrongly."""
    pure, offset, name, n, texts = forms['pure'], forms['offset'], spoken(arch), len(forms['pure']['sizes']), []
    if not pure['identified']:
        texts.append(f'{name}: the exponent is unidentified by {n} sizes: alpha {interval(pure["alpha_ci"])}.')
    if not offset['identified']:
        texts.append(f'{name}: with a floor c, the exponent is unidentified: alpha {interval(offset["alpha_ci"])} and '
                     f'c {interval(offset["c_ci"])} are all within 95% of the best fit.')
    if offset['c_ci'][0]:
        texts.append(f'{name}: one power law does not describe these points: a floor c {interval(offset["c_ci"])} fits '
                     'significantly better. Do not extrapolate the pure law.')
    if len(group) == n:
        texts.append(f'{name}: every size was trained once; the noise of seeds passes for departure from the law.')
    rates = {run.get('learning_rate') for run in group}
    if len(rates) == 1 and None not in rates:
        texts.append(f'{name}: one learning rate ({rates.pop():g}) for all sizes; alpha is biased unless it suits all.')
    return texts


def cautions_on_l_nd(arch, group, law):
    """Sentences on L(N, D) of one architecture; `group` in the order of the law's residuals."""
    name, texts = f'L(N, D) of {spoken(arch)}', []
    if law['outliers']:
        off = [f'{group[i]["name"]} ({law["residuals"][i]:+.1%})' for i in law['outliers']]
        texts.append(f'Far off {name}: {listed(off)}. All are kept; the Huber loss lets them pull little.')
    if law['too_few_trunks']:
        texts.append(f'{name}: runs of one size and seed share a trunk, and these are too few to be resampled as one; '
                     'its intervals take runs as independent and are too narrow.')
    if not law['identified']:
        texts.append(f'{name} over {spoken(law["size"])} is poorly determined: alpha {interval(law["ci"]["alpha"])}, '
                     f'beta {interval(law["ci"]["beta"])}.')
    return texts


def cautions_on_curves(collapsed, far):
    """A sentence on the training curves that depart from those of their like."""
    off = [f'{curve["name"]} ({curve["off"]:.2f})' for curve in collapsed if curve['off'] > far]
    return [f'Training curves that leave the median of their like, by nats a token, which puts their rates in doubt: '
            f'{listed(off, 8)}.'] if off else []


def cautions_on_efficiency(result):
    if result['common_slope_ratio'] is None:
        return ['GPT against LSTM: the loss does not fall with size, so there is no efficiency ratio.']
    text = 'An efficiency advantage of GPT or LSTM is not established: the interval of the ratio includes 1'
    if result['p_equal_slopes'] < 0.05:
        text += f' somewhere along the curve (one slope does not fit both, p = {result["p_equal_slopes"]:.2g})'
    return [] if result['established'] else [text + '.']


def cautions_on_runs(rows):
    """What a reader must know of the runs before any law."""
    texts, notes = [], {}
    if raised := [run['name'] for run in rows if run.get('decayed') == 'no']:
        texts.append(f'The learning rate has not come down in {listed(raised)}: a whole run would end lower.')
    if not all('tokens' in run for run in rows):
        texts.append('Some runs do not say on how many tokens they were trained; a law holds only if all saw the same.')
    for run in rows:
        if run.get('note'):
            notes.setdefault(run['note'].rstrip('.'), []).append(run['name'])
    return texts + [f'{listed(names)}: {note}.' for note, names in notes.items()]


def table(header, rows):
    lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in [header, *rows]]
    return '\n'.join([lines[0], '|' + '---|' * len(header), *lines[1:]])


def page(result):
    """report.md: what scaling.json holds, on one page of Markdown."""
    parts = [f'# Scaling laws (loss in {result["loss_unit"]})']
    for arch, law in (result['l_nd'] or {}).items():
        parts += l_nd_parts(arch, law)
    if result.get('foretold'):
        parts += foretold_parts(result['foretold'])
    if result['laws']:
        parts += l_n_parts(result)
    if result['efficiency'] and result['efficiency']['common_slope_ratio']:
        ratios = [f'{one["common_slope_ratio"]:.2f} {interval(one["ci"], ".2f")} times the {spoken(key)}'
                  for key, one in result['efficiency']['by'].items() if one['common_slope_ratio']]
        parts.append(f'With one slope for both, an LSTM needs {", ".join(ratios)} of a GPT for the same loss.')
    parts += ['## Cautions', '\n'.join(f'- {text}' for text in result['cautions']) or '- none']
    return '\n\n'.join(parts) + '\n'


def l_nd_parts(arch, law):
    words = {'E': 'E', 'alpha': 'α', 'beta': 'β', 'gamma': 'γ', 'kappa': 'κ', 'n_exponent': 'N* ~ C^',
             'loss_exponent': 'L − E ~ C^-'}
    chosen, rows = law['chosen'], []
    for one in [*law['by_size'].values(), *[chosen] * (chosen['form'] != 'hoffmann' or chosen['sizes'] != 'all')]:
        used = {key: OF_FORM.get(key, one['form']) == one['form'] for key in words}
        rows.append([spoken(one['size']), f'{FORMULAS[one["form"]]}, {one.get("sizes", "all")}', len(one['residuals']),
                     *(f'{one[key]:.3g} {interval(one["ci"][key], ".3g")}' if used[key] else '' for key in words),
                     f'{max(one["residuals"], key=abs):+.1%}'])
    text = ('95% by bootstrap. What foretells best, chosen without the largest size and the most tokens: '
            f'{FORMULAS[chosen["form"]]} over {spoken(chosen["size"])}, of all sizes' +
            f' but {chosen["sizes"].removeprefix("without ")}' * (chosen['sizes'] != 'all') + '.')
    header = ['N', 'L, sizes', 'runs', *words.values(), 'largest residual']
    return [f'## {spoken(arch)}: L(N, D)', text, table(header, rows),
            'What each form misses of runs that are left out, over the count and sizes that suit it best:',
            forms_table([min((row for row in law['forms'] if row['form'] == form), key=lambda row: row['misses'])
                         for form in FORMULAS]),
            'Each number of tokens alone, L(N) = a·N^-α + c, and where it is furthest from the law chosen:',
            table(['D', 'sizes', 'α', 'c', '(L(N) − law) / law'],
                  [[row['tokens'], row['sizes'], f'{row["alpha"]:.3f}', f'{row["c"]:.3f}', f'{row["apart"]:+.1%}']
                   for row in law['slices']]),
            'The best use of a budget, N in ' + spoken(law['budget']['size']) + ':', budgets_table(law)]


def forms_table(rows):
    """What each form of L(N, D) over each count of parameters misses."""
    def percent(value, form='.1%'):
        return '–' if value is None else format(value, form)
    return table(['N', 'L, sizes', 'a cell: median', 'worst', 'all runs of the largest size', 'the longest runs'],
                 [[spoken(row['size']), f'{FORMULAS[row["form"]]}, {row["sizes"]}', percent(row['cells']),
                   f'{percent(row["worst"], "+.1%")} {row["missed"]}', percent(row['largest']), percent(row['longest'])]
                  for row in rows])


def budgets_table(law):
    """N*, D*, tokens per parameter and loss by budget; beside the law's what an isoFLOP curve says."""
    rows = []
    for row in law['optimum']:
        curve = next((c for c in law['isoflops'] if c['n_best'] and abs(c['flops'] / row['flops'] - 1) < 0.01), None)
        rows.append([f'{row["flops"]:.1e}', *(f'{short(row[key])} {interval(row[key + "_ci"], short)}' for key in 'nd'),
                     f'{row["d_per_n"]:.3g} {interval(row["d_per_n_ci"], ".3g")}',
                     f'{row["loss"]:.3f} {interval(row["loss_ci"])}',
                     f'{curve["d_per_n"]:.3g} {interval(curve["d_per_n_ci"], ".3g")}' if curve else '–',
                     'extrapolated' if row['extrapolated'] else ''])
    return table(['C, FLOPs', 'N*', 'D*', 'tokens per parameter', 'loss', 'by the isoFLOP curve', ''], rows)


def foretold_parts(foretold):
    rows = [[one['name'], {'runs': 'its shorter runs, ', 'sizes': 'other sizes, '}[one['from']] + one['law'],
             f'{one["predicted"]:.3f} {interval([one["low"], one["high"]])}', f'{one["seen"]:.3f}',
             f'{one["miss"]:+.1%}']
            for one in foretold]
    return ['## Foretold before they were trained', table(['run', 'from', 'foretold', 'seen', 'miss'], rows)]


def l_n_parts(result):
    rows = []
    for arch, by_size in result['laws'].items():
        for which, forms in by_size.items():
            for form, law in forms.items():
                error, ends = law['leave_largest_out_error'], law.get('leave_largest_out_interval', [None, None])
                known = '' if law['identified'] else ' unidentified'
                rows.append([spoken(arch), spoken(which), 'a·N^-α' + ' + c' * (form == 'offset'), len(law['sizes']),
                             f'{law["alpha"]:.3f} {interval(law["alpha_ci"])}{known}', f'{law["a"]:.4g}',
                             f'{law["c"]:.3f} {interval(law["c_ci"])}' if form == 'offset' else '–',
                             '–' if error is None else f'{error:+.1%}' + f' {interval(ends, "+.1%")}' * any(ends),
                             f'{max(law["residuals"], key=abs):+.1%}'])
    shared = '; '.join(f'{key} {value}' for key, value in result['conditions'].items())
    return ['## L(N)', table(['', 'N', 'law', 'sizes', 'α', 'a', 'c', 'largest predicted', 'largest residual'], rows),
            '95% intervals: t for the pure law, profile-F with a floor. The largest size is predicted from the others, '
            f'(predicted − seen) / seen. Alike in all runs: {shared or "unknown"}.']


def forecast_lines(answers, unit):
    """A line for each answer of fit_scaling.forecasts."""
    lines, words = [], {'flops': 'C', 'n': 'N', 'd': 'D', 'd_per_n': 'tokens per parameter', 'loss': 'loss'}
    for one in answers:
        parts, far = [], [f'{words[key]} is {times:.3g} times the nearest data' for key, times in one['beyond'].items()]
        for key in (key for key in words if key in one):
            form, ends = '{:.4f}'.format if key == 'loss' else short, one.get(f'{key}_ci')
            parts.append(f'{words[key]} {form(one[key])}' + (f' {interval(ends, form)}' if ends else ''))
        lines.append(f'{spoken(one["arch"])}, {one["law"]}, N in {spoken(one["size"])}: {", ".join(parts)} {unit} '
                     f'(95% prediction interval); {listed(far) or "within the data"}.')
    return lines
