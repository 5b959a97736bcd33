"""How tunes begin: with a prompt, whatever its form, or with what is asked for in the header."""
import os
import re

from configurator import fail
from music.encoding import decoded
from music.midi import read_midi
from music.notation import decode, encode
from music.notes import KEYS, remarks_line
from music.quantise import MidiError
from music.repeats import phrased, unfolded
from music.score import read_score
from music.tunebook import read_abc
from sampling.constrain import Reader
from sampling.words import METERS, VOICES

TEXTS = '.abc', '.txt'
MIDIS = '.mid', '.midi', '.kar', '.rmi'
SCORES = '.musicxml', '.mxl', '.xml'
FORMS = f'ABC text, or a file: {" ".join(TEXTS + MIDIS + SCORES)}'


def marks_of(meta):
    """{'beats': .., 'repeats': .., 'phrases': ..}: which marks the model's training texts have."""
    return {mark: meta['settings'].get(mark, False) for mark in ('beats', 'repeats', 'phrases')}


def prompt_text(s, marks):
    """The prompt, or the tune to accompany, in the notation; '' without one. `marks`: those that
    the model reads. Prints one line if a reader had to repair, skip or guess something."""
    option = 'accompany' if s.accompany else 'prompt'
    source = getattr(s, option) or ''
    name, music, text = read_source(option, source)

    # ABC in our own notation is taken as it is, any other goes through the reader of ABC.
    if music is None and text.startswith('L:1/8\nM:'):
        text = re.sub(r'\n\s*\n(?s:.*)', '\n', text)        # of several tunes the first one
    elif music is None and Reader().feed(text) is None:
        music = first_tune(name, text)
    if music is not None:
        if line := remarks_line(music):
            print(f'{name}: {line}')
        text = encode(music)

    # The model knows its own marks only. A file has none of them, or a person's.
    if Reader(**marks).feed(text) is None:
        try:
            text = encode(decode(text), marks['beats'], phrases=marks['phrases'])
        except ValueError as e:
            fail(f'{name}: {e}; let it end at a barline')
    return text if s.prompt_bars is None else first_bars(text, s.prompt_bars, marks['phrases'])


def read_source(option, source):
    """(its name in messages, Music or None, text where there is no Music) of a prompt's text or
    file."""
    suffix = os.path.splitext(source)[1].lower()
    if suffix not in TEXTS + MIDIS + SCORES:
        if '\n' not in source and os.path.isfile(source):
            fail(f'--{option}={source}: not read; a prompt is {FORMS}')
        return 'the prompt', None, source.replace('\\n', '\n').lstrip()
    try:
        with open(source, 'rb') as f:
            data = f.read()
        if suffix in MIDIS:
            return source, read_midi(data)[0], ''
        if suffix in SCORES:
            return source, read_score(data)[0], ''
    except OSError as e:
        fail(f'--{option}={source}: {e.strerror}')
    except MidiError as e:
        fail(f'--{option}={source}: {e}')
    text = decoded(data).lstrip()
    if not text:
        fail(f'{source} is no music: it is empty')
    return source, None, text


def first_tune(name, text):
    """Music of the first tune with notes in an ABC text."""
    reason = 'no tune in it'
    for _, music, refused in read_abc(text):
        if music and len(music.notes):
            return music
        reason = refused or reason
    fail(f'{name} is no music: {reason}; a prompt is {FORMS}')


def first_bars(text, n, phrases):
    """The first n bars of a text in the notation, repeats played out, phrases marked or not; all of
    the text if it has no more."""
    lines = text.splitlines()
    n_header = next((i for i, line in enumerate(lines) if line[0] in '[Z|'), len(lines))
    header, bars = lines[:n_header], [bar for _, bar in unfolded(lines[n_header:])]
    if len(bars) <= n:
        return text
    bars = bars[:n]
    if phrases:
        has_pickup = bool(decode('\n'.join(header + bars[:1])).pickup)
        bars = list(phrased(bars, has_pickup))
    return '\n'.join(header + bars) + '\n'


def start_reader(s, tokenizer, prompt, marks):
    """Reader of a tune with the header that is asked for, in the characters that the vocabulary
    has. Where there is a prompt, its header stands, and `programs` are voices that are added to it
    (accompany.py)."""
    alphabet = {token for token in tokenizer.tokens if len(token) == 1}
    programs = s.programs or []
    known_programs = [voice.removeprefix('program=') for voice in VOICES]
    must_be_known('meter', s.meter, METERS, 'such as 4/4, 3/4, 6/8')
    must_be_known('key', s.key, KEYS, ' '.join(KEYS))
    for program in programs:
        must_be_known('programs', program, known_programs, '0 to 127, drums, drums=1 to drums=127')

    asked = [('meter', s.meter), ('key', s.key), ('tempo', s.tempo),
             ('accompany' if s.accompany else 'prompt', prompt)]
    asked += [('programs', program) for program in programs]
    for name, value in asked:
        missing = ' '.join(sorted(set(str(value or '')) - alphabet))
        if missing:
            fail(f'--{name}: the vocabulary of this checkpoint cannot write it, '
                 f'its training data hold no {missing}')
    voices = [] if prompt else [f'program={p}' if p.isdigit() else p for p in programs]
    return Reader(s.meter, s.tempo and str(s.tempo), s.key, voices, alphabet, **marks)


def must_be_known(name, value, known, what):
    if value is not None and value not in known:
        fail(f'--{name}={value}: not in the notation, which has {what}')
