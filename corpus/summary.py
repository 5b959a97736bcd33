"""What a person wants to know of a prepared corpus: a table of its meta.json, and a picture of the lengths of its tunes."""
import os

import numpy as np


def table(meta):
    """What a person wants to know of the corpus."""
    heads = (('tunes', 10), ('notes', 14), ('bars', 12), ('tokens', 14), ('characters', 15), ('tokens/note', 13),
             ('chars/token', 13))
    lines = ['', ' ' * 8 + ''.join(name.rjust(width) for name, width in heads)]
    for name, c in meta['splits'].items():
        lines.append(f"{name:8}{c['tunes']:10,}{c['notes']:14,}{c['bars']:12,}{c['tokens']:14,}{c['characters']:15,}"
                     f"{c['tokens'] / max(c['notes'], 1):13.3f}{c['characters'] / max(c['tokens'], 1):13.2f}")
    lines += ['', f"{'left out':45}{'tunes':>10}{'notes':>14}"]
    for reason, c in sorted(meta['filters'].items(), key=lambda item: -item[1]['tunes']):
        lines.append(f"  {reason:43}{c['tunes']:10,}{c['notes']:14,}")
    q = meta['quantisation']
    if q:
        lines += ['', f"quantisation of {q['files']:,} files:",
                  f"  {q['onsets_within_twelfth_quarter']:.2%} of the onsets move by at most 1/12 quarter, the mean is "
                  f"{q['mean_onset_move_quarters']:.4f}",
                  f"  at least 99.5% of them do in {q['files_with_995_of_1000_such_onsets']:.1%} of the files",
                  f"  durations are {q['mean_duration_quarters']:.3f} quarters in the mean, and change by "
                  f"{q['mean_duration_change_quarters']:.3f}",
                  f"  {q['merged_unisons']:.2%} of the notes are merged as unisons",
                  f"  {q['repaired_files']:,} files repaired, {q['keys_estimated']:,} keys estimated"]
    leaks = ', '.join(f"{name.replace('_', ' ')} {n}" for name, n in meta['leakage'].items())
    lines += ['', f"vocabulary {meta['vocab_size']:,} ({meta['tokenizer']['kind']}); leakage: {leaks}"]
    return '\n'.join(lines)


def histogram(lengths, path):
    """Picture of the lengths of tunes in tokens."""
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(7, 3.5))
    longest = max(int(n.max()) for n in lengths.values() if len(n))
    bins = np.geomspace(min(int(n.min()) for n in lengths.values() if len(n)), longest + 1, 60)
    for name, n in lengths.items():
        if len(n):
            axes.hist(n, bins, histtype='step', weights=np.full(len(n), 1 / len(n)),
                      label=f'{name}: {len(n):,} tunes, median {int(np.median(n)):,}')
    axes.set(xscale='log', xlabel='tokens in a tune', ylabel='share of the tunes', title='Lengths of tunes')
    axes.legend()
    figure.tight_layout()
    figure.savefig(path + '.tmp', format='png', dpi=120)
    plt.close(figure)
    os.replace(path + '.tmp', path)
