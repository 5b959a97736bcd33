"""What the fields of an ABC tune and the lengths of its notes say.

    read_key('Ador', here)              # ((1, 'minor'), {'F': 1, 'C': 0, ...})
    read_tempo('3/8 1/4=40', unit)      # 100 quarters/min

Times are in ticks (unfold.py). What is not understood raises AbcError, but for a tempo: None."""
import re
from fractions import Fraction
from functools import lru_cache

from music.notation import FIFTHS, MARKS, signature
from music.notes import UNITS, WHOLE, is_meter
from music.unfold import TICKS, AbcError, as_tempo, read_per_minute

WHOLE_TICKS = WHOLE * TICKS
# Modes by their first three letters -> sharps that they have less than major.
MODES = {'lyd': -1, '': 0, 'ion': 0, 'maj': 0, 'mix': 1, 'dor': 2, 'aeo': 3, 'min': 3, 'm': 3,
         'phr': 4, 'loc': 5}
ALTER = {mark: semitones for semitones, mark in MARKS.items()} | {'^^': 2, '__': -2}


def passes(text):
    """'1,3-4.' -> {1, 3, 4}: on which turns an ending is played."""
    numbers = set()
    for first, last in re.findall(r'(\d{1,3})(?:-(\d{1,3}))?', text):
        numbers |= set(range(int(first), min(int(last or first), int(first) + 99) + 1))
    return frozenset(numbers)


@lru_cache(maxsize=10_000)
def length_of(text, unit):
    """Ticks of a length in units: '3/2'; '/' halves, '//' quarters."""
    match = re.fullmatch(r'(\d*)(/*)(\d*)', text)
    if not match or match[3] and len(match[2]) != 1:
        raise AbcError('note length not understood')
    times, parts = int(match[1] or 1), int(match[3] or 2 ** len(match[2]))
    if not times or not parts:
        raise AbcError('note of no length')
    return scaled(unit, times, parts)


def scaled(ticks, times, parts):
    ticks, rest = divmod(ticks * times, parts)
    if rest or not ticks:
        raise AbcError('note too short')
    return ticks


def shift_of(text, shift):
    """Semitones by which octave=, transpose= and a clef such as treble-8 move a voice; `shift` if
    there are none."""
    found = [12 * int(n) for n in re.findall(r'\boctave\s*=\s*(-?\d{1,2})\b', text)]
    found += [int(n) for n in re.findall(r'\btranspose\s*=\s*(-?\d{1,2})\b', text)]
    found += [int(sign + '12')
              for sign in re.findall(r'\b(?:treble|bass|alto|tenor)\d?([+-])8', text)]
    return sum(found) if found else shift


def read_meter(text):
    """M: field -> (numerator, denominator), or None for free meter."""
    text = re.sub(r'["\s()]', '', text)
    if text in ('none', 'None', ''):
        return None
    text = {'C': '4/4', 'C|': '2/2'}.get(text.upper(), text)
    match = re.fullmatch(r'(\d{1,3}(?:\+\d{1,3})*)/(\d{1,3})', text)
    if not match:
        raise AbcError('M: not understood')
    meter = sum(map(int, match[1].split('+'))), int(match[2])
    if not is_meter(*meter):
        raise AbcError('impossible meter')
    return meter


def read_tempo(text, unit):
    """Q: field -> quarters/min, None if it cannot be read: '1/4=120', '"Slow" 3/8 1/4=60', 'C3=80',
    '120' (beats of L:, which is `unit` ticks), with or without words in quotes."""
    text = re.sub(r'"[^"]*"', ' ', text)
    beat, _, number = text.rpartition('=')
    per_minute = read_per_minute(number)
    lengths = re.findall(r'(\d{1,4})/(\d{1,4})(\.?)', beat)
    if lengths and not re.sub(r'\d+/\d+\.?|[\s+]', '', beat):
        if any(int(parts) == 0 for _, parts, _ in lengths):
            return None
        quarters = sum(Fraction(4 * int(times), int(parts)) * (Fraction(3, 2) if dot else 1)
                       for times, parts, dot in lengths)
    elif re.fullmatch(r'\s*(?:C\d{0,4})?\s*', beat):
        quarters = Fraction(int(beat.strip(' C') or 1) * unit, UNITS * TICKS)
    else:
        return None
    return as_tempo(quarters * per_minute) if per_minute else None


def read_key(text, here):
    """K: field -> ((sharps, mode), {letter: semitones}); a field of only a clef and the like keeps
    the key."""
    text = re.sub(r'\b(clef|octave|transpose|middle|stafflines|name|[mts])\s*=\s*\S+', '', text)
    text = re.sub(r'\b(treble|alto|tenor|bass|perc)\S*', '', text)
    if not text.strip():
        return here.key, here.signature
    match = re.fullmatch(r'(HP|Hp|none|[A-G])([#b]?)\s*([A-Za-z]*)'
                         r'((?:\s*(?:\^\^?|__?|=)[A-Ga-g])*)\s*', text)
    name = match and match[3].lower()[:3]
    if not match or name not in MODES and name != 'exp':
        raise AbcError('K: not understood')
    given = [(letter.upper(), ALTER[mark])
             for mark, letter in re.findall(r'(\^\^?|__?|=)([A-Ga-g])', match[4])]
    if match[1] in ('HP', 'Hp'):
        sharps = 2
    elif match[1] == 'none' or name == 'exp':
        sharps = max(-7, min(7, sum(alter for _, alter in given)))
    else:
        accidental = {'#': 1, 'b': -1, '': 0}[match[2]]
        sharps = FIFTHS.index(match[1]) - 1 + 7 * accidental - MODES[name]
    if abs(sharps) > 7:
        raise AbcError('key of more than seven accidentals')
    mode = 'minor' if MODES.get(name, 0) >= 2 else 'major'
    return (sharps, mode), ({} if name == 'exp' else signature(sharps)) | dict(given)
