"""A tune of which parts are given: its header, whole bars before, changes of meter, tempo and key, and cells of voices.

    tune = Around(tokenizer, seed, reader, header, [Bar('', {0: '[V:1]G2A2B2c2|'}), Bar('[K:D]', {})], length=96)
    generate(model, tokenizer, [tune])                   # writes the other voices of two bars

What is given is read in token by token, all else is drawn under the constraint, cell by cell. The notation leaves out a
voice that rests for a bar, so in front of a given cell the model may open one of another voice: it draws what comes
next, and when that is the given voice, the given cell is taken. Behind the last given cell it may go on or end the
line; a barline and the end of a line are often one token, so it draws between the two ways to write the cell's end.
"""
import re
from typing import NamedTuple

from sampling.generate import Tune

line_pattern = re.compile(r'((?:\[[MQK]:[^]]*\])*)(.*)')
label_pattern = re.compile(r'\[V:(\d+)\]')
cell_pattern = re.compile(r'\[V:(\d+)\][^|]*\|')


class Bar(NamedTuple):
    fields: str                 # changes at its start, such as '[M:3/4][K:G]'
    cells: dict                 # voice, from 0 -> text of its given cell
    closed: int = 0             # mask of the voices that rest, and of SILENCE where it has to sound (constrain.py)


def parse(line):
    """Bar of a line of the notation, all of whose cells are given."""
    fields, cells = line_pattern.fullmatch(line).groups()
    return Bar(fields, {int(match[1]) - 1: match[0] for match in cell_pattern.finditer(cells)})


class Choice:
    """Stands for a Reader where one of a few tokens has to come. {its text: (ids given after it, Reader after these)}
    """
    can_end = ends_line = False

    def __init__(self, options):
        self.options = options

    def feed(self, text):
        return Chosen(*self.options[text]) if text in self.options else None


class Chosen(NamedTuple):
    given: list
    reader: object
    ends_line: bool = False


class Around(Tune):
    """`prompt`: header and whole bars; `bars`: Bars that follow, the first one `length` units long if it opens the
    tune; `owed`: what the last one ties over, as Reader.but says. The tune has `ended` with the last bar."""
    may_shorten = False         # what is given has to follow

    def __init__(self, tokenizer, seed, reader, prompt, bars, length, owed):
        self.bars = None                                        # while the prompt is read
        super().__init__(tokenizer, seed, reader, prompt)
        self.tokenizer, self.bars, self.length, self.owed = tokenizer, bars, length, owed
        self.go_on()

    def add(self, i, reader):
        if self.bars is None:
            return super().add(i, reader)
        if isinstance(reader, Chosen):
            self.give(reader.given, reader.reader)
            reader = reader.reader
        elif reader is not self.reader:                         # drawn: does it open a given cell?
            begun = self.text[self.marked[1]:]
            label = label_pattern.match(begun + self.tokens[i])
            if label and int(label[1]) - 1 in self.cells:
                self.give_cell(int(label[1]) - 1, begun)
                i, reader = self.given.pop(0), self.reader
        super().add(i, reader)
        if not self.given and (self.text[-1] in '|\n' or len(self.ids) == self.free_from):
            self.go_on()

    def read(self, text):
        """The Reader after a given text, which may be off the grid."""
        return self.reader.but(grid=False).feed(text).but(grid=True)

    def go_on(self):
        """A line or a cell begins: what is given here, if anything?"""
        if isinstance(self.reader, Choice):
            return
        if self.text[-1] == '\n' and not self.open_bar():
            return
        voice = min((v for v in self.cells if v > self.reader.voice), default=None)
        if voice is not None and not self.may_open(self.reader.voice + 1, voice):
            self.give_cell(voice, '')

    def open_bar(self):
        """Does a bar begin whose first cell comes next?"""
        n = len(self.bar_ends) - self.n_prompt_bars
        if n == len(self.bars):
            self.ended = True
            return False
        bar = self.bars[n]
        self.cells, self.closed = bar.cells, bar.closed
        if bar.fields:
            self.give(self.tokenizer.encode(bar.fields), self.read(bar.fields))
        owed = self.owed if n == len(self.bars) - 1 else None
        sounding = dict.fromkeys([*bar.cells, *(owed or {})], 0)
        self.reader = self.reader.but(slot='bar', fields=0, closed=bar.closed, due={**sounding, **self.reader.due},
                                      owed=owed, length=self.reader.length if self.bar_ends else self.length)
        return not bar.fields

    def may_open(self, first, stop):
        """May a voice from `first` to below `stop` have a cell that is not given?"""
        return any(not (self.closed >> voice & 1 or voice in self.cells) for voice in range(first, stop))

    def give_cell(self, voice, begun):
        """The cell of a voice comes next; `begun`: what of its text has been written."""
        cell = self.cells[voice][len(begun):]
        after = self.read(cell)
        if after.due or not self.may_open(voice + 1, len(after.drums)):
            end = '' if after.due else after.line_end
            return self.give(self.tokenizer.encode(cell + end), after.feed(end))
        for label in (0, cell.index(']') + 1):      # in one token for the whole cell there would be nothing to draw
            on, off = (self.tokenizer.encode(cell[:label]) + self.tokenizer.encode(cell[label:] + end)
                       for end in ('', after.line_end))
            same = next((n for n, pair in enumerate(zip(on, off)) if pair[0] != pair[1]), len(on))
            if same:
                break
        if same == len(on):                                     # the end of the line is a token of its own
            return self.give(on, after)
        self.give(on[:same], Choice({self.tokens[ids[same]]: (ids[same + 1:], reader)
                                     for ids, reader in ((on, after), (off, after.feed(after.line_end)))}))
