"""MusicXML -> engraved pages as one SVG, by verovio.

    svg = engrave(musicxml(music), width=1000)

It needs no other files or fonts, is drawn in `currentColor`, and shares no id with another one of
another `name`. What is drawn of row i of music.notes is in <g class="note" data-note="i">, also
where the note is tied on.
"""
import re
from functools import cache
from itertools import accumulate

SCALE = 0.4                         # of verovio's own size: a staff is 29 pixels high
MARGIN = 10                         # pixels around the music
LABEL_MARGIN = 32       # left of instruments' names: verovio reckons with Times, others are wider
NARROW = 600            # pixels: below that, names of instruments are short, a single one has none
FULL = 0.92             # verovio breaks lines at up to this share of the width, or a little more
OPTIONS = {'scale': 100 * SCALE, 'pageHeight': 60000, 'adjustPageHeight': True, 'header': 'none',
           'footer': 'none', 'svgViewBox': True, 'svgFormatRaw': True, 'svgRemoveXlink': True,
           'smuflTextFont': 'none'}                             # the font would be 59 kB per score
OPTIONS |= {f'pageMargin{side}': round(MARGIN / SCALE)
            for side in ('Top', 'Bottom', 'Left', 'Right')}


@cache
def toolkit():
    import verovio  # loads its fonts
    return verovio.toolkit()


def engrave(text, width, name='score'):
    """SVG of MusicXML text, about `width` pixels wide, or more if the fullest bar needs it: nothing
    is squeezed. ValueError if verovio cannot read the text."""
    options = OPTIONS
    if width < NARROW:
        name_of_part = r'(?<=<part-name>)[^<]*(?=</part-name>(?:<part-abbreviation>([^<]*))?)'
        text = re.sub(name_of_part, r'\1', text)
    else:
        options = {**OPTIONS, 'pageMarginLeft': round(LABEL_MARGIN / SCALE)}

    # First with lines as wide as their bars: how many bars fit into each, and does one need more?
    ragged = {**options, 'breaks': 'auto', 'noJustification': True, 'adjustPageWidth': True}
    pages = rendered(text, {**ragged, 'pageWidth': round(FULL * width / SCALE)})
    width = max(width, *(size(page)[0] for page in pages))
    systems = [system.count('class="measure"')
               for page in pages for system in page.split('class="system"')[1:]]

    # Then the same lines, all of one width; a single line keeps its own.
    breaks = 'encoded' if len(systems) > 1 else 'none'
    justified = {**options, 'breaks': breaks, 'pageWidth': round(width / SCALE)}
    page, = rendered(with_breaks(text, systems), justified)
    width, height = size(page)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'class="engraved" style="background:#fff" {clean(page, name)}\n')


def rendered(text, options):
    """SVG of each page."""
    verovio = toolkit()
    verovio.resetOptions()
    verovio.setOptions(options)
    verovio.resetXmlIdSeed(1)                                   # the same picture each time
    if not verovio.loadData(text):
        raise ValueError('verovio cannot read this MusicXML')
    return [verovio.renderToSVG(number) for number in range(1, verovio.getPageCount() + 1)]


def with_breaks(text, systems):
    """MusicXML text in which the systems have so many bars each."""
    before, *bars = re.split(r'(?=<measure )', text[:text.index('</part>')])
    for first in list(accumulate(systems))[:-1]:
        bars[first] = bars[first].replace('>', '><print new-system="yes"/>', 1)
    return before + ''.join(bars) + text[text.index('</part>'):]


def size(svg):
    """(width, height) of a page in pixels."""
    return tuple(map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups()))


def clean(svg, name):
    """What follows `<svg ` in the text of a page, less needless parts; only glyphs keep ids."""
    own = re.search(r' id="([^"]+)"', svg)[1]
    svg = re.sub(r'<desc>.*?</desc>| xmlns(:\w+)?="[^"]*"', '', svg, flags=re.S)
    svg = re.sub(r'(<g [^>]*?)id="row-(\d+)(?:-\d+)?"', r'\1data-note="\2"', svg)
    svg = re.sub(rf' id="(?!\w+-{own}")[^"]*"', '', svg)
    svg = svg.replace(f'#{own} ', '.engraved ').replace(f'-{own}"', f'-{name}"')
    quarter = '\u2669'                                          # a note sign that all fonts have
    svg = svg.replace('\ueca5', quarter).replace('&#xECA5;', quarter)
    return svg[svg.index('<svg ') + 5:]
