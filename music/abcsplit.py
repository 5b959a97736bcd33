"""The text of an ABC file -> the lines of its tunes, without what is words and not music."""
import re

# A block of text from %%begintext to %%endtext (or begin and end of ps, svg, ...), and one that is
# never closed, to the next empty line, tune or the end.
BLOCK = re.compile(r"""
    ^(?:%%|I:)[ \t]*begin(\w+).*\n
    (?: (?:(?!(?:%%|I:)[ \t]*(?:begin|end)\1).*\n)* (?:%%|I:)[ \t]*end\1.*\n
      | (?:(?![ \t]*$|X:).*\n)* )
""", re.M | re.X)
FENCE = re.compile(r'^[ \t]*(?:```|~~~)[ \t]*\w*[ \t]*$', re.M)
NO_NOTE = re.compile('[h-tw]')      # small letters that are neither notes nor usual decorations


def split_tunes(text):
    """(lines of the file header, which hold for all tunes, [lines of a tune])."""
    if '```' in text or '~~~' in text:
        text = FENCE.sub('', text)
    if 'begin' in text:
        text = BLOCK.sub(lambda block: f'%%begin{block[1]}\n', text + '\n')
    if re.search(r'^> ?X:', text, re.M):                        # quoted in an answer
        text = re.sub(r'^> ?', '', text, flags=re.M)
    head, *numbered = re.split(r'^(?=[ \t]*X:)', text, flags=re.M)
    tunes = [[line.strip() for line in tune.split('\n')] for tune in numbered]
    if not numbered or re.search(r'^[ \t]*K:', head, re.M):
        return [], without_number(head) + tunes
    return re.findall(r'^(?:%%(?!begin)|[ILMQ]:).*', head, re.M), tunes


def without_number(text):
    """[lines] of the tunes of a text without X:. A tune begins with a field of the header, where
    the former one has ended with an empty line. What is between them is words."""
    tunes, has_key, has_ended = [], False, True
    for line in map(str.strip, text.split('\n')):
        if has_ended and re.match('[A-Z]:|%%', line):
            tunes.append([])
            has_key = has_ended = False
        has_ended |= has_key and not line
        has_key |= line.startswith('K:')
        if tunes:
            tunes[-1].append(line)
    with_key = [lines for lines in tunes if any(line.startswith('K:') for line in lines)]
    return with_key or tunes[:1]


def is_prose(line, symbols):
    """Is a line in the place of music one of words? No bar is in it, and at least half of its words
    have two small letters that are neither notes nor `symbols`, decorations by letter."""
    if '|' in line:
        return False
    line = re.sub(r'"[^"]*"|![^!]*!|\+[^+]*\+|\[[A-Za-z]:[^]]*\]', ' ', line)
    words = re.findall(r"[A-Za-z']{2,}", line)
    strange = [word for word in words
               if sum(letter not in symbols for letter in NO_NOTE.findall(word)) >= 2]
    return bool(words) and 2 * len(strange) >= len(words)
