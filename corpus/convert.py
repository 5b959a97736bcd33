"""One file of a corpus -> its tunes in our notation, with all that later stages need to know. Runs
in the pool.

    for record in convert((item.name, item.data, Form())): ...

A record is a dict of `file` and either `reason` (why it is left out) and `notes` (lost with it),
or `text` (what models read), `notes`, `bars`, `key` (SHA-256 of the canonical notation: titles and
file names do not matter), `sketch` (dedupe.py), `report` (music/quantise.py on what it changed;
None for sources that need no quantisation) and `remarks` (music/notes.py: what the reader
repaired, skipped or guessed).
"""
import hashlib
import os
import re
import subprocess
import tempfile
from typing import NamedTuple

from corpus import dedupe
from music import notation
from music.encoding import decoded
from music.midi import read_midi
from music.notes import bar_starts
from music.quantise import MidiError
from music.score import read_score
from music.tunebook import read_abc

MIN_NOTES, MIN_BARS = 20, 4         # a shorter piece is left out,
MAX_SILENCE = 0.5                   # and one that is silent in more of its bars
MIDI2ABC = ['midi2abc', '-s', '-nb', '-nt', '-noly', '-aul', '16', '-f']
MIDI2ABC_LIMIT_S = 30
SCORES = '.mxl', '.musicxml', '.xml'


class Form(NamedTuple):
    """The text that models are to read."""
    converter: str = 'builtin'          # builtin: our notation; midi2abc
    beats: bool = False                 # of our notation: a space before what starts on a beat
    repeats: bool = False               # of our notation: repeated sections once, with marks
    phrases: bool = False               # of our notation: a mark after every fourth bar


def convert(job):
    """List of records of `job` = (name, path or bytes or None, Form, what else the caller
    likes).
    """
    name, data, form, *_ = job
    if data is None:
        return [{'file': name, 'reason': 'larger than 16 MB'}]
    if isinstance(data, str):
        try:
            with open(data, 'rb') as f:
                data = f.read()
        except OSError as e:
            return [{'file': name, 'reason': f'cannot be opened: {e.strerror}'}]
    records = []
    for i, (music, report, reason) in enumerate(read(name, data), 1):
        text = None
        if music is not None and form.converter == 'midi2abc':
            text, reason = midi2abc(data)
        elif music is not None and any(form[1:]):
            text = notation.encode(music, *form[1:])
        if reason:
            about = {'reason': reason, 'notes': 0 if music is None else len(music.notes)}
        else:
            about = describe(music, report, text)
        records.append({'file': f'{name}#{i}' if name.lower().endswith('.abc') else name} | about)
    return records


def read(name, data):
    """Yield (Music, report or None, reason or None) for each tune of a file; Music is None if
    there is a reason.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix == '.abc':
        for _, music, reason in read_abc(decoded(data)):
            yield music, None, reason
        return
    try:
        yield *(read_score if suffix in SCORES else read_midi)(data), None
    except MidiError as e:
        yield None, None, str(e)


def describe(music, report, text):
    """The part of a record that comes from the music. The key is a hash of its plainest text,
    whatever `text` has.
    """
    bars = len(bar_starts(music)) - 1
    canonical = notation.encode(music)
    silent = canonical.count('Z|\n')
    if len(music.notes) < MIN_NOTES:
        return {'reason': 'fewer than 20 notes', 'notes': len(music.notes)}
    if bars < MIN_BARS:
        return {'reason': 'fewer than 4 bars', 'notes': len(music.notes)}
    if silent > MAX_SILENCE * bars:
        return {'reason': 'mostly silent', 'notes': len(music.notes)}
    return {'text': text or canonical, 'key': hashlib.sha256(canonical.encode()).hexdigest(),
            'notes': len(music.notes), 'bars': bars, 'sketch': dedupe.sketch(music),
            'report': report, 'remarks': dict(music.remarks)}


def midi2abc(data):
    """(text, None) or (None, reason): what Debian's abcmidi makes of MIDI bytes, without titles
    and comments.
    """
    with tempfile.NamedTemporaryFile(suffix='.mid') as f:
        f.write(data)
        f.flush()
        try:
            run = subprocess.run(MIDI2ABC + [f.name], capture_output=True, timeout=MIDI2ABC_LIMIT_S)
        except subprocess.TimeoutExpired:
            return None, 'midi2abc: too slow'
    if run.returncode:
        return None, 'midi2abc: crash' if run.returncode < 0 else 'midi2abc: error'
    lines = [line for line in run.stdout.decode('latin-1').splitlines()
             if not line.startswith(('X:', 'T:'))
             and (not line.startswith('%') or line.startswith('%%MIDI'))]
    text = '\n'.join(lines) + '\n'
    if not re.search(r'^(?!%|[A-Z]:).*[A-Ga-g]', text, re.M):
        return None, 'midi2abc: no notes'
    return text, None
