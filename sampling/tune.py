"""A tune as it grows, token by token.

    tune = Tune(tokenizer, seed=(1, 0), reader=Reader(), prompt='L:1/8\\nM:3/4\\n')
    step = tune.step(i)             # what token i leads to, or None if the constraint rejects it
    tune.take(step)

Its text is in Text, what the constraint lets through and what is given in Tune, and the places that
it can go back to in rollback.py. Batches of tunes are sampled in generate.py.
"""
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from music.repeats import MARKS, PHRASE_END
from sampling.constrain import Reader
from sampling.rollback import Rollback

KEPT_SHARE = 0.6            # of a full context: what header and latest bars may fill of the next


class Text:
    """Ids and text of a tune, and where in them its header and bars end."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.ids, self.text = [tokenizer.tune], ''
        self.header_end = 1                                 # number of ids before the first bar
        self.bar_ends = []                                  # number of ids to the end of each bar

    def append(self, i):
        """Append a token. Returns the line that ends with it, '' if none does."""
        self.text += self.tokenizer.tokens[i]
        self.ids.append(i)
        if self.text[-1] != '\n':
            return ''
        line = self.text[self.text.rfind('\n', 0, -1) + 1:-1]
        if not self.bar_ends and line[:1] not in ('[', 'Z', '|'):
            self.header_end = len(self.ids)
        elif line not in MARKS:
            self.bar_ends.append(len(self.ids))
        return line

    def cut(self, n_ids, n_text):
        """Keep so many ids and characters."""
        self.ids, self.text = self.ids[:n_ids], self.text[:n_text]
        self.bar_ends = [n for n in self.bar_ends if n <= n_ids]

    def context(self, block_size):
        """What the model sees: all ids, or once they fill its context the header and the most
        recent whole bars."""
        if len(self.ids) < block_size:
            return list(self.ids)
        header = self.ids[:self.header_end] if self.header_end < 3 * block_size // 8 else []
        room = int(KEPT_SHARE * block_size) - len(header)
        bar_starts = [n for n in (self.header_end, *self.bar_ends) if 0 < len(self.ids) - n <= room]
        return header + self.ids[bar_starts[0] if bar_starts else -room:]


class Step(NamedTuple):
    """What a token leads to."""
    ids: list                       # the token, and those that follow it without being drawn
    reader: Reader | None           # after all of these; None: without constraint, or a choice
    choice: dict | None = None      # id -> Step: one of these has to come then


class Tune(Text):
    """A tune that is sampled. `seed`: ints, all that its randomness depends on. `reader`: the
    constraint at the start of a tune; None: without. `key` is put into the header and not drawn;
    None: the model draws one. A prompt has a key of its own."""
    can_drop_bars = True            # where the constraint leaves nothing likely
    music = None                    # of the finished text (sample.py)

    def __init__(self, tokenizer, seed, reader=None, prompt='', key=None):
        super().__init__(tokenizer)
        state, = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        self.generator = torch.Generator().manual_seed(int(state >> 1))
        self.ended = False                                  # by <|tune|>, or with all that is given
        self.stuck = False                                  # the constraint left nothing likely

        self.is_constrained = reader is not None
        # A prompt may be off the grid.
        self.reader = reader.feed(prompt).on_grid() if reader else None
        self.given = []                                     # ids that come next
        self.given_end = 0                                  # len(ids) after the last given one
        self.choice = None                                  # id -> Step: one of them must come next
        self.key_line = f'K:{key}\n' if key and not prompt else None
        for i in tokenizer.encode(prompt):
            self.append(i)
        self.n_prompt_ids, self.n_prompt_bars = len(self.ids), len(self.bar_ends)
        is_asked = bool(prompt or reader and any(reader.options.asked.values()))
        self.rollback = Rollback(self, keeps_start=is_asked)

    def step(self, i):
        """The Step of token i; None if it is rejected."""
        if self.choice is not None:
            return self.choice.get(i)
        if not self.is_constrained:
            return Step([i], None)
        if i == self.tokenizer.tune:
            return Step([i], self.reader) if self.reader.can_end else None
        after = self.reader.feed(self.tokenizer.tokens[i])
        if after is None:
            return None
        if after.ends_line:
            rest = after.line_end.removeprefix(after.word.partial)
            if i in torn_line_ends(self.tokenizer, rest):
                return None
        return Step([i], after)

    def take(self, step):
        """Append the token of a Step; what it brings along comes next."""
        first, *rest = step.ids
        self.reader, self.choice = step.reader, step.choice
        if rest:
            self.given, self.given_end = rest, len(self.ids) + len(step.ids)
        self.append(first)

    def give(self, step):
        """The ids of a Step come next."""
        self.given, self.given_end = list(step.ids), len(self.ids) + len(step.ids)
        self.reader, self.choice = step.reader, step.choice

    def append(self, i):
        line = super().append(i)
        if line.startswith('Q:') and self.key_line:         # the key is next
            reader = self.reader.feed(self.key_line) if self.is_constrained else None
            self.give(Step(self.tokenizer.encode(self.key_line), reader))
        return line


@cache
def torn_line_ends(tokenizer, line_end):
    """Ids of the tokens that end in a barline and never stand before a line's end, because the
    vocabulary has both in one token. A model has never seen the two apart: where only the line's
    end can follow, such a token leads astray."""
    rest = tokenizer.encode(line_end)
    return {i for i, text in enumerate(tokenizer.tokens)
            if text.endswith(('|', PHRASE_END)) and tokenizer.encode(text + line_end) != [i, *rest]}
