"""Codec identity and quantisation over a folder of MIDI files.

    python bench/codec.py FOLDER [processes]

For every file that can be read: quantised notes -> text -> notes must be the identity, with every
combination of the optional marks, and each raw onset (pitch, drum flag) is sought among the
quantised ones within 1/12 of a quarter, one to one.
"""
import collections
import multiprocessing
import os
import sys
from itertools import product

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from music.midi import raw_midi
from music.notation import decode, encode
from music.notes import UNITS
from music.quantise import MidiError, quantise


def matched(raw, music, shift):
    """Number of raw onsets that have a quantised one of their pitch and drum flag to themselves
    within 1/12 quarter."""
    lines = collections.defaultdict(lambda: ([], []))   # (pitch, drum flag) -> onsets before, after
    raw_notes = zip(raw['onset'].tolist(), raw['pitch'].tolist(), raw['voice'].tolist())
    for onset, pitch, voice in raw_notes:
        lines[pitch, raw['voices'][voice].is_drum][0].append(onset - shift)
    for onset, _, pitch, voice in music.notes.tolist():
        lines[pitch, music.voices[voice].is_drum][1].append(onset)

    count = 0
    for before, after in lines.values():
        before, after, i = sorted(before), sorted(after), 0
        for onset in before:
            while i < len(after) and after[i] < onset - UNITS / 12 - 1e-6:
                i += 1
            if i < len(after) and after[i] <= onset + UNITS / 12 + 1e-6:
                count, i = count + 1, i + 1
    return count


def equal(a, b):
    return a.voices == b.voices and all(np.array_equal(getattr(a, name), getattr(b, name))
                                        for name in ('notes', 'meters', 'tempos', 'keys', 'pickup'))


def pitched_beats(music):
    """Sum of the durations of all notes but drums, in quarters."""
    pitched = ~np.array([v.is_drum for v in music.voices])[music.notes[:, 3]]
    return float(music.notes[pitched, 1].sum() / UNITS)


def examine(path):
    try:
        raw = raw_midi(path)
        music, report = quantise(raw)
    except MidiError as e:
        return {'reason': str(e)}
    identity = all(equal(music, decode(encode(music, *marks)))
                   for marks in product((False, True), repeat=3))
    different = np.unique(np.stack([raw['onset'], raw['pitch'], raw['voice']]), axis=1).shape[1]
    pitched = ~np.array([v.is_drum for v in raw['voices']])[raw['voice']]
    gate, _ = quantise(raw, close_gaps=False)
    return {'reason': 'read', 'path': path, 'identity': identity,
            'matched': matched(raw, music, report['shift']), 'kept': len(music.notes),
            'doubled': len(raw['onset']) - different, 'characters': len(encode(music)),
            'pitched': int(pitched.sum()),
            'pitched_beats': float(raw['duration'][pitched].sum() / UNITS),
            'pitched_notated': pitched_beats(music), 'pitched_gate': pitched_beats(gate), **report}


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith('-'):
        sys.exit(__doc__)
    paths = sorted(os.path.join(folder, name) for folder, _, names in os.walk(sys.argv[1])
                   for name in names if name.lower().endswith(('.mid', '.midi')))
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count()
    with multiprocessing.Pool(workers) as pool:
        rows = pool.map(examine, paths, chunksize=16)
    reasons = collections.Counter(row['reason'] for row in rows)
    rows = [row for row in rows if row['reason'] == 'read']
    if not rows:
        sys.exit(f'no MIDI file below {sys.argv[1]} can be read')

    total = {k: sum(row[k] for row in rows) for k in rows[0] if k not in ('reason', 'path')}
    notes = total['notes']
    read = ', '.join(f'{n:,} {reason}' for reason, n in reasons.most_common())
    print(f'{len(paths):,} files: {read}; {total["repaired"]:,} after repair')
    print(f'codec identity holds for {total["identity"]:,} of {len(rows):,} files, '
          f'{total["kept"]:,} notes, {total["characters"] / total["kept"]:.2f} characters per note')
    good = sum(row['matched'] >= 0.995 * row['notes'] for row in rows)
    unique = sum(row['matched'] >= 0.995 * (row['notes'] - row['doubled']) for row in rows)
    print(f'onsets within 1/12 quarter: {total["matched"] / notes:.3%} of all; at least 99.5% on '
          f'{good / len(rows):.2%} of the files ({unique / len(rows):.2%} if a note that the file '
          f'holds twice counts once)')
    print(f'mean onset shift {total["onset_error"] / notes:.4f} quarter')
    print(f'merged unisons: {total["merged_unisons"] / notes:.3%} of the notes, '
          f'of which {total["doubled"] / notes:.3%} are doubled in the file')
    print(f'durations of pitched notes, in quarters: '
          f'raw {total["pitched_beats"] / total["pitched"]:.3f}, '
          f'on the grid {total["pitched_gate"] / total["pitched"]:.3f}, '
          f'notated {total["pitched_notated"] / total["pitched"]:.3f}')
    for row in sorted(rows, key=lambda row: row['matched'] / row['notes'])[:5]:
        print(f'  worst: {row["matched"] / row["notes"]:.2%} of {row["notes"]:,} notes '
              f'({row["doubled"]:,} doubled), {os.path.basename(row["path"])}')


if __name__ == '__main__':
    main()
