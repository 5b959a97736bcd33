"""Marks of a tune's form, by the texts of its bars alone: repeated sections, phrases of four bars.

    folded(['a', 'b', 'c', 'd', 'e', 'a', 'b', 'c', 'd', 'f'])
    # ['|:', 'a', 'b', 'c', 'd', '[1', 'e', ':|', 'f']
    # a to d return, and the second time goes on to f

A tune that says each part once is a quarter shorter, the return of a part is a sign that a model
writes, and what it repeats it repeats exactly. A bar must mean the same both times: a section holds
no change of meter, tempo or key, and no note is tied over a mark.

    list(phrased(['a', 'b', 'c', 'd', 'e']))
    # ['a', 'b', 'c', 'd$', 'e']: `$` is what ABC 2.1 calls a score line-break

Most sections of folk tunes have eight bars. A model that has to count only to four, and then
phrases, keeps to that.
"""
REPEAT, ENDING, AGAIN = MARKS = '|:', '[1', ':|'
LEAST_REPEATED, LONGEST_REPEATED, LONGEST_ENDING = 4, 64, 2     # bars
PHRASE, PHRASE_END = 4, '$'                                     # bars; the mark after the last one


def folded(bars):
    """Lines of bars with repeats marked, from left to right, each time the one that saves most."""
    lines, i = [], 0
    while i < len(bars):
        last = min(i + LONGEST_REPEATED, len(bars) - 1)
        sections = [section(bars, i, j) for j in range(i + LEAST_REPEATED, last + 1)
                    if bars[i] == bars[j]]
        saved, ending = max(sections, key=lambda section: section[0], default=(0, 0))
        if saved:
            first_ending = i + saved
            after = first_ending + ending
            lines += [REPEAT, *bars[i:first_ending]]
            if ending:
                lines += [ENDING, *bars[first_ending:after]]
            lines.append(AGAIN)
            i = after + saved
        else:
            lines.append(bars[i])
            i += 1
    return lines


def section(bars, i, j):
    """(bars saved, bars of the first ending) of a section that begins at i and, for the second
    time, at j; (0, 0) if it cannot be marked."""
    end = i
    while end < j < len(bars) - end + i and bars[end] == bars[j + end - i]:
        end += 1
    tied = any('-' in bars[k - 1] for k in (i, end, j) if k)
    changes = any(bar[:2] in ('[M', '[Q', '[K') for bar in bars[i:j])
    if tied or changes or end - i < LEAST_REPEATED or j - end > LONGEST_ENDING:
        return 0, 0
    return end - i, j - end


def unfolded(lines, first=1):
    """[(number of its line, counted from `first`, and bar)] of lines with marks, which are gone. A
    repeat that is left open is played once. ValueError where a mark of a repeat is out of place."""
    bars, begin, end = [], None, None
    for number, line in enumerate(lines, first):
        if line == REPEAT and begin is None:
            begin, end = len(bars), None
        elif line == ENDING and begin is not None and end is None and len(bars) > begin:
            end = len(bars)
        elif line == AGAIN and begin is not None and len(bars) > (begin if end is None else end):
            bars += bars[begin:end]
            begin = None
        elif line in MARKS:
            raise ValueError(f'line {number}: {line} out of place')
        else:
            bars.append((number, line.removesuffix(PHRASE_END)))
    return bars


def phrased(lines, pickup=False):
    """Yield the lines of bars and marks, with `$` after every fourth bar. A pickup does not count,
    and where a section is played again, the bars of its first ending no longer count."""
    n, before_ending = -pickup, None
    for line in lines:
        if line == ENDING:
            before_ending = n
        elif line == AGAIN:
            n, before_ending = n if before_ending is None else before_ending, None
        elif line not in MARKS:
            n += 1
            line += PHRASE_END * (n > 0 and n % PHRASE == 0)
        yield line
