"""What is measured on sampled tunes: the statistics part of metrics.json, and the table of it that is printed."""
import numpy as np

from music.metrics import HEADERS, STATISTICS, commonest, compare, exact_bars, header, longest_runs, shared, statistics


def measure(tunes, first_draws, reference, seed, converter):
    """Dict of statistics. tunes, first_draws: lists of Tune with `music` (None where it is none); reference: (held-out
    tunes, training tunes) or None."""
    drawn = [tune.music for tune in first_draws]
    first = {'tunes': len(drawn),
             'readable': float(np.mean([music is not None for music in drawn])),
             'with_notes': float(np.mean([music is not None and len(music.notes) > 0 for music in drawn])),
             'ended_by_model': float(np.mean([tune.ended for tune in first_draws])),
             'different': len({tune.text for tune in first_draws}) / len(drawn)}
    if converter == 'builtin':
        bars = [exact_bars(tune.text) for tune in first_draws]
        first['bars_exact'] = sum(good for good, _ in bars) / max(1, sum(n for _, n in bars))
    ours = [tune.music for tune in tunes if tune.music is not None]
    result = {'first_draws': first, 'tunes': [statistics(music) for music in ours]}
    if reference and ours:
        held_out, train = reference
        result['comparison'] = compare(result['tunes'], [statistics(music) for music in held_out], seed)
        headers = [[header(music) for music in tunes] for tunes in (ours, held_out)]
        result['headers'] = compare(*headers, seed, similarity=shared, typical=commonest)
        runs = longest_runs(train, ours + held_out)
        result['copying'] = {'samples': runs[:len(ours)], 'held_out': runs[len(ours):], 'train_tunes': len(train)}
        if len(ours) < 200:
            result['caution'] = f'{len(ours)} tunes: read an overlap beside its baseline only; 200 tunes make it steady'
    return result


def print_measures(result):
    shares = {name: share for name, share in result['first_draws'].items() if name != 'tunes'}
    print('first draws: ' + ', '.join(f'{share:.1%} {name.replace("_", " ")}' for name, share in shares.items()))
    if 'comparison' in result:
        known = {name: row for name, row in result['comparison'].items() if row['overlap'] is not None}
        if known:
            ours, theirs = (np.mean([row[column] for row in known.values()]) for column in ('overlap', 'baseline'))
            worst = sorted(known, key=lambda name: known[name]['overlap'] - known[name]['baseline'])[:3]
            print(f'overlap with held-out tunes, mean of {len(known)} statistics: {ours:.2f} (two sets of these: '
                  f'{theirs:.2f}); the worst: {in_words(known, STATISTICS, worst)}')
            print(f"headers: {in_words(result['headers'], HEADERS, HEADERS)}")
        copies = [f"{who.replace('_', ' ')} median {np.median(runs):.0f}, longest {max(runs)}"
                  for who in ('samples', 'held_out') for runs in [result['copying'][who]]]
        print(f"longest run of notes that stands in train, in any key: {'; '.join(copies)}")
    if 'caution' in result:
        print('caution:', result['caution'])


def in_words(rows, titles, names):
    return ', '.join(f"{titles[name]} {rows[name]['overlap']:.2f} ({rows[name]['baseline']:.2f})" for name in names)
