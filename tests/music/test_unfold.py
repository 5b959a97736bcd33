"""unfold.py: the order in which bars are played, the same for ABC and MusicXML."""
from collections import Counter

import pytest
from test_score import SIGN, SOUND, score
from test_score import note as xml_note

from music.notation import decode, encode
from music.quantise import MidiError
from music.score import read_score
from music.tunebook import read_abc
from music.unfold import NotatedBar, flatten, read_per_minute, sections, sign_of

SKIPPED = 'skipped: jumps (D.C., D.S., Fine, coda)'
UNREACHED = 'skipped: bars that are never reached'


def bars(text):
    """Bars of a plan such as '|: A |1 B :|2 C ||', one letter each."""
    found, starts, ending = [], False, frozenset()
    for token in text.split():
        if token.isalpha():
            found.append(NotatedBar((4, 4), (0, 'major'), 120, starts_repeat=starts, ending=ending))
            starts, ending = False, frozenset()
        elif token == '||' and found:
            found[-1].ends_section = True
        elif found and token.startswith(':'):
            found[-1].ends_repeat, found[-1].ends_section = token.count(':'), True
        if token in ('|:', '::'):
            starts = True
        elif token[-1].isdigit():
            ending = frozenset({int(token[-1])})
    return found


@pytest.mark.parametrize('text, parsed', [
    ('A | B', [('AB', [], 1)]),
    ('|: A | B :|', [('AB', [], 2)]),
    ('A || B :| C', [('A', [], 1), ('B', [], 2), ('C', [], 1)]),
    ('|: A |1 B :|2 C || D', [('A', ['B', 'C'], 2), ('D', [], 1)]),
    ('A || B || |1 C :|2 D', [('A', [], 1), ('B', ['C', 'D'], 2)])])
def test_sections_are_a_body_and_its_endings(text, parsed):
    letters = ''.join(filter(str.isalpha, text))
    found = [(letters[s.body.start:s.body.stop], [letters[r.start:r.stop] for _, r in s.endings], s.turns)
             for s in sections(bars(text))]
    assert found == parsed


@pytest.mark.parametrize('text, all_turns, last_turns', [
    ('|: A | B :| C', 'ABABC', 'ABC'), ('|: A |1 B :|2 C || D', 'ABACD', 'ACD'), ('A ::: B', 'AAAAB', 'AB')])
def test_sections_are_played_in_all_turns_or_the_last(text, all_turns, last_turns):
    letters, found = ''.join(filter(str.isalpha, text)), sections(bars(text))
    assert ''.join(letters[i] for i in flatten(found)) == all_turns
    assert ''.join(letters[i] for i in flatten(found, repeats=False)) == last_turns


JUMPS = [                           # bars with the signs in them, '<' before the notes, and what is played
    (['C', 'D fine', 'E dacapo'], 'CDECD'),
    (['C', '<segno D', 'E fine', 'F dalsegno'], 'CDEFDE'),
    (['C', '<segno D', 'E tocoda', 'F dalsegno', '<coda G'], 'CDEFDEG'),
    (['C', '<segno D', 'E coda', 'F dalsegno', '<coda G'], 'CDEFDEG'),
    (['C', 'D segno', 'E', 'F dalsegno', 'G fine'], 'CDEFEFG'),
    (['<segno C', 'D', '<segno E', 'F dalsegno'], 'CDEFEF'),
    (['C', 'D dacapo'], 'CDCD'),
]


def as_abc(measures):
    names = {'fine': '!fine!', 'segno': '!segno!', 'coda': '!coda!', 'dacapo': '!D.C.!', 'dalsegno': '!D.S.!', 'tocoda': '!dacoda!'}
    lines = []
    for measure in measures:
        *signs, last = sorted(measure.split(), key=lambda word: (word[0] != '<', len(word) > 1))
        words = [last, *signs]
        note = next(word for word in words if len(word) == 1)
        before = ''.join(names[word[1:]] for word in words if word[0] == '<')
        after = ''.join(names[word] for word in words if word in names)
        lines.append(f'{before}{note}8{after}|')
    return ''.join(lines)


def as_xml(measures):
    out = []
    for measure in measures:
        words = measure.split()
        note = xml_note(next(word for word in words if len(word) == 1))
        sign = lambda name: SIGN.format(name) if name in ('segno', 'coda') else SOUND.format(name)
        out.append(''.join(sign(word[1:]) for word in words if word[0] == '<') + note +
                   ''.join(sign(word) for word in words if len(word) > 1 and word[0] != '<'))
    return out


def played(music):
    return ''.join('C.D.EF.G.A.B'[pitch % 12] for pitch in music.notes[:, 2].tolist())


@pytest.mark.parametrize('measures, order', JUMPS, ids=str)
def test_jumps_are_followed_in_abc_as_in_musicxml(measures, order):
    ((_, music, reason),) = read_abc(f'X:1\nM:4/4\nL:1/8\nK:C\n{as_abc(measures)}\n')
    assert reason is None and played(music) == order and not music.remarks
    assert played(read_score(score(as_xml(measures)))[0]) == order


def abc(body):
    ((_, music, reason),) = read_abc(f'X:1\nM:4/4\nL:1/8\nK:C\n{body}\n')
    assert reason is None, reason
    return music


@pytest.mark.parametrize('body, order, remarks', [
    ('C8|D8"Fine"||E8"D.C."|]', 'CDECD', {}),
    ('C8|"_D.S. al Fine"D8|', 'CD', {SKIPPED: 1}),
    ('C8|"Segno"D8|E8"D.S."|', 'CDEDE', {}),
    ('C8|D8"D.C."|]', 'CD', {SKIPPED: 1}),                         # to the end, or a Fine that is not there?
    ('"Segno"C8|D8"Segno"|]', 'CD', {SKIPPED: 2}),
    ('C8|D8"Fine"|]', 'CD', {}),
    ('C8|D8"Am"|"^D.Coates"E8', 'CDE', {}),
    ('C8|D8!D.C.!|E8!D.C.!|', 'CDCDE', {SKIPPED: 1}),
    ('C8!fine!|D8!D.C.!|E8|', 'CDC', {UNREACHED: 1}),
    ('C8 H|D8 S|E8|F8 !D.S.!|', 'CDEFEF', {}),
    ('"Segno"C8|D8"D.S."|E8"D.S."|', 'CDE', {SKIPPED: 3}),          # which of them?
    ('C8|D8"^FINE"|E8"DC al Fine"|', 'CDECD', {}), ('C8|D8+fine+|E8+D.C.+|', 'CDECD', {}),
    ('C8|!segno!D8|E8!dacoda!|F8!D.S.al coda!|!coda!G8|', 'CDEFDEG', {}),
    ('C8|!segno!D8!fine!|E8!D.S. al fine!|', 'CDED', {}),
    ('!D.C. al fine!C8|', 'CC', {}), ('C8|!fine!||D8|"D.C."|]', 'CDC', {})], ids=str)
def test_words_above_the_notes_are_followed_where_they_are_clear(body, order, remarks):
    music = abc(body)
    assert (played(music), music.remarks) == (order, Counter(remarks))


def test_a_letter_is_a_sign_unless_the_tune_says_otherwise():
    tune = 'C8|SD8|E8!D.S.!|'
    assert played(abc(tune)) == 'CDEDE'
    ((_, music, _),) = read_abc(f'X:1\nM:4/4\nL:1/8\nU:S=!trill!\nK:C\n{tune}\n')
    assert played(music) == 'CDE' and music.remarks == {SKIPPED: 1}


@pytest.mark.parametrize('header, body, order, remarks', [
    ('P:ABA', 'C8|\nP:A\nD8|\nP:B\nE8|', 'CDED', {}),
    ('P:A2', 'C8|[P:A]D8|', 'CDD', {}),
    ('P:BA', '|:C8:|\nP:A\nD8|\nP:B\nE8|', 'CCED', {}),
    ('P:ABA', 'P:A\nD8|\nP:B\nE8|\nP:A\nF8|', 'DEF', {}),
    ('P:AA', 'P:A\nD8|\nP:B\nE8|', 'DD', {UNREACHED: 1}),
    ('P:as you like', 'P:A\nD8|\nP:B\nE8|', 'DE', {'guessed: order of the parts (P:)': 1}),
    ('P:AB', 'P:A\nD8!fine!|\nP:B\nE8!D.C.!|', 'DE', {})], ids=str)
def test_music_before_the_first_part_and_what_the_order_leaves_out(header, body, order, remarks):
    ((_, music, reason),) = read_abc(f'X:1\nM:4/4\nL:1/8\n{header}\nK:C\n{body}\n')
    assert reason is None and (played(music), music.remarks) == (order, Counter(remarks))


def test_silence_at_both_ends_is_cut_off():
    for body in ('z|C8|', 'z2|z8|C8|', 'C8|[M:3/4]z6|', 'C8|[K:G]z8|z8', 'zC|D8|'):
        music = abc(body)
        assert (decode(encode(music)).notes == music.notes).all(), body
    assert abc('z|C8|D8').notes[:, 0].tolist() == [0, 96] and abc('zC|D8').pickup == 24


@pytest.mark.parametrize('words, name', [
    ('D.C.', 'dacapo'), ('_Da Capo al Fine', 'dacapo'), ('D.S. al Coda', 'dalsegno'), ('Fine', 'fine'), ('End ', 'fine'),
    ('To Coda', 'tocoda'), ('(S)', 'segno'), ('\U0001D10B', 'segno'), ('Coda', 'coda'), ('dacoda', 'tocoda'),
    ('dolce', None), ('Dm', None), ('Ends softly', None), ('S.', 'segno'), ('Segue', None)])
def test_words_for_signs(words, name):
    assert sign_of(words) == name


@pytest.mark.parametrize('text, number', [
    ('120', 120), ('c. 66', 66), ('ca.100 bpm', 100), ('66-72', 69), ('92.5', 92.5), ('92,5', 92.5), ('0', None), ('', None),
    ('fast', None), ('1 2 3', None), ('1/4', None), ('1e3', None), ('60 to 80 bpm', 70), ('9' * 5000, None)])
def test_numbers_of_beats(text, number):
    assert read_per_minute(text) == number


@pytest.mark.parametrize('body', ['C800000000|D', '|:C:' + ':' * 40_000 + '|', 'Z999|' * 30 + 'C'])
def test_endless_tunes_are_refused(body):
    ((_, _, reason),) = read_abc(f'X:1\nM:4/4\nL:1/8\nK:C\n{body}\n')
    assert reason == 'too many bars'
    with pytest.raises(MidiError, match='too many bars'):
        read_score(score([xml_note('C', 800_000_000)]))
