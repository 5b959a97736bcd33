"""Tokenizer: text <-> ids. Byte-pair encoding (rustbpe, tiktoken), or one id per character.

    tokenizer = train(texts, vocab_size=1000)              # texts: an iterable of tunes
    ids = tokenizer.encode('[V:1]G2A/2B/2c[EGB]4|\\n')      # [412, 77, 903]
    text = tokenizer.decode(ids)                           # the same text again
    python bpe.py data/bundled                             # the vocabulary of a data folder

A token never crosses a barline, the end of a line, or a space in front of a beat: the text is cut
there, and merges happen inside of the pieces. So a token is music that lies in one bar of one
voice, or in one beat of it where beats are marked, and a prompt can be cut at any barline.

`vocab_size` counts every id: the characters that occur in the training text, the merges, and last
`<|tune|>`, which opens a tune and never comes out of `encode`. Any other text goes in and out
unharmed too: a character without an id of its own, and the backslash, is written as `\\xx` for each
of its UTF-8 bytes before encoding, and read back afterwards.
"""
import hashlib
import json
import os
import re
import sys

import numpy as np
import rustbpe
import tiktoken

from configurator import fail

# A mark of repeats; a line of the header; or a stretch of a cell without a space, with the space in
# front of it, and at the end of the cell with its barline, the mark of a phrase and the end of the
# line.
SPLIT = r'\|:\n|:\|\n|[A-Z]:[^|\n]*\n| ?[^ |\n]*\|\$?\n?| ?[^ |\n]*\n| ?[^ |\n]+| '
CHARACTER = r'[\s\S]'
TUNE = '<|tune|>'
ESCAPES = '\\0123456789abcdef'


class Tokenizer:
    """`tokens`: the text of each id in the order of the merges; then comes the id of <|tune|>."""

    def __init__(self, kind, tokens, split=None):
        self.kind, self.tokens = kind, tokens                           # kind: 'bpe' or 'char'
        # `split`: that of its training, which may have been another one than today's
        self.split = split or (SPLIT if kind == 'bpe' else CHARACTER)
        self.tune, self.vocab_size = len(tokens), len(tokens) + 1
        self.hash = hashlib.sha256(self.to_json().encode()).hexdigest()
        self._encoding = tiktoken.Encoding(
            'music', pat_str=self.split, special_tokens={TUNE: self.tune},
            mergeable_ranks={token.encode(): i for i, token in enumerate(tokens)})
        characters = [token for token in tokens if len(token) == 1 and token != '\\']
        alphabet = ''.join(map(re.escape, characters))
        self._strange = re.compile(f'[^{alphabet}]')

    def encode(self, text):
        """List of ids, without <|tune|>."""
        return self._encoding.encode_ordinary(self._escape(text))

    def encode_batch(self, texts, threads):
        """Lists of ids, one for each text, on several threads."""
        escaped = [self._escape(text) for text in texts]
        return self._encoding.encode_ordinary_batch(escaped, num_threads=threads)

    def decode(self, ids):
        """Text of any ids, without <|tune|>; also of ids that no text encodes to."""
        text = ''.join(self.tokens[i] for i in ids if i != self.tune)
        return re.sub(r'(?:\\[0-9a-f]{2})+', unescape, text) if '\\' in text else text

    def lacks(self, text):
        """Whether `text` has characters without an id, which are written as escapes."""
        return self._strange.search(text) is not None

    def to_json(self):
        return json.dumps({'kind': self.kind, 'split': self.split, 'vocab_size': self.vocab_size,
                           'tokens': self.tokens}, indent=0)

    @classmethod
    def from_json(cls, text):
        """Tokenizer of `to_json`'s text, with its own split. Raises ValueError, KeyError."""
        data = json.loads(text)
        tokenizer = cls(data['kind'], data['tokens'], data['split'])
        if json.loads(tokenizer.to_json()) != data:
            raise ValueError('not a tokenizer of bpe.py')
        return tokenizer

    @classmethod
    def load(cls, path):
        with open(path, encoding='utf-8') as f:
            return cls.from_json(f.read())

    def _escape(self, text):
        return self._strange.sub(escape, text) if self.lacks(text) else text


def escape(match):
    return ''.join(f'\\{byte:02x}' for byte in match[0].encode('utf-8', 'surrogatepass'))


def unescape(match):
    data = bytes.fromhex(match[0].replace('\\', ''))
    try:
        return data.decode('utf-8', 'surrogatepass')
    except UnicodeDecodeError:          # only of ids that no text encodes to
        return match[0]


def train(texts, vocab_size, kind='bpe', may_be_smaller=False):
    """Tokenizer of exactly `vocab_size` ids for 'bpe'; for 'char' as the characters demand.

    If the texts hold too few pairs to merge, it is smaller if it may be, else ValueError names the
    largest possible size.
    """
    seen = set(ESCAPES)

    def noticing(texts):
        for text in texts:
            seen.update(text)
            yield text

    if kind == 'char':
        for _ in noticing(texts):
            pass
        return Tokenizer(kind, sorted(c for c in seen if c.isascii()))
    trainer = rustbpe.Tokenizer()
    # rustbpe starts from all 256 bytes. Most never occur in music and get no id here, which leaves
    # room for merges.
    trainer.train_from_iterator(noticing(texts), vocab_size - 1 + 256, pattern=SPLIT)
    alphabet = sorted(c for c in seen if c.isascii())
    by_rank = sorted(trainer.get_mergeable_ranks(), key=lambda item: item[1])
    merged = [bytes(token) for token, rank in by_rank][256:]
    tokens = alphabet + [token.decode() for token in merged if token.isascii()]
    if may_be_smaller:
        vocab_size = min(vocab_size, len(tokens) + 1)
    if vocab_size <= len(alphabet) or len(tokens) < vocab_size - 1:
        raise ValueError(f'vocab_size {vocab_size} does not fit this text, '
                         f'which gives {len(alphabet) + 1} to {len(tokens) + 1} ids')
    return Tokenizer(kind, tokens[:vocab_size - 1])


def report(folder):
    """Text: the longest and the most used tokens of a data folder, counted in its train.bin."""
    tokenizer = Tokenizer.load(os.path.join(folder, 'tokenizer.json'))
    ids = np.memmap(os.path.join(folder, 'train.bin'), np.uint16, 'r')
    counts = np.bincount(ids, minlength=tokenizer.vocab_size).tolist()
    table = sorted(zip(counts, tokenizer.tokens), reverse=True)
    longest = sorted(table, key=lambda row: -len(row[1]))
    of_two = [row for row in table if len(row[1]) > 1]
    lines = [f'{tokenizer.vocab_size} ids ({tokenizer.kind}), counted in the {len(ids):,} tokens '
             'of train']
    for title, rows in (('longest', longest), ('most used, of two characters or more', of_two)):
        lines += ['', f'{title}:'] + [f'  {count:>9,}  {token!r}' for count, token in rows[:15]]
    return '\n'.join(lines)


def main(argv):
    if len(argv) != 1 or argv[0].startswith('-'):
        print(__doc__.strip())
        sys.exit(0 if argv and argv[0] in ('-h', '--help') else 2)
    for name in ('tokenizer.json', 'train.bin'):
        if not os.path.isfile(os.path.join(argv[0], name)):
            fail(f'{argv[0]!r} holds no {name}; python prepare.py --out_dir={argv[0]} makes it')
    print(report(argv[0]))


if __name__ == '__main__':
    main(sys.argv[1:])
