"""What is measured on sampled tunes: the statistics part of metrics.json, and the table of it that is printed."""
import numpy as np

from music.metrics import STATISTICS, compare, exact_bars, longest_runs, statistics


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
        result['comparison'] = compare(result['tunes'], [statistics(music) for music in held_out], seed=seed)
        runs = longest_runs(train, ours + held_out)
        result['copying'] = {'samples': runs[:len(ours)], 'held_out': runs[len(ours):], 'train_tunes': len(train)}
        if len(ours) < 200:
            result['caution'] = f'{len(ours)} tunes: read an overlap beside its baseline only; 200 tunes make it steady'
    return result


def print_measures(result):
    shares = {name: share for name, share in result['first_draws'].items() if name != 'tunes'}
    print('first draws: ' + ', '.join(f'{share:.1%} {name.replace("_", " ")}' for name, share in shares.items()))
    if 'comparison' in result:
        rows, columns = result['comparison'], ('samples', 'held_out', 'overlap', 'baseline', 'n')
        print(f'{"median":>36}' + ''.join(f'{column:>10}' for column in columns))
        for name, row in rows.items():
            cells = ('undefined' if row[column] is None else f'{row[column]:.3g}' for column in columns)
            print(f'{STATISTICS[name]:>36}' + ''.join(f'{cell:>10}' for cell in cells))
        known = [(row['overlap'], row['baseline']) for row in rows.values() if row['overlap'] is not None]
        if known:
            overlap, baseline = np.mean(known, axis=0)
            print(f'{f"mean of {len(known)}":>56}{overlap:>10.3f}{baseline:>10.3f}')
        for who in ('samples', 'held_out'):
            runs = result['copying'][who]
            print(f'longest run of notes that stands in train, in any key: {who} median {np.median(runs):.0f}, '
                  f'95% below {np.percentile(runs, 95):.0f}, longest {max(runs)}')
    if 'caution' in result:
        print('caution:', result['caution'])
