"""Text of files in whatever encoding other people's programs wrote them."""
import codecs

MARKS = {codecs.BOM_UTF8: 'utf-8-sig', codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}


def decoded(data):
    """Text of bytes: as their byte-order mark says, else UTF-8, else that of Windows (1252), else
    Latin-1, which has no errors.
    """
    marked = next((MARKS[mark] for mark in MARKS if data.startswith(mark)), 'utf-8')
    for encoding in (marked, 'cp1252'):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            pass
    return data.decode('latin-1')
