"""A process pool in which a job that crashes, hangs or eats all memory costs itself and nothing
else.

    for job, outcome in run(function, jobs, workers=4, time_limit_s=60):
        ...             # in the order in which they end; outcome is function(job) or a Lost

Each worker has a pipe of its own and one job at a time, so it is always known what died with it.
multiprocessing.Pool waits for ever when a worker dies, ProcessPoolExecutor gives up as a whole,
and Pebble does one or the other when a worker dies between two jobs. Jobs are drawn from the
iterable only when a worker is free, so memory stays bounded. What is lost for want of time or
memory is tried twice, so that a busy machine does not change the corpus.
"""
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection

MEMORY_LIMIT = 2 << 30              # bytes of address space of a worker
# OpenBLAS takes about 41 MB of address space a thread, so on many cores numpy alone would be over
# the limit.
ONE_BLAS_THREAD = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}


@dataclass
class Lost:
    """A job without a result, and why."""
    reason: str
    # for want of time or memory, or with its worker: it may succeed another time
    by_chance: bool = False


class Worker:
    def __init__(self, function):
        os.environ.update(ONE_BLAS_THREAD)  # the process inherits it before it imports numpy
        # no locks or threads of the parent come along
        context = multiprocessing.get_context('spawn')
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(function, theirs, MEMORY_LIMIT),
                                       daemon=True)
        self.process.start()
        theirs.close()
        self.job, self.deadline, self.tries = None, None, 0

    def give(self, job, time_limit_s, tries=1):
        self.job, self.deadline, self.tries = job, time.monotonic() + time_limit_s, tries
        with suppress(BrokenPipeError):  # it died; the pipe will say so when read
            self.pipe.send(job)

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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    # not every system has it; the time limit remains
    with suppress(ImportError, ValueError, OSError):
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    with suppress(EOFError, OSError):
        while True:
            pipe.send(outcome_of(function, pipe.recv()))


def outcome_of(function, job):
    try:
        return function(job)
    except MemoryError:
        return Lost('out of memory', by_chance=True)
    except Exception as e:  # a bug in our code: counted and named, the run goes on
        return Lost(f'crash: {type(e).__name__}: {e}')


def run(function, jobs, workers, time_limit_s):
    """Yield (job, function(job) or Lost) for each of `jobs`. `function` must be importable by name.

    A job that is lost by chance is tried again, with three times the time.
    """
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
            ready = connection.wait([worker.pipe for worker in busy],
                                    max(0, soonest - time.monotonic()))
            now = time.monotonic()
            done = [worker for worker in busy if worker.pipe in ready or now >= worker.deadline]
            for worker in done:
                slow = Lost(f'longer than {time_limit_s:g} s', by_chance=True)
                outcome = worker.answer() if worker.pipe in ready else slow
                busy.remove(worker)
                if not isinstance(outcome, Lost):
                    idle.append(worker)
                    yield worker.job, outcome
                    continue
                worker.end()
                if outcome.by_chance and worker.tries == 1:
                    busy.append(Worker(function))
                    busy[-1].give(worker.job, 3 * time_limit_s, tries=2)
                else:
                    yield worker.job, outcome
    finally:
        for worker in idle + busy:
            worker.end()
