"""Musical statistics of notes: what can be measured on a tune, and how far two sets of tunes agree.

    statistics(music)                # {'pitch_class_entropy': 2.58, ...}, None where undefined
    overlap(values_a, values_b)      # shared area of two distributions, 0 to 1
    longest_runs(train, tunes)       # longest passage of each tune that occurs in train, in any key

Names and definitions are MusPy's (Dong et al., ISMIR 2020) where it has them. Time is in units of
1/24 quarter. A statistic that has no meaning for a tune (the pitch range of drums, say) is None: it
is counted, never averaged.
"""
import re
from collections import Counter
from contextlib import suppress

import numpy as np

from music.notation import NotationError, decode
from music.notes import KEY_NAMES, UNITS, bar_length, bar_starts, beat_length
from music.quantise import SCALES
from music.repeats import MARKS

SIXTEENTH = UNITS // 4

STATISTICS = {                      # statistic -> its name in tables, in the order of `compare`
    'notes': 'notes',
    'bars': 'bars',
    'pitch_class_entropy': 'pitch-class entropy (bits)',
    'pitch_range': 'pitch range (semitones)',
    'scale_consistency': 'scale consistency',
    'polyphony': 'polyphony',
    'notes_per_quarter': 'notes per quarter',
    'notes_per_second': 'notes per second',
    'notes_per_cell': 'notes per sounding bar and voice',
    'rest_share': 'share of time in silence',
    'empty_bar_share': 'share of empty bars',
    'groove_consistency': 'groove consistency',
    'groove_jaccard': 'groove, Jaccard',
    'syncopation': 'syncopation per bar',
    'ioi_entropy': 'inter-onset entropy (bits)',
    'npvi': 'nPVI',
    'repeated_bar_share': 'bars heard in the eight before',
}
HEADERS = {'key': 'key', 'meter': 'meter', 'tempo': 'quarters a minute',
           'programs': 'instruments (General MIDI)'}


def statistics(music):
    """Dict of all STATISTICS of a Music; None where undefined: pitch statistics of drums,
    everything of no notes."""
    stats = dict.fromkeys(STATISTICS)
    stats['notes'], stats['bars'] = len(music.notes), len(bar_starts(music)) - 1
    if not len(music.notes):
        return stats
    onset, duration, pitch, voice = music.notes.T
    starts = np.array(bar_starts(music))

    # Pitch, without drums.
    pitched = music.notes[~np.array([v.is_drum for v in music.voices])[voice]]
    if len(pitched):
        classes = np.bincount(pitched[:, 2] % 12, minlength=12)
        stats['pitch_class_entropy'] = entropy(classes)
        stats['pitch_range'] = int(np.ptp(pitched[:, 2]))
        # Of the 24 major and natural minor scales, each minor one has the notes of a major one.
        stats['scale_consistency'] = (SCALES @ classes).max() / len(pitched)
        count, time = sounding(pitched)
        stats['polyphony'] = (count * time).sum() / time[count > 0].sum()

    # Density: notes per time and per bar, silence.
    stats['notes_per_quarter'] = len(onset) / (starts[-1] / UNITS)
    tempo_times = [time for time, _ in music.tempos] + [starts[-1]]
    tempo_spans = np.diff(np.minimum(tempo_times, starts[-1]))
    seconds = sum(span / UNITS * 60 / tempo for span, (_, tempo) in zip(tempo_spans, music.tempos))
    stats['notes_per_second'] = len(onset) / seconds
    first_bar = np.searchsorted(starts, onset, 'right') - 1
    stats['notes_per_cell'] = len(onset) / len(np.unique(first_bar * len(music.voices) + voice))
    count, time = sounding(music.notes)
    stats['rest_share'] = 1 - time[count > 0].sum() / starts[-1]
    last_bar = np.searchsorted(starts, onset + duration, 'left') - 1
    n_begin = np.bincount(first_bar, minlength=len(starts))
    n_end = np.bincount(last_bar + 1, minlength=len(starts))
    n_sounding = np.cumsum(n_begin - n_end)[:-1]                    # notes that sound in each bar
    stats['empty_bar_share'] = float((n_sounding == 0).mean())

    # Rhythm: onsets of each voice, chords as one.
    stats['groove_consistency'], stats['groove_jaccard'] = groove(onset, starts)
    lines = [np.unique(onset[voice == v]) for v in np.unique(voice)]
    cells = sum(len(np.unique(np.searchsorted(starts, line, 'right'))) for line in lines)
    meter_times = [time for time, *_ in music.meters]
    meter_of_bar = np.searchsorted(meter_times, starts[:-1], 'right') - 1
    weights = [metrical_weights(*meter) for _, *meter in music.meters]
    weight_T = np.concatenate([weights[i][-length:]
                               for i, length in zip(meter_of_bar, np.diff(starts))])
    stats['syncopation'] = sum(syncopation(line, weight_T) for line in lines) / cells
    intervals = [np.diff(line) for line in lines]
    pooled = np.concatenate(intervals)
    if len(pooled):
        stats['ioi_entropy'] = entropy(np.unique(pooled, return_counts=True)[1])
    contrasts = np.concatenate([2 * np.abs(np.diff(d)) / (d[1:] + d[:-1]) for d in intervals])
    if len(contrasts):
        stats['npvi'] = float(100 * contrasts.mean())

    # Form.
    bars = bars_of(music)
    heard_before = [bar in bars[max(0, i - 8):i] for i, bar in enumerate(bars) if bar]
    stats['repeated_bar_share'] = float(np.mean(heard_before))
    return {name: value if value is None or isinstance(value, int) else float(value)
            for name, value in stats.items()}


def bars_of(music):
    """For each bar the notes that begin in it: (onset in the bar, duration, pitch, voice)."""
    starts = np.array(bar_starts(music))
    bars = [[] for _ in starts[1:]]
    bar_N = np.searchsorted(starts, music.notes[:, 0], 'right') - 1
    for bar, at, note in zip(bar_N.tolist(), starts[bar_N].tolist(), music.notes.tolist()):
        bars[bar].append((note[0] - at, *note[1:]))
    return bars


def loops(music, length=8, different=2):
    """Does the music loop: are there `length` bars in a row, in each of which notes begin, with no
    more than `different` ones among them? Of 450 held-out tunes of the books none loops, of 416
    multi-track ones 17 do."""
    bars = [tuple(bar) for bar in bars_of(music)]
    return any(all(bars[i:i + length]) and len(set(bars[i:i + length])) <= different
               for i in range(len(bars) - length + 1))


def entropy(counts):
    """-sum p log2 p, in bits."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum() + 0.0)


def sounding(notes):
    """(number of different pitches, time) of each stretch between two moments at which a note
    begins or ends."""
    moments = np.concatenate([notes[:, 0], notes[:, 0] + notes[:, 1]])
    times, at = np.unique(moments, return_inverse=True)
    changes = np.zeros((len(times), 128), np.int32)
    np.add.at(changes, (at[:len(notes)], notes[:, 2]), 1)
    np.add.at(changes, (at[len(notes):], notes[:, 2]), -1)
    return (np.cumsum(changes, axis=0)[:-1] > 0).sum(axis=1), np.diff(times)


def groove(onset, starts):
    """(1 - mean Hamming distance, mean Jaccard index) of the sixteenths with an onset in
    neighbouring bars of one length (Wu and Yang, ISMIR 2020). The first is near 1 for all sparse
    music; the second skips what is silent in both."""
    steps = [set() for _ in starts[:-1]]
    for bar, at in zip(np.searchsorted(starts, onset, 'right') - 1, onset):
        steps[bar].add(int(at - starts[bar]) // SIXTEENTH)
    lengths = np.diff(starts)
    distances, indices = [], []
    for a, b, length, following in zip(steps, steps[1:], lengths, lengths[1:]):
        if length == following:
            distances.append(len(a ^ b) / -(-length // SIXTEENTH))
            if a | b:
                indices.append(len(a & b) / len(a | b))
    consistency = 1 - np.mean(distances) if distances else None
    jaccard = np.mean(indices) if indices else None
    return consistency, jaccard


def metrical_weights(numerator, denominator):
    """Weight of each unit of a bar: 0 on the downbeat, one less for each division of the bar, to
    sixteenths and finer.

    In 4/4: 0, half bar -1, quarters -2, eighths -3, sixteenths -4 (Longuet-Higgins and Lee, 1984).
    An even number of beats is halved, a dotted beat divided by three.
    """
    length, beat = bar_length(numerator, denominator), beat_length(numerator, denominator)
    spans = [length]
    while spans[-1] % (2 * beat) == 0:
        spans.append(spans[-1] // 2)
    if spans[-1] != beat:
        spans.append(beat)
    if beat > bar_length(1, denominator):
        spans.append(beat // 3)
    while spans[-1] % (2 * SIXTEENTH) == 0:
        spans.append(spans[-1] // 2)
    weights = np.full(length, -len(spans))
    for level, span in reversed(list(enumerate(spans))):
        weights[::span] = -level
    return weights


def syncopation(onsets, weight_T):
    """Sum over the notes of a voice: how much stronger than the note's own beat is the strongest
    one that passes before the next note begins (Longuet-Higgins and Lee)? Weaker ones and the last
    note count nothing."""
    total = 0
    for at, following in zip(onsets, onsets[1:]):
        if following > at + 1:
            total += max(0, int(weight_T[at + 1:following].max()) - int(weight_T[at]))
    return total


def exact_bars(text):
    """(bars that fill their meter, all bars) of a text in the notation with mistakes: each line is
    read on its own."""
    lines = [line for line in text.splitlines() if line not in MARKS]
    n_header = next((i for i, line in enumerate(lines) if line[:1] in ('[', 'Z')), len(lines))
    header, bars, good = lines[:n_header], lines[n_header:], 0
    for i, line in enumerate(bars):
        bar_before = ['Z|'] if i > 0 else []            # only a first bar may be a pickup
        with suppress(NotationError):
            decode('\n'.join([*header, *bar_before, line]))
            good += 1
        for field in re.findall(r'\[([MQK]:[^]]*)\]', line):
            header = [field if old[:2] == field[:2] else old for old in header]
    return good, len(bars)


def overlap(a, b, points=1000):
    """Shared area of the Gaussian kernel densities (Scott's bandwidth) of two lists of numbers,
    from 0 to 1. After Yang and Lerch (2020).

    Two samples of one distribution do not reach 1: judge it beside a baseline of that size. If one
    list spans less than a hundredth of the range of both, both get that hundredth as bandwidth, so
    that a single value stays narrow.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    spread = np.ptp(np.concatenate([a, b]))
    if spread == 0:
        return 1.0
    widths = [x.std(ddof=1) * len(x) ** -0.2 if len(x) > 1 else 0.0 for x in (a, b)]
    widths = widths if min(widths) > spread / 100 else [spread / 100] * 2
    low = min(a.min(), b.min()) - 4 * max(widths)
    high = max(a.max(), b.max()) + 4 * max(widths)
    grid = np.linspace(low, high, points)
    densities = []
    for x, width in zip((a, b), widths):
        values, counts = np.unique(x, return_counts=True)
        kernels = np.exp(-0.5 * ((grid - values[:, None]) / width) ** 2)
        density = (counts[:, None] * kernels).sum(axis=0)
        densities.append(density / density.sum())
    return float(np.minimum(*densities).sum())


def header(music):
    """{key, meter, tempo, programs}: texts of what a tune begins with."""
    (_, *key), (_, *meter), (_, tempo) = music.keys[0], music.meters[0], music.tempos[0]
    programs = ['drums' if voice.is_drum else str(voice.program) for voice in music.voices]
    return {'key': KEY_NAMES[tuple(key)], 'meter': '/'.join(map(str, meter)), 'tempo': str(tempo),
            'programs': ' '.join(programs)}


def shared(a, b):
    """Shared part of the distributions of two lists of words, from 0 to 1: 1 minus their total
    variation distance."""
    p, q = Counter(a), Counter(b)
    return sum(min(p[word] / len(a), q[word] / len(b)) for word in p)


def commonest(words):
    return max(sorted(set(words)), key=list(words).count)


def median(values):
    return float(np.median(values))


def compare(samples, held_out, seed=0, rounds=20, similarity=overlap, typical=median):
    """Samples against held-out tunes, both lists of `statistics` (or of `header`, with
    similarity=shared and typical=commonest): for each name a dict of

    samples, held_out                           the typical value
    samples_undefined, held_out_undefined       how many tunes have none
    overlap                                     of samples with as many held-out tunes
    baseline                                    of two sets of held-out tunes
    n                                           tunes in a set

    Overlaps are means over `rounds` draws of the sets.
    """
    rng = np.random.default_rng(seed)
    table = {}
    for name in (held_out or samples)[0]:
        ours = np.array([s[name] for s in samples if s[name] is not None])
        theirs = np.array([s[name] for s in held_out if s[name] is not None])
        n = min(len(ours), len(theirs) // 2)
        overlaps, baselines = [], []
        for _ in range(rounds if n >= 2 else 0):
            shuffled = rng.permutation(theirs)
            overlaps.append(similarity(rng.permutation(ours)[:n], shuffled[:n]))
            baselines.append(similarity(shuffled[n:2 * n], shuffled[:n]))
        table[name] = {'samples': typical(ours) if len(ours) else None,
                       'held_out': typical(theirs) if len(theirs) else None,
                       'overlap': float(np.mean(overlaps)) if overlaps else None,
                       'baseline': float(np.mean(baselines)) if overlaps else None, 'n': n,
                       'samples_undefined': len(samples) - len(ours),
                       'held_out_undefined': len(held_out) - len(theirs)}
    return table


def intervals(music):
    """An array for each voice: each note as a number made of its steps in time and in pitch from
    the note before it."""
    lines = []
    for v in np.unique(music.notes[:, 3]):
        notes = music.notes[music.notes[:, 3] == v].astype(np.int64)
        steps = np.diff(notes[:, [0, 2]], axis=0)
        lines.append(steps[:, 0] * 256 + steps[:, 1] + 128)
    return lines


def longest_runs(train, tunes):
    """For each tune the length of the longest run of steps (in pitch and time) that occurs in
    `train` too, in any key. train, tunes: lists of Music.

    The suffixes of all voices are sorted by doubling (Manber and Myers, 1990). The longest match of
    a suffix of a tune is with the nearest train suffix to the left or right of it.
    """
    known = {line.tobytes(): line for music in train for line in intervals(music)}
    lines = [(-1, line) for line in known.values()]
    lines += [(i, line) for i, music in enumerate(tunes) for line in intervals(music)]
    if not lines:
        return [0] * len(tunes)

    # One text of all lines. Each ends in a number of its own, so that no match reaches over it.
    text = np.concatenate([np.append(line, -1 - k) for k, (_, line) in enumerate(lines)])
    owner = np.repeat([i for i, _ in lines], [len(line) + 1 for _, line in lines])

    # ranks[j]: the order of the suffixes by their first 2**j numbers.
    n, ranks = len(text), [np.unique(text, return_inverse=True)[1]]
    while ranks[-1].max() < n - 1:
        after = np.full(n, -1)
        step = 1 << len(ranks) - 1
        after[:-step] = ranks[-1][step:]
        ranks.append(np.unique(ranks[-1] * (n + 1) + after + 1, return_inverse=True)[1])
    order = np.argsort(ranks[-1])

    # The nearest train suffixes of each suffix of a tune, and how many numbers they share with it,
    # counted in steps of 2**level.
    is_train = owner[order] < 0
    left = np.maximum.accumulate(np.where(is_train, np.arange(n), -1))
    right = np.minimum.accumulate(np.where(is_train, np.arange(n), n)[::-1])[::-1]
    longest = np.zeros(len(tunes), int)
    rows = np.flatnonzero(~is_train)
    for neighbour in (left[rows], right[rows]):
        found = (neighbour >= 0) & (neighbour < n)
        i, j = order[rows[found]], order[neighbour[found]]
        who, length = owner[i], np.zeros(len(i), int)
        for level in range(len(ranks) - 1, -1, -1):
            same = (i < n) & (j < n)
            same[same] = ranks[level][i[same]] == ranks[level][j[same]]
            length += same << level
            i, j = i + (same << level), j + (same << level)
        np.maximum.at(longest, who, length)
    return longest.tolist()
