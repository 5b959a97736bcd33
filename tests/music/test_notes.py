"""notes.py and instruments.py: meters, beats, events in force, and the names of the instruments."""
import numpy as np
import pytest

from music.instruments import INSTRUMENTS
from music.notes import (
    Music,
    bar_length,
    beat_length,
    fitting_meter,
    in_force,
    is_meter,
    remark,
    remarks_line,
)


def test_general_midi_has_128_names_of_one_line_each():
    assert len(INSTRUMENTS) == len(set(INSTRUMENTS)) == 128 and not any('\n' in name or name != name.strip() for name in INSTRUMENTS)
    assert [INSTRUMENTS[program] for program in (0, 24, 40, 73, 127)] == ['Acoustic Grand Piano', 'Acoustic Guitar (nylon)', 'Violin', 'Flute', 'Gunshot']


@pytest.mark.parametrize('meter, beat', [((4, 4), 24), ((2, 2), 48), ((3, 4), 24), ((6, 8), 36), ((12, 16), 18), ((3, 8), 12), ((5, 8), 12), ((6, 4), 24)])
def test_compound_meters_have_dotted_beats(meter, beat):
    assert beat_length(*meter) == beat and bar_length(*meter) % beat == 0


def test_a_bar_gets_the_meter_of_its_length_where_there_is_one():
    for length in range(0, 1000):
        meter = fitting_meter(length)
        assert meter is None if length % 3 or not 0 < length <= 768 else is_meter(*meter) and bar_length(*meter) == length
    assert fitting_meter(72) == (3, 4) and fitting_meter(36) == (3, 8) and fitting_meter(36, 16) == (6, 16) and fitting_meter(96, 2) == (2, 2)


def test_events_in_force_replace_each_other_and_change_something():
    assert in_force([(0, 4, 4), (0, 3, 4), (72, 3, 4), (144, 2, 4), (144, 3, 4), (216, 6, 8), (288, 4, 4)], 288) == [(0, 3, 4), (216, 6, 8)]


def test_remarks_are_a_line_by_kind_with_counts():
    music = Music(np.zeros((0, 4), np.int32))
    assert remarks_line(music) == ''
    for kind, what, count in (('skipped', 'text blocks', 1), ('repaired', 'lengths of tracks', 1), ('skipped', 'text blocks', 2),
                              ('repaired', 'notes without an end', 1200), ('guessed', 'nothing', 0)):
        remark(music.remarks, kind, what, count)
    assert remarks_line(music) == 'repaired: lengths of tracks (1), notes without an end (1,200); skipped: text blocks (3)'
