"""Music itself: notes, MIDI, the notation that models read, ABC, MusicXML, statistics.

    python -m music in.mid out.abc
"""
