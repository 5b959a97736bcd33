"""The two pictures of fit_scaling.py: the laws, and the training curves. Colours are safe for the colour-blind (Okabe & Ito 2008),
every colour comes with a marker of its own, and text stays legible at 600 pixels of width."""
import csv
import math
import os

import matplotlib
import numpy as np

from scaling import frontier, laws
from scaling.report import short, spoken

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (after the choice of backend)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator  # noqa: E402

STYLE = {'gpt': ('#0072B2', 'o'), 'lstm': ('#D55E00', 's')}
MORE = [('#009E73', '^'), ('#CC79A7', 'D'), ('#56B4E9', 'v'), ('#E69F00', 'P')]
LOOK = {'font.size': 13, 'axes.titlesize': 14, 'axes.labelsize': 14, 'legend.fontsize': 11.5, 'axes.titleweight': 'bold',
        'axes.titlelocation': 'left', 'axes.spines.top': False, 'axes.spines.right': False, 'axes.edgecolor': '#555555',
        'axes.grid': True, 'axes.axisbelow': True, 'grid.color': '#e4e4e4', 'grid.linewidth': 0.8, 'legend.framealpha': 0.85,
        'legend.edgecolor': 'none', 'mathtext.default': 'regular'}
AXES = {'total': 'parameters N, embeddings included', 'non_embedding': 'parameters N without embeddings and head'}
ORIGINAL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'results', 'original_study.csv')


def style(arch, archs):
    return STYLE.get(arch) or MORE[sorted(set(archs) - set(STYLE)).index(arch) % len(MORE)]


def log_ticks(axis, low, high, form, most=7):
    """Few round labels on a logarithmic axis, whatever its span."""
    for steps in ((1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 4, 5, 6, 8),
                  (1, 2, 3, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0 ** k for k in decades for s in steps if low <= s * 10.0 ** k <= high]
        if len(ticks) <= most:
            break
    else:
        ticks = ticks[::math.ceil(len(ticks) / most)]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: form(v)))
    axis.set_minor_formatter(NullFormatter())


def span(values, margin):
    low, high = min(values), max(values)
    pad = margin * max(math.log(high / low), 0.05)
    return low * math.exp(-pad), high * math.exp(pad)


def interval(ends, digits=3):
    return '[' + ', '.join('∞' if v is None else f'{v:.{digits}f}'.replace('-', '−') for v in ends) + ']'


# ---- laws ----

def draw_scaling(result):
    """Figure of scaling.png: L(N) by total and non-embedding size with residuals; GPT against LSTM; the floor c; L(N, D)."""
    group = result['groups'][0]
    which = [w for w in AXES if any(w in forms for forms in group['laws'].values())]
    lower = [draw_efficiency] if group['efficiency'] and group['efficiency']['curve'] else []
    lower += [draw_floor] if any(forms[which[0]]['offset']['profile'] for forms in group['laws'].values()) else []
    lower += [draw_surface, draw_frontier] if result['l_nd'] else []
    heights = ([4.6, 1.3] if which else []) + [3.4] * math.ceil(len(lower) / 2)
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, sum(heights) + 0.5 * len(heights) + 0.4), layout='constrained')
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        for column, w in enumerate(which):
            at = column if len(which) == 2 else slice(None)
            top = figure.add_subplot(grid[0, at])
            strip = figure.add_subplot(grid[1, at], sharex=top)
            draw_law(top, strip, result, w)
        for i, panel in enumerate(lower):
            row = (2 if which else 0) + i // 2
            last_alone = i == len(lower) - 1 and i % 2 == 0
            panel(figure.add_subplot(grid[row, slice(None) if last_alone else i % 2]), result)
        if which:
            figure.legend(handles=key_to_reading(result), loc='outside upper center', ncols=3, columnspacing=1.5)
    return figure


def key_to_reading(result):
    """Legend entries of what both panels of laws share."""
    def sign(label, look='', **more):
        return plt.Line2D([], [], linestyle=look or 'none', color='#444444', label=label, **more)
    groups = result['groups']
    bold = f': {label}' if len(groups) > 1 and len(label := labels_of(groups)[0]) < 40 else ''
    entries = [sign('law, 95% band' + bold, '-', lw=2.4), sign('beyond the data', '--', lw=1.3),
               sign('largest size', marker='o', ms=8.5, mfc='white', mew=2),
               sign('predicted from the others', marker='x', ms=9, mew=2.2)]
    if any('n_non_embedding' in run for run in result['runs']):
        entries.append(sign('slope of Kaplan et al. 2020: 0.076', ':', lw=1.6))
    if not repeats_original(result):
        entries.append(sign('GPTs of the original study, moved', marker='+', ms=9, mew=1.6))
    return entries


def draw_law(ax, strip, result, which):
    """Points, law, 95% band, dashed beyond the data; the largest size hollow, with what the others predict; residuals below."""
    groups, laws_of = result['groups'], result['groups'][0]['laws']
    archs = [run['arch'] for run in result['runs']]
    sizes = [n for group in groups for forms in group['laws'].values() if which in forms for n in forms[which]['pure']['sizes']]
    losses = [run['loss'] for run in result['runs'] if any(run['name'] in g['runs'] for g in groups if g['laws'])]
    x_low, x_high = span(sizes, 0.13)
    foretold = [observed(f[which]['pure'])[-1] * (1 + (f[which]['pure']['leave_largest_out_error'] or 0))
                for f in laws_of.values() if which in f]
    y_low, y_high = span(losses + [v for v in foretold if min(losses) / 2 < v < max(losses)], 0.1)
    lines = sum(2 + f[which]['offset']['identified'] for f in laws_of.values() if which in f)
    y_high *= (y_high / y_low) ** (1 / (1 - min(0.055 * lines, 0.5)) - 1)         # room for the legend
    bold = [forms[which]['pure'] for forms in laws_of.values() if which in forms]
    for group, label in zip(groups[1:], labels_of(groups)[1:]):
        for arch, forms in group['laws'].items():
            if which in forms:
                law, (colour, marker) = forms[which]['pure'], style(arch, archs)
                n = np.array(law['sizes'])
                if len(label) < 40 and all(abs(math.log(fitted(law)[-1] * n[-1] ** b['alpha'] / b['a'])) > 0.03 for b in bold):
                    ax.annotate(label, (n[-1], fitted(law)[-1]), (6, -4), textcoords='offset points', color=colour, fontsize=9.5, zorder=6)
                ax.plot(n, fitted(law), '-', color=colour, lw=1, alpha=0.5)
                ax.plot(n, observed(law), marker, color=colour, alpha=0.35, ms=5, mew=0)
    for arch, forms in laws_of.items():
        if which not in forms:
            continue
        law, offset, (colour, marker) = forms[which]['pure'], forms[which]['offset'], style(arch, archs)
        n = np.array(law['sizes'])
        seen = observed(law)
        inside, everywhere = np.geomspace(n.min(), n.max(), 60), np.geomspace(x_low, x_high, 120)
        if len(n) > 2:
            ax.fill_between(everywhere, *laws.band(law, everywhere), color=colour, alpha=0.12, lw=0)
            for edge in laws.band(law, everywhere):
                ax.plot(everywhere, edge, color=colour, lw=0.7, alpha=0.5)
        ax.plot(everywhere, law['a'] * everywhere ** -law['alpha'], '--', color=colour, lw=1.3)
        label = (f'{spoken(arch)}  L = {law["a"]:.3g} · N$^{{−{law["alpha"]:.3f}}}$, {len(n)} sizes\n'
                 f'α = {law["alpha"]:.3f} {interval(law["alpha_ci"])}' + ('' if law['identified'] else ', unidentified')).replace('−-', '+')
        ax.plot(inside, law['a'] * inside ** -law['alpha'], '-', color=colour, lw=2.4, marker=marker, ms=8, markevery=[], label=label)
        if offset['identified']:
            ax.plot(inside, offset['a'] * inside ** -offset['alpha'] + offset['c'], ':', color=colour, lw=2,
                    label=f'with floor c = {offset["c"]:.3f}, α = {offset["alpha"]:.3f} {interval(offset["alpha_ci"])}')
        for run in result['runs']:
            if run['arch'] == arch and run['name'] in groups[0]['runs'] and run.get('loss_se'):
                ax.errorbar(run[size_key(which)], run['loss'], 1.96 * run['loss_se'], color=colour, lw=1, capsize=0)
        ax.plot(n[:-1], seen[:-1], marker, color=colour, ms=8, mec='white', mew=0.8, zorder=4)
        ax.plot(n[-1:], seen[-1:], marker, color=colour, ms=8.5, mfc='white', mew=2, zorder=4)
        if law['leave_largest_out_error'] is not None:
            predicted = seen[-1] * (1 + law['leave_largest_out_error'])
            ax.plot([n[-1]] * 2, [seen[-1], predicted], '-', color=colour, lw=1, zorder=3)
            ax.plot(n[-1], predicted, 'x', color=colour, ms=9, mew=2.2, zorder=5)
        residuals = 100 * np.array(law['residuals'])
        strip.vlines(n, 0, residuals, color=colour, lw=1.5)
        strip.plot(n, residuals, marker, color=colour, ms=6.5, mec='white', mew=0.6)
    references(ax, result, which, x_low, x_high)
    ax.set(xscale='log', yscale='log', xlim=(x_low, x_high), ylim=(y_low, y_high), ylabel=f'validation loss, {result["loss_unit"]}',
           title='Loss by total size' if which == 'total' else 'Loss by non-embedding size')
    log_ticks(ax.yaxis, y_low, y_high, lambda v: f'{v:g}')
    log_ticks(ax.xaxis, x_low, x_high, short, most=6)
    ax.tick_params(labelbottom=False)
    ax.legend(loc='upper right', handlelength=1.6, labelspacing=0.5, borderaxespad=0.2)
    strip.axhline(0, color='#555555', lw=0.8)
    reach = 1.25 * max([1, *(abs(v) for v in strip.dataLim.intervaly)])
    strip.set(ylim=(-reach, reach), ylabel='residual, %', xlabel=AXES[which])
    log_ticks(strip.xaxis, x_low, x_high, short, most=6)


def labels_of(groups):
    """What sets each group apart from all others, in as few words as that takes."""
    keys = [key for key in groups[0]['conditions'] if len({str(group['conditions'].get(key)) for group in groups}) > 1]
    words = [[f'{value} tokens' if key == 'tokens' else str(value) for key in keys for value in [group['conditions'].get(key)]] for group in groups]
    return [', '.join(next((own[:k] for k in range(1, len(own)) if sum(other[:k] == own[:k] for other in words) == 1), own)) for own in words]


def size_key(which):
    return 'n_total' if which == 'total' else 'n_non_embedding'


def fitted(law):
    return law['a'] * np.array(law['sizes']) ** -law['alpha']


def observed(law):
    return fitted(law) * (1 + np.array(law['residuals']))


def references(ax, result, which, x_low, x_high):
    """Kaplan's slope, and the original study's GPTs where they are not the data themselves; both moved up or down to our level."""
    forms = result['groups'][0]['laws']
    law = next((forms[arch][which]['pure'] for arch in ('gpt', *forms) if arch in forms and which in forms[arch]), None)
    if law is None:
        return
    n = np.array(law['sizes'])
    centre = math.exp(np.log(n).mean())
    level = law['a'] * centre ** -law['alpha']
    if which == 'non_embedding':
        x = np.array([x_low, x_high])
        ax.plot(x, level * (x / centre) ** -0.076, color='#777777', lw=1.6, ls=':', zorder=1)
    if repeats_original(result):
        return
    x, y = (np.array([float(row[key]) for row in original_gpts()]) for key in (size_key(which), 'loss'))
    overlap = (x >= x_low) & (x <= x_high)
    if overlap.sum() >= 2:
        shift = np.exp(np.mean(np.log(law['a'] * x[overlap] ** -law['alpha'] / y[overlap])))
        ax.plot(x[overlap], y[overlap] * shift, '+', color='#777777', ms=9, mew=1.6, zorder=2)


def original_gpts():
    with open(ORIGINAL, newline='') as file:
        return [row for row in csv.DictReader(file) if row['arch'] == 'gpt']


def repeats_original(result):
    """Whether the runs are the original study's own."""
    return bool({float(row['loss']) for row in original_gpts()} & {run['loss'] for run in result['runs']})


def draw_efficiency(ax, result):
    """N_LSTM / N_GPT at equal loss, for each measure of cost, with the interval of the first."""
    titles = {'total': 'total parameters', 'non_embedding': 'non-embedding', 'flops': 'training FLOPs', 'seconds': 'wall time'}
    looks = dict(zip(titles, (('#009E73', '-'), ('#AA3377', '--'), ('#333333', '-.'), ('#B8860B', ':'))))
    by = result['groups'][0]['efficiency']['by']
    values = [c['ratio'] for e in by.values() for c in e['curve']] + [1]
    first = next(e for e in by.values() if e['curve'])
    values += [v for v in first['ci'] if v and first['common_slope_ratio']]
    low, high = span(values, 0.35)
    low, high = max(low, 0.02), min(high, 50)
    for i, (name, e) in enumerate(by.items()):
        if not e['curve']:
            continue
        loss, ratio = ([c[k] for c in e['curve']] for k in ('loss', 'ratio'))
        colour, dash = looks[name]
        if e is first:
            ends = [[c['low'] or low for c in e['curve']], [c['high'] or high for c in e['curve']]]
            ax.fill_between(loss, *ends, color=colour, alpha=0.13, lw=0, label='its 95% interval')
        ax.plot(loss, ratio, dash, color=colour, lw=2.4, label=titles[name])
    ax.axhline(1, color='#555555', lw=1)
    ax.set(yscale='log', ylim=(low, high), xlabel=f'loss that both reach, {result["loss_unit"]}', ylabel='needed by LSTM / by GPT')
    ax.invert_xaxis()
    ratio, ends = first['common_slope_ratio'], first['ci']
    better = 'GPT' if ratio > 1 else 'LSTM'
    ax.set_title('GPT or LSTM? ' + (f'{better} needs less' if first['established'] else 'Not established'))
    ax.text(0.02, 0.97, f'one slope for both: × {ratio:.2g} {interval(ends, 2)}', transform=ax.transAxes, va='top', fontsize=12)
    log_ticks(ax.yaxis, low, high, lambda v: f'{v:g}×', most=6)
    ax.legend(loc='lower right', fontsize=11)


def draw_floor(ax, result):
    """The exponent that goes with each floor c; solid where that floor is as good as any (95%)."""
    forms = result['groups'][0]['laws']
    archs = [run['arch'] for run in result['runs']]
    for arch, by_size in forms.items():
        law = next(iter(by_size.values()))['offset']
        if not law['profile']:
            continue
        c, alpha, p = (np.array(law['profile'][k]) for k in ('c', 'alpha', 'p'))
        colour, marker = style(arch, archs)
        ax.plot(c, alpha, color=colour, lw=1, ls=':')
        ax.plot(c, np.where(p >= 0.05, alpha, np.nan), color=colour, lw=4, alpha=0.85, solid_capstyle='butt',
                label=f'{spoken(arch)}: α {interval(law["alpha_ci"], 2)}' + ('' if law['identified'] else ', unidentified'))
        ax.plot(law['c'], law['alpha'], marker, color=colour, ms=9, mec='white', mew=1, clip_on=False, zorder=4)
    ax.set(yscale='log', xlabel=f'floor c in L = a·N$^{{−α}}$ + c, {result["loss_unit"]}', ylabel='best exponent α',
           title='What a floor would do to α')
    low, high = ax.get_ylim()
    high = min(high, laws.ALPHA_MAX)
    ax.set_ylim(low, high * (high / low) ** 0.3)
    log_ticks(ax.yaxis, low, high, lambda v: f'{v:g}', most=6)
    ax.legend(loc='upper left', title='thick: not rejected (95%); marker: best', title_fontsize=11, alignment='left')


# ---- L(N, D) ----

def draw_surface(ax, result):
    """Loss against size, a curve for each of a few token counts."""
    law = result['l_nd']
    n, d, loss = (np.array([p[k] for p in law['points']]) for k in ('n', 'd', 'loss'))
    colours = plt.get_cmap('viridis')
    shade = lambda value: colours(0.9 * (math.log(value / d.min()) / max(math.log(d.max() / d.min()), 1e-9)))      # noqa: E731
    ax.scatter(n, loss, c=[shade(v) for v in d], s=36, edgecolor='white', linewidth=0.6, zorder=3)
    x = np.geomspace(*span(n, 0.05), 80)
    distinct = np.unique(d)
    for value in distinct if len(distinct) <= 6 else np.geomspace(d.min(), d.max(), 5):
        ax.plot(x, frontier.predict(law, x, value), color=shade(value), lw=1.8, label=f'{short(value)} tokens')
    ax.set(xscale='log', yscale='log', xlabel=AXES[law['size'].removeprefix('n_')], ylabel=f'loss, {result["loss_unit"]}',
           title='L(N, D) = E + A/N$^α$ + B/D$^β$')
    low, high = span(loss, 0.12)
    high *= (high / low) ** 0.25
    ax.set_ylim(low, high)
    log_ticks(ax.yaxis, low, high, lambda v: f'{v:g}')
    log_ticks(ax.xaxis, x[0], x[-1], short, most=6)
    ax.legend(loc='upper right', fontsize=11, labelspacing=0.25, ncols=2, columnspacing=1)


def draw_frontier(ax, result):
    """The best size and token count for a budget, with intervals; solid only where budget, N* and D* are within the data."""
    law = result['l_nd']
    rows = law['frontier']
    c, n, d = (np.array([r[k] for r in rows]) for k in ('flops', 'n', 'd'))
    inside = np.array([not r['extrapolated'] for r in rows])
    for values, key, colour, marker, name in ((n, 'n', '#0072B2', 'o', 'N* parameters'), (d, 'd', '#D55E00', 's', 'D* tokens')):
        ends, exponent = np.array([r[key + '_ci'] for r in rows]).T, key + '_exponent'
        ax.fill_between(c, *ends, color=colour, alpha=0.15, lw=0)
        ax.plot(c, values, '--', color=colour, lw=1.4)
        ax.plot(c[inside], values[inside], '-', color=colour, marker=marker, ms=6, mec='white', lw=2.4,
                label=f'{name} ~ C$^{{{law[exponent]:.2f}}}$ {interval(law["ci"][exponent], 2)}')
    low, high = span([*n, *d], 0.08)
    ax.set(xscale='log', yscale='log', ylim=(low, high * (high / low) ** 0.25), xlabel='training compute C, FLOPs',
           title='Best use of compute')
    log_ticks(ax.yaxis, low, high, short, most=6)
    ax.legend(loc='upper left')


# ---- training curves ----

def draw_training_curves(curves):
    """Figure of training_curves.png: validation (marked) and training loss (thin) against tokens and, if known, FLOPs."""
    costs = ['tokens'] + (['flops'] if all(curve['flops_per_token'] for curve in curves.values()) else [])
    archs = sorted({curve['arch'] for curve in curves.values()})
    shades = {arch: plt.get_cmap(name) for arch, name in zip(archs, ('Blues', 'Oranges', 'Greens', 'Purples'))}
    order = sorted(curves, key=lambda name: (curves[name]['arch'], curves[name]['n']))
    ends = [loss for curve in curves.values() for _, loss in curve['val']]
    low, high = span(ends, 0.15)
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(1, len(costs), figsize=(11, 5 + 0.3 * math.ceil(len(order) / 3)), sharey=True, squeeze=False,
                                    layout='constrained')
        for ax, cost in zip(axes[0], costs):
            for name in order:
                curve = curves[name]
                same = [other for other in order if curves[other]['arch'] == curve['arch']]
                colour = shades.get(curve['arch'], plt.get_cmap('Greys'))(0.35 + 0.6 * (same.index(name) + 1) / len(same))
                per_token = curve['flops_per_token'] if cost == 'flops' else 1
                for key, look in (('train', {'lw': 0.9, 'alpha': 0.45}),
                                  ('val', {'lw': 2, 'marker': style(curve['arch'], archs)[1], 'ms': 6.5, 'mec': 'white', 'zorder': 3})):
                    x, y = np.array(curve[key] or [(np.nan, np.nan)]).T
                    label = f'{name} ({short(curve["n"])})' if key == 'val' and cost == 'tokens' else None
                    ax.plot(x * per_token, y, color=colour, label=label, **look)
            ax.set(xscale='log', yscale='log', ylim=(low, high), xlabel={'tokens': 'training tokens', 'flops': 'training FLOPs'}[cost])
            if cost == 'tokens':
                log_ticks(ax.xaxis, *ax.get_xlim(), short, most=6)
        axes[0][0].set(ylabel='loss, nats per token', title='Training curves')
        log_ticks(axes[0][0].yaxis, low, high, lambda v: f'{v:g}')
        figure.legend(loc='outside lower center', ncols=3, title='thick, marked: validation; thin: training batches', title_fontsize=12)
    return figure
