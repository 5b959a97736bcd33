"""Voices written to given ones, for held-out tunes: are the given ones kept note for note and all
bars exact, and how near is what is added to what stands there in truth?

    python bench/accompany.py --ckpt=out/quick_best/ckpt.pt                          # chorales: the
    soprano is given python bench/accompany.py --ckpt=out/lakh/ckpt.pt --data_dir=data/lakh
    --voices=0 --max_bars=32

The table has statistics of the tunes beside those of the true ones; an overlap is to be read beside
its baseline, of two halves of the true tunes. The last lines tell harmony from chance: which
intervals stand between the given voice and the others, in ours, in the true tunes, and where the
true voices meet notes half a tune away.
"""
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
    programs = [f'drums={v.program}' if v.is_drum and v.program else 'drums' if v.is_drum else str(v.program)
                for i, v in enumerate(music.voices) if i != given]
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
    reader = Reader(alphabet={token for token in tokenizer.tokens if len(token) == 1}, **marks)
    true = [music for music, _ in zip(pieces(s), range(s.tunes))]
    if not true:
        fail(f'no tune in {s.data_dir} has {s.voices or "two"} voices, of which number {s.given} sounds')
    parts = [split(music, s.given) for music in true]
    scores = [find_score(music, programs, reader) for music, programs in parts]
    places = [next(iter(set().union(*(bar.cells for bar in score.bars)))) for score in scores]
    tunes = [accompaniment(tokenizer, (s.seed, i), reader, score) for i, score in enumerate(scores)]
    counts = generate(model, tokenizer, tunes, max_tokens=np.inf, max_bars=np.inf, top_p=s.top_p)
    ours = [decode(tune.text) for tune in tunes]
    exact = np.sum([exact_bars(tune.text) for tune in tunes], axis=0)
    kept = sum(np.array_equal(new.notes[new.notes[:, 3] == place][:, :3], music.notes[:, :3])
               for new, place, (music, _) in zip(ours, places, parts))
    print(f'{len(tunes)} tunes, {sum(tune.ended for tune in tunes)} whole, given voices kept note for note in {kept}, '
          f'{exact[0]} of {exact[1]} bars exact; {counts["tokens"]} tokens, {counts["dropped"]} more dropped')
    table = compare([statistics(music) for music in ours], [statistics(music) for music in true], s.seed)
    print(f'{"median":>36}' + ''.join(f'{name:>10}' for name in ('ours', 'true', 'overlap', 'baseline')))
    for name in ('pitch_class_entropy', 'scale_consistency', 'pitch_range', 'polyphony', 'notes_per_cell'):
        values = (table[name][column] for column in ('samples', 'held_out', 'overlap', 'baseline'))
        print(f'{STATISTICS[name]:>36}' + ''.join(f'{"-" if v is None else f"{v:.3g}":>10}' for v in values))
    givens = [s.given] * len(true)
    real = intervals(true, givens)
    print('intervals from the given voice to the others, mod 12: area shared with the true ones')
    for what, shares in (('ours', intervals(ours, places)),
                         ('the true voices, to other notes', intervals(true, givens, shift=True))):
        print(f'{what:>36} {np.minimum(shares, real).sum():.3f}')
    halves = (intervals(true[i::2], givens[i::2]) for i in (0, 1))
    print(f'{"two halves of the true tunes":>36} {np.minimum(*halves).sum():.3f}')


if __name__ == '__main__':
    main()
