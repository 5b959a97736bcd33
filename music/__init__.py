"""Music itself: notes, MIDI files, the notation that models read and write, ABC of others, statistics. `python -m music in.mid out.abc`."""
