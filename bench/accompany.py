"""Voices added to given ones, for held-out tunes: do the given voices stay note for note, are all
bars exact, and how near are the added voices to the true ones?

    python bench/accompany.py --ckpt=out/quick_best/ckpt.pt         # chorales: the soprano is given
    python bench/accompany.py --ckpt=out/lakh/ckpt.pt --data_dir=data/lakh --voices=0 --max_bars=32

The table has statistics of the tunes beside those of the true ones; read an overlap beside its
baseline, the overlap of two halves of the true tunes. The last lines tell harmony from chance:
which intervals lie between the given voice and the others, in ours, in the true tunes, and where
the true voices meet notes half a tune away.
"""
import itertools
import os
import sys
from dataclasses import dataclass, replace

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import numpy as np

import sample
from bench.fill import held_out
from configurator import configure, fail
from music.metrics import STATISTICS, compare, exact_bars, statistics
from music.notation import decode, encode
from music.notes import bar_starts
from sampling.accompany import accompaniment, find_score
from sampling.constrain import Reader
from sampling.generate import generate
from sampling.prompt import first_bars, marks_of


@dataclass
class Settings:
    ckpt: str = 'out/quick_best/ckpt.pt'
    data_dir: str = 'data/bundled'
    voices: int = 4                     # of the tunes; 0: any from two on
    given: int = 0                      # number of the given voice
    tunes: int = 100                    # at most
    max_bars: int = 64                  # so many first bars of each
    top_p: float = 0.9
    seed: int = 1


def split(music, given):
    """(Music of the given voice alone, programs of the others as `--programs` has them)."""
    notes = music.notes[music.notes[:, 3] == given].copy()
    notes[:, 3] = 0
    programs = []
    for i, voice in enumerate(music.voices):
        if i == given:
            continue
        if not voice.is_drum:
            programs.append(str(voice.program))
        else:
            programs.append(f'drums={voice.program}' if voice.program else 'drums')
    return replace(music, notes=notes, voices=[music.voices[given]]), programs


def pieces(s):
    """Music of the tunes that have the voices, cut to the given one's length, which must fill half
    of it."""
    for text in held_out(s.data_dir):
        music = decode(first_bars(encode(decode(text)), s.max_bars))
        if not (music.voices[s.given + 1:] and s.voices in (0, len(music.voices))):
            continue
        mine = music.notes[music.notes[:, 3] == s.given]
        end = bar_starts(music, (mine[:, 0] + mine[:, 1]).max())[-1] if len(mine) else 0
        if 2 * end > bar_starts(music)[-1]:
            notes = music.notes[music.notes[:, 0] < end].copy()
            notes[:, 1] = np.minimum(notes[:, 1], end - notes[:, 0])
            changes = {name: [event for event in getattr(music, name) if event[0] < end]
                       for name in ('meters', 'tempos', 'keys')}
            yield replace(music, notes=notes, **changes)


def intervals(tunes, givens, shift=False):
    """Shares (12,): how far above each note of the given voice, in semitones mod 12, the notes of
    the others are that sound as it begins. `shift`: with the pitches of the given voice half a tune
    away."""
    counts = np.zeros(12)
    for music, given in zip(tunes, givens):
        pitched = ~np.array([voice.is_drum for voice in music.voices])[music.notes[:, 3]]
        is_given = music.notes[:, 3] == given
        mine, others = music.notes[is_given & pitched], music.notes[~is_given & pitched]
        pitches = np.roll(mine[:, 2], len(mine) // 2) if shift else mine[:, 2]
        for onset, pitch in zip(mine[:, 0], pitches):
            sounding = (others[:, 0] <= onset) & (onset < others[:, 0] + others[:, 1])
            counts += np.bincount((others[sounding, 2] - pitch) % 12, minlength=12)
    return counts / counts.sum()


def main():
    s = configure(Settings)
    model, tokenizer, checkpoint = sample.load(s.ckpt, 'cpu')
    marks = {**marks_of(checkpoint['meta']), 'repeats': False}              # played out
    alphabet = {token for token in tokenizer.tokens if len(token) == 1}
    reader = Reader(alphabet=alphabet, **marks)
    true = list(itertools.islice(pieces(s), s.tunes))
    if not true:
        voices = s.voices or 'two'
        fail(f'no tune in {s.data_dir} has {voices} voices, of which number {s.given} sounds')

    # The given voice of each tune, and voices that are added to it.
    parts = [split(music, s.given) for music in true]
    scores = [find_score(music, programs, reader) for music, programs in parts]
    places = [min(set().union(*(bar.cells for bar in score.bars))) for score in scores]
    tunes = [accompaniment(tokenizer, (s.seed, i), reader, score) for i, score in enumerate(scores)]
    counts = generate(model, tokenizer, tunes, max_tokens=np.inf, max_bars=np.inf, top_p=s.top_p)
    ours = [decode(tune.text) for tune in tunes]
    n_exact, n_bars = np.sum([exact_bars(tune.text) for tune in tunes], axis=0)
    n_kept = 0
    for new, place, (music, _) in zip(ours, places, parts):
        voice = new.notes[new.notes[:, 3] == place]
        n_kept += np.array_equal(voice[:, :3], music.notes[:, :3])
    print(f'{len(tunes)} tunes, {sum(tune.ended for tune in tunes)} whole, given voices kept note '
          f'for note in {n_kept}, {n_exact} of {n_bars} bars exact; {counts["tokens"]} tokens, '
          f'{counts["dropped"]} more dropped')

    table = compare([statistics(music) for music in ours], [statistics(music) for music in true],
                    s.seed)
    headings = 'ours', 'true', 'overlap', 'baseline'
    print(f'{"median":>36}' + ''.join(f'{heading:>10}' for heading in headings))
    for name in ('pitch_class_entropy', 'scale_consistency', 'pitch_range', 'polyphony',
                 'notes_per_cell'):
        line = f'{STATISTICS[name]:>36}'
        for column in ('samples', 'held_out', 'overlap', 'baseline'):
            value = table[name][column]
            line += f'{"-" if value is None else f"{value:.3g}":>10}'
        print(line)

    givens = [s.given] * len(true)
    real = intervals(true, givens)
    halves = [intervals(true[i::2], givens[i::2]) for i in (0, 1)]
    shared = {'ours': np.minimum(intervals(ours, places), real),
              'the true voices, to other notes':
                  np.minimum(intervals(true, givens, shift=True), real),
              'two halves of the true tunes': np.minimum(*halves)}
    print('intervals from the given voice to the others, mod 12: area shared with the true ones')
    for what, shares in shared.items():
        print(f'{what:>36} {shares.sum():.3f}')


if __name__ == '__main__':
    main()
