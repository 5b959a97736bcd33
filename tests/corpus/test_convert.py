"""corpus/convert.py: records of the bundled corpus are its tunes."""
from corpus import convert, sources
from corpus.convert import Form
from music import notation


def bundled(name):
    return next(item for item in sources.items('bundled') if item.name == name)


def test_a_chorale_has_its_voices_and_its_pickup():
    record, = convert.convert(('bach/bwv101.7.mxl', bundled('bach/bwv101.7.mxl').data, Form()))
    music = notation.decode(record['text'])
    assert (len(music.voices), music.meters, music.pickup, music.keys) == (4, [(0, 4, 4)], 24, [(0, -1, 'minor')])
    assert record['notes'] == len(music.notes) == 207


def test_a_book_gives_a_record_a_tune():
    item = bundled('airdsAirs/book1.abc')
    records = convert.convert((item.name, item.data, Form()))
    with open(item.data, encoding='latin-1') as f:
        assert len(records) == f.read().count('X:')
    assert sum('text' in record for record in records) > 0.95 * len(records)
    for record in records:
        if 'text' in record:
            assert notation.encode(notation.decode(record['text'])) == record['text']
