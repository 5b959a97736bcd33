"""The pictures of L(N, D): the law with its residuals, the best use of compute, and training curves that collapse."""
import numpy as np

from scaling import frontier
from scaling.plots import LOOK, log_axis, plt, span
from scaling.report import interval, short, spoken

SHADES = 'viridis'


def shade(values):
    """A function from a value to its colour, on a logarithmic scale over `values`."""
    place, shades = plt.matplotlib.colors.LogNorm(min(values), max(values)), plt.get_cmap(SHADES)
    return lambda value: shades(0.88 * float(place(value)))


def draw_laws(result):
    """Figure of law.png: for each architecture its runs and law against compute, and what the law leaves over."""
    l_nd = result['l_nd']
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, 5.6 * len(l_nd) + 0.2), layout='constrained')
        grid = figure.add_gridspec(2 * len(l_nd), 3)
        for row, (arch, law) in enumerate(l_nd.items()):
            rows = slice(2 * row, 2 * row + 2)
            foretold = [one for one in result.get('foretold', []) if one['arch'] == arch]
            draw_law(figure.add_subplot(grid[rows, :2]), law, foretold, f'{spoken(arch)}: loss by compute and size',
                     result['loss_unit'])
            for i, (key, words) in enumerate((('n', 'N, parameters'), ('d', 'D, tokens'))):
                draw_residuals(figure.add_subplot(grid[2 * row + i, 2]), law['chosen'], key, words)
    return figure


def draw_law(ax, law, foretold, title, unit):
    """Runs, a colour a size; through each size the chosen law; below them the best that it allows a budget.

    Hollow: a size that the law leaves out.
    """
    chosen, budget = law['chosen'], law['budget']
    n, d, flops, loss = (law['by_size'][chosen['size']]['data'][key] for key in ('n', 'd', 'flops', 'loss'))
    colour = shade(n)
    for size in np.unique(n):
        own = n == size
        if size not in chosen['data']['n']:
            ax.plot(flops[own], loss[own], 'o', color=colour(size), mfc='white', ms=7, label=f'{short(size)}, left out')
            continue
        tokens = np.geomspace(d[own].min(), d[own].max(), 60)
        per_token = (flops[own] / d[own]).mean()
        ax.plot(per_token * tokens, frontier.predict(chosen, size, tokens), color=colour(size), lw=1.8,
                label=short(size))
        ax.plot(flops[own], loss[own], 'o', color=colour(size), ms=7, mec='white', mew=0.8, zorder=3)
    best = frontier.compute_optimal(budget, np.geomspace(flops.min(), 10 * flops.max(), 60), budget['flops_per_n_d'])
    ax.plot([row['flops'] for row in best], [row['loss'] for row in best], '--', color='#444444', lw=1.6,
            label='best use of compute')
    drawn = {(one['name'], one['from']): one for one in reversed(foretold)}     # by the form chosen, which comes first
    for i, one in enumerate(drawn.values()):
        ax.errorbar(one['flops'] * (1.04 if one['from'] == 'runs' else 0.96), one['predicted'],
                    [[one['predicted'] - one['low']], [one['high'] - one['predicted']]], color='#D55E00', marker='x',
                    ms=8, mew=2, capsize=3, lw=1.4, zorder=4,
                    label='foretold before it was trained' if not i else None)
    log_axis(ax.xaxis, *span([*flops, 4 * flops.max()], 0.03), '{:.0e}'.format)
    log_axis(ax.yaxis, *span([*loss, 1.1 * loss.max(), best[-1]['loss']], 0.04))        # the legend is on top
    ax.set(xlabel='training compute C, FLOPs', ylabel=f'loss, {unit}', title=title)
    ax.legend(loc='upper right', title=f'N, {spoken(chosen["size"])}', ncols=2, columnspacing=1, labelspacing=0.3)


def draw_residuals(ax, law, key, words):
    """(seen - fitted) / fitted against N or D, coloured by the other."""
    other, x = ('d', 'n')[key == 'd'], law['data'][key]
    ax.axhline(0, color='#555555', lw=0.8)
    colour = shade(law['data'][other])
    ax.scatter(x, 100 * np.array(law['residuals']), c=[colour(v) for v in law['data'][other]], s=32, edgecolor='white',
               linewidth=0.5, zorder=3)
    log_axis(ax.xaxis, *span(x, 0.08), short, room=0.7)
    ax.set(xlabel=words, ylabel='residual, %')


def draw_optimum(l_nd):
    """Figure of optimum.png: isoFLOP curves, and the best size and tokens by budget, of laws and of the curves.

    Of architectures without such curves only where none has them.
    """
    l_nd = {arch: law for arch, law in l_nd.items() if law['isoflops']} or l_nd
    with plt.rc_context(LOOK):
        figure = plt.figure(figsize=(11, 5.2 * len(l_nd)), layout='constrained')
        grid = figure.add_gridspec(len(l_nd), 2)
        for row, (arch, law) in enumerate(l_nd.items()):
            draw_isoflops(figure.add_subplot(grid[row, 0]), law, f'{spoken(arch)}: one budget, many sizes')
            draw_frontier(figure.add_subplot(grid[row, 1]), law)
    return figure


def draw_isoflops(ax, law, title):
    """Loss by size at equal compute: interpolated runs, the parabola through them, its vertex; the law dotted."""
    curves = law['isoflops']
    if curves:
        colour = shade([curve['flops'] for curve in curves])
        for curve in curves:
            n, budget, (a, b, c, centre) = np.array(curve['n']), law['budget'], curve['parabola']
            x = np.linspace(np.log(n[0]), np.log(n[-1]), 60)
            own = colour(curve['flops'])
            ax.plot(n, curve['loss'], 'o', color=own, ms=7, mec='white', label=f'{curve["flops"]:.1e}')
            ax.plot(np.exp(x), np.exp(np.polyval([a, b, c], x - centre)), color=own, lw=2)
            by_law = frontier.predict(budget, np.exp(x), curve['flops'] / 6 / np.exp(x))
            ax.plot(np.exp(x), by_law, ':', color=own, lw=1.6)
            if curve['n_best']:
                ax.plot(curve['n_best'], curve['loss_best'], 'v', color='#D55E00', ms=9, mec='white', zorder=4)
        sizes, losses = [[v for curve in curves for v in curve[key]] for key in ('n', 'loss')]
        log_axis(ax.xaxis, *span(sizes, 0.06), short)
        log_axis(ax.yaxis, *span(losses, 0.06, 0.12))
        ax.legend(loc='upper right', title='C, FLOPs', ncols=2, columnspacing=1)
    else:
        ax.text(0.5, 0.5, 'There is no budget that five sizes\nwere trained for.', ha='center', transform=ax.transAxes)
        ax.set_axis_off()
    ax.set(xlabel='N, parameters that make compute', title=title)


def draw_frontier(ax, law):
    """The best size and tokens for a budget, with intervals; solid only where all three are within the data."""
    rows, budget = law['frontier'], law['budget']
    c, inside = np.array([row['flops'] for row in rows]), np.array([not row['extrapolated'] for row in rows])
    for key, colour, marker, name in (('n', '#0072B2', 'o', 'N* parameters'), ('d', '#D55E00', 's', 'D* tokens')):
        best, exponent = np.array([row[key] for row in rows]), f'{key}_exponent'
        ax.fill_between(c, *np.array([row[key + '_ci'] for row in rows]).T, color=colour, alpha=0.15, lw=0)
        ax.plot(c, best, '--', color=colour, lw=1.4)
        ax.plot(c[inside], best[inside], color=colour, lw=2.4,
                label=f'{name} ~ C$^{{{budget[exponent]:.2f}}}$ {interval(budget["ci"][exponent], ".2f")}')
        curves = [curve for curve in law['isoflops'] if curve['n_best']]
        if curves:
            middle, ends = (np.array([curve[f'{key}_best{end}'] for curve in curves]) for end in ('', '_ci'))
            ax.errorbar([curve['flops'] for curve in curves], middle, np.abs(ends.T - middle), fmt=marker, color=colour,
                        mec='white', ms=8, capsize=3, label='isoFLOP curves' if key == 'n' else None)
    log_axis(ax.yaxis, *span([row[key] for row in rows for key in ('n', 'd')], 0.1, 0.22), short)
    log_axis(ax.xaxis, c[0], c[-1], '{:.0e}'.format)
    ax.set(xlabel='training compute C, FLOPs', title='Best use of compute')
    ax.legend(loc='upper left')


def draw_collapse(collapsed):
    """Figure of collapse.png: for each architecture the curves of the token count with most of them."""
    with plt.rc_context(LOOK):
        archs = sorted({curve['arch'] for curve in collapsed})
        figure, axes = plt.subplots(1, len(archs), figsize=(11, 4.8), layout='constrained', squeeze=False)
        for ax, arch in zip(axes[0], archs):
            by_tokens = {}
            for curve in (curve for curve in collapsed if curve['arch'] == arch):
                by_tokens.setdefault(curve['tokens'], []).append(curve)
            tokens, own = max(by_tokens.items(), key=lambda item: (len(item[1]), item[0]))
            colour = shade([curve['n'] for curve in own])
            for curve in sorted(own, key=lambda curve: curve['n']):
                ax.plot(curve['share'], curve['above'], color=colour(curve['n']), lw=2, label=short(curve['n']))
            ax.set(xlabel='share of the training', ylabel='loss above its end, nats per token',
                   title=f'{spoken(arch)}, {short(tokens)} tokens each')
            ax.legend(title='N', ncols=2, loc='upper right')
    return figure
