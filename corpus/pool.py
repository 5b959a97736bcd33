"""A process pool in which a job that crashes, hangs or eats all memory costs itself and nothing else.

    for job, outcome in run(function, jobs, workers=4, time_limit_s=60):
        ...                                     # in the order in which they end; outcome is function(job) or a Lost

Each worker has a pipe of its own and one job at a time, so it is always known what died with it. multiprocessing.Pool
waits for ever when a worker dies, ProcessPoolExecutor gives up as a whole, and Pebble does one or the other when a
worker dies between two jobs. Jobs are drawn from the iterable only when a worker is free, so memory stays bounded.
"""
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection

MEMORY_LIMIT = 2 << 30              # bytes of address space of a worker
# OpenBLAS takes about 41 MB of address space a thread, so on many cores numpy alone would be over the limit.
ONE_BLAS_THREAD = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


@dataclass
class Lost:
    """A job without a result, and why."""
    reason: str
    by_chance: bool = False         # for want of time or memory, or with its worker: it may succeed another time


class Worker:
    def __init__(self, function):
        os.environ.update(ONE_BLAS_THREAD)                      # the process inherits it before it imports numpy
        context = multiprocessing.get_context('spawn')          # no locks or threads of the parent come along
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(function, theirs, MEMORY_LIMIT), daemon=True)
        self.process.start()
        theirs.close()
        self.job, self.deadline = None, None

    def give(self, job, time_limit_s):
        self.job, self.deadline = job, time.monotonic() + time_limit_s
        try:
            self.pipe.send(job)
        except BrokenPipeError:
            pass                                                # it died; the pipe will say so when read

    def answer(self):
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return Lost(f'worker died (exit {self.process.exitcode})', by_chance=True)

    def end(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()


def serve(function, pipe, memory_limit):
    """Life of a worker: answer jobs until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                # the parent decides what Ctrl-C means
    try:
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    except (ImportError, ValueError, OSError):                  # not every system has it; the time limit remains
        pass
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            outcome = function(job)
        except MemoryError:
            outcome = Lost('out of memory', by_chance=True)
        except Exception as e:                                  # a bug in our code: counted and named, the run goes on
            outcome = Lost(f'crash: {type(e).__name__}: {e}')
        try:
            pipe.send(outcome)
        except OSError:
            return


def run(function, jobs, workers, time_limit_s):
    """Yield (job, function(job) or Lost) for each of `jobs`. `function` must be importable by name.

    After a job was lost by chance no other is begun; when the rest have ended it is tried once more, alone.
    """
    jobs, lost = iter(jobs), []

    def until_one_is_lost():
        for job in jobs:
            yield job
            if lost:
                return

    while True:
        for job, outcome in tried_once(function, until_one_is_lost(), workers, time_limit_s):
            if isinstance(outcome, Lost) and outcome.by_chance:
                lost.append(job)
            else:
                yield job, outcome
        if not lost:
            return
        while lost:
            yield from tried_once(function, [lost.pop(0)], 1, time_limit_s)


def tried_once(function, jobs, workers, time_limit_s):
    """As `run`, without a second try."""
    jobs = iter(jobs)
    idle, busy = [], []
    try:
        while True:
            for job in islice(jobs, workers - len(busy)):
                worker = idle.pop() if idle else Worker(function)
                worker.give(job, time_limit_s)
                busy.append(worker)
            if not busy:
                return
            soonest = min(worker.deadline for worker in busy)
            ready = connection.wait([worker.pipe for worker in busy], max(0, soonest - time.monotonic()))
            now = time.monotonic()
            for worker in [w for w in busy if w.pipe in ready or now >= w.deadline]:
                timed_out = Lost(f'longer than {time_limit_s:g} s', by_chance=True)
                outcome = worker.answer() if worker.pipe in ready else timed_out
                busy.remove(worker)
                if isinstance(outcome, Lost):
                    worker.end()
                else:
                    idle.append(worker)
                yield worker.job, outcome
    finally:
        for worker in idle + busy:
            worker.end()
