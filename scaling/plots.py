"""The two pictures of fit_scaling.py: the laws, and the training curves.

Colours are safe for the colour-blind (Okabe & Ito 2008), every colour comes with a marker of its own, and text stays
legible at 600 pixels of width.
"""
import math

import matplotlib
import numpy as np

from scaling import frontier, laws
from scaling.report import interval, short, spoken

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (after the choice of backend)
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: E402

STYLE = {'gpt': ('#0072B2', 'o', 'Blues'), 'lstm': ('#D55E00', 's', 'Oranges')}
MORE = [('#009E73', '^', 'Greens'), ('#CC79A7', 'D', 'Purples')]
LOOK = {'font.size': 14, 'axes.titlesize': 15, 'axes.labelsize': 15, 'legend.fontsize': 12, 'axes.titleweight': 'bold',
        'axes.titlelocation': 'left', 'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True,
        'axes.axisbelow': True, 'axes.edgecolor': '#555555', 'grid.color': '#e4e4e4', 'legend.framealpha': 0.85,
        'legend.edgecolor': 'none', 'mathtext.default': 'regular'}
AXES = {'total': 'parameters N, embeddings included', 'non_embedding': 'N without embeddings and head'}
STEPS = ((1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 4, 5, 6, 8),
         (1, 2, 4, 7), (1, 2, 5), (1, 3), (1,))


def style(arch, archs):
    """(colour, marker, colour map) of an architecture among `archs`."""
    return STYLE.get(arch) or MORE[sorted(set(archs) - set(STYLE)).index(arch) % len(MORE)]


def log_axis(axis, low, high, form='{:g}'.format, gap=0.08):
    """A logarithmic axis with round labels, as many as stand at least the share `gap` of its length apart."""
    for steps in (*STEPS, None):
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0 ** k for k in exponents[::1 if steps else 3] for step in steps or (1,)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) < 2 or np.diff(np.log(ticks)).min() >= gap * math.log(high / low):
            break
    axis.axes.set(**{f'{axis.axis_name}scale': 'log', f'{axis.axis_name}lim': (low, high)})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))


def span(values, margin, above=0.0):
    """Limits of a logarithmic axis: `margin` of the values' span at both ends, and the share `above` for a legend."""
    pad = math.exp(margin * max(math.log(max(values) / min(values)), 0.05))
    low, high = min(values) / pad, max(values) * pad
    return low, high * (high / low) ** (above / (1 - above))


def draw_scaling(result):
    """Figure of scaling.png: L(N, D) with the best use of compute; L(N) with residuals; GPT against LSTM."""
    l_nd, which = result['l_nd'] or {}, list(next(iter(result['laws'].values()), {}))
    compared = bool(result['efficiency'] and result['efficiency']['curve'])
    heights = [4.8] * len(l_nd) + [5, 1.4] * bool(which) + [3.4] * compared
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, sum(heights) + 0.5 * len(heights) + 0.4), layout='constrained')
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        for row, (arch, law) in enumerate(l_nd.items()):
            draw_surface(figure.add_subplot(grid[row, 0]), law, f'{spoken(arch)}: L(N, D), {result["loss_unit"]}')
            draw_frontier(figure.add_subplot(grid[row, 1]), law)
        for column, size in enumerate(which):
            at = column if len(which) == 2 else slice(None)
            top = figure.add_subplot(grid[len(l_nd), at])
            draw_law(top, figure.add_subplot(grid[len(l_nd) + 1, at], sharex=top), result, size)
        if compared:
            draw_efficiency(figure.add_subplot(grid[-1, :]), result)
        if which:
            figure.legend(loc='outside upper center', ncols=3, columnspacing=1.5, handles=[
                plt.Line2D([], [], color='#444444', **look) for look in (
                    {'label': 'law, 95% band', 'lw': 2.4}, {'label': 'beyond the data', 'ls': '--'},
                    {'label': 'largest size', 'ls': 'none', 'marker': 'o', 'ms': 9, 'mfc': 'white', 'mew': 2},
                    {'label': 'predicted from the others', 'ls': 'none', 'marker': 'x', 'ms': 9, 'mew': 2.2},
                    {'label': 'slope of Kaplan et al. 2020: 0.076', 'ls': ':', 'lw': 1.6})])
    return figure


def draw_law(ax, strip, result, which):
    """Points, law, 95% band; the largest size hollow, with what the others predict for it; residuals below."""
    laws_of, key = {arch: by_size[which]['pure'] for arch, by_size in result['laws'].items()}, f'n_{which}'
    group = [run for run in result['runs'] if run['in_l_n']]
    x_low, x_high = span([run[key] for run in group], 0.13)
    losses = [run['loss'] for run in group]
    for arch, law in laws_of.items():
        n, residual, (colour, marker, _) = np.array(law['sizes']), np.array(law['residuals']), style(arch, laws_of)
        x = np.geomspace(x_low, x_high, 200)
        fitted, inside = law['a'] * x ** -law['alpha'], (x >= n[0]) & (x <= n[-1])
        seen = law['a'] * n ** -law['alpha'] * (1 + residual)
        label = (f'{spoken(arch)}  L = {law["a"]:.3g} · N$^{{{-law["alpha"]:.3f}}}$, {len(n)} sizes\n'
                 f'α = {law["alpha"]:.3f} {interval(law["alpha_ci"])}' + ', unidentified' * (not law['identified']))
        ax.fill_between(x, *laws.band(law, x), color=colour, alpha=0.13, lw=0)
        ax.plot(x, fitted, '--', color=colour, lw=1.3)
        ax.plot(x[inside], fitted[inside], color=colour, lw=2.4, marker=marker, ms=8, markevery=[], label=label)
        for run in group:
            if run['arch'] == arch and run.get('loss_se'):
                ax.errorbar(run[key], run['loss'], 1.96 * run['loss_se'], color=colour, lw=1)
        ax.plot(n[:-1], seen[:-1], marker, color=colour, ms=8, mec='white', zorder=4)
        ax.plot(n[-1], seen[-1], marker, color=colour, ms=9, mfc='white', mew=2, zorder=4)
        predicted = seen[-1] * (1 + law['leave_largest_out_error'])
        ax.plot([n[-1]] * 2, [seen[-1], predicted], color=colour, lw=1, marker='x', ms=9, mew=2.2, markevery=[1])
        losses.append(max(predicted, min(losses) / 2))
        strip.vlines(n, 0, 100 * residual, color=colour, lw=1.5)
        strip.plot(n, 100 * residual, marker, color=colour, ms=7, mec='white')
    if which == 'non_embedding':
        law, x = next(iter(laws_of.values())), np.array([x_low, x_high])
        centre = math.exp(np.log(law['sizes']).mean())
        ax.plot(x, law['a'] * centre ** -law['alpha'] * (x / centre) ** -0.076, ':', color='#777777', lw=1.6, zorder=1)
    log_axis(ax.yaxis, *span(losses, 0.1, min(0.12 * len(laws_of), 0.5)))
    log_axis(ax.xaxis, x_low, x_high, short, gap=0.15)
    at = f' at {result["conditions"]["tokens"]} tokens' if result['l_nd'] and 'tokens' in result['conditions'] else ''
    ax.set(ylabel=f'loss{at}, {result["loss_unit"]}', title=f'L(N), {spoken(which)}')
    ax.tick_params(labelbottom=False)
    ax.legend(loc='upper right', handlelength=1.6, labelspacing=0.5, borderaxespad=0.2)
    strip.axhline(0, color='#555555', lw=0.8)
    reach = 1.25 * max([1, *(abs(v) for v in strip.dataLim.intervaly)])
    strip.set(ylim=(-reach, reach), ylabel='residual, %', xlabel=AXES[which])


def draw_efficiency(ax, result):
    """How much more an LSTM needs than a GPT for the same loss: parameters, with the interval, and compute."""
    efficiency, by = result['efficiency'], result['efficiency']['by']
    ratios = [point['ratio'] for point in efficiency['curve']]
    low, high = span([1, *ratios, *(min(max(end, 0.03), 30) for end in efficiency['ci'] if end)], 0.2, 0.25)
    for key, colour, dash in ((next(iter(by)), '#009E73', '-'), ('flops', '#333333', '--')):
        curve = by[key]['curve'] if key in by else []
        loss, ratio = ([point[name] for point in curve] for name in ('loss', 'ratio'))
        ax.plot(loss, ratio, dash, color=colour, lw=2.6, label=spoken(key) + ', 95% interval' * (dash == '-'))
        if dash == '-':
            ends = [[point[end] or limit for point in curve] for end, limit in (('low', low), ('high', high))]
            ax.fill_between(loss, *ends, color=colour, alpha=0.15, lw=0)
    ax.axhline(1, color='#555555', lw=1)
    answer = ('GPT' if efficiency['common_slope_ratio'] > 1 else 'LSTM') + ' needs less for the same loss'
    ax.set(xlabel=f'loss that both reach, {result["loss_unit"]}', ylabel='LSTM / GPT',
           title='GPT or LSTM? ' + (answer if efficiency['established'] else 'Not established'))
    ax.invert_xaxis()
    log_axis(ax.yaxis, low, high, '{:g}×'.format, gap=0.12)
    ax.locator_params(axis='x', nbins=6)
    ax.legend(loc='upper right', ncols=2)


def draw_surface(ax, law, title):
    """Loss against size, a curve for each of a few token counts."""
    n, d, loss = (law['data'][key] for key in ('n', 'd', 'loss'))
    place, shades = plt.matplotlib.colors.LogNorm(d.min(), d.max()), plt.get_cmap('viridis')
    ax.scatter(n, loss, c=shades(0.9 * place(d)), s=42, edgecolor='white', linewidth=0.6, zorder=3)
    x = np.geomspace(*span(n, 0.05), 80)
    for value in np.unique(d) if len(np.unique(d)) <= 6 else np.geomspace(d.min(), d.max(), 5):
        ax.plot(x, frontier.predict(law, x, value), color=shades(0.9 * place(value)), lw=2, label=short(value))
    log_axis(ax.xaxis, x[0], x[-1], short, gap=0.15)
    log_axis(ax.yaxis, *span(loss, 0.1, 0.25))
    ax.set(xlabel=AXES[law['size']], title=title)
    ax.legend(loc='upper right', title='training tokens D', labelspacing=0.25, ncols=3, columnspacing=1)


def draw_frontier(ax, law):
    """The best size and token count for a budget, with intervals; solid only where all three are within the data."""
    rows = law['frontier']
    c, inside = np.array([row['flops'] for row in rows]), np.array([not row['extrapolated'] for row in rows])
    for key, colour, marker, name in (('n', '#0072B2', 'o', 'N* parameters'), ('d', '#D55E00', 's', 'D* tokens')):
        best, exponent = np.array([row[key] for row in rows]), f'{key}_exponent'
        ax.fill_between(c, *np.array([row[key + '_ci'] for row in rows]).T, color=colour, alpha=0.15, lw=0)
        ax.plot(c, best, '--', color=colour, lw=1.4)
        ax.plot(c[inside], best[inside], color=colour, marker=marker, ms=7, mec='white', lw=2.4,
                label=f'{name} ~ C$^{{{law[exponent]:.2f}}}$ {interval(law["ci"][exponent], ".2f")}')
    log_axis(ax.yaxis, *span([row[key] for row in rows for key in ('n', 'd')], 0.1, 0.2), short)
    log_axis(ax.xaxis, c[0], c[-1], '{:.0e}'.format, gap=0.2)
    ax.set(xlabel='training compute C, FLOPs', title='Best use of compute')
    ax.legend(loc='upper left')


def draw_training_curves(curves):
    """Figure of training_curves.png: validation and training loss against tokens and, where known, FLOPs."""
    archs, ends = [curve['arch'] for curve in curves.values()], []
    order = sorted(curves, key=lambda name: (curves[name]['arch'], curves[name]['n']))
    costs = ['tokens'] + ['FLOPs'] * all(curve['flops_per_token'] for curve in curves.values())
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(1, len(costs), figsize=(11, 5 + 0.3 * math.ceil(len(curves) / 3)), sharey=True,
                                    squeeze=False, layout='constrained')
        for name in order:
            arch, history = curves[name]['arch'], curves[name]['history']
            _, marker, shades = style(arch, archs)
            rank = [other for other in order if curves[other]['arch'] == arch].index(name) + 1
            colour = plt.get_cmap(shades)(0.35 + 0.6 * rank / archs.count(arch))
            train = np.array([(e['tokens'], e['loss']) for e in history if 'loss' in e] or [(np.nan, np.nan)]).T
            val = np.array([(e['tokens'], e['val']['loss']) for e in history if 'val' in e]).T
            ends += val[1].tolist()
            for ax, factor in zip(axes[0], (1, curves[name]['flops_per_token'])):
                ax.plot(train[0] * factor, train[1], color=colour, lw=0.9, alpha=0.45)
                ax.plot(val[0] * factor, val[1], color=colour, lw=2, marker=marker, ms=6.5, mec='white', zorder=3,
                        label=f'{name} ({short(curves[name]["n"])})' if ax is axes[0][0] else None)
        for ax, cost in zip(axes[0], costs):
            ax.set(xscale='log', xlabel=f'training {cost}')
        log_axis(axes[0][0].xaxis, *axes[0][0].get_xlim(), short, gap=0.15)
        log_axis(axes[0][0].yaxis, *span(ends, 0.15))
        axes[0][0].set(ylabel='loss, nats per token', title='Training curves')
        figure.legend(loc='outside lower center', ncols=3, title='marked: validation; thin: training batches')
    return figure
