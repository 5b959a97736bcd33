"""dedupe.py: planted copies of every kind are found, other music is not, and the sketches estimate what brute force counts."""
import copy
import itertools

import numpy as np
import pytest

from corpus import dedupe
from music.midi import read_midi, write_midi
from music.notes import Music, Voice


def tune(seed, voices=3, notes=150):
    """Random walks over scales, a voice each and drums."""
    draw = np.random.default_rng(seed)
    rows = []
    for v in range(voices):
        onset = np.cumsum(draw.choice([6, 12, 12, 24], notes)) - 6
        pitch = 60 + 5 * v + np.clip(np.cumsum(draw.choice([-4, -2, -1, 0, 1, 2, 3], notes)), -20, 20)
        rows += [(o, 6, p, v) for o, p in zip(onset.tolist(), pitch.tolist())]
    rows += [(o, 6, 36 + o // 12 % 2 * 2, voices) for o in range(0, 900, 12)]
    return Music(np.array(sorted(rows, key=lambda r: (r[0], r[3], r[2])), np.int32),
                 [Voice(10 * v) for v in range(voices)] + [Voice(0, True)])


def transposed(music, draw):
    music.notes[music.notes[:, 3] < len(music.voices) - 1, 2] += draw.choice([-5, -3, 2, 6])


def faster(music, draw):
    music.tempos = [(0, 200)]


def doubled(music, draw):
    music.notes[:, :2] *= 2


def reordered(music, draw):
    order = draw.permutation(len(music.voices))
    music.voices = [music.voices[i] for i in np.argsort(order)]
    music.notes[:, 3] = order[music.notes[:, 3]]


def cut_off(music, draw):
    music.notes = music.notes[music.notes[:, 0] < 0.8 * music.notes[-1, 0]]


def reorchestrated(music, draw):
    for voice in music.voices:
        voice.program = int(draw.integers(128)) if not voice.is_drum else 0


def retitled(music, draw):
    music.title = 'another name'


@pytest.fixture(scope='module')
def originals():
    """(pieces of music, the index of their sketches)"""
    music = [tune(seed) for seed in range(20)]
    return music, dedupe.Near([dedupe.sketch(one) for one in music])


@pytest.mark.parametrize('change', [transposed, faster, doubled, reordered, cut_off, reorchestrated, retitled],
                         ids=lambda change: change.__name__)
def test_planted_copies_are_found_through_a_midi_file(tmp_path, originals, change):
    near = originals[1]
    for i, music in enumerate(originals[0]):
        planted = copy.deepcopy(music)
        change(planted, np.random.default_rng(i))
        write_midi(planted, tmp_path / 'x.mid')
        assert near.of(dedupe.sketch(read_midi(str(tmp_path / 'x.mid'))[0])) == [i]


def test_other_music_is_not_found():
    near = dedupe.Near([dedupe.sketch(tune(seed)) for seed in range(50)])
    assert all(near.of(dedupe.sketch(tune(seed))) == [] for seed in range(50, 100))


def test_same_drums_and_repeated_notes_make_no_duplicates():
    a, b = tune(1), tune(2)
    for music in (a, b):                                # a long tremolo in a further voice
        tremolo = np.array([(6 * i, 6, 60 + i % 2 * 7, 0) for i in range(500)], np.int32)
        music.voices.insert(0, Voice(48))
        music.notes[:, 3] += 1
        music.notes = np.concatenate([tremolo, music.notes])
    assert dedupe.similarity(dedupe.sketch(a), dedupe.sketch(b)) < 0.05


def test_short_and_drum_only_music_has_a_sketch_too():
    few = Music(np.array([(0, 24, 60, 0), (24, 24, 64, 0)], np.int32), [Voice()])
    other = Music(np.array([(0, 24, 60, 0), (24, 24, 65, 0)], np.int32), [Voice()])
    drums = Music(np.array([(i * 12, 12, 36 + i % 3, 0) for i in range(40)], np.int32), [Voice(0, True)])
    for music in (few, other, drums):
        assert len(dedupe.sketch(music)) and dedupe.similarity(dedupe.sketch(music), dedupe.sketch(music)) == 1
    assert dedupe.similarity(dedupe.sketch(few), dedupe.sketch(other)) == 0


def naive_figures(music):
    """The definition in words, without arrays."""
    lines = {}
    for onset, _, pitch, voice in music.notes.tolist():
        if not music.voices[voice].is_drum:
            line = lines.setdefault(voice, {})
            line[onset] = max(pitch, line.get(onset, 0))
    found = set()
    for line in lines.values():
        pitches = [line[onset] for onset in sorted(line)]
        for i in range(len(pitches) - dedupe.FIGURE):
            run = pitches[i:i + dedupe.FIGURE + 1]
            if len(set(run)) > 2:
                found.add(tuple(b - a for a, b in zip(run, run[1:])))
    return found


def mixture(a, b, share):
    """Music that begins as `a` and ends as `b`."""
    at = np.quantile(a.notes[:, 0], share)
    return Music(np.concatenate([a.notes[a.notes[:, 0] < at], b.notes[b.notes[:, 0] >= at]]), a.voices)


def test_sketches_estimate_the_similarity_that_brute_force_counts():
    errors = []
    for seed in range(30):
        a = tune(seed, voices=4, notes=300)
        b = mixture(a, tune(seed + 100, voices=4, notes=300), (seed + 1) / 31)
        x, y = naive_figures(a), naive_figures(b)
        assert len(dedupe.figures(a)) == len(x)
        errors.append(dedupe.similarity(dedupe.sketch(a), dedupe.sketch(b)) - len(x & y) / len(x | y))
    assert np.abs(errors).max() < 0.11 and abs(np.mean(errors)) < 0.02            # standard error 0.03


def test_similarity_of_small_tunes_is_exact():
    for seed in range(20):
        a = tune(seed, voices=1, notes=120)
        b = mixture(a, tune(seed + 100, voices=1, notes=120), 0.5)
        x, y = naive_figures(a), naive_figures(b)
        assert dedupe.similarity(dedupe.sketch(a), dedupe.sketch(b)) == len(x & y) / len(x | y)


def test_the_index_finds_what_comparing_all_pairs_finds():
    a = [tune(seed) for seed in range(12)]
    sketches = [dedupe.sketch(mixture(a[i], a[j], share)) for i in range(6) for j in range(6, 12) for share in (0.2, 0.5, 0.9)]
    near = dedupe.Near(sketches)
    found = [near.of(s) for s in sketches]
    pairs = list(itertools.combinations_with_replacement(range(len(sketches)), 2))
    alike = {pair for pair in pairs if dedupe.similarity(*(sketches[i] for i in pair)) >= dedupe.THRESHOLD}
    every = range(len(sketches))
    assert found == [[j for j in every if (min(i, j), max(i, j)) in alike] for i in every]
    assert any(len(f) > 1 for f in found) and any(len(f) < len(sketches) / 4 for f in found)
