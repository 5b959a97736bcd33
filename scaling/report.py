"""The words of fit_scaling.py: cautions, report.md, forecasts, and how numbers and intervals are spelled."""

SPOKEN = {'gpt': 'GPT', 'lstm': 'LSTM', 'total': 'total parameters', 'non_embedding': 'non-embedding parameters',
          'flops': 'training FLOPs', 'seconds': 'wall time'}


def spoken(name):
    return SPOKEN.get(name, name)


def count(n, noun):
    return f'{n} {noun}' + ('' if n == 1 else 's')


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
        texts.append(f'{name}: the exponent is unidentified by {count(n, "size")}: alpha {interval(pure["alpha_ci"])}.')
    if n < 4:
        texts.append(f'{name}: three sizes cannot tell a pure law from one with a floor c.')
    elif not offset['identified']:
        texts.append(f'{name}: with a floor c, the exponent is unidentified: alpha {interval(offset["alpha_ci"])} and '
                     f'c {interval(offset["c_ci"])} are all within 95% of the best fit.')
    if offset['c_ci'][0]:
        texts.append(f'{name}: one power law does not describe these points: a floor c {interval(offset["c_ci"])} fits '
                     'significantly better. Do not extrapolate the pure law.')
    if len(group) == n:
        texts.append(f'{name}: every size was trained once; the noise of seeds passes for departure from the law.')
    rates = {run.get('learning_rate') for run in group}
    if len(rates) == 1 and None not in rates:
        texts.append(f'{name}: one learning rate ({rates.pop():g}) for all sizes; if it suits only some, alpha is biased.')
    return texts


def cautions_on_l_nd(arch, group, law):
    """Sentences on L(N, D) of one architecture; `group` in the order of the law's residuals."""
    name, texts = f'L(N, D) of {spoken(arch)}', []
    if law['outliers']:
        off = [f'{group[i]["name"]} ({law["residuals"][i]:+.1%})' for i in law['outliers']]
        texts.append(f'Far off {name}: {listed(off)}. All are kept; the Huber loss lets them pull little.')
    if not law['identified']:
        texts.append(f'{name} is poorly determined: alpha {interval(law["ci"]["alpha"])}, '
                     f'beta {interval(law["ci"]["beta"])}.')
    if not law['clustered']:
        texts.append(f'{name}: too few sizes and seeds to resample each as one. If its runs share trunks, the intervals '
                     'are too narrow.')
    return texts


def cautions_on_efficiency(result):
    if result['common_slope_ratio'] is None:
        return ['GPT against LSTM: the loss does not fall with size, so there is no efficiency ratio.']
    why = f'one slope for both gives a ratio of {result["common_slope_ratio"]:.2f} {interval(result["ci"], ".2f")}'
    if result['p_equal_slopes'] < 0.05:
        why = f'the two slopes differ (p = {result["p_equal_slopes"]:.2g}), and the interval of the curve includes 1'
    return [] if result['established'] else [f'An efficiency advantage of GPT or LSTM is not established: {why}.']


def cautions_on_runs(rows):
    """What a reader must know of the runs before any law."""
    texts, seen, notes = [], {}, {}
    if raised := [run['name'] for run in rows if run.get('decayed') == 'no']:
        texts.append(f'The learning rate has not come down in {listed(raised)}: the loss is above that of a whole run.')
    if not all('tokens' in run for run in rows):
        texts.append('Some runs do not say on how many tokens they were trained; a law holds only if all saw the same.')
    for run in rows:
        seen.setdefault((run['arch'], run.get('n_total'), run.get('tokens'), run['loss']), []).append(run['name'])
        if run.get('note'):
            notes.setdefault(run['note'].rstrip('.'), []).append(run['name'])
    if twins := [' and '.join(names) for names in seen.values() if len(names) > 1]:
        texts.append(f'{listed(twins)} have the same size and loss to the last digit: is one run counted twice?')
    return texts + [f'{listed(names)}: {note}.' for note, names in notes.items()]


def table(header, rows):
    lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in [header, *rows]]
    return '\n'.join([lines[0], '|' + '---|' * len(header), *lines[1:]])


def page(result):
    """report.md: what scaling.json holds, on one page of Markdown."""
    parts = [f'# Scaling laws (loss in {result["loss_unit"]})']
    for arch, law in (result['l_nd'] or {}).items():
        parts += l_nd_parts(arch, law)
    if result['laws']:
        parts += l_n_parts(result)
    if result['efficiency'] and result['efficiency']['common_slope_ratio']:
        ratios = [f'{one["common_slope_ratio"]:.2f} {interval(one["ci"], ".2f")} times the {spoken(key)}'
                  for key, one in result['efficiency']['by'].items() if one['common_slope_ratio']]
        parts.append(f'With one slope for both, an LSTM needs {", ".join(ratios)} of a GPT for the same loss.')
    return '\n\n'.join([*parts, '## Cautions', '\n'.join(f'- {text}' for text in result['cautions']) or '- none']) + '\n'


def l_nd_parts(arch, law):
    words = {'E': 'E', 'A': 'A', 'B': 'B', 'alpha': 'α', 'beta': 'β', 'n_exponent': 'N* ~ C^', 'd_exponent': 'D* ~ C^',
             'loss_exponent': 'L − E ~ C^-'}
    best = [[f'{row["flops"]:.2g}' + (' (beyond the data)' if row['extrapolated'] else ''),
             *(f'{short(row[key])} {interval(row[key + "_ci"], short)}' for key in ('n', 'd', 'd_per_n', 'loss'))]
            for row in law['frontier'][::3]]
    worst = max(law['residuals'], key=abs)
    return [f'## {spoken(arch)}: L(N, D) = E + A/N^α + B/D^β',
            table(['', *words.values()], [['value', *(f'{law[key]:.4g}' for key in words)],
                                          ['95% (bootstrap)', *(interval(law['ci'][key], '.3g') for key in words)]]),
            f'{len(law["residuals"])} runs, N is {spoken(law["size"])}; the largest residual is {worst:+.1%}. The best use '
            f'of C = {law["flops_per_n_d"]:.3g}·N·D training FLOPs:',
            table(['C', 'N*', 'D*', 'tokens per parameter', 'L'], best)]


def l_n_parts(result):
    rows = []
    for arch, by_size in result['laws'].items():
        for which, forms in by_size.items():
            for form, law in forms.items():
                error, ends = law['leave_largest_out_error'], law.get('leave_largest_out_interval', [None, None])
                rows.append([spoken(arch), spoken(which), 'a·N^-α' + ' + c' * (form == 'offset'), len(law['sizes']),
                             f'{law["alpha"]:.3f} {interval(law["alpha_ci"])}' + ' unidentified' * (not law['identified']),
                             f'{law["a"]:.4g}', f'{law["c"]:.3f} {interval(law["c_ci"])}' if form == 'offset' else '–',
                             '–' if error is None else f'{error:+.1%}' + f' {interval(ends, "+.1%")}' * any(ends),
                             f'{max(law["residuals"], key=abs):+.1%}'])
    shared = '; '.join(f'{key} {value}' for key, value in result['conditions'].items())
    return ['## L(N)', table(['', 'N', 'law', 'sizes', 'α', 'a', 'c', 'largest predicted', 'largest residual'], rows),
            'Intervals: 95%, t for the pure law, profile-F with a floor. The largest size is predicted from all others, '
            f'(predicted − seen) / seen. Alike in all runs: {shared or "unknown"}.']


def forecast_lines(answers, unit):
    """A line for each answer of fit_scaling.forecasts or fit_scaling.best_use."""
    lines, words = [], {'flops': 'C', 'n': 'N', 'd': 'D', 'd_per_n': 'tokens per parameter', 'loss': 'loss'}
    for one in answers:
        parts = []
        for key in words.keys() & one.keys():
            form = '{:.4f}'.format if key == 'loss' else short
            parts.append(f'{words[key]} {form(one[key])}' + (f' {interval(one[f"{key}_ci"], form)}' if f'{key}_ci' in one else ''))
        lines.append(f'{spoken(one["arch"])}, {one["law"]}, N in {spoken(one["size"])}: {", ".join(parts)} {unit} (95% '
                     f'prediction interval); {listed(one["beyond"]) or "within the data"}.')
    return lines
