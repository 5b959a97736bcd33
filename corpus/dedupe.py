"""Near-duplicates: the same music transposed, faster, in other note values, re-arranged over
tracks, or cut off.

    a, b = sketch(music_a), sketch(music_b)         # at most 256 numbers a tune
    similarity(a, b)  # about the share of melodic figures that the two have in common
    Near([b, ...]).of(a)  # indices of the tunes that `a` is a near-duplicate of

A figure is a run of FIGURE intervals in the top line of one voice. It knows no key, tempo, note
value, bar, instrument or place, so these may differ. Figures of two pitches (repeated notes,
tremolos) are found in all music and count only if there are no others.

MinHash (Broder 1997) in its bottom-k form: figures are hashed, and the k smallest hashes are kept.
Among the k smallest of two tunes' union, the share that both have estimates the Jaccard similarity
of their sets of figures. Its standard error is at most 1 / (2 sqrt(k)) = 0.03. For tunes of up to
256 different figures it is exact.
"""
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

FIGURE = 8                          # intervals in a figure
SKETCH = 256                        # hashes kept of a tune
THRESHOLD = 0.3                     # similarity from which two tunes are near-duplicates
MULTIPLIERS = np.random.default_rng(0).integers(1, 2 ** 63, FIGURE, dtype=np.uint64)
MULTIPLIERS = MULTIPLIERS * np.uint64(2) + np.uint64(1)         # odd


def figures(music):
    """Sorted uint64 hashes of the melodic figures of `music`; of its drum voices if it has no
    others.
    """
    onset, _, pitch, voice = music.notes.T.astype(np.int64)
    is_drum = np.array([v.is_drum for v in music.voices], bool)
    if is_drum.any() and not is_drum.all():
        pitched = ~is_drum[voice]
        onset, pitch, voice = onset[pitched], pitch[pitched], voice[pitched]
    at = (voice << 32) + onset
    at, pitch = np.divmod(np.sort((at << 7) + pitch), 128)  # by voice, onset, pitch
    top = at != np.append(at[1:], -1)  # the highest note of each onset
    voice, pitch = at[top] >> 32, pitch[top]
    size = min(FIGURE, len(pitch) - 1)  # of music too short for a figure, the whole is one
    places = len(pitch) - size
    whole = voice[:places] == voice[size:]
    windows = sliding_window_view(pitch, size + 1)
    low, high = windows.min(1, keepdims=True), windows.max(1, keepdims=True)
    telling = ((low < windows) & (windows < high)).any(1)
    for chosen in (whole & telling, whole, np.ones(places, bool)):
        if chosen.any():
            break
    intervals = (np.diff(windows[chosen]) + 128).astype(np.uint64)
    return np.unique(mix(intervals @ MULTIPLIERS[:size]))


def mix(x):
    """Finaliser of splitmix64 (Steele, Lea & Flood 2014): spreads every bit of a uint64 over
    all.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sketch(music):
    """The at most SKETCH smallest hashes of the figures of `music`, ascending, uint64."""
    return figures(music)[:SKETCH]


def similarity(a, b):
    """Estimated Jaccard similarity of the figures of two sketches; 0 if one is empty."""
    if not len(a) or not len(b):
        return 0.0
    union = np.union1d(a, b)
    if len(a) == SKETCH or len(b) == SKETCH:  # beyond its largest hash, a full sketch says nothing
        union = union[:SKETCH]
    return float(np.isin(np.intersect1d(a, b, True), union, True).sum() / len(union))


class Near:
    """Index of sketches in which the near-duplicates of a tune are looked up."""

    def __init__(self, sketches):
        self.sketches = list(sketches)
        hashes = np.concatenate(self.sketches) if self.sketches else np.zeros(0, np.uint64)
        owner = np.repeat(np.arange(len(self.sketches)), [len(s) for s in self.sketches])
        order = np.argsort(hashes, kind='stable')
        self.hashes, self.owner = hashes[order], owner[order]

    def of(self, query):
        """Indices, ascending, of the indexed tunes whose similarity with sketch `query` is
        THRESHOLD or more.
        """
        low = np.searchsorted(self.hashes, query, 'left')
        high = np.searchsorted(self.hashes, query, 'right')
        found = high > low
        if not found.any():
            return []
        owners = np.concatenate([self.owner[i:j] for i, j in zip(low[found], high[found])])
        shared = np.bincount(owners)
        # The union has at least as many as the query, so fewer common hashes than this cannot
        # reach the threshold.
        candidates = np.flatnonzero(shared >= THRESHOLD * len(query))
        return [int(i) for i in candidates if similarity(query, self.sketches[i]) >= THRESHOLD]
