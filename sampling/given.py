"""A tune of which parts are given: its header, whole bars before, changes of meter, tempo and key,
and cells of voices.

    bars = [Bar('', {0: '[V:1]G2A2B2c2|'}), Bar('[K:D]', {})]
    tune = Around(tokenizer, seed, reader, Given(header, bars))
    generate(model, tokenizer, [tune])                   # writes the other voices of two bars

What is given is appended token by token, all else is drawn under the constraint, cell by cell. The
notation leaves out a voice that rests for a bar, so in front of a given cell the model may open one
of another voice: it draws what comes next, and when that is the given voice, the given cell is
taken. After the last given cell it may go on or end the line; a barline and the end of a line are
often one token, so it draws between the two ways to write the cell's end.
"""
import re
from typing import NamedTuple

from sampling.tune import Step, Tune

line_pattern = re.compile(r'((?:\[[MQK]:[^]]*\])*)(.*)')
label_pattern = re.compile(r'\[V:(\d+)\]')
cell_pattern = re.compile(r'\[V:(\d+)\][^|]*\|')


class Bar(NamedTuple):
    fields: str                 # changes at its start, such as '[M:3/4][K:G]'
    cells: dict                 # voice, from 0 -> text of its given cell
    forbidden: int = 0          # mask of the voices that rest, and of SILENCE if it must sound


class Given(NamedTuple):
    before: str                 # header and whole bars
    bars: list                  # the Bars that follow
    pickup: int = 0             # units in the first bar of the tune if it is a pickup
    required_ties: dict = {}    # what the last of `bars` ties over, as Reader.open_bar says
    after: str = ''             # whole bars that follow them


def parse(line):
    """Bar of a line of the notation, all of whose cells are given."""
    fields, cells = line_pattern.fullmatch(line).groups()
    return Bar(fields, {int(match[1]) - 1: match[0] for match in cell_pattern.finditer(cells)})


class Around(Tune):
    """The tune has `ended` with the last of the Bars; what is given after them is not appended."""
    can_drop_bars = False       # what is given has to follow

    def __init__(self, tokenizer, seed, reader, given):
        self.bars = None                                        # while what is before is read
        super().__init__(tokenizer, seed, reader, given.before)
        self.bars, self.pickup, self.required_ties = given.bars, given.pickup, given.required_ties
        self.give_next()

    def step(self, i):
        """As of a Tune; a token that opens a given cell is replaced by the cell."""
        step = super().step(i)
        if step is None or self.choice is not None:
            return step
        begun = self.text[self.rollback.marked.n_text:]
        label = label_pattern.match(begun + self.tokenizer.tokens[i])
        if label and int(label[1]) - 1 in self.cells:
            return self.given_cell(int(label[1]) - 1, begun)
        return step

    def append(self, i):
        line = super().append(i)
        at_border = self.text[-1] in '|\n' or len(self.ids) == self.given_end
        if self.bars is not None and not self.given and at_border:
            self.give_next()
        return line

    def give_next(self):
        """A line or a cell begins: give what is given here, if anything."""
        if self.choice is not None:
            return
        if self.text[-1] == '\n' and not self.open_bar():
            return
        present = self.reader.bar.voice
        voice = min((voice for voice in self.cells if voice > present), default=None)
        if voice is not None and not self.may_open(present + 1, voice):
            self.give(self.given_cell(voice, ''))

    def open_bar(self):
        """Begin a bar, or end the tune after the last one. Is its first cell next?"""
        n = len(self.bar_ends) - self.n_prompt_bars
        if n == len(self.bars):
            self.ended = True
            return False
        bar = self.bars[n]
        self.cells, self.forbidden = bar.cells, bar.forbidden
        if bar.fields:
            reader = self.reader.feed_given(bar.fields)
            self.give(Step(self.tokenizer.encode(bar.fields), reader))
        required_ties = self.required_ties if n == len(self.bars) - 1 else None
        voices = [*bar.cells, *(required_ties or {})]
        self.reader = self.reader.open_bar(self.pickup, voices, bar.forbidden, required_ties)
        return not bar.fields

    def may_open(self, first, stop):
        """May a voice from `first` to below `stop` have a cell that is not given?"""
        for voice in range(first, stop):
            is_forbidden = self.forbidden >> voice & 1
            if not is_forbidden and voice not in self.cells:
                return True
        return False

    def given_cell(self, voice, begun):
        """Step of the given cell of a voice; `begun`: what of its text has been written."""
        cell = self.cells[voice][len(begun):]
        after = self.reader.feed_given(cell)
        encode = self.tokenizer.encode
        if after.bar.ties_in:                           # another voice has to follow
            return Step(encode(cell), after)
        if not self.may_open(voice + 1, len(after.header.drums)):
            return Step(encode(cell + after.line_end), after.feed(after.line_end))

        # The model draws between going on and ending the line, at the first token in which the two
        # ways to write the cell differ. If that is the cell's first one, there would be nothing to
        # draw: then its label is written as tokens of its own.
        for n_label in (0, cell.index(']') + 1):
            label, rest = cell[:n_label], cell[n_label:]
            goes_on = encode(label) + encode(rest)
            ends = encode(label) + encode(rest + after.line_end)
            n_shared = 0
            while n_shared < len(goes_on) and goes_on[n_shared] == ends[n_shared]:
                n_shared += 1
            if n_shared:
                break
        if n_shared == len(goes_on):                    # the end of the line is a token of its own
            return Step(goes_on, after)
        choice = {goes_on[n_shared]: Step(goes_on[n_shared:], after),
                  ends[n_shared]: Step(ends[n_shared:], after.feed(after.line_end))}
        return Step(goes_on[:n_shared], None, choice)
