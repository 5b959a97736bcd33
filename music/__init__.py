"""Music itself: notes, MIDI, the notation that models read, ABC, statistics. `python -m music in.mid out.abc`."""
