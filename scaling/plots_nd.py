"""The pictures of L(N, D): the law, what it misses, recalled and new targets, budgets, collapse."""
import numpy as np

from scaling import frontier
from scaling.checks import extended_curve, mean_losses
from scaling.plots import LOOK, log_axis, plt, span, unit
from scaling.report import interval, short, spoken
from scaling.runs import size_of

SHADES = 'viridis'
FORECAST = '#D55E00'


def shade(values):
    """A function from a value to its colour: equal steps from one of the `values` to the next."""
    ordered = np.unique(values)
    steps = max(1, len(ordered) - 1)
    return lambda value: plt.get_cmap(SHADES)(0.9 * np.searchsorted(ordered, value) / steps)


def draw_law(result):
    """Figure of law.png: the runs of the first architecture and its law against compute."""
    arch, law = next(iter(result['l_nd'].items()))
    with plt.rc_context(LOOK):
        figure, ax = plt.subplots(figsize=(11, 6.6), layout='constrained')
        draw_runs(ax, law['chosen'], f'{spoken(arch)}: one law, a curve for each size',
                  unit(result))
        draw_envelope(ax, law)
        ax.legend(loc='upper right', title=f'N, {spoken(law["chosen"]["size"])}', ncols=2,
                  columnspacing=1, labelspacing=0.3)
        ax.text(0.02, 0.03, formula(law['chosen']), transform=ax.transAxes, fontsize=13)
    return figure


def formula(law):
    """The law with its numbers in mathematical notation."""
    k = law['kappa']
    a = fr'{law["A"]:.3g}/N^{{{law["alpha"]:.2f}}}'
    b = fr'{law["B"]:.3g}/D^{{{law["beta"]:.2f}}}'
    if law['form'] == 'kaplan':
        return (fr'$L = {law["E"]:.2f} + ((\frac{{{law["A"]:.3g}}}{{N^{{{law["alpha"]:.2f}}}}})^'
                fr'{{1/{k:.2f}}} + (\frac{{{law["B"]:.3g}}}{{D^{{{law["beta"]:.2f}}}}})^'
                fr'{{1/{k:.2f}}})^{{{k:.2f}}}$')
    if law['form'] == 'coupled':
        b = fr'{law["B"]:.3g}/(D^{{{law["beta"]:.2f}}} N^{{{law["gamma"]:.2f}}})'
    return f'$L = {law["E"]:.2f} + {a} + {b}$'


def draw_runs(ax, law, title, loss_unit):
    """Runs against compute, a colour for each size, and the law through each size."""
    n, d, flops, loss = (law['data'][key] for key in ('n', 'd', 'flops', 'loss'))
    colour = shade(n)
    for size in np.unique(n):
        own = n == size
        tokens = np.geomspace(d[own].min(), d[own].max(), 60)
        per_token = (flops[own] / d[own]).mean()
        ax.plot(per_token * tokens, frontier.predict(law, size, tokens), color=colour(size), lw=1.8,
                marker='o', ms=7, mec='white', markevery=[], label=short(size))
        ax.plot(flops[own], loss[own], 'o', color=colour(size), ms=7, mec='white', zorder=3)
    log_axis(ax.xaxis, *span([*flops, 4 * flops.max()], 0.03), '{:.0e}'.format)
    log_axis(ax.yaxis, *span([*loss, 1.1 * loss.max(), 0.93 * loss.min()], 0.04))
    ax.set(xlabel='training compute C, FLOPs', ylabel=f'loss, {loss_unit}', title=title)


def draw_envelope(ax, law):
    budget = law['budget']
    least, most = budget['data']['flops'].min(), budget['data']['flops'].max()
    for ends, line, label in (((least, most), '-', 'best size for each C'),
                              ((most, ax.get_xlim()[1]), '--', '…, outside of the data')):
        c = np.geomspace(*ends, 60)
        best = frontier.compute_optimal(budget, c, budget['flops_per_n_d'])
        ax.plot(c, [row['loss'] for row in best], line, color='#444444', lw=1.2, label=label)


def draw_residuals(result):
    """Figure of residuals.png: what each law leaves over, and forecasts beside what was seen."""
    l_nd, forecasts = result['l_nd'], result.get('foretold', [])
    with plt.rc_context(LOOK):
        columns = 2 + bool(forecasts)
        figure, axes = plt.subplots(len(l_nd), columns, figsize=(5 * columns, 4 * len(l_nd)),
                                    layout='constrained', squeeze=False)
        for row, (arch, law) in enumerate(l_nd.items()):
            for ax, key in zip(axes[row], ('n', 'd')):
                draw_one_residual(ax, law['chosen'], key, spoken(arch))
        if forecasts:
            draw_forecasts(axes[0][2], forecasts, unit(result))
            for ax in axes[1:, 2]:
                ax.set_axis_off()
    return figure


def draw_one_residual(ax, law, key, title):
    """(seen - fitted) / fitted against N or D, coloured by the other."""
    other = 'd' if key == 'n' else 'n'
    words = {'n': f'N, {spoken(law["size"])}', 'd': 'D, training tokens'}
    x, residual = law['data'][key], 100 * np.array(law['residuals'])
    colour = shade(law['data'][other])
    ax.axhline(0, color='#555555', lw=0.8)
    values = np.unique(law['data'][other])
    labelled = {values[0], values[len(values) // 2], values[-1]}
    for value in values:
        own = law['data'][other] == value
        label = f'{other.upper()} = {short(value)}' if value in labelled else None
        ax.plot(x[own], residual[own], 'o', color=colour(value), ms=7, mec='white', label=label)
    log_axis(ax.xaxis, *span(x, 0.08), short, room=0.7)
    ax.set(xlabel=words[key], ylabel='residual, %', title=title)
    ax.margins(y=0.35)
    ax.legend(loc='upper right', ncols=3, columnspacing=0.8, handletextpad=0.1)


def draw_forecasts(ax, forecasts, loss_unit):
    """Predicted against seen loss, of forecasts committed before the runs; filled: inside."""
    seen = [one['seen'] for one in forecasts]
    low, high = 0.98 * min(seen), 1.02 * max(max(seen), *(one['predicted'] for one in forecasts))
    ax.plot([low, high], [low, high], color='#555555', lw=0.8)
    for inside, words in ((True, 'seen inside the interval'), (False, 'seen outside')):
        own = [one for one in forecasts if one['inside'] == inside]
        if own:
            middle = np.array([one['predicted'] for one in own])
            ends = np.array([[one['predicted'] - one['low'], one['high'] - one['predicted']]
                             for one in own]).T
            ax.errorbar([one['seen'] for one in own], middle, np.abs(ends), fmt='o', ms=7, lw=1.2,
                        color=FORECAST, mfc=FORECAST if inside else 'white', capsize=2, label=words)
    ax.set(xlabel=f'loss seen, {loss_unit}', ylabel='loss predicted, 95% interval',
           xlim=(low, high), title='Forecasts, committed first')
    ax.legend(loc='upper left')


def draw_parts(result):
    """Figure of parts.png: loss of recalled and of new targets against D, a curve for each size.

    The laws are those of the sizes and token counts that have learned to copy (parts.py), if there
    are any. None where the runs do not know their parts.
    """
    arch, law = next(iter(result['l_nd'].items()))
    known = {one['part']: one for one in law['parts']}          # the last of a part has fewer runs
    if not known:
        return None
    names = set(result['l_nd_runs'][arch])
    group = [run for run in result['runs'] if run['name'] in names]
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), layout='constrained')
        for ax, part, key in zip(axes, ('recalled', 'new'), ('recalled_loss', 'rest_loss')):
            own = [run | {'loss': run[key]} for run in group]
            draw_part(ax, known[part], own)
            kappa = f'κ = {known[part]["kappa"]:.2f} {interval(known[part]["ci"]["kappa"], ".1f")}'
            share = np.mean([run['recalled_share'] for run in group])
            share = share if part == 'recalled' else 1 - share
            ax.set_title(f'{part.capitalize()} ({share:.0%}): {kappa}', fontsize=13)
        axes[0].set_ylabel('loss, nats/token of these targets')
        axes[0].plot([], [], 'o', color='#444444', mfc='white', label='the longest run')
        axes[0].plot([], [], ':', color='#444444', label='shrinking gains, no law')
        axes[0].plot([], [], 'o', color='#444444', label='no curve: still learns to copy')
        axes[0].legend(handles=axes[0].lines[-3:], loc='lower left')
        figure.suptitle('κ = 1: shortages of N and D add up.  κ = 0: only the greater one counts.',
                        fontsize=12)
        axes[1].legend(loc='lower left', title='N, non-embedding', ncols=2, columnspacing=1)
    return figure


def draw_part(ax, law, group):
    colour = shade([run['n_non_embedding'] for run in group])
    for size in sorted({size_of(run) for run in group}):
        own = sorted((run for run in group if size_of(run) == size), key=lambda run: run['tokens'])
        n = own[0]['n_non_embedding']
        fitted = law['data']['d'][law['data']['n'] == n]
        if len(fitted):
            d = np.geomspace(fitted.min(), fitted.max(), 60)
            ax.plot(d, frontier.predict(law, n, d), color=colour(n), lw=1.6)
        ax.plot([], [], 'o-', color=colour(n), lw=1.6, label=short(n))
        for run in own:
            longest = run['tokens'] > 0.98 * own[-1]['tokens']
            ax.plot(run['tokens'], run['loss'], 'o', color=colour(n), ms=7, zorder=3,
                    mfc='white' if longest else colour(n))
        before = [run for run in own if run['tokens'] < 0.98 * own[-1]['tokens']]
        rule = extended_curve(mean_losses(own), own[-1])
        if np.isfinite(rule):
            ax.plot([before[-1]['tokens'], own[-1]['tokens']], [before[-1]['loss'], rule], ':',
                    color='#444444', lw=1.4)
    log_axis(ax.xaxis, *span([run['tokens'] for run in group], 0.06), short)
    losses = [run['loss'] for run in group]
    log_axis(ax.yaxis, *span([*losses, 0.8 * min(losses)], 0.04))
    ax.set(xlabel='D, training tokens')


def draw_optimum(l_nd):
    """Figure of optimum.png: isoFLOP curves, and the best size and tokens for a budget.

    Architectures without such curves are drawn only where none has them.
    """
    l_nd = {arch: law for arch, law in l_nd.items() if law['isoflops']} or l_nd
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(len(l_nd), 2, figsize=(11, 5.4 * len(l_nd)),
                                    layout='constrained', squeeze=False)
        for (left, right), (arch, law) in zip(axes, l_nd.items()):
            draw_isoflops(left, law, f'{spoken(arch)}: one budget, many sizes')
            draw_frontier(right, law)
    return figure


def draw_isoflops(ax, law, title):
    """Loss by size at equal compute: the runs' curves at that compute, a parabola, its vertex."""
    curves = law['isoflops']
    if not curves:
        ax.text(0.5, 0.5, 'There is no budget that five sizes\nwere trained for.', ha='center',
                transform=ax.transAxes)
        ax.set_axis_off()
        return
    colour = shade([curve['flops'] for curve in curves])
    for curve in curves:
        n, own = np.array(curve['n']), colour(curve['flops'])
        *parabola, centre = curve['parabola']
        x = np.linspace(np.log(n[0]), np.log(n[-1]), 60)
        ax.plot(n, curve['loss'], 'o', color=own, ms=7, mec='white',
                label=f'C = {curve["flops"]:.1e}')
        ax.plot(np.exp(x), np.exp(np.polyval(parabola, x - centre)), color=own, lw=2)
        by_law = frontier.predict(law['budget'], np.exp(x), curve['flops'] / 6 / np.exp(x))
        ax.plot(np.exp(x), by_law, ':', color=own, lw=1.6)
        if curve['n_best']:
            ax.plot(curve['n_best'], curve['loss_best'], 'v', color=FORECAST, ms=9, mec='white',
                    zorder=4)
    ax.plot([], [], color='#444444', lw=2, label='parabola')
    ax.plot([], [], ':', color='#444444', lw=1.6, label='the law')
    ax.plot([], [], 'v', color=FORECAST, ms=9, label='best size')
    sizes, losses = [[v for curve in curves for v in curve[key]] for key in ('n', 'loss')]
    log_axis(ax.xaxis, *span(sizes, 0.06), short)
    log_axis(ax.yaxis, *span(losses, 0.06, 0.2))
    ax.set(xlabel='N, effective parameters', title=title,
           ylabel='loss, interpolated between runs')
    ax.legend(loc='upper right', ncols=2, columnspacing=1)


def draw_frontier(ax, law):
    """The best size and tokens for a budget; dashed where the answer is outside of the data."""
    rows, budget = law['frontier'], law['budget']
    c = np.array([row['flops'] for row in rows])
    inside = np.array([not row['extrapolated'] for row in rows])
    curves = [curve for curve in law['isoflops'] if curve['n_best']]
    for key, colour, marker, name in (('n', '#0072B2', 'o', 'N*, effective parameters'),
                                      ('d', FORECAST, 's', 'D*, tokens')):
        best, exponent = np.array([row[key] for row in rows]), f'{key}_exponent'
        ends = np.array([row[key + '_ci'] for row in rows]).T
        power = f'C$^{{{budget[exponent]:.2f}}}$ {interval(budget["ci"][exponent], ".2f")}'
        ax.fill_between(c, *ends, color=colour, alpha=0.15, lw=0)
        ax.plot(c, best, '--', color=colour, lw=1.4)
        ax.plot(c[inside], best[inside], color=colour, lw=2.4, label=f'{name} ~ {power}')
        if curves:
            middle, ends = (np.array([curve[f'{key}_best{end}'] for curve in curves])
                            for end in ('', '_ci'))
            ax.errorbar([curve['flops'] for curve in curves], middle, np.abs(ends.T - middle),
                        fmt=marker, color=colour, mec='white', ms=8, capsize=3,
                        label=f'{name[:2]} by isoFLOP curves')
    ax.plot([], [], '--', color='#444444', lw=1.4, label='outside of the data')
    log_axis(ax.yaxis, *span([row[key] for row in rows for key in ('n', 'd')], 0.1, 0.42), short)
    log_axis(ax.xaxis, c[0], c[-1], '{:.0e}'.format)
    ax.set(xlabel='training compute C, FLOPs', ylabel='parameters, tokens',
           title='Best use of compute, 95% bands')
    ax.legend(loc='upper left')


def draw_collapse(collapsed):
    """Figure of collapse.png: for each architecture the token count with most training curves."""
    with plt.rc_context(LOOK):
        archs = sorted({curve['arch'] for curve in collapsed})
        figure, axes = plt.subplots(1, len(archs), figsize=(11, 4.8), layout='constrained',
                                    squeeze=False)
        for ax, arch in zip(axes[0], archs):
            by_tokens = {}
            for curve in collapsed:
                if curve['arch'] == arch:
                    by_tokens.setdefault(curve['tokens'], []).append(curve)
            tokens, own = max(by_tokens.items(), key=lambda item: (len(item[1]), item[0]))
            colour = shade([curve['n'] for curve in own])
            for curve in sorted(own, key=lambda curve: curve['n']):
                ax.plot(curve['share'], curve['above'], color=colour(curve['n']), lw=2,
                        label=short(curve['n']))
            ax.set(xlabel='share of the training', ylabel='loss above its end, nats/token',
                   title=f'{spoken(arch)}, {short(tokens)} tokens each')
            ax.legend(title='N', ncols=2, loc='upper right')
    return figure
