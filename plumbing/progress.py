"""One line of progress: rewritten in place on a terminal, else printed every ten seconds."""
import sys
import time


class Progress:
    """with Progress('convert', 'files') as progress: progress.show(done, fraction)"""

    def __init__(self, label, unit, scale=1):
        """`scale`: how many of what `show` counts are one `unit` (2**20 for bytes in MB)."""
        self.label, self.unit, self.scale = label, unit, scale
        self.on_terminal = sys.stdout.isatty()
        self.start = self.printed = time.monotonic()
        self.line, self.last = '', None

    def show(self, done, fraction=None, note=''):
        """`done` so far; `fraction` of everything, 0..1, for the time left; `note`: more to say."""
        self.last = done, note
        now = time.monotonic()
        if now - self.printed < (0.2 if self.on_terminal else 10):
            return
        self.printed = now
        left = (now - self.start) * (1 - fraction) / fraction if fraction else None
        self.write(self.text(now) + (f', {fraction:.0%}, {clock(left)} left' if fraction else ''))

    def text(self, now):
        done, note = self.last
        rate = done / self.scale / max(now - self.start, 1e-3)
        rate = f'{rate:,.0f}' if rate >= 100 else f'{rate:.1f}'
        text = f'{self.label}: {done / self.scale:,.0f} {self.unit}, {rate} a second'
        return f'{text}, {note}' if note else text

    def write(self, line, end=''):
        if self.on_terminal:
            print('\r' + line.ljust(len(self.line)), end=end, flush=True)
        else:
            print(line, flush=True)
        self.line = line

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.last and kind is None:
            now = time.monotonic()
            self.write(f'{self.text(now)}, {clock(now - self.start)}', '\n')
        elif self.on_terminal and self.line:
            print()


def clock(seconds):
    """'0:42', '12:05' or '3:10:00'."""
    minutes, s = divmod(int(seconds + 0.5), 60)
    hours, m = divmod(minutes, 60)
    return f'{hours}:{m:02}:{s:02}' if hours else f'{m}:{s:02}'
