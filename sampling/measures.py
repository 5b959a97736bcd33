"""Measures of sampled tunes: the statistics in metrics.json, and the table that is printed."""
import numpy as np

from music.metrics import (
    HEADERS,
    STATISTICS,
    commonest,
    compare,
    exact_bars,
    header,
    longest_runs,
    shared,
    statistics,
)

STEADY = 200                # tunes from which on an overlap hardly depends on the draw


def measure(tunes, first_draws, reference, seed, converter):
    """Dict of statistics. tunes, first_draws: lists of Tune with `music` (None where it cannot be
    read); reference: (held-out tunes, training tunes) or None."""
    drawn = [tune.music for tune in first_draws]
    with_notes = [music is not None and len(music.notes) > 0 for music in drawn]
    first = {'tunes': len(drawn),
             'readable': float(np.mean([music is not None for music in drawn])),
             'with_notes': float(np.mean(with_notes)),
             'ended_by_model': float(np.mean([tune.ended for tune in first_draws])),
             'different': len({tune.text for tune in first_draws}) / len(drawn)}
    if converter == 'builtin':
        n_exact, n_bars = np.sum([exact_bars(tune.text) for tune in first_draws], axis=0)
        first['bars_exact'] = float(n_exact / max(1, n_bars))
    ours = [tune.music for tune in tunes if tune.music is not None]
    result = {'first_draws': first, 'tunes': [statistics(music) for music in ours]}
    if reference is None or not ours:
        return result

    held_out, train = reference
    theirs = [statistics(music) for music in held_out]
    result['comparison'] = compare(result['tunes'], theirs, seed)
    result['headers'] = compare([header(music) for music in ours],
                                [header(music) for music in held_out],
                                seed, similarity=shared, typical=commonest)
    runs = longest_runs(train, ours + held_out)
    result['copying'] = {'samples': runs[:len(ours)], 'held_out': runs[len(ours):],
                         'train_tunes': len(train)}
    if len(ours) < STEADY:
        result['caution'] = (f'{len(ours)} tunes: read an overlap beside its baseline only; '
                             f'{STEADY} tunes make it steady')
    return result


def print_measures(result):
    shares = {name: share for name, share in result['first_draws'].items() if name != 'tunes'}
    print('first draws: ' + ', '.join(f'{share:.1%} {name.replace("_", " ")}'
                                      for name, share in shares.items()))
    if 'comparison' in result:
        print_comparison(result)
    if 'caution' in result:
        print('caution:', result['caution'])


def print_comparison(result):
    """How far the tunes agree with held-out ones, and how much of them occurs in training tunes."""
    known = {name: row for name, row in result['comparison'].items() if row['overlap'] is not None}
    if known:
        ours = np.mean([row['overlap'] for row in known.values()])
        baseline = np.mean([row['baseline'] for row in known.values()])
        lag = {name: row['overlap'] - row['baseline'] for name, row in known.items()}
        lowest = sorted(known, key=lag.get)[:3]
        print(f'overlap with held-out tunes, mean of {len(known)} statistics: {ours:.2f} '
              f'(of two sets of held-out tunes: {baseline:.2f}); '
              f'lowest: {format_overlaps(known, STATISTICS, lowest)}')
        print(f'headers: {format_overlaps(result["headers"], HEADERS, HEADERS)}')
    copies = []
    for who in ('samples', 'held_out'):
        runs = result['copying'][who]
        copies.append(f'{who.replace("_", " ")} median {np.median(runs):.0f}, longest {max(runs)}')
    print(f'longest run of notes that occurs in a training tune, in any key: {"; ".join(copies)}')


def format_overlaps(rows, titles, names):
    return ', '.join(f'{titles[name]} {rows[name]["overlap"]:.2f} ({rows[name]["baseline"]:.2f})'
                     for name in names)
