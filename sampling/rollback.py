"""Where a tune goes back to when the constraint leaves nothing that the model holds likely.

First to the mark, the start of a line or of a voice's bar, which is then sampled again. If that
does not help for some time, by a whole bar, then by two; at last the tune ends. Only what was
sampled is dropped: a prompt, a header that is asked for, and given cells stay.
"""
from typing import NamedTuple

BAR_DROPS = 2               # times that bars are dropped at one place; then the tune ends there


class Mark(NamedTuple):
    """A place in a tune, and how it goes on there (see tune.Tune)."""
    n_ids: int
    n_text: int
    reader: object
    choice: dict | None


class Rollback:
    def __init__(self, tune, keeps_start):
        """At the end of what a tune begins with. `keeps_start`: is that asked for, so that one may
        not go back to it unless a bar was written?"""
        self.tune, self.keeps_start = tune, keeps_start
        self.most_bars = self.n_drops = 0           # bars where some were dropped last, how often
        self.mark()
        self.start = self.marked

    def mark(self):
        """The tune can come back to here."""
        tune = self.tune
        self.marked = Mark(len(tune.ids), len(tune.text), tune.reader, tune.choice)
        self.n_restarts = 0

    def is_at_mark(self):
        """Does a line or a voice's bar begin here, or what follows given tokens?"""
        tune = self.tune
        if tune.given:
            return False
        if tune.text.endswith(('|', '\n')):
            return True
        return len(tune.ids) in (self.marked.n_ids, tune.given_end)

    def can_restart(self, max_restarts):
        """May what follows the mark be sampled again?"""
        return self.n_restarts < max_restarts and len(self.tune.ids) > self.marked.n_ids

    def restart(self):
        """Go back to the mark. Returns how many tokens were dropped."""
        self.n_restarts += 1
        return self.go_to(self.marked)

    def can_drop_bars(self, max_restarts):
        """May whole bars be dropped, or what is begun of a header that nobody asked for?"""
        tune = self.tune
        if not tune.can_drop_bars or max_restarts == 0:
            return False
        if len(tune.bar_ends) > tune.n_prompt_bars:
            return True
        return not self.keeps_start and len(tune.ids) > self.start.n_ids

    def drop_bars(self):
        """Drop what is begun and the latest bar; if that was in vain, two; then the tune ends at
        its latest bar. Returns how many tokens were dropped."""
        tune, n_bars = self.tune, len(self.tune.bar_ends)
        self.n_drops = 1 if n_bars > self.most_bars else self.n_drops + 1
        self.most_bars = max(n_bars, self.most_bars)
        tune.stuck = self.n_drops > BAR_DROPS
        n_kept = n_bars if tune.stuck else n_bars - self.n_drops
        place = self.start
        if n_kept > tune.n_prompt_bars:
            n_ids = tune.bar_ends[n_kept - 1]
            written = ''.join(tune.tokenizer.tokens[i] for i in tune.ids[self.start.n_ids:n_ids])
            reader = self.start.reader.feed(written) if tune.is_constrained else None
            place = Mark(n_ids, self.start.n_text + len(written), reader, None)
        n_dropped = self.go_to(place)
        self.mark()
        return n_dropped

    def go_to(self, place):
        n_dropped = len(self.tune.ids) - place.n_ids
        self.tune.cut(place.n_ids, place.n_text)
        self.tune.reader, self.tune.choice = place.reader, place.choice
        return n_dropped
