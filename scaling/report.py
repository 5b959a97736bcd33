"""The words of fit_scaling.py: cautions, report.md, forecasts, and how numbers are written."""

SPOKEN = {'gpt': 'GPT', 'lstm': 'LSTM', 'total': 'total parameters',
          'non_embedding': 'non-embedding parameters', 'compute': 'effective parameters',
          'flops': 'training FLOPs', 'seconds': 'wall time'}
FORMULAS = {'hoffmann': 'E + A/N^α + B/D^β', 'gadre': 'E + A/N^α + B/D^α',
            'coupled': 'E + A/N^α + B/(D^β·N^γ)',
            'kaplan': 'E + ((A/N^α)^(1/κ) + (B/D^β)^(1/κ))^κ'}
FORM_NAMES = {'hoffmann': 'Chinchilla (Hoffmann et al. 2022)', 'gadre': 'Gadre et al. 2024',
              'coupled': 'coupled', 'kaplan': 'Kaplan et al. 2020 with a floor'}
OF_FORM = {'gamma': 'coupled', 'kappa': 'kaplan'}       # parameters that one form alone has
EDGES = {'largest': 'the largest size', 'longest': 'the longest runs'}
RULES = {'largest': 'loss of the next smaller size', 'longest': 'gains shrink as before'}


def spoken(name):
    return SPOKEN.get(name, name)


def listed(words, most=6):
    """'a, b, c and 4 more'."""
    words = list(words)
    more = f' and {len(words) - most} more' if len(words) > most else ''
    return ', '.join(words[:most]) + more


def interval(ends, form='.3f'):
    """'[0.071, 0.256]'; `form` is a format or a function. None is an open end, an infinity."""
    def written(value, if_open):
        if value is None:
            return if_open
        return form(value) if callable(form) else format(value, form)
    return f'[{written(ends[0], "-∞")}, {written(ends[1], "∞")}]'


def short(value):
    """1,713,800 -> '1.71M'."""
    for power, letter in ((12, 'T'), (9, 'B'), (6, 'M'), (3, 'k')):
        if 10 ** power * 0.9995 <= value < 10 ** 15:
            return f'{value / 10 ** power:.3g}{letter}'
    return f'{value:.3g}'


def percent(value, form='.1%'):
    return '–' if value is None else format(value, form)


# Cautions: what a reader must know before citing a number

def cautions_on_runs(rows):
    texts, notes = [], {}
    if raised := [run['name'] for run in rows if run.get('decayed') == 'no']:
        texts.append(f'The learning rate has not come down in {listed(raised)}: '
                     'a whole run would end lower.')
    if not all('tokens' in run for run in rows):
        texts.append('Some runs do not say on how many tokens they were trained; '
                     'a law holds only if all saw the same number.')
    for run in rows:
        if run.get('note'):
            notes.setdefault(run['note'].rstrip('.'), []).append(run['name'])
    return texts + [f'{listed(names)}: {note}.' for note, names in notes.items()]


def cautions_on_law(arch, group, forms):
    """Sentences on what L(N) of one architecture does not tell, or tells wrongly."""
    pure, offset, name = forms['pure'], forms['offset'], spoken(arch)
    sizes, losses, texts = len(pure['sizes']), [run['loss'] for run in group], []
    if max(losses) < (1 + 1e-6) * min(losses):
        return [f'{name}: the loss does not depend on size: there is no exponent.']
    if not pure['identified']:
        texts.append(f'{name}: the exponent is unidentified by {sizes} sizes: its 95% interval '
                     f'{interval(pure["alpha_ci"])} includes 0 or spans a factor of 4 or more.')
    if not offset['identified']:
        texts.append(f'{name}: with a floor c, the exponent is unidentified: any alpha in '
                     f'{interval(offset["alpha_ci"])} and c in {interval(offset["c_ci"])} '
                     'fits nearly as well as the best.')
    if offset['c_ci'][0]:
        texts.append(f'{name}: one power law does not describe these points: a floor c '
                     f'{interval(offset["c_ci"])} fits significantly better. '
                     'Do not extrapolate the pure law.')
    if len(group) == sizes:
        texts.append(f'{name}: every size was trained once, so the noise of seeds cannot be '
                     'told from departures from the law.')
    depths = sorted({run['n_layer'] for run in group if 'n_layer' in run})
    if len(depths) > 1:
        texts.append(f'{name}: depth grows with size ({depths[0]:g} to {depths[-1]:g} layers): '
                     'the exponent is that of this family.')
    rates = {run.get('learning_rate') for run in group}
    if len(rates) == 1 and None not in rates:
        texts.append(f'{name}: one learning rate ({rates.pop():g}) for all sizes; '
                     'alpha is biased unless it suits all.')
    return texts


def cautions_on_l_nd(arch, group, law):
    """Sentences on L(N, D) of one architecture; `group` in the order of the law's residuals."""
    name, texts = f'L(N, D) of {spoken(arch)}', []
    if law['outliers']:
        off = [f'{group[i]["name"]} ({law["residuals"][i]:+.1%})' for i in law['outliers']]
        texts.append(f'Far off {name}: {listed(off)}. All are kept; '
                     'the Huber loss limits their influence.')
    if law['too_few_trunks']:
        texts.append(f'{name} rests on few sizes, too few to resample sizes as a whole: '
                     'its intervals take runs as independent and are too narrow.')
    if not law['identified']:
        texts.append(f'{name} over {spoken(law["size"])} is poorly determined: '
                     f'alpha {interval(law["ci"]["alpha"])}, beta {interval(law["ci"]["beta"])}.')
    for rule in law.get('checks', {}).get('rules', []):
        if rule['law'] >= rule['rule']:
            texts.append(f'{name} is no better than extending the curve for {EDGES[rule["edge"]]}: '
                         f'its error is {rule["law"]:.1%}, that of the rule {rule["rule"]:.1%}.')
    return texts


def cautions_on_curves(collapsed, far):
    """A sentence on the training curves that depart from those of comparable runs."""
    off = [f'{curve["name"]} ({curve["off"]:.2f})' for curve in collapsed if curve['off'] > far]
    if not off:
        return []
    return ['Training curves that depart from the median of comparable runs, by nats/token, so '
            f'that their learning rates are in doubt: {listed(off, 8)}.']


def cautions_on_efficiency(result):
    if result['common_slope_ratio'] is None:
        return ['GPT against LSTM: the loss does not fall with size, '
                'so there is no efficiency ratio.']
    if result['established']:
        return []
    text = ('An efficiency advantage of GPT or LSTM is not established: '
            'the interval of the ratio includes 1')
    if result['p_equal_slopes'] < 0.05:
        text += (' somewhere along the curve (one slope does not fit both, '
                 f'p = {result["p_equal_slopes"]:.2g})')
    return [text + '.']


# report.md

def table(header, rows):
    lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in [header, *rows]]
    return '\n'.join([lines[0], '|' + '---|' * len(header), *lines[1:]])


def page(result):
    """report.md: what scaling.json holds, on one page of Markdown."""
    parts = [f'# Scaling laws (loss in {result["loss_unit"].replace(" per ", "/")})', SYMBOLS]
    for arch, law in (result['l_nd'] or {}).items():
        parts += l_nd_parts(arch, law)
    if result.get('foretold'):
        parts += forecast_parts(result['foretold'])
    if result['laws']:
        parts += l_n_parts(result)
    if result['efficiency'] and result['efficiency']['common_slope_ratio']:
        ratios = [f'{one["common_slope_ratio"]:.2f} {interval(one["ci"], ".2f")} times the '
                  f'{spoken(key)}' for key, one in result['efficiency']['by'].items()
                  if one['common_slope_ratio']]
        parts.append('With one slope for both, an LSTM needs '
                     f'{", ".join(ratios)} of a GPT for the same loss.')
    cautions = '\n'.join(f'- {text}' for text in result['cautions'])
    parts += ['## Cautions', cautions or '- none']
    return '\n\n'.join(parts) + '\n'


SYMBOLS = ('N: parameters; D: training tokens; C: training FLOPs. Effective parameters are '
           'training FLOPs per token / 6. Brackets: 95% intervals. An exponent counts as '
           'identified if its interval lies above 0 and spans less than a factor of 4.')


def l_nd_parts(arch, law):
    chosen = law['chosen']
    others = [one for one in law['of_chosen_form'].values() if one['size'] != chosen['size']]
    laws = [chosen, *others]
    if chosen['form'] != 'hoffmann':
        laws += law['by_size'].values()
    parts = [
        f'## {spoken(arch)}: L(N, D)', equation(chosen),
        'The form and the count of parameters have the lowest error on runs left out, among '
        f'{len(law["forms"])} candidates tried without the largest size and the longest runs. '
        'Intervals: bootstrap, all runs of a size resampled together. First row: the law that '
        '--predict and --flops use.',
        laws_table(laws),
        'Errors on runs left out (predicted / seen - 1), each form over its best count:',
        forms_table(law)]
    if law['rules']:
        parts.append(rules_line(law))
    parts += ['What each law says of sizes it has not seen, and how it changes with the runs:',
              checks_table(laws)]
    if law['parts']:
        parts += ['Recalled targets (the pair with the previous token occurred earlier in the '
                  'context) and new ones, each fitted in the form of Kaplan et al.; κ = 1: the '
                  'shortages of N and D add up.', parts_table(law['parts'])]
    if law['slices']:
        rows = [[row['tokens'], row['sizes'], f'{row["alpha"]:.3f}', f'{row["c"]:.3f}',
                 f'{row["apart"]:+.1%}'] for row in law['slices']]
        parts += ['Each number of tokens alone, L(N) = a·N^-α + c, and its largest difference '
                  'from the law:', table(['D', 'sizes', 'α', 'c', '(L(N) − law) / law'], rows)]
    return [*parts, f'The best use of a budget C = 6·N·D, N in {spoken(law["budget"]["size"])}:',
            budgets_table(law)]


def equation(law):
    """The law with its numbers, as a line of code."""
    a, b = f'({law["A"]:.4g}/N^{law["alpha"]:.3f})', f'({law["B"]:.4g}/D^{law["beta"]:.3f})'
    if law['form'] == 'coupled':
        b = f'({law["B"]:.4g}/(D^{law["beta"]:.3f}·N^{law["gamma"]:.3f}))'
    if law['form'] == 'kaplan':
        k = f'{law["kappa"]:.3f}'
        terms = f'({a}^(1/{k}) + {b}^(1/{k}))^{k}'
    else:
        terms = f'{a} + {b}'
    return f'    L = {law["E"]:.3f} + {terms}     N: {spoken(law["size"])}'


def laws_table(laws):
    words = {'E': 'E', 'A': 'A', 'B': 'B', 'alpha': 'α', 'beta': 'β', 'gamma': 'γ', 'kappa': 'κ',
             'n_exponent': 'N* ~ C^', 'loss_exponent': 'L − E ~ C^-'}
    words = {key: word for key, word in words.items()
             if any(OF_FORM.get(key, one['form']) == one['form'] for one in laws)}
    rows = []
    for one in laws:
        cells = []
        for key in words:
            if OF_FORM.get(key, one['form']) != one['form']:
                cells.append('')
            elif key in 'AB':
                cells.append(f'{one[key]:.4g}')
            else:
                cells.append(f'{one[key]:.3g} {interval(one["ci"][key], ".3g")}')
        largest = max(one['residuals'], key=abs)
        rows.append([spoken(one['size']), FORMULAS[one['form']], len(one['residuals']), *cells,
                     f'{largest:+.1%}'])
    return table(['N', 'L', 'runs', *words.values(), 'largest residual'], rows)


def forms_table(law):
    """What each form of L(N, D) misses, over the count of parameters that suits it best."""
    rows = []
    for form in FORMULAS:
        row = min((one for one in law['forms'] if one['form'] == form),
                  key=lambda one: one['misses'])
        rows.append([FORMULAS[form], spoken(row['size']), percent(row['cells']),
                     f'{percent(row["worst"], "+.1%")} {row["missed"]}', percent(row['largest']),
                     percent(row['longest'])])
    return table(['L', 'N', 'a (size, tokens) pair: median', 'worst', 'the largest size, rms',
                  'the longest runs, rms'], rows)


def rules_line(law):
    """How the chosen law does beside a rule that needs no law."""
    texts = []
    for one in law['rules']:
        verdict = 'better' if one['law'] < one['rule'] else 'no better than extending the curve'
        texts.append(f'{EDGES[one["edge"]]} ({RULES[one["edge"]]}) {one["rule"]:.1%}, the law '
                     f'{one["law"]:.1%} on the same {one["runs"]} runs: {verdict}')
    return f'A rule without a law: {"; ".join(texts)}.'


def checks_table(laws):
    """Coverage and drift of each law, a row each."""
    dropped = list(dict.fromkeys(row['without'] for one in laws for row in one['checks']['drift']))
    rows = []
    for one in laws:
        checks = one['checks']
        seen = checks['coverage']
        held = f'{seen["inside"]} of {seen["runs"]}' if seen else '–'
        name = f'{FORM_NAMES[one["form"]]}, {spoken(one["size"])}'
        fewer = {row['without']: f'{row["E"]:.2f}, {row["alpha"]:.2f}, {row["beta"]:.2f}'
                 for row in checks['drift']}
        rows.append([name, held, f'{one["E"]:.2f}, {one["alpha"]:.2f}, {one["beta"]:.2f}',
                     *(fewer.get(without, '–') for without in dropped)])
    return table(['law', 'runs of a size left out that are inside their 95% interval',
                  'E, α, β of all runs', *(f'without {without}' for without in dropped)], rows)


def parts_table(rows):
    cells = []
    for one in rows:
        runs = 'all' if not one['without'] else f'without {one["without"]}'
        cells.append([one['part'], f'{len(one["residuals"])}, {runs}',
                      *(f'{one[key]:.3g} {interval(one["ci"][key], ".3g")}'
                        for key in ('E', 'alpha', 'beta', 'kappa')),
                      f'{max(one["residuals"], key=abs):+.1%}'])
    return table(['targets', 'runs', 'E, nats/token', 'α', 'β', 'κ', 'largest residual'], cells)


def budgets_table(law):
    """N*, D*, tokens per parameter and loss by budget; beside the law an isoFLOP curve."""
    counts = [key for key in ('total', 'non_embedding') if f'd_per_{key}' in law['optimum'][0]]
    rows = []
    for row in law['optimum']:
        curve = next((c for c in law['isoflops']
                      if c['n_best'] and abs(c['flops'] / row['flops'] - 1) < 0.01), None)
        by_curve = '–'
        if curve:
            by_curve = f'{curve["d_per_n"]:.3g} {interval(curve["d_per_n_ci"], ".3g")}'
        rows.append([f'{row["flops"]:.1e}',
                     *(f'{short(row[key])} {interval(row[key + "_ci"], short)}' for key in 'nd'),
                     f'{row["d_per_n"]:.3g} {interval(row["d_per_n_ci"], ".3g")}', by_curve,
                     *(f'{row[f"d_per_{key}"]:.3g}' for key in counts),
                     f'{row["loss"]:.3f} {interval(row["loss_ci"])}',
                     'extrapolated' if row['extrapolated'] else ''])
    return table(['C, FLOPs', 'N*', 'D*', 'tokens per N*', 'the same by isoFLOP curve',
                  *(f'tokens per {spoken(key)[:-1]}' for key in counts), 'loss', ''], rows)


def forecast_parts(forecasts):
    rows = []
    for one in forecasts:
        source = 'its shorter runs' if one['from'] == 'runs' else 'other sizes'
        rows.append([one['name'], f'{source}, {one["law"].replace("compute", "effective")}',
                     f'{one["predicted"]:.3f} {interval([one["low"], one["high"]])}',
                     f'{one["seen"]:.3f}', f'{one["miss"]:+.1%}',
                     'inside' if one['inside'] else 'outside'])
    inside = sum(one['inside'] for one in forecasts)
    near = sum(abs(one['miss']) <= 0.02 for one in forecasts)
    return ['## Forecasts committed before the runs',
            f'{near} of {len(forecasts)} forecasts are within 2%, {inside} of {len(forecasts)} '
            'losses inside their 95% interval.',
            table(['run', 'from', 'predicted', 'seen', 'error', 'interval'], rows)]


def l_n_parts(result):
    rows = []
    for arch, by_size in result['laws'].items():
        for which, forms in by_size.items():
            for form, law in forms.items():
                error = law['leave_largest_out_error']
                ends = law.get('leave_largest_out_interval', [None, None])
                largest = percent(error, '+.1%')
                if error is not None and any(ends):
                    largest += f' {interval(ends, "+.1%")}'
                known = '' if law['identified'] else ' (unidentified)'
                floor = '–'
                if form == 'offset':
                    floor = f'{law["c"]:.3f} {interval(law["c_ci"])}'
                rows.append([spoken(arch), spoken(which), 'a·N^-α' + ' + c' * (form == 'offset'),
                             len(law['sizes']),
                             f'{law["alpha"]:.3f} {interval(law["alpha_ci"])}{known}',
                             f'{law["a"]:.4g}', floor, largest,
                             percent(law.get('rule_error'), '+.1%'),
                             f'{max(law["residuals"], key=abs):+.1%}'])
    shared = '; '.join(f'{key} {value}' for key, value in result['conditions'].items())
    return ['## L(N)',
            table(['', 'N', 'law', 'sizes', 'α', 'a', 'c', 'error for the largest size',
                   'error of the next smaller size\'s loss', 'largest residual'], rows),
            'Intervals: t for the pure law, profile likelihood (F test) with a floor. The largest '
            'size is predicted from the others; errors are (predicted − seen) / seen. Shared by '
            f'all runs: {shared or "unknown"}.']


def forecast_lines(answers, unit):
    """A line for each answer of fit_scaling.forecasts."""
    words = {'flops': 'C', 'n': 'N', 'd': 'D', 'd_per_n': 'tokens per parameter', 'loss': 'loss'}
    lines = []
    for one in answers:
        parts = []
        for key in (key for key in words if key in one):
            form = '{:.4f}'.format if key == 'loss' else short
            ends = one.get(f'{key}_ci')
            bracket = f' {interval(ends, form)}' if ends else ''
            parts.append(f'{words[key]} {form(one[key])}{bracket}')
        far = [f'{words[key]} is {times:.3g} times the nearest data'
               for key, times in one['beyond'].items()]
        where = listed(far) or 'within the data'
        lines.append(f'{spoken(one["arch"])}, {one["law"]}, N in {spoken(one["size"])}: '
                     f'{", ".join(parts)} {unit} (95% prediction interval); {where}.')
    return lines
