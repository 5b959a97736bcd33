"""What a person wants to know of a prepared corpus: a table of its meta.json, and a picture of its
tunes' lengths.
"""
import numpy as np

from plumbing.files import atomic_write


def table(meta):
    """Text: the counts of each side, what was left out, what was not read, what was repaired,
    skipped or guessed, what quantisation changed, and what leaks.
    """
    counted = ('tunes', 'notes', 'bars', 'tokens', 'characters')
    lines = ['', row('', *counted, 'tokens/note', 'chars/token', width=6)]
    for name, c in meta['splits'].items():
        ratios = c['tokens'] / max(c['notes'], 1), c['characters'] / max(c['tokens'], 1)
        lines.append(row(name, *(c[column] for column in counted), *ratios, width=6))
    lines += ['', row('left out', 'tunes', 'notes')]
    for reason, c in sorted(meta['filters'].items(), key=lambda item: -item[1]['tunes']):
        lines.append(row('  ' + reason, c['tunes'], c['notes']))
    if meta['not_read']:
        lines += ['', row('not read', 'files')]
        lines += [row('  ' + suffix, n) for suffix, n in meta['not_read'].items()]
    if meta['remarks']:
        lines += ['', row('read, but', 'tunes', 'times', width=60)]
        lines += [row('  ' + what, c['tunes'], c['times'], width=60)
                  for what, c in meta['remarks'].items()]
    for title in ('quantisation', 'leakage'):
        figures = [row('  ' + name.replace('_', ' '), figure)
                   for name, figure in meta[title].items()]
        lines += ['', title, *figures] if figures else []
    lines += ['', f"vocabulary {meta['vocab_size']:,} ({meta['tokenizer']['kind']})"]
    return '\n'.join(lines)


def row(label, *cells, width=44):
    """`cells`: headings, counts or ratios."""
    formats = {str: '>14', int: '>14,', float: '>14,.4f'}
    return label.ljust(width) + ''.join(format(cell, formats[type(cell)]) for cell in cells)


def histogram(lengths, path):
    """Picture of the lengths of tunes in tokens; `lengths`: {side: array}."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    lengths = {name: n for name, n in lengths.items() if len(n)}
    everything = np.concatenate(list(lengths.values()))
    bins = np.geomspace(everything.min(), everything.max() + 1, 60)
    figure, axes = plt.subplots(figsize=(7, 3.5))
    for name, n in lengths.items():
        axes.hist(n, bins, histtype='step', weights=np.full(len(n), 1 / len(n)),
                  label=f'{name}: {len(n):,} tunes, median {int(np.median(n)):,}')
    axes.set(xscale='log', xlabel='tokens in a tune', ylabel='share of the tunes',
             title='Lengths of tunes')
    axes.legend()
    figure.tight_layout()
    with atomic_write(path) as f:
        figure.savefig(f, format='png', dpi=120)
    plt.close(figure)
