"""musicxml.py, staff.py, engrave.py: what is written is read by music21 and by score.py, and engraved without a warning."""
import collections
import re
import warnings
from fractions import Fraction
from xml.etree import ElementTree

import music21
import numpy as np
import pytest
import verovio
from hypothesis import HealthCheck, Phase, given, settings
from test_notation import pieces

from music.engrave import engrave
from music.musicxml import musicxml, short_name
from music.notation import decode, encode
from music.notes import UNITS, bar_starts, in_force
from music.score import read_score
from music.staff import pieces_of, triplets

# Two staves, an odd length, triplets of eighths and of quarters, ties, two layers, drums, changes of meter, tempo and key.
BAND = """L:1/8
M:3/4
Q:1/4=100
K:Eb
V:1 program=0
V:2 program=40
V:3 program=33
V:4 drums=8
[V:1]C2[EG]2[ceg]2-|[V:3]E,,6-|[V:4]C,,2^F,,2[D,,^F,,]2|
[V:1][c4C,,4]=E2|[V:2]G2/3A2/3B2/3c4/3d4/3e4/3|[V:3]E,,6|[V:4][C,,^C,]3/2D,,/2[C,,E,,]2^F,,2|
[M:6/8][Q:1/4=90][K:Cm][V:1][zC4G,,6]E5|[V:2]c5/12d7/12e3f2|[V:4]C,,3D,,3|
"""
PICKUP = """L:1/8
M:4/4
Q:1/4=120
K:G
V:1 program=73
[V:1]D2|
[V:1]G2A2B2c2|
[V:1]d8|
"""


def notes_of(music):
    return collections.Counter((onset, duration, pitch, 0 if music.voices[v].is_drum else music.voices[v].program,
                                music.voices[v].is_drum) for onset, duration, pitch, v in music.notes.tolist())


def read_by_music21(text):
    """(notes as of `notes_of`, meters, keys, tempos) of what music21 makes of the text; ties joined by pitch and time.
    It does not look up which instrument of a drum kit plays a note, so that is done here."""
    root = ElementTree.fromstring(text)
    sounds = {sound.get('id'): int(sound.findtext('midi-unpitched')) - 1 for sound in root.iter('midi-instrument') if sound.findtext('midi-unpitched')}
    for note in root.iter('note'):
        if (unpitched := note.find('unpitched')) is not None:
            pitch = music21.pitch.Pitch(midi=sounds[note.find('instrument').get('id')])
            unpitched.tag, unpitched[:] = 'pitch', ElementTree.fromstring(f'<p><step>{pitch.step}</step><alter>{int(pitch.alter)}</alter><octave>{pitch.octave}</octave></p>')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')                        # it knows no name for some drums
        score = music21.converter.parseData(ElementTree.tostring(root, encoding='unicode'), format='musicxml')
    found = collections.Counter()
    for part in score.parts:
        drums, open_notes = bool(part[music21.clef.PercussionClef]), {}
        program = 0 if drums else part.getInstrument().midiProgram
        members = [(Fraction(element.offset) * UNITS, Fraction(element.quarterLength) * UNITS, note.pitch.midi, note.tie and note.tie.type)
                   for element in part.flatten().notes for note in (element.notes if element.isChord else [element])]
        for onset, duration, pitch, tie in sorted(members, key=lambda member: member[:3]):
            start = open_notes.pop((pitch, onset)) if tie in ('stop', 'continue') else onset
            if tie in ('start', 'continue'):
                open_notes[pitch, onset + duration] = start
            else:
                found[start, onset + duration - start, pitch, program, drums] += 1
        assert not open_notes
    first = score.parts[0].flatten()
    events = [[(int(e.offset * UNITS), *values(e)) for e in first.getElementsByClass(kind)] for kind, values in (
        (music21.meter.TimeSignature, lambda e: (e.numerator, e.denominator)), (music21.key.Key, lambda e: (e.sharps, e.mode)),
        (music21.tempo.MetronomeMark, lambda e: (e.number,)))]
    return found, *events


@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(pieces())
def test_music21_and_we_read_exactly_our_notes(music):
    valid = set(bar_starts(music))
    music.meters, music.tempos, music.keys = (in_force(e for e in events if e[0] in valid) for events in (music.meters, music.tempos, music.keys))
    used, music.notes[:, 3] = np.unique(music.notes[:, 3], return_inverse=True)      # score.py leaves out a part without notes
    music.voices = [music.voices[v] for v in used]
    text = musicxml(music, 'A & B <1>')
    found, meters, keys, tempos = read_by_music21(text)
    assert found == notes_of(music)
    assert (meters, keys, tempos) == (music.meters, music.keys, music.tempos)
    ours, _ = read_score(text.encode())
    assert ours.title == 'A & B <1>' and encode(ours) == encode(music)


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(music=pieces())
def test_every_note_is_engraved_without_a_warning(capfd, music):
    music.voices, music.notes = music.voices[:3], music.notes[music.notes[:, 3] < 3]
    check_engraving(music, 360, capfd)


@pytest.mark.parametrize('width', [360, 1000])
@pytest.mark.parametrize('text', [BAND, PICKUP, BAND[:BAND.index('[V:1]C2')]])
def test_a_tune_is_engraved_without_a_warning(text, width, capfd):
    check_engraving(decode(text), width, capfd)
    first = engrave(musicxml(decode(text)), width)
    assert first == engrave(musicxml(decode(text)), width)


def check_engraving(music, width, capfd):
    valid = set(bar_starts(music))
    music.tempos, music.keys = ([e for e in events if e[0] in valid] for events in (music.tempos, music.keys))
    svg = engrave(musicxml(music), width, 'a')
    assert capfd.readouterr() == ('', '')                      # verovio complains on stderr
    ElementTree.fromstring(svg)
    assert {int(row) for row in re.findall(r'data-note="(\d+)"', svg)} == set(range(len(music.notes)))
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) and all(i.endswith('-a') for i in ids)
    assert not re.findall(r'https?://(?!www\.w3\.org/2000/svg")', svg) and {h[:2] for h in re.findall(r'href="(..)', svg)} == {'#E'}


def test_times_of_verovio_are_the_times_of_the_notes():
    """Its own time map of the MusicXML says when each note begins that our rows say."""
    music, toolkit = decode(BAND), verovio.toolkit()
    assert toolkit.loadData(musicxml(music))
    started = {name: event['qstamp'] * UNITS for event in toolkit.renderToTimemap({}) for name in event.get('on', [])}
    for row, (onset, *_) in enumerate(music.notes.tolist()):
        assert started[f'row-{row}'] == pytest.approx(onset, abs=0.01)


def test_long_scores_are_one_picture(capfd):
    """Longer than the pages that verovio breaks its first draft into."""
    check_engraving(decode(BAND + BAND[BAND.index('[V:1]C2'):].replace('[M:6/8]', '[M:3/4]') * 45), 360, capfd)


def test_what_is_no_musicxml_is_not_engraved():
    with pytest.raises(ValueError, match='verovio'):
        engrave('no music', 500)


# ---- How it is written

def test_triplets_are_small_and_cut_no_note():
    spans = lambda *times: [(a, b, (60,), ()) for a, b in zip(times, times[1:])]
    assert triplets(spans(0, 8, 16, 24, 48), 0, 96) == [(0, 24)]
    assert triplets(spans(0, 4, 8, 12, 24), 0, 96) == [(0, 12)]
    assert triplets(spans(0, 16, 32, 48), 0, 96) == [(0, 48)]
    assert triplets(spans(0, 32, 64, 96), 0, 96) == [(0, 96)]
    assert triplets(spans(0, 24, 53, 96), 0, 96) == [(48, 72)]                 # none is regular: the quarter, which cuts
    assert triplets(spans(0, 24, 42, 96), 0, 96) == []


@pytest.mark.parametrize('start, end, lengths', [(12, 72, [36, 24]), (0, 60, [48, 12]), (0, 29, [24, 4, 1]), (24, 96, [72]), (0, 15, [12, 3])])
def test_lengths_are_cut_where_the_meter_is_strong(start, end, lengths):
    written = pieces_of([(start, end, (60,), ())], 0, 96, UNITS)
    assert [piece.units for piece in written if piece.pitches] == lengths
    assert [bool(piece.tied) for piece in written if piece.pitches] == [True] * (len(lengths) - 1) + [False]
    assert sum(piece.units for piece in written) == 96


def staves(text):
    """(clefs, layers of each staff, <score-part>) of the first part."""
    part = ElementTree.fromstring(musicxml(decode(text))).find('part')
    clefs = [(clef.findtext('sign'), clef.findtext('clef-octave-change')) for clef in part.iter('clef')]
    return clefs, sorted({(note.findtext('staff'), note.findtext('voice')) for note in part.iter('note')}, key=str)


def test_clefs_suit_the_notes_and_what_overlaps_has_two_layers():
    tune = 'L:1/8\nM:4/4\nQ:1/4=120\nK:C\nV:1 program=0\n[V:1]{}|\n'
    assert staves(tune.format('cdefgabc\'')) == ([('G', None)], [(None, '1')])
    assert staves(tune.format('C,2D,2E,2G,,2')) == ([('F', None)], [(None, '1')])
    assert staves(tune.format('E,,2C,,2D,,2C,,2')) == ([('F', '-1')], [(None, '1')])
    assert staves(tune.format("c'2d'2e'2f'2"))[0] == [('G', '1')]
    assert staves(tune.format("[C,c]8")) == ([('G', None), ('F', None)], [('1', '1'), ('2', '3')])
    assert staves(tune.format('[c2g8]d2e2f2')) == ([('G', None)], [(None, '1'), (None, '2')])
    assert staves(tune.format('[c2e4g8]d2[A2f4]f2')) == ([('G', None)], [(None, '1'), (None, '2')])   # three at a time: two layers, with ties


def test_accidentals_are_shown_where_they_change_something():
    text = musicxml(decode('L:1/8\nM:4/4\nQ:1/4=120\nK:G\nV:1 program=0\n[V:1]FF=FFF2=F2-|\n[V:1]=F2=F2=F4|\n'))
    shown = [note.findtext('accidental') for note in ElementTree.fromstring(text).iter('note')]
    assert shown == [None, None, 'natural', 'sharp', None, 'natural', None, 'natural', None]


def test_short_names_keep_what_tells_instruments_apart():
    names = {'Acoustic Grand Piano': 'A. G. Piano', 'Lead 2 (sawtooth)': 'Lead 2', 'Slap Bass 1': 'S. Bass 1', 'Flute': 'Flute', 'Electric Bass (finger)': 'E. Bass'}
    assert {name: short_name(name) for name in names} == names
