"""The words of fit_scaling.py: cautions and report.md, made of what scaling.json holds, and how numbers and intervals are spelled."""

SPOKEN = {'gpt': 'GPT', 'lstm': 'LSTM', 'total': 'total', 'non_embedding': 'non-embedding'}


def spoken(name):
    return SPOKEN.get(name, name)


def count(n, noun):
    return f'{n} {noun}' + ('' if n == 1 else 's')


def interval(ends, form='.3f', percent=False):
    show = (lambda v: format(v, '+.1%')) if percent else (lambda v: format(v, form))
    low, high = ends
    if low is None and high is None:
        return '[unbounded]'
    return f'[{"-inf" if low is None else show(low)}, {"inf" if high is None else show(high)}]'


def short(value):
    """1,713,800 -> '1.71M'."""
    for power, letter in ((12, 'T'), (9, 'G'), (6, 'M'), (3, 'k')):
        if value >= 10 ** power * 0.9995:
            return f'{value / 10 ** power:.3g}{letter}'
    return f'{value:.3g}'


FLAGS = {'offset': 'a floor c fits significantly better (F-test, p = {p_offset:.2g})',
         'curved': 'the points curve: the slope {curvature} with size (p = {p_curved:.2g})',
         'runs': 'the residuals keep their sign too long (p = {p_runs:.2g})',
         'tail': 'the largest size lies outside the interval that the smaller ones predict'}


def cautions_of(arch, runs, fits, diagnosis):
    """Sentences on what the law of one architecture does not tell, or tells wrongly; on total parameters where both are there."""
    which = next(iter(fits))
    pure, offset, tests = fits[which]['pure'], fits[which]['offset'], diagnosis[which]
    name, n, texts = spoken(arch), len(pure['sizes']), []
    if not pure['identified']:
        texts.append(f'{name}: the exponent is unidentified by {count(n, "size")}: alpha {interval(pure["alpha_ci"])}.')
    if n < 4:
        texts.append(f'{name}: three sizes cannot tell a pure law from one with a floor c.')
    elif not offset['identified']:
        texts.append(f'{name}: with a floor c, the exponent is unidentified: alpha {interval(offset["alpha_ci"])} and '
                     f'c {interval(offset["c_ci"])} are all within 95% of the best fit.')
    if tests['flags']:
        texts.append(f'{name}: one power law does not describe these points: ' + '; '.join(FLAGS[f].format(**tests) for f in tests['flags'])
                     + '. Do not extrapolate the pure law.')
    for outlier in tests['outliers']:
        texts.append(f'{name}: {outlier} is an outlier of the pure law (studentised residual, p < 0.05 after Bonferroni); it is kept.')
    if len(runs) == n:
        texts.append(f'{name}: every size was trained once, so the intervals cannot tell the noise of seeds from departures from the law.')
    rates = {run.get('learning_rate') for run in runs}
    if len(rates) == 1 and None not in rates:
        texts.append(f'{name}: one learning rate ({rates.pop():g}) for all sizes; where it suits only some of them, alpha is biased.')
    return texts


def efficiency_cautions(result):
    if result['common_slope_ratio'] is None:
        return ['GPT against LSTM: the loss does not fall with size, so there is no efficiency ratio.']
    if result['established']:
        return []
    why = ('the two slopes differ (p = {:.2g}), and a ratio of 1 is within the intervals of the curve'.format(result['p_equal_slopes'])
           if result['p_equal_slopes'] < 0.05 else f'with a common slope the ratio is {result["common_slope_ratio"]:.2f} '
           f'{interval(result["ci"], ".2f")}, which includes 1')
    return [f'An efficiency advantage of GPT or LSTM is not established: {why}.']


def cautions_on_runs(runs, groups, difference):
    """What a reader must know of the runs before any law; `difference`: what differs between the groups, in words."""
    texts = []
    if len(groups) > 1:
        texts.append(f'The {len(runs)} runs differ in {difference}: {len(groups)} groups, each fitted by itself, never together.')
    if any(run.get('decayed') == 'no' for run in runs):
        names = [run['name'] for run in runs if run.get('decayed') == 'no']
        texts.append(f'The learning rate has not come down in {", ".join(names)}: such a loss is above what the run would end at.')
    if not all('tokens' in run for run in runs):
        texts.append('Some runs do not say on how many tokens they were trained; a law holds only if all saw the same.')
    seen = {}
    for run in runs:
        twin = seen.setdefault((run['arch'], run.get('n_total'), run.get('tokens'), run['loss']), run['name'])
        if twin != run['name']:
            texts.append(f'{run["name"]} and {twin} have the same size and loss to the last digit: is one run counted twice?')
    return texts + [f'{run["name"]}: {run["note"].rstrip(".")}.' for run in runs if run.get('note')]


# ---- report ----

def table(header, rows):
    lines = ['| ' + ' | '.join(map(str, row)) + ' |' for row in [header, *rows]]
    return '\n'.join([lines[0], '|' + '---|' * len(header), *lines[1:]])


def law_row(arch, which, form, law):
    good = law['alpha_ci'][0] is not None or law['alpha_ci'][1] is not None
    alpha = f'{law["alpha"]:.3f}' if law['identified'] else f'unidentified ({law["alpha"]:.3f})'
    error = law['leave_largest_out_error']
    return [spoken(arch), spoken(which), 'a·N^-α' + (' + c' if form == 'offset' else ''), len(law['sizes']), alpha,
            interval(law['alpha_ci']) if good else '–', interval(law['alpha_ci_bootstrap']), f'{law["a"]:.4g}',
            f'{law["c"]:.3f} {interval(law["c_ci"])}' if form == 'offset' else '–',
            '–' if error is None else f'{error:+.1%} {interval(law["leave_largest_out_interval"], percent=True)}']


def report(result, unit):
    """The whole of scaling.json as Markdown."""
    lines = ['# Scaling laws', '', headline(result), '', '## Cautions', '']
    lines += [f'- {text}' for text in result['cautions']] or ['- none']
    for number, group in enumerate(result['groups'], 1):
        shared = '; '.join(f'{key} {value}' for key, value in group['conditions'].items())
        lines += ['', f'## Group {number}' if len(result['groups']) > 1 else '## Laws', '']
        lines += [f'Alike in all runs: {shared}.', ''] if shared else []
        rows = [law_row(arch, which, form, law) for arch, by_size in group['laws'].items()
                for which, forms in by_size.items() for form, law in forms.items()]
        if rows:
            lines.append(table(['', 'N', 'law', 'sizes', 'α', '95% interval', 'bootstrap', 'a', 'c',
                                'largest size, predicted from the others'], rows))
        else:
            lines.append('No law: ' + ' '.join(group['cautions']))
        if group['efficiency']:
            lines += ['', *efficiency_lines(group['efficiency'])]
    if result['laws']:
        lines += ['', 'Intervals: t for the pure law, profile-F with a floor; bootstrap: sizes resampled. Last column: (predicted − seen) / '
                  'seen with the 95% interval of a new point.']
    for arch, law in result['l_nd_by_arch'].items():
        lines += ['', *l_nd_lines(arch, law)]
    lines += ['', f'## Runs (loss in {unit})', '', runs_table(result)]
    return '\n'.join(lines) + '\n'


def headline(result):
    parts = []
    for arch, by_size in result['laws'].items():
        which, law = next(iter(by_size.items()))
        law = law['pure']
        text = (f'**{spoken(arch)}: L = {law["a"]:.4g}·N^-{law["alpha"]:.3f}**, α {law["alpha"]:.3f} {interval(law["alpha_ci"])} over '
                f'{len(law["sizes"])} sizes ({spoken(which)} N)')
        if not law['identified']:
            text += ', unidentified'
        if law['leave_largest_out_error'] is not None:
            text += (f'. The law of the smaller sizes predicts the largest to **{law["leave_largest_out_error"]:+.1%}** '
                     f'(95% interval of such an error {interval(law["leave_largest_out_interval"], percent=True)})')
        parts.append(text + '.')
    for arch, law in result['l_nd_by_arch'].items():
        parts.append(f'**{spoken(arch)}: L = {law["E"]:.3g} + {law["A"]:.3g}/N^{law["alpha"]:.3f} + {law["B"]:.3g}/D^{law["beta"]:.3f}** over '
                     f'{law["runs"]} points, α {interval(law["ci"]["alpha"])}, β {interval(law["ci"]["beta"])}.')
    return '\n\n'.join(parts)


def efficiency_lines(efficiency):
    names = {'total': 'total parameters', 'non_embedding': 'non-embedding parameters', 'flops': 'training FLOPs', 'seconds': 'wall time'}
    rows = [[names[key], '–' if e['p_equal_slopes'] is None else f'{e["p_equal_slopes"]:.2g}',
             '–' if e['common_slope_ratio'] is None else f'{e["common_slope_ratio"]:.2f}', interval(e['ci'], '.2f'),
             'yes' if e['established'] else 'not established',
             ' '.join(f'{c["ratio"]:.2f} at {c["loss"]:.3f}' + ('' if c is e['curve'][-1] else ',') for c in (e['curve'][0], e['curve'][-1]))
             if e['curve'] else '–'] for key, e in efficiency['by'].items()]
    return ['### LSTM against GPT: how much more of it the LSTM needs for the same loss', '',
            table(['of what', 'equal slopes, p', 'ratio at a common slope', '95% interval', 'advantage',
                   'ratio with a slope each, over the common range'], rows)]


def l_nd_lines(arch, law):
    words = {'E': 'E', 'A': 'A', 'B': 'B', 'alpha': 'α', 'beta': 'β', 'n_exponent': 'N* ~ C^', 'd_exponent': 'D* ~ C^',
             'loss_exponent': 'L − E ~ C^-'}
    rows = [[word, f'{law[key]:.4g}', interval(law['ci'][key], '.4g')] for key, word in words.items()]
    best = [[f'{r["flops"]:.2g}' + (' (beyond the data)' if r['extrapolated'] else ''),
             *(f'{short(r[key])} [{", ".join(short(v) for v in r[key + "_ci"])}]' for key in ('n', 'd')),
             f'{r["loss"]:.3f} {interval(r["loss_ci"])}'] for r in law['frontier'][::2]]
    return [f'## {spoken(arch)}: L(N, D) = E + A/N^α + B/D^β', '',
            f'{law["runs"]} points, N is {law["size"]}, objective {law["objective"]:.4g}.', '',
            table(['', 'value', '95% interval (bootstrap)'], rows), '',
            f'Best use of C = {law["flops_per_n_d"]:.3g}·N·D training FLOPs:', '', table(['C', 'N*', 'D*', 'L'], best)]


def runs_table(result):
    """The runs, and how far each is off its group's pure law (of its first kind of size)."""
    columns = [('name', 'run'), ('arch', 'arch'), ('n_total', 'N total'), ('n_non_embedding', 'N non-embedding'), ('tokens', 'tokens'),
               ('learning_rate', 'rate'), ('seed', 'seed'), ('loss', 'loss'), ('loss_per_token', 'per token')]
    runs = result['runs']
    columns = [c for c in columns if any(c[0] in run for run in runs)]
    if all(run.get('loss_per_token', run['loss']) == run['loss'] for run in runs):
        columns = [c for c in columns if c[0] != 'loss_per_token']

    def cell(run, key):
        value = run.get(key, '–')
        return (value if isinstance(value, str) or key == 'seed' else f'{value:g}' if key == 'learning_rate' else
                f'{value:.4f}' if 'loss' in key else f'{value:,.0f}')

    def off(run):
        law = next((g['laws'][run['arch']] for g in result['groups'] if run['name'] in g['runs'] and run['arch'] in g['laws']), None)
        if law is None:
            return '–'
        which, forms = next(iter(law.items()))
        return f'{run["loss"] / (forms["pure"]["a"] * run["n_" + which] ** -forms["pure"]["alpha"]) - 1:+.1%}'
    return table([title for _, title in columns] + ['off the pure law'],
                 [[*(cell(run, key) for key, _ in columns), off(run)] for run in runs])
