"""The pictures of L(N) and of training curves, legible at 600 pixels of width.

Colours are safe for the colour-blind (Okabe & Ito 2008), and every colour comes with a marker of its own.
"""
import math

import matplotlib
import numpy as np

from scaling import laws
from scaling.report import interval, short, spoken
from scaling.runs import size_of

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (after the choice of backend)
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator  # noqa: E402

STYLE = {'gpt': ('#0072B2', 'o', 'Blues'), 'lstm': ('#D55E00', 's', 'Oranges')}         # colour, marker, shades
COPYING = {'recalled_share', 'recalled_loss', 'rest_loss'}
OTHER = ('#009E73', '^', 'Greens')
LOOK = {'font.size': 14, 'axes.titlesize': 15, 'axes.labelsize': 15, 'legend.fontsize': 12, 'axes.titleweight': 'bold',
        'axes.titlelocation': 'left', 'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True,
        'axes.axisbelow': True, 'axes.edgecolor': '#555555', 'grid.color': '#e4e4e4', 'legend.framealpha': 0.85,
        'legend.edgecolor': 'none', 'mathtext.default': 'regular'}


def log_axis(axis, low, high, form='{:g}'.format, room=1.0):
    """A logarithmic axis with round labels that do not run into each other, whatever its span; `room` for them."""
    decades = math.log10(high / low) / room
    axis.axes.set(**{f'{axis.axis_name}scale': 'log', f'{axis.axis_name}lim': (low, high)})
    subs = (1, 1.5, 2, 3, 5, 7) if decades < 1.1 else (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 2.8 else (1,)
    axis.set_major_locator(MaxNLocator(5) if decades < 0.5 else LogLocator(10 ** math.ceil(decades / 6), subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))


def span(values, margin, above=0.0):
    """Limits of a logarithmic axis: `margin` of the values' span at both ends, and the share `above` for a legend."""
    pad = math.exp(margin * max(math.log(max(values) / min(values)), 0.05))
    low, high = min(values) / pad, max(values) * pad
    return low, high * (high / low) ** (above / (1 - above))


def draw_scaling(result):
    """Figure of scaling.png: L(N) with residuals; GPT against LSTM; copying."""
    which = list(next(iter(result['laws'].values())))
    compared = bool(result['efficiency'] and result['efficiency']['curve'])
    recalled = any(COPYING <= run.keys() and run['name'] in result['l_n_runs'] for run in result['runs'])
    below = [draw_efficiency] * compared + [draw_recalled] * recalled
    heights = [5, 1.4] + [3.8] * bool(below)
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, sum(heights) + 0.5 * len(heights) + 0.4), layout='constrained')
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        for column, size in enumerate(which):
            at = column if len(which) == 2 else slice(None)
            top = figure.add_subplot(grid[0, at])
            draw_law(top, figure.add_subplot(grid[1, at], sharex=top), result, size)
        for column, draw in enumerate(below):
            draw(figure.add_subplot(grid[-1, column if len(below) == 2 else slice(None)]), result)
    return figure


def draw_law(ax, strip, result, which):
    """Points, law, 95% band; the largest size hollow, with what the others predict for it; residuals below."""
    laws_of, losses = {arch: by_size[which]['pure'] for arch, by_size in result['laws'].items()}, []
    x_low, x_high = span([n for law in laws_of.values() for n in law['sizes']], 0.13)
    for arch, law in laws_of.items():
        n, residual, (colour, marker, _) = np.array(law['sizes']), np.array(law['residuals']), STYLE.get(arch, OTHER)
        x = np.geomspace(x_low, x_high, 200)
        fitted, inside = law['a'] * x ** -law['alpha'], (x >= n[0]) & (x <= n[-1])
        seen = law['a'] * n ** -law['alpha'] * (1 + residual)
        label = (f'{spoken(arch)}  L = {law["a"]:.3g} · N$^{{{-law["alpha"]:.3f}}}$, {len(n)} sizes\n'
                 f'α = {law["alpha"]:.3f} {interval(law["alpha_ci"])}')
        if not law['identified']:
            label += ' (unidentified: too wide)'
        ax.fill_between(x, *laws.band(law, x), color=colour, alpha=0.13, lw=0)
        ax.plot(x, fitted, '--', color=colour, lw=1.3)
        ax.plot(x[inside], fitted[inside], color=colour, lw=2.4, marker=marker, ms=8, markevery=[], label=label)
        ax.plot(n[:-1], seen[:-1], marker, color=colour, ms=8, mec='white', zorder=4)
        ax.plot(n[-1], seen[-1], marker, color=colour, ms=9, mfc='white', mew=2, zorder=4)
        predicted = seen[-1] * (1 + law['leave_largest_out_error'])
        ax.plot([n[-1]] * 2, [seen[-1], predicted], color=colour, lw=1, marker='x', ms=9, mew=2.2, markevery=[1])
        losses += [*seen, max(predicted, min(seen) / 2)]
        strip.vlines(n, 0, 100 * residual, color=colour, lw=1.5)
        strip.plot(n, 100 * residual, marker, color=colour, ms=7, mec='white')
    ax.plot([], [], 'x', color='#444444', ms=9, mew=2.2, label='largest size, predicted from the others')
    if which == 'non_embedding':
        law, x = next(iter(laws_of.values())), np.array([x_low, x_high])
        centre = math.exp(np.log(law['sizes']).mean())
        ax.plot(x, law['a'] * centre ** -law['alpha'] * (x / centre) ** -0.076, ':', color='#777777', lw=1.6, zorder=1,
                label='slope of Kaplan et al. 2020')
    log_axis(ax.yaxis, *span(losses, 0.1, min(0.13 * len(laws_of) + 0.13, 0.5)))
    log_axis(ax.xaxis, x_low, x_high, short)
    at = f' at {result["conditions"]["tokens"]} tokens' if result['l_nd'] and 'tokens' in result['conditions'] else ''
    ax.set(ylabel=f'loss{at}, {result["loss_unit"]}', title=f'Loss by {spoken(which)}')
    ax.tick_params(labelbottom=False)
    ax.legend(loc='upper right', handlelength=1.6, labelspacing=0.5, borderaxespad=0.2)
    strip.axhline(0, color='#555555', lw=0.8)
    reach = 1.25 * max([1, *(abs(v) for v in strip.dataLim.intervaly)])
    strip.set(ylim=(-reach, reach), ylabel='residual, %', xlabel=f'N, {spoken(which)}')


def draw_efficiency(ax, result):
    """How many more parameters an LSTM needs than a GPT for the same loss, with the interval."""
    efficiency, points = result['efficiency'], result['efficiency']['curve']
    low, high = span([1, *(point['ratio'] for point in points), *filter(None, efficiency['ci'])], 0.2, 0.25)
    low, high = max(low, 0.03), min(high, 100)
    loss, ratio = ([point[key] for point in points] for key in ('loss', 'ratio'))
    ends = [[point[key] or limit for point in points] for key, limit in (('low', low), ('high', high))]
    ax.fill_between(loss, *ends, color='#009E73', alpha=0.15, lw=0)
    ax.plot(loss, ratio, color='#009E73', lw=2.6, label=f'{spoken(next(iter(efficiency["by"])))}, 95% interval')
    ax.axhline(1, color='#555555', lw=1)
    answer = ('GPT' if efficiency['common_slope_ratio'] > 1 else 'LSTM') + ' needs less for the same loss'
    ax.set(xlabel=f'loss that both reach, {result["loss_unit"]}', ylabel='LSTM / GPT',
           title='GPT or LSTM? ' + (answer if efficiency['established'] else 'Not established'))
    ax.invert_xaxis()
    log_axis(ax.yaxis, low, high, '{:g}×'.format)
    ax.locator_params(axis='x', nbins=6)
    ax.legend(loc='upper right')


def draw_recalled(ax, result):
    """Loss of the targets that could be looked up in the window, and of the rest, of the runs of L(N) that tell."""
    runs = [run for run in result['runs'] if COPYING <= run.keys() and run['name'] in result['l_n_runs']]
    runs.sort(key=size_of)
    for arch in sorted({run['arch'] for run in runs}):
        own, (colour, marker, _) = [run for run in runs if run['arch'] == arch], STYLE.get(arch, OTHER)
        share = sum(run['recalled_share'] for run in own) / len(own)
        for key, dash, words in (('rest_loss', '--', f'new, {1 - share:.0%}'),
                                 ('recalled_loss', '-', f'recalled, {share:.0%}')):
            ax.plot([size_of(run) for run in own], [run[key] for run in own], dash, color=colour, marker=marker, ms=7,
                    mec='white', lw=2, label=f'{spoken(arch)}: {words}')
    losses = [run[key] for run in runs for key in ('recalled_loss', 'rest_loss')]
    log_axis(ax.yaxis, *span([loss for loss in losses if loss], 0.1, 0.3))
    log_axis(ax.xaxis, *span([size_of(run) for run in runs], 0.1), short)
    ax.set(xlabel='N, total parameters', ylabel='loss, nats/token',
           title='Recalled: the pair of tokens occurred earlier in the context')
    ax.legend(loc='upper right', ncols=2, columnspacing=1, handlelength=1.6)


def draw_training_curves(curves):
    """Figure of training_curves.png: validation and training loss against tokens."""
    ends, n_labels = [], len({(curve['arch'], curve['n']) for curve in curves.values()})
    with plt.rc_context(LOOK):
        figure, ax = plt.subplots(figsize=(11, 6 + 0.3 * math.ceil(n_labels / 3)), layout='constrained')
        for arch in sorted({curve['arch'] for curve in curves.values()}):
            own = sorted([(curve['n'], name) for name, curve in curves.items() if curve['arch'] == arch])
            sizes, (_, marker, shades) = sorted({n for n, _ in own}), STYLE.get(arch, OTHER)
            shade = dict(zip(sizes, np.linspace(0.4, 0.95, len(sizes))))
            for n, name in own:
                history, colour = curves[name]['history'], plt.get_cmap(shades)(shade[n])
                label = f'{name} ({short(n)})'
                if len(own) > len(sizes):               # a line of the legend for each size, not for each run
                    label = f'{spoken(arch)}, {short(n)}' if name == next(other for m, other in own if m == n) else None
                train = [(entry['tokens'], entry['loss']) for entry in history if 'loss' in entry]
                val = [(entry['tokens'], entry['val']['loss']) for entry in history if 'val' in entry]
                ends += [loss for _, loss in val]
                ax.plot(*zip(*train or val), color=colour, lw=0.9, alpha=0.45)
                ax.plot(*zip(*val), color=colour, lw=2, marker=marker, ms=7, mec='white', zorder=3,
                        label=label)
        log_axis(ax.xaxis, *span(ax.dataLim.intervalx, 0.03), short)
        log_axis(ax.yaxis, *span(ends, 0.15))
        ax.set(xlabel='training tokens', ylabel='loss, nats/token', title='Training curves')
        figure.legend(loc='outside lower center', ncols=3, title='marked: validation; thin: training batches')
    return figure
