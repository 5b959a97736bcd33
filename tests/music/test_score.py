"""score.py: music21's notes from the chorales, and what others write: repeats, jumps, halves of bars, parts that rest."""
import collections
import importlib.util
import io
import os
import random
import re
import zipfile
from fractions import Fraction

import music21
import pytest

from bench.damage import TEXT_KINDS, XML_SNIPPETS, damage_text
from music.musicxml import musicxml
from music.notation import decode, encode
from music.notes import UNITS
from music.quantise import MidiError
from music.score import read_score

CHORALES = os.path.join(importlib.util.find_spec('music21').submodule_search_locations[0], 'corpus', 'bach')


def notes_of(music):
    return collections.Counter(tuple(row) for row in music.notes[:, :3].tolist())


# Repeats, pickups, a tune in many parts, rests of a 16th, triplets, grace notes, chords.
@pytest.mark.parametrize('name', ['bwv103.6', 'bwv1.6', 'bwv248.64-6', 'bwv252', 'bwv299', 'bwv48.3', 'bwv27.6', 'bwv112.5-sc'])
def test_music21_finds_our_notes_in_the_chorales(name):
    with open(os.path.join(CHORALES, f'{name}.mxl'), 'rb') as f:
        music, _ = read_score(f.read())
    found, score = collections.Counter(), music21.corpus.parse(f'bach/{name}')
    if any(score[music21.bar.Repeat]):
        score = score.expandRepeats()
    for part in score.parts:
        open_notes = {}
        members = [(Fraction(element.offset) * UNITS, Fraction(element.quarterLength) * UNITS, note.pitch.midi, note.tie and note.tie.type)
                   for element in part.flatten().notes if not element.duration.isGrace for note in (element.notes if element.isChord else [element])]
        for onset, duration, pitch, tie in sorted(members, key=lambda member: member[:3]):
            start = open_notes.pop((pitch, onset)) if tie in ('stop', 'continue') else onset
            if tie in ('start', 'continue'):
                open_notes[pitch, onset + duration] = start
            else:
                found[start, onset + duration - start, pitch] += 1
    assert found == notes_of(music)


def test_barlines_of_the_chorales_stay_when_a_pickup_is_repeated():
    """103.6 has a pickup of a quarter, a repeat of it, and a bar that is cut in two at the end of a phrase."""
    with open(os.path.join(CHORALES, 'bwv103.6.mxl'), 'rb') as f:
        music, _ = read_score(f.read())
    assert (music.pickup, music.meters, music.keys) == (UNITS, [(0, 4, 4)], [(0, 2, 'minor')])


# ---- Scores of others

def note(step, duration=4, inside='', before=''):
    return f'<note>{before}<pitch><step>{step[0]}</step>{"<alter>1</alter>" * ("#" in step)}<octave>5</octave></pitch><duration>{duration}</duration>{inside}</note>'


def rest(duration, whole=False):
    return f'<note><rest{" measure=" * whole}{chr(34) * whole}{"yes" * whole}{chr(34) * whole}/><duration>{duration}</duration></note>'


def barline(inside, location='right'):
    return f'<barline location="{location}">{inside}</barline>'


FORWARD, BACKWARD = barline('<repeat direction="forward"/>', 'left'), barline('<repeat direction="backward"/>')
WORDS, SOUND, SIGN = '<direction><direction-type><words>{}</words></direction-type></direction>', '<sound {}="yes"/>', '<direction><direction-type><{}/></direction-type></direction>'


def score(*parts, attributes='', heads='', numbers=None, kinds=None):
    """Bytes of a score in 4/4. Each part is a list of the insides of its measures."""
    text = '<?xml version="1.0"?><score-partwise><part-list>' + heads + '</part-list>'
    for p, measures in enumerate(parts, 1):
        text += f'<part id="P{p}">'
        for i, inside in enumerate(measures):
            first = '' if i else f'<attributes><divisions>1</divisions>{attributes or "<time><beats>4</beats><beat-type>4</beat-type></time>"}</attributes>'
            text += f'<measure number="{(numbers or range(1, 99))[i]}"{(kinds or {}).get(i, "")}>{first}{inside}</measure>'
        text += '</part>'
    return (text + '</score-partwise>').encode()


def heard(*parts, **options):
    music, _ = read_score(score(*parts, **options))
    return ''.join('C.D.EF.G.A.B'[pitch % 12] for pitch in music.notes[:, 2].tolist())


def ending(numbers, inside, last=''):
    return barline(f'<ending number="{numbers}" type="start"/>', 'left') + inside + barline(f'<ending number="{numbers}" type="stop"/>{last}')


REPEAT = '<repeat direction="backward"/>'


@pytest.mark.parametrize('measures, order', [
    ([note('C'), note('D') + BACKWARD], 'CDCD'),
    ([note('C'), FORWARD + note('D') + BACKWARD, note('E')], 'CDDE'),
    ([note('C'), FORWARD + note('D') + barline('<repeat direction="backward" times="3"/>'), note('E')], 'CDDDE'),
    ([note('C') + barline('<bar-style>light-light</bar-style>'), note('D') + BACKWARD], 'CDCD'),
    ([note('C'), ending('1', note('D'), REPEAT), ending('2', note('E')), note('F')], 'CDCEF'),
    ([note('C'), ending('1, 2', note('D'), REPEAT), ending('3', note('E')), note('F')], 'CDCDCEF'),
    ([note('C'), note('D') + BACKWARD, FORWARD + note('E') + BACKWARD], 'CDCDEE'),
    ([note('C') + WORDS.format('Fine'), note('D') + WORDS.format('D.C. al Fine')], 'CDC'),
    ([note('C') + SOUND.format('fine'), note('D') + SOUND.format('dacapo')], 'CDC'),
    ([note('C'), note('D') + WORDS.format('dolce')], 'CD'),
    ([note('C'), note('D') + WORDS.format('Da Capo')], 'CDCD'),
    ([note('C') + BACKWARD, note('D') + WORDS.format('Fine'), note('E') + WORDS.format('D.C.')], 'CCDECD'),
    ([note('C'), SIGN.format('segno') + note('D'), note('E') + WORDS.format('Fine'), note('F') + WORDS.format('D.S. al Fine')], 'CDEFDE'),
    ([note('C'), SIGN.format('segno') + note('D') + SIGN.format('coda'), note('E') + WORDS.format('D.S. al Coda'), SIGN.format('coda') + note('F')], 'CDEDF'),
    ([note('C') + WORDS.format('To Coda'), note('E') + SOUND.format('dacapo'), SIGN.format('coda') + note('F')], 'CECF'),
    ([note('C'), ending('1', note('D'), REPEAT), ending('2', note('E')), note('F') + WORDS.format('D.C.')], 'CDCEFCEF')], ids=str)
def test_what_is_played_again(measures, order):
    assert heard(measures) == order
    assert heard([re.sub('<(barline|direction|sound).*?(</(barline|direction)>|yes"/>)', '', inside) for inside in measures], measures)[::2] == order   # signs in one part


def test_instruments_that_transpose_sound():
    clarinet = '<key><fifths>2</fifths></key><transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>'
    music, _ = read_score(score([note('D')], attributes=clarinet))
    assert music.notes[0, 2] == 72 and music.keys == [(0, 0, 'major')]
    music, _ = read_score(score([note('D')], attributes='<transpose><chromatic>0</chromatic><octave-change>-1</octave-change></transpose>'))
    assert music.notes[0, 2] == 62


@pytest.mark.parametrize('numbers, kinds, meters', [
    ((1, 2, '2a', 3), None, [(0, 4, 4)]), ((1, 2, 'X1', 3), None, [(0, 4, 4)]), ((1, 2, 3, 4), {2: ' implicit="yes"'}, [(0, 4, 4)]),
    ((1, 2, 3, 4), None, [(0, 4, 4), (96, 3, 4), (168, 1, 4), (192, 4, 4)])])
def test_halves_of_a_bar_are_one(numbers, kinds, meters):
    music, _ = read_score(score([note('C'), note('D', 3), note('E', 1), note('F')], numbers=numbers, kinds=kinds))
    assert music.meters == meters and music.notes[:, 0].tolist() == [0, 96, 168, 192]


def test_parts_that_rest_may_have_whole_rests_in_short_bars():
    """The pickup of one beat stays one, whatever the rest beside it says; a bar in which all rest is full."""
    for silent in (rest(4), rest(4, whole=True), ''):
        music, _ = read_score(score([silent, rest(4), silent, note('E')], [note('C', 1), note('D'), silent, rest(4)]))
        assert (music.pickup, music.meters) == (UNITS, [(0, 4, 4)])
        assert music.notes[:, :3].tolist() == [[0, 24, 72], [24, 96, 74], [216, 96, 76]]


def test_voices_staves_chords_ties_cues_and_grace_notes():
    backup = '<backup><duration>4</duration></backup>'
    tie, stop = '<tie type="start"/>', '<tie type="stop"/>'
    first = note('C') + note('E', 4, tie, '<chord/>') + backup + '<forward><duration>2</duration></forward>' + note('G', 2, '<staff>2</staff>') + backup + note('A', 4, '', '<cue/>')
    second = '<note><grace/><pitch><step>D</step><octave>5</octave></pitch></note>' + note('E', 4, stop)
    music, _ = read_score(score([first, second]))
    assert music.notes.tolist() == [[0, 96, 72, 0], [0, 192, 76, 0], [48, 48, 79, 0]] and len(music.voices) == 1


def test_instruments_drums_tempo_and_meters():
    heads = ('<score-part id="P1"><midi-instrument id="a"><midi-channel>1</midi-channel><midi-program>41</midi-program></midi-instrument>'
             '<midi-instrument id="b"><midi-channel>1</midi-channel><midi-program>74</midi-program></midi-instrument></score-part>'
             '<score-part id="P2"><midi-instrument id="c"><midi-channel>10</midi-channel><midi-program>1</midi-program><midi-unpitched>39</midi-unpitched></midi-instrument></score-part>')
    tempo = '<direction><direction-type><metronome><beat-unit>quarter</beat-unit><beat-unit-dot/><per-minute>60</per-minute></metronome></direction-type></direction>'
    meter = '<time><beats>3+2</beats><beat-type>8</beat-type></time>'
    drum = '<note><unpitched><display-step>F</display-step><display-octave>4</display-octave></unpitched><duration>2.5</duration><instrument id="c"/></note>'
    music, _ = read_score(score([tempo + note('C', 1) + note('D', 1.5, '<instrument id="b"/>')], [drum], attributes=meter, heads=heads))
    assert [(v.program, v.is_drum) for v in music.voices] == [(40, False), (73, False), (0, True)]
    assert music.notes[:, [0, 2, 3]].tolist() == [[0, 72, 0], [0, 38, 2], [24, 74, 1]] and music.tempos == [(0, 90)] and music.meters == [(0, 5, 8)]


def test_a_zipped_score_is_read_with_its_title():
    text = 'L:1/8\nM:4/4\nQ:1/4=120\nK:G\nV:1 program=73\n[V:1]D2|\n[V:1]G2A2B2c2|\n[V:1]d8|\n'
    data, zipped = musicxml(decode(text), 'A & B').encode(), io.BytesIO()
    with zipfile.ZipFile(zipped, 'w') as archive:
        archive.writestr('META-INF/container.xml', '<container/>')
        archive.writestr('score.xml', data)
    assert encode(read_score(data)[0]) == encode(read_score(zipped.getvalue())[0]) == text
    assert read_score(data)[0].title == 'A & B'


@pytest.mark.parametrize('data', [b'', b'rubbish', b'<score-partwise/>', b'PK\x03\x04 and no zip', b'<?xml version="1.0"?><html/>', score([]), score([rest(4)]),
                                  b'<score-timewise/>', score([note('C', 'x')]), score([note('H')]), score([note('C')]).replace(b'<divisions>1', b'<divisions>0')])
def test_what_is_no_music_is_refused(data):
    with pytest.raises(MidiError):
        read_score(data)


def test_damage_is_refused_or_read():
    """Any digit or word of a score may be another one: there is music, or one reason why not."""
    with open(os.path.join(CHORALES, 'bwv103.6.mxl'), 'rb') as f, zipfile.ZipFile(f) as archive:
        text = archive.read(max(archive.infolist(), key=lambda member: member.file_size)).decode()
    text, draw = re.sub(r'(?s)(<measure number="4a".*?)(?=</part>)', '', text), random.Random(1)
    places = [match.span() for match in re.finditer(r'(?<=>)[^<>\n]+(?=<)|(?<=")\w+(?=")', text)]
    read = 0
    for _ in range(60):
        start, stop = draw.choice(places)
        damaged = text[:start] + draw.choice(['', '0', '-1', '7', 'x', '1e9', '99999']) + text[stop:]
        try:
            read += len(read_score(damaged.encode())[0].notes) > 0
        except MidiError:
            pass
    assert read > 10


# ---- Files of strangers

def archive(**files):
    """Bytes of a zip; `container` is what META-INF/container.xml names, `__` in a name a dot."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, 'w') as zipped:
        for name, content in files.items():
            if name == 'container':
                name, content = 'META-INF/container__xml', f'<container{content[0]}><rootfiles>{content[1]}</rootfiles></container>'
            zipped.writestr(name.replace('__', '.'), content)
    return data.getvalue()


PATH = '<rootfile full-path="{}"/>'
NAMESPACE = ' xmlns="urn:oasis:names:tc:opendocument:xmlns:container"'


@pytest.mark.parametrize('files', [
    {'container': ('', PATH.format('score.xml')), 'about__xml': '<about/>', 'score__xml': score([note('G')])},
    {'container': (NAMESPACE, PATH.format('a/b.XML')), 'about__xml': '<about/>', 'a/B__xml': score([note('G')])},
    {'container': ('', PATH.format('cover.pdf') + PATH.format('./in/music.data')), 'about__xml': '<about/>', 'in/music__data': score([note('G')])},
    {'container': ('', '<broken'), 'SCORE__MUSICXML': score([note('G')])},
    {'container': ('', PATH.format('gone.xml')), 'score__xml': score([note('G')])},
    {'SCORE__XML': score([note('G')])}], ids=lambda files: str(list(files)))
def test_the_container_names_the_score(files):
    assert read_score(archive(**files))[0].notes[0, 2] == 79


@pytest.mark.parametrize('data, reason', [
    (archive(readme__txt='x'), 'no MusicXML in the archive'), (archive(score__xml=score([note('C')]))[:-30] + b'PK\5\6' + bytes(18), 'archive'),
    (score([note('C')])[:-40], 'damaged XML'), (b'<opus/>', 'no MusicXML with parts'), (b'text', 'no MusicXML'),
    (score([note('C', -1)]), 'damaged MusicXML'), (score(['<note/>']), 'damaged MusicXML')])
def test_refusals_name_the_cause(data, reason):
    with pytest.raises(MidiError, match=reason):
        read_score(data)


def test_scores_with_parts_in_measures_namespaces_and_wrong_encodings_are_read():
    plain = score([note('C'), note('D')], [note('E'), rest(4)]).decode()
    measures = [f'<measure number="{i}"><part id="P1">{first}{a}</part>{b}</measure>' for i, first, a, b in (
        (1, '<attributes><divisions>1</divisions></attributes>', note('C'), f'<part id="P2"><attributes><divisions>1</divisions></attributes>{note("E")}</part>'),
        (2, '', note('D'), ''))]
    timewise = '<score-timewise><part-list/>' + ''.join(measures) + '</score-timewise>'
    spaced = plain.replace('<score-partwise>', '<score-partwise xmlns="http://www.musicxml.org/ns">')
    prefixed = re.sub(r'<(/?)(?=[a-z])', r'<\1m:', spaced).replace(' xmlns=', ' xmlns:m=')
    latin = plain.replace('<part-list>', '<movement-title>Größe</movement-title><part-list>')
    for data in (timewise.encode(), spaced.encode(), prefixed.encode(), plain.encode('utf-16')):
        music, _ = read_score(data)
        assert music.notes.tolist() == [[0, 96, 72, 0], [0, 96, 76, 1], [96, 96, 74, 0]] and not music.remarks
    music, _ = read_score(latin.replace('?>', ' encoding="UTF-8"?>').encode('latin-1'))
    assert music.title == 'Größe' and music.remarks == {'repaired: encoding': 1}


def metronome(*inside):
    return '<direction><direction-type><metronome>' + ''.join(inside) + '</metronome></direction-type></direction>'


UNIT, DOT, NUMBER = '<beat-unit>{}</beat-unit>', '<beat-unit-dot/>', '<per-minute>{}</per-minute>'
TIED = '<beat-unit-tied><beat-unit>{}</beat-unit></beat-unit-tied>'


@pytest.mark.parametrize('mark, quarters', [
    (metronome(UNIT.format('32nd'), NUMBER.format(480)), 60), (metronome(UNIT.format('quarter'), NUMBER.format('c. 66')), 66),
    (metronome(UNIT.format('quarter'), NUMBER.format('66-72')), 69), (metronome(UNIT.format('long'), NUMBER.format('10.5')), 168),
    (metronome(UNIT.format('half'), DOT, DOT, NUMBER.format(20)), 70), (metronome(UNIT.format('1024th'), NUMBER.format(15360)), 60),
    (metronome(UNIT.format('half'), TIED.format('eighth'), NUMBER.format(40)), 100),
    ('<sound tempo="84.6"/>', 85), (metronome(UNIT.format('quarter'), NUMBER.format('?')) + '<sound tempo="90"/>', 90)])
def test_metronome_marks(mark, quarters):
    music, _ = read_score(score([mark + note('C')]))
    assert music.tempos == [(0, quarters)]


@pytest.mark.parametrize('units, quarters', [
    ([UNIT.format('quarter'), UNIT.format('eighth')], 45), ([UNIT.format('quarter'), DOT, UNIT.format('quarter')], 60),
    ([UNIT.format('eighth'), UNIT.format('quarter'), DOT], 270)])
def test_a_note_may_last_as_long_as_another_one_did(units, quarters):
    music, _ = read_score(score([metronome(UNIT.format('quarter'), NUMBER.format(90)) + note('C'), note('D'), metronome(*units) + note('E')]))
    assert music.tempos == [(0, 90), (192, quarters)] and not music.remarks


@pytest.mark.parametrize('mark', [
    metronome(UNIT.format('crotchet'), NUMBER.format(90)), metronome(UNIT.format('quarter'), NUMBER.format('fast')), '<sound tempo="fast"/>',
    metronome('<metronome-note><metronome-type>eighth</metronome-type></metronome-note>'), metronome()])
def test_a_mark_that_says_no_tempo_is_named(mark):
    music, _ = read_score(score([mark + note('C')]))
    assert music.tempos == [(0, 120)] and music.remarks == {'guessed: tempo': 1}


START, STOP, TIE_ON = '<tie type="start"/>', '<tie type="stop"/>', '<notations><tied type="{}"/></notations>'


@pytest.mark.parametrize('notes, expected, loose', [
    ([note('C', 1, START), note('C', 1, STOP)], [(0, 48)], 0),
    ([note('C', 1, START), note('C', 1), note('D', 1)], [(0, 24), (24, 24), (48, 24)], 1),
    ([note('C', 1), note('C', 1, STOP)], [(0, 24), (24, 24)], 1),
    ([note('C', 1, START), note('D', 1)], [(0, 24), (24, 24)], 1),
    ([note('C', 1, TIE_ON.format('start')), note('C', 1, TIE_ON.format('continue')), note('C', 1, TIE_ON.format('stop'))], [(0, 72)], 0),
    ([note('C', 1, TIE_ON.format('let-ring')), note('C', 1)], [(0, 24), (24, 24)], 0),
    ([note('C', 1, START) + BACKWARD, note('C', 1, STOP)], [(0, 24), (24, 48)], 1)])
def test_ties_join_only_what_is_marked_at_both_ends(notes, expected, loose):
    together = notes if any('barline' in inside for inside in notes) else [''.join(notes)]
    music, _ = read_score(score(together))
    assert [tuple(row) for row in music.notes[:, :2].tolist()] == expected
    assert music.remarks == ({'repaired: dangling ties': loose} if loose else {})


@pytest.mark.parametrize('attribute', ['dacapo', 'dalsegno', 'fine', 'tocoda'])
def test_a_jump_that_says_no_is_none(attribute):
    music, _ = read_score(score([SIGN.format('segno') + note('C'), note('D') + f'<sound {attribute}="no"/>', note('E')]))
    assert music.notes[:, 2].tolist() == [72, 74, 76] and music.remarks == {'skipped: jumps (D.C., D.S., Fine, coda)': 1}
    assert heard([note('C'), '<sound forward-repeat="yes"/>' + note('D'), note('E') + BACKWARD]) == 'CDEDE'
    assert heard([note('C'), '<sound forward-repeat="no"/>' + note('D'), note('E') + BACKWARD]) == 'CDECDE'


HEAD = ('<score-part id="P1"><midi-instrument id="a"><midi-channel>1</midi-channel><midi-program>41</midi-program></midi-instrument>'
        '<midi-instrument id="b"><midi-program>1</midi-program></midi-instrument></score-part>')
CHANGE = '<sound>{}<midi-instrument id="{}">{}</midi-instrument></sound>'


@pytest.mark.parametrize('change, programs', [
    (CHANGE.format('<instrument-change id="a"/>', 'a', '<midi-program>74</midi-program>'), [40, 73]),
    ('<direction>' + CHANGE.format('', 'new', '<midi-program>74</midi-program>') + '</direction>', [40, 73]),
    (CHANGE.format('', 'a', '<midi-channel>10</midi-channel>'), [40, 40]),
    (CHANGE.format('', 'a', '<volume>50</volume>'), [40]), (CHANGE.format('', 'b', '<midi-program>74</midi-program>'), [40])])
def test_a_change_of_instrument_is_a_new_voice(change, programs):
    music, _ = read_score(score([note('C'), change + note('D')], heads=HEAD))
    assert [voice.program for voice in music.voices] == programs and not music.remarks


def test_what_is_skipped_or_guessed_is_named():
    grace, cue = '<note><grace/><pitch><step>D</step><octave>5</octave></pitch></note>', note('A', 4, '', '<cue/>')
    quarter_tone = note('C').replace('</step>', '</step><alter>0.5</alter>')
    drum = '<note><unpitched><display-step>F</display-step><display-octave>4</display-octave></unpitched><duration>4</duration></note>'
    for inside, what in ((grace, 'skipped: grace notes'), (cue, 'skipped: cue notes'), (quarter_tone, 'guessed: pitches between two semitones'),
                         (drum, 'guessed: drums'), ('<sound><instrument-change id="a"/></sound>', 'skipped: changes of instrument'),
                         ('<attributes><key><key-step>F</key-step><key-alter>1</key-alter></key></attributes>', 'skipped: signatures of no key'),
                         ('<attributes><time><beats>4</beats><beat-type>3</beat-type></time></attributes>', 'guessed: meters'),
                         ('<attributes><measure-style><beat-repeat type="start"/></measure-style></attributes>', 'skipped: repeated beats')):
        assert read_score(score([note('C'), inside + note('E', 4, '', '<chord/>' * (inside in (cue, quarter_tone, drum)))]))[0].remarks == {what: 1}


def test_bars_with_a_repeat_sign_are_played():
    style = '<attributes><measure-style><measure-repeat type="{}">{}</measure-repeat></measure-style></attributes>'
    assert heard([note('C'), style.format('start', 1), rest(4), style.format('stop', '') + note('E')]) == 'CCCE'
    assert heard([note('C'), note('D'), style.format('start', 2) + rest(4), '', style.format('stop', '') + note('E')]) == 'CDCDE'
    assert heard([note('C'), style.format('start', 1) + note('D')]) == 'CD'


def test_damaged_scores_of_strangers_are_read_or_refused():
    text = score([SIGN.format('segno') + note('C', 2, START) + note('C', 2, STOP), FORWARD + note('D') + WORDS.format('Fine'),
                  metronome(UNIT.format('eighth'), NUMBER.format(90)) + ending('1', note('E'), REPEAT), ending('2', note('F')),
                  note('G') + SOUND.format('dalsegno')], [rest(4), note('E'), rest(4), '', note('A')], heads=HEAD).decode()
    draw, outcomes = random.Random(0), collections.Counter()
    for _ in range(400):
        data = damage_text(text.replace('><', '>\n<'), draw.choice(TEXT_KINDS), draw, XML_SNIPPETS)
        try:
            music, _ = read_score(data)
            assert (decode(encode(music)).notes == music.notes).all()
            outcomes['read'] += 1
        except MidiError as e:
            outcomes[str(e)] += 1
    assert outcomes['read'] > 40 and len(outcomes) > 3
