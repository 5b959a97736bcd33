"""Each statistic against the published formula written out note by note, on hand-made and random tunes."""
import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

from music.metrics import (
    HEADERS,
    STATISTICS,
    commonest,
    compare,
    exact_bars,
    header,
    longest_runs,
    loops,
    metrical_weights,
    overlap,
    shared,
    statistics,
)
from music.notation import decode
from music.notes import Music, Voice, bar_starts

HEADER = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\nV:2 program=40\nV:3 drums\n'


def random_music(seed, drums=True):
    rng = random.Random(seed)
    voices = [Voice(0), Voice(40), Voice(0, drums)]
    rows, free = [], {}
    for _ in range(rng.randrange(2, 60)):
        onset, duration, pitch, voice = rng.randrange(0, 900, 3), rng.randrange(1, 60), rng.randrange(40, 90), rng.randrange(3)
        if all(onset >= b or onset + duration <= a for a, b in free.get((voice, pitch), [])):
            free.setdefault((voice, pitch), []).append((onset, onset + duration))
            rows.append((onset, duration, pitch, voice))
    rows.sort(key=lambda row: (row[0], row[3], row[2]))
    return Music(np.array(rows, np.int32), voices, [(0, 3, 4), (72 * 4, 6, 8), (72 * 8, 4, 4)], [(0, 100), (72 * 4, 60)], [(0, 0, 'major')])


def naive(music):
    """The same statistics from their definitions, with loops over notes, bars and units."""
    notes = [tuple(map(int, row)) for row in music.notes]
    pitched = [n for n in notes if not music.voices[n[3]].is_drum]
    starts, out = bar_starts(music), {}
    bars = list(zip(starts, starts[1:]))
    out['notes'], out['bars'] = len(notes), len(bars)

    def entropy(items):
        n = len(items)
        return -sum(c / n * math.log2(c / n) for c in Counter(items).values())

    if pitched:
        pitches = [p for _, _, p, _ in pitched]
        out['pitch_class_entropy'] = entropy([p % 12 for p in pitches])
        out['pitch_range'] = max(pitches) - min(pitches)
        major, minor = [2, 2, 1, 2, 2, 2, 1], [2, 1, 2, 2, 1, 2, 2]
        shares = []
        for tonic, steps in itertools.product(range(12), (major, minor)):
            scale = {(tonic + sum(steps[:i])) % 12 for i in range(7)}
            shares.append(sum(p % 12 in scale for p in pitches) / len(pitches))
        out['scale_consistency'] = max(shares)
        counts = [len({p for o, d, p, _ in pitched if o <= t < o + d}) for t in range(starts[-1])]
        out['polyphony'] = sum(counts) / sum(c > 0 for c in counts)
    out['notes_per_quarter'] = len(notes) / (starts[-1] / 24)
    tempo_at = lambda t: [q for onset, q in music.tempos if onset <= t][-1]
    out['notes_per_second'] = len(notes) / sum(60 / tempo_at(t) / 24 for t in range(starts[-1]))
    cells = {(i, v) for i, (a, b) in enumerate(bars) for o, _, _, v in notes if a <= o < b}
    out['notes_per_cell'] = len(notes) / len(cells)
    out['rest_share'] = sum(not any(o <= t < o + d for o, d, _, _ in notes) for t in range(starts[-1])) / starts[-1]
    out['empty_bar_share'] = sum(not any(o < b and o + d > a for o, d, _, _ in notes) for a, b in bars) / len(bars)
    patterns = [([any(a + s <= o < min(a + s + 6, b) for o, *_ in notes) for s in range(0, b - a, 6)], b - a) for a, b in bars]
    pairs = [(x, y) for (x, n), (y, m) in zip(patterns, patterns[1:]) if n == m]
    if pairs:
        out['groove_consistency'] = 1 - sum(sum(i != j for i, j in zip(x, y)) / len(x) for x, y in pairs) / len(pairs)
    jaccard = [sum(i and j for i, j in zip(x, y)) / sum(i or j for i, j in zip(x, y)) for x, y in pairs if any(x) or any(y)]
    if jaccard:
        out['groove_jaccard'] = sum(jaccard) / len(jaccard)

    def weight(t):                  # by repeated division of the bar, as long as the time is not on the grid
        start = [a for a, b in bars if a <= t < b][0]
        meter = [m[1:] for m in music.meters if m[0] <= start][-1]
        grids = {(3, 4): [72, 24, 12, 6], (6, 8): [72, 36, 12, 6], (4, 4): [96, 48, 24, 12, 6]}[meter]
        return -next((i for i, grid in enumerate(grids) if (t - start) % grid == 0), len(grids))

    syncopation, intervals, contrasts = 0, [], []
    for v in range(len(music.voices)):
        line = sorted({o for o, _, _, voice in notes if voice == v})
        for a, b in zip(line, line[1:]):
            between = [weight(t) for t in range(a + 1, b)]
            if between and max(between) > weight(a):
                syncopation += max(between) - weight(a)
        steps = [b - a for a, b in zip(line, line[1:])]
        intervals += steps
        contrasts += [abs(x - y) / ((x + y) / 2) for x, y in zip(steps, steps[1:])]
    out['syncopation'] = syncopation / len(cells)
    if intervals:
        out['ioi_entropy'] = entropy(intervals)
    if contrasts:
        out['npvi'] = 100 * sum(contrasts) / len(contrasts)
    texts = [sorted(f'{o - a} {d} {p} {v}' for o, d, p, v in notes if a <= o < b) for a, b in bars]
    heard = [any(texts[i] == texts[j] for j in range(i - 8, i) if j >= 0) for i in range(len(texts)) if texts[i]]
    out['repeated_bar_share'] = sum(heard) / len(heard)
    return {name: out.get(name) for name in STATISTICS}


@pytest.mark.parametrize('seed', range(25))
def test_statistics_equal_their_definitions(seed):
    music = random_music(seed, drums=seed % 2 == 0)
    ours, theirs = statistics(music), naive(music)
    assert list(ours) == list(STATISTICS)
    for name in STATISTICS:
        assert (ours[name] is None) == (theirs[name] is None), name
        assert ours[name] is None or ours[name] == pytest.approx(theirs[name], abs=1e-9), name


def test_a_bar_heard_in_the_eight_before_is_a_repeat():
    bars = [f'[V:1]{note}8|\n' for note in 'CDCEFGABcd']
    assert statistics(decode(HEADER + ''.join(bars)))['repeated_bar_share'] == 0.1
    assert statistics(decode(HEADER + ''.join(bars + bars[1:2] + ['Z|\n'] + bars[4:5])))['repeated_bar_share'] == 2 / 12


def test_a_scale_in_quarters_by_hand():
    stats = statistics(decode(HEADER + '[V:1]C2D2E2F2|\n[V:1]G2A2B2c2|\n'))
    assert stats['pitch_class_entropy'] == pytest.approx(2.75)               # six classes of 1/8, C twice
    assert (stats['pitch_range'], stats['scale_consistency'], stats['polyphony']) == (12, 1, 1)
    assert (stats['notes_per_quarter'], stats['notes_per_second'], stats['notes_per_cell']) == (1, 2, 4)
    assert (stats['rest_share'], stats['empty_bar_share'], stats['syncopation'], stats['npvi'], stats['ioi_entropy']) == (0, 0, 0, 0, 0)
    assert (stats['groove_consistency'], stats['groove_jaccard']) == (1, 1)


def test_syncopation_by_hand():
    # Son clave, x..x..x...x.x...: the note on step 3 (-4) lasts over step 4 (-2), the one on step 6 (-3) over step 8 (-1), the others
    # over nothing stronger than themselves.
    assert statistics(decode(HEADER + '[V:1]C3/2C3/2C2CC2|\n[V:1]C8|\n'))['syncopation'] == pytest.approx((2 + 2) / 2)
    assert statistics(decode(HEADER + '[V:1]z7C-|\n[V:1]C8|\n[V:1]C8|\n'))['syncopation'] == pytest.approx(3 / 2)      # over the barline


def test_metrical_weights_of_simple_and_compound_meters():
    assert metrical_weights(4, 4)[::6].tolist() == [0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4]
    assert metrical_weights(3, 4)[::6].tolist() == [0, -3, -2, -3, -1, -3, -2, -3, -1, -3, -2, -3]
    assert metrical_weights(6, 8)[::6].tolist() == [0, -3, -2, -3, -2, -3, -1, -3, -2, -3, -2, -3]
    assert metrical_weights(4, 4)[8] == -5                                    # a triplet lies on no grid of sixteenths
    assert len(metrical_weights(5, 8)) == 60 and metrical_weights(1, 32).tolist() == [0, -1, -1]


def test_limits_nothing_one_note_drums_alone():
    empty = statistics(Music(np.zeros((0, 4), np.int32), [Voice()]))
    assert (empty['notes'], empty['bars']) == (0, 0) and all(empty[name] is None for name in STATISTICS if name not in ('notes', 'bars'))
    one = statistics(decode(HEADER + '[V:1]C8|\n'))
    assert (one['pitch_class_entropy'], one['pitch_range'], one['polyphony'], one['rest_share']) == (0, 0, 1, 0)
    assert one['npvi'] is one['ioi_entropy'] is one['groove_consistency'] is None
    drums = statistics(decode(HEADER + '[V:3]C4C4|\n'))
    assert drums['pitch_range'] is drums['polyphony'] is drums['scale_consistency'] is drums['pitch_class_entropy'] is None
    assert drums['notes_per_quarter'] == 0.5 and drums['ioi_entropy'] == 0


def test_overlap_of_matched_and_of_unrelated_values():
    rng = np.random.default_rng(0)
    assert overlap([3, 3, 3], [3, 3]) == 1
    assert overlap([0] * 3, [1] * 3) < 0.01
    assert overlap([0.1] * 200, [0.1] * 199 + [0.4]) > 0.98 and overlap([0.1] * 200, rng.normal(0.1, 1, 200)) < 0.15       # one atom or none
    assert overlap(rng.normal(size=200), rng.normal(size=200)) > 0.85
    assert overlap(rng.normal(size=50), 100 + rng.normal(size=50)) < 0.01
    a, b = rng.normal(size=30), rng.normal(1, 2, size=40)
    assert overlap(a, b) == pytest.approx(overlap(b, a)) == pytest.approx(overlap(7 * a + 3, 7 * b + 3))
    scipy_stats = pytest.importorskip('scipy.stats')
    grid = np.linspace(-15, 15, 20001)
    area = np.trapezoid(np.minimum(scipy_stats.gaussian_kde(a)(grid), scipy_stats.gaussian_kde(b)(grid)), grid)
    assert overlap(a, b) == pytest.approx(area, abs=1e-3)


def test_baseline_is_about_what_a_perfect_model_reaches():
    rng = np.random.default_rng(1)
    tune = lambda mean: {**dict.fromkeys(STATISTICS), 'notes': int(rng.normal(mean, 20)), 'polyphony': rng.normal(2, 0.5)}
    held_out = [tune(100) for _ in range(200)]
    same = compare([tune(100) for _ in range(100)], held_out)
    other = compare([tune(160) for _ in range(100)], held_out)
    assert same['notes']['n'] == 100
    assert same['notes']['overlap'] == pytest.approx(same['notes']['baseline'], abs=0.08)
    assert other['notes']['overlap'] < same['notes']['baseline'] - 0.4
    assert same['npvi'] == {'samples': None, 'held_out': None, 'overlap': None, 'baseline': None, 'n': 0,
                            'samples_undefined': 100, 'held_out_undefined': 200}


def test_longest_run_equals_brute_force_and_ignores_the_key():
    def pairs(music, voice):
        notes = [tuple(map(int, n)) for n in music.notes if n[3] == voice]
        return [(b[0] - a[0], b[2] - a[2]) for a, b in zip(notes, notes[1:])]

    rng = random.Random(3)

    def tune():
        rows, at = [], 0
        for _ in range(rng.randrange(1, 25)):
            rows.append((at, 6, 60 + rng.randrange(2), rng.randrange(2)))
            at += rng.choice([6, 12])
        return Music(np.array(rows, np.int32), [Voice(), Voice()])

    train, tunes = [tune() for _ in range(8)], [tune() for _ in range(30)]
    grams = {tuple(line[i:j]) for music in train for v in (0, 1) for line in [pairs(music, v)]
             for i in range(len(line)) for j in range(i + 1, len(line) + 1)}
    expected = [max((j - i for v in (0, 1) for line in [pairs(music, v)] for i in range(len(line)) for j in range(i, len(line) + 1)
                     if i == j or tuple(line[i:j]) in grams), default=0) for music in tunes]
    assert longest_runs(train, tunes) == expected and max(expected) > 3
    higher = Music(train[0].notes + np.array([0, 0, 5, 0], np.int32), train[0].voices)
    assert longest_runs(train, [higher]) == [max(len(pairs(higher, 0)), len(pairs(higher, 1)))]
    assert longest_runs([], tunes[:2]) == [0, 0] and longest_runs(train, []) == []


def test_headers_are_compared_as_words():
    assert header(decode(HEADER + '[V:1]C8|\n'))['meter'] == '4/4'
    assert shared('aabb', 'aabb') == 1 and shared('ab', 'cd') == 0 and shared('aaab', 'abbb') == 0.5
    tunes = [{name: word for name in HEADERS} for word in 'aaab' * 20]
    row = compare(tunes, tunes, similarity=shared, typical=commonest)['key']
    assert row['samples'] == row['held_out'] == 'a' and row['n'] == 40 and 0.8 < row['overlap'] <= 1 >= row['baseline'] > 0.8


def test_bars_that_fill_their_meter_are_counted_one_by_one():
    text = HEADER + '[V:1]C8|\n[V:1]C7|\n[M:3/4][V:1]C6|\n[V:1]C8|\n[K:G][V:1]^F6|\n[V:1]nonsense\n[V:1]F6|[V:2]c6|\n'
    assert exact_bars(text) == (4, 7)
    assert exact_bars('L:1/8\n') == (0, 0)


@pytest.mark.parametrize('bars,expected', [
    ('abababab', True), ('cdaaaaaaaac', True), ('abababac', False), ('aaaazaaaa', False), ('aaaaaaa', False), ('abcabcabcabc', False)])
def test_eight_bars_in_a_row_of_two_kinds_are_a_circle(bars, expected):
    line = {bar: 'Z|' if bar == 'z' else f'[V:1]{bar}4 {bar}2 z2|[V:2]{bar.upper()},8|' for bar in 'abcdz'}
    music = decode(HEADER + '\n'.join(line[bar] for bar in bars) + '\n')
    assert loops(music) == expected
