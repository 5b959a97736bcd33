"""How tunes begin: with a prompt, whatever its form, or with what is asked for in the header."""
import os
import re

from configurator import fail
from music.midi import read_midi
from music.notation import decode, encode
from music.notes import KEYS
from music.quantise import MidiError
from music.repeats import phrased, unfolded
from music.score import read_score
from music.tunebook import read_abc
from sampling.constrain import METERS, VOICES, Reader

SHEETS = '.musicxml', '.mxl', '.xml'
FILES = {'.abc': None, '.mid': read_midi, '.midi': read_midi, **dict.fromkeys(SHEETS, read_score)}    # how to read


def marks_of(meta):
    """{'beats': .., 'repeats': .., 'phrases': ..}: which marks the texts have that a model was trained on."""
    return {mark: meta['settings'].get(mark, False) for mark in ('beats', 'repeats', 'phrases')}


def prompt_text(s, marks):
    """The prompt, or the tune to accompany, in the notation, '' without one. `marks`: those that
    the model reads."""
    option = 'accompany' if s.accompany else 'prompt'
    name, source = 'the prompt', getattr(s, option) or ''
    text = source.replace('\\n', '\n').lstrip()
    suffix = os.path.splitext(source.lower())[1]
    if suffix in FILES:
        name = source
        try:
            with open(name, 'rb') as f:
                data = f.read()
            reader = FILES[suffix]
            text = encode(reader(data)[0]) if reader else data.decode('utf-8', 'replace').lstrip()
        except (OSError, MidiError) as e:
            fail(f'--{option}={name}: {e}')
    if name == source and not text:
        fail(f'{name} is no music: it is empty')
    if text.startswith('L:1/8\nM:'):                        # our notation; of several tunes the first one
        text = re.sub(r'\n\s*\n(?s:.*)', '\n', text)
    elif Reader().feed(text) is None:                       # any other ABC
        music = next((music for _, music, _ in read_abc(text) if music and len(music.notes)), None)
        if music is None:
            reasons = [reason for _, _, reason in read_abc(text) if reason]
            fail(f'{name} is no music: {reasons[-1] if reasons else "no tune in it"}')
        text = encode(music)
    if Reader(**marks).feed(text) is None:                  # without our marks, or with a person's
        try:
            text = encode(decode(text), marks['beats'], phrases=marks['phrases'])
        except ValueError as e:
            fail(f'{name}: {e}; let it end at a barline')
    return text if s.prompt_bars is None else first_bars(text, s.prompt_bars, marks['phrases'])


def first_bars(text, n, phrases=False):
    """The first bars of a text in the notation, repeats played out, phrases marked or not; all of it if it has no more.
    """
    lines = text.splitlines()
    n_header = next((i for i, line in enumerate(lines) if line[0] in '[Z|'), len(lines))
    header, bars = lines[:n_header], [bar for _, bar in unfolded(lines[n_header:])]
    if len(bars) <= n:
        return text
    if phrases:
        bars = list(phrased(bars[:n], bool(decode('\n'.join(header + bars[:1])).pickup)))
    return '\n'.join(header + bars[:n]) + '\n'


def start_reader(s, tokenizer, prompt, marks):
    """Reader of a tune with the header that is asked for, in the characters that the vocabulary has. Where there is a
    prompt, its header stands, and `programs` are voices that are written to it (accompany.py)."""
    programs, alphabet = s.programs or [], {token for token in tokenizer.tokens if len(token) == 1}
    rows = [('meter', s.meter, METERS, 'such as 4/4, 3/4, 6/8'), ('key', s.key, KEYS, ' '.join(KEYS)),
            ('tempo', s.tempo, range(1, 10000), '1 to 9999 quarters a minute'),
            ('accompany' if s.accompany else 'prompt', prompt, [prompt], ''),
            *(('programs', p, [voice.removeprefix('program=') for voice in VOICES], '0-127, drums') for p in programs)]
    for name, value, known, what in rows:
        if value is not None and value not in known:
            fail(f'--{name}={value}: not in the notation, which has {what}')
        missing = ' '.join(sorted(set(str(value or '')) - alphabet))
        if missing:
            fail(f'--{name}: the vocabulary of this checkpoint cannot write it, its training data hold no {missing}')
    voices = [] if prompt else [f'program={p}' if p.isdigit() else p for p in programs]
    return Reader(s.meter, s.tempo and str(s.tempo), s.key, voices, alphabet, **marks)
