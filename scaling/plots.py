"""The pictures of L(N) and of training curves, legible at 600 pixels of width.

Colours are safe for the colour-blind (Okabe & Ito 2008), and every colour comes with a marker of
its own.
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

# Architecture -> colour, marker, shades.
STYLE = {'gpt': ('#0072B2', 'o', 'Blues'), 'lstm': ('#D55E00', 's', 'Oranges')}
OTHER = ('#009E73', '^', 'Greens')
COPYING = {'recalled_share', 'recalled_loss', 'rest_loss'}
LOOK = {'font.size': 14, 'axes.titlesize': 15, 'axes.labelsize': 15, 'legend.fontsize': 12,
        'axes.titleweight': 'bold', 'axes.titlelocation': 'left', 'axes.spines.top': False,
        'axes.spines.right': False, 'axes.grid': True, 'axes.axisbelow': True,
        'axes.edgecolor': '#555555', 'grid.color': '#e4e4e4', 'legend.framealpha': 0.85,
        'legend.edgecolor': 'none', 'mathtext.default': 'regular'}


def log_axis(axis, low, high, form='{:g}'.format, room=1.0):
    """A logarithmic axis with round labels that do not run into each other, whatever its span; the
    smaller `room`, the fewer."""
    decades = math.log10(high / low) / room
    axis.axes.set(**{f'{axis.axis_name}scale': 'log', f'{axis.axis_name}lim': (low, high)})
    if decades < 0.5:
        locator = MaxNLocator(5)
    else:
        steps = {1.1: (1, 1.5, 2, 3, 5, 7), 1.7: (1, 2, 5), 2.8: (1, 3), math.inf: (1,)}
        subs = next(subs for limit, subs in steps.items() if decades < limit)
        locator = LogLocator(10 ** math.ceil(decades / 6), subs)
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))


def span(values, margin, above=0.0):
    """Limits of a logarithmic axis: `margin` of the values' span at both ends, and the share
    `above` for a legend."""
    pad = math.exp(margin * max(math.log(max(values) / min(values)), 0.05))
    low, high = min(values) / pad, max(values) * pad
    return low, high * (high / low) ** (above / (1 - above))


def unit(result):
    """'nats/note' or 'nats/token'."""
    return result['loss_unit'].replace(' per ', '/')


def draw_scaling(result):
    """Figure of scaling.png: L(N) with residuals; GPT against LSTM; copying."""
    which = list(next(iter(result['laws'].values())))
    below = []
    if result['efficiency'] and result['efficiency']['curve']:
        below.append(draw_efficiency)
    if runs_with_parts(result):
        below.append(draw_recalled)
    heights = [5, 1.4, 3.8] if below else [5, 1.4]
    height = sum(heights) + 0.5 * len(heights) + 0.4
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, height), layout='constrained')
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        for column, size in enumerate(which):
            at = column if len(which) == 2 else slice(None)
            top = figure.add_subplot(grid[0, at])
            draw_law(top, figure.add_subplot(grid[1, at], sharex=top), result, size)
        for column, draw in enumerate(below):
            draw(figure.add_subplot(grid[-1, column if len(below) == 2 else slice(None)]), result)
    return figure


def draw_law(ax, strip, result, which):
    """Points, law, 95% band; the largest size hollow, with what the others predict for it;
    residuals below."""
    laws_of = {arch: by_size[which]['pure'] for arch, by_size in result['laws'].items()}
    losses = []
    x_low, x_high = span([n for law in laws_of.values() for n in law['sizes']], 0.13)
    for arch, law in laws_of.items():
        colour, marker, _ = STYLE.get(arch, OTHER)
        n, residual = np.array(law['sizes']), np.array(law['residuals'])

        # The law: solid between the smallest and the largest size, dashed beyond.
        label = (f'{spoken(arch)}  L = {law["a"]:.3g} · N$^{{{-law["alpha"]:.3f}}}$, '
                 f'{len(n)} sizes\nα = {law["alpha"]:.3f} {interval(law["alpha_ci"])}')
        if not law['identified']:
            label += ' (unidentified: too wide)'
        x = np.geomspace(x_low, x_high, 200)
        fitted, inside = law['a'] * x ** -law['alpha'], (x >= n[0]) & (x <= n[-1])
        ax.fill_between(x, *laws.band(law, x), color=colour, alpha=0.13, lw=0)
        ax.plot(x, fitted, '--', color=colour, lw=1.3)
        ax.plot(x[inside], fitted[inside], color=colour, lw=2.4, marker=marker, ms=8, markevery=[],
                label=label)

        # The runs, and a cross where the law of the others puts the largest.
        seen = law['a'] * n ** -law['alpha'] * (1 + residual)
        ax.plot(n[:-1], seen[:-1], marker, color=colour, ms=8, mec='white', zorder=4)
        ax.plot(n[-1], seen[-1], marker, color=colour, ms=9, mfc='white', mew=2, zorder=4)
        predicted = seen[-1] * (1 + law['leave_largest_out_error'])
        ax.plot([n[-1]] * 2, [seen[-1], predicted], color=colour, lw=1, marker='x', ms=9, mew=2.2,
                markevery=[1])
        losses += [*seen, max(predicted, min(seen) / 2)]

        strip.vlines(n, 0, 100 * residual, color=colour, lw=1.5)
        strip.plot(n, 100 * residual, marker, color=colour, ms=7, mec='white')
    ax.plot([], [], 'x', color='#444444', ms=9, mew=2.2,
            label='largest size (hollow), predicted from the others')
    if which == 'non_embedding':
        law, x = next(iter(laws_of.values())), np.array([x_low, x_high])
        centre = math.exp(np.log(law['sizes']).mean())
        kaplan = law['a'] * centre ** -law['alpha'] * (x / centre) ** -0.076
        ax.plot(x, kaplan, ':', color='#777777', lw=1.6, zorder=1,
                label='slope of Kaplan et al. 2020')
    log_axis(ax.yaxis, *span(losses, 0.1, min(0.13 * len(laws_of) + 0.13, 0.5)))
    log_axis(ax.xaxis, x_low, x_high, short)
    at = ''
    if result['l_nd'] and 'tokens' in result['conditions']:
        at = f' at {result["conditions"]["tokens"]} tokens'
    ax.set(ylabel=f'loss{at}, {unit(result)}', title=f'Loss by {spoken(which)}')
    ax.tick_params(labelbottom=False)
    ax.legend(loc='upper right', handlelength=1.6, labelspacing=0.5, borderaxespad=0.2)
    strip.axhline(0, color='#555555', lw=0.8)
    reach = 1.25 * max([1, *(abs(v) for v in strip.dataLim.intervaly)])
    strip.set(ylim=(-reach, reach), ylabel='residual, %', xlabel=f'N, {spoken(which)} (bands: 95%)')


def draw_efficiency(ax, result):
    """How many more parameters an LSTM needs than a GPT for the same loss, with the interval."""
    efficiency, points = result['efficiency'], result['efficiency']['curve']
    loss, ratio = ([point[key] for point in points] for key in ('loss', 'ratio'))
    low, high = span([1, *ratio, *filter(None, efficiency['ci'])], 0.2, 0.25)
    low, high = max(low, 0.03), min(high, 100)
    ends = [point['low'] or low for point in points], [point['high'] or high for point in points]
    counted = spoken(next(iter(efficiency['by'])))
    ax.fill_between(loss, *ends, color='#009E73', alpha=0.15, lw=0)
    ax.plot(loss, ratio, color='#009E73', lw=2.6, label=f'{counted}, 95% interval')
    ax.axhline(1, color='#555555', lw=1)
    answer = 'Not established'
    if efficiency['established']:
        better = 'GPT' if efficiency['common_slope_ratio'] > 1 else 'LSTM'
        answer = f'{better} needs less for the same loss'
    ax.set(xlabel=f'loss that both reach, {unit(result)}',
           ylabel='parameters, LSTM / GPT', title=f'GPT or LSTM? {answer}')
    ax.invert_xaxis()
    log_axis(ax.yaxis, low, high, '{:g}×'.format)
    ax.locator_params(axis='x', nbins=6)
    ax.legend(loc='upper right')


def runs_with_parts(result):
    """The runs of L(N) that know their loss on recalled and on new targets, by size."""
    return sorted((run for run in result['runs']
                   if COPYING <= run.keys() and run['name'] in result['l_n_runs']), key=size_of)


def draw_recalled(ax, result):
    """Loss on the targets that occurred earlier in the context with the token before them, and on
    the others."""
    runs = runs_with_parts(result)
    for arch in sorted({run['arch'] for run in runs}):
        own = [run for run in runs if run['arch'] == arch]
        colour, marker, _ = STYLE.get(arch, OTHER)
        share = sum(run['recalled_share'] for run in own) / len(own)
        for key, dash, words in (('rest_loss', '--', f'new, {1 - share:.0%}'),
                                 ('recalled_loss', '-', f'recalled, {share:.0%}')):
            ax.plot([size_of(run) for run in own], [run[key] for run in own], dash, color=colour,
                    marker=marker, ms=7, mec='white', lw=2, label=f'{spoken(arch)}: {words}')
    losses = [run[key] for run in runs for key in ('recalled_loss', 'rest_loss')]
    log_axis(ax.yaxis, *span([loss for loss in losses if loss], 0.1, 0.3))
    log_axis(ax.xaxis, *span([size_of(run) for run in runs], 0.1), short)
    ax.set(xlabel='N, total parameters', ylabel='loss, nats/token',
           title='Recalled: the pair of tokens occurred earlier in the context')
    ax.legend(loc='upper right', ncols=2, columnspacing=1, handlelength=1.6)


def draw_training_curves(curves):
    """Figure of training_curves.png: validation and training loss against tokens."""
    ends, n_labels = [], len({(curve['arch'], curve['n']) for curve in curves.values()})
    height = 6 + 0.3 * math.ceil(n_labels / 3)
    with plt.rc_context(LOOK):
        figure, ax = plt.subplots(figsize=(11, height), layout='constrained')
        for arch in sorted({curve['arch'] for curve in curves.values()}):
            _, marker, shades = STYLE.get(arch, OTHER)
            own = sorted((curve['n'], name) for name, curve in curves.items()
                         if curve['arch'] == arch)
            first = {}                                  # size -> name of its first run
            for n, name in own:
                first.setdefault(n, name)
            shade = dict(zip(first, np.linspace(0.4, 0.95, len(first))))
            for n, name in own:
                history, colour = curves[name]['history'], plt.get_cmap(shades)(shade[n])
                if len(own) == len(first):
                    label = f'{name} ({short(n)})'
                else:                                   # one line of the legend for each size
                    label = f'{spoken(arch)}, {short(n)}' if name == first[n] else None
                train = [(entry['tokens'], entry['loss']) for entry in history if 'loss' in entry]
                val = [(entry['tokens'], entry['val']['loss'])
                       for entry in history if 'val' in entry]
                ends += [loss for _, loss in val]
                ax.plot(*zip(*train or val), color=colour, lw=0.9, alpha=0.45)
                ax.plot(*zip(*val), color=colour, lw=2, marker=marker, ms=7, mec='white', zorder=3,
                        label=label)
        log_axis(ax.xaxis, *span(ax.dataLim.intervalx, 0.03), short)
        log_axis(ax.yaxis, *span(ends, 0.15))
        ax.set(xlabel='training tokens', ylabel='loss, nats/token', title='Training curves')
        figure.legend(loc='outside lower center', ncols=3,
                      title='marked: validation; thin: training batches')
    return figure
