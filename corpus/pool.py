"""A process pool in which a job that crashes, hangs or eats all memory costs itself and nothing else.

    for job, outcome in run(function, jobs, workers=4, time_limit_s=60):
        ...                                     # in the order in which they end; outcome is function(job) or a Lost

multiprocessing.Pool waits for ever when a worker dies, and ProcessPoolExecutor gives up as a whole; hence our own. Each worker
has a pipe and one job at a time. Jobs are drawn from the iterable only when a worker is free, so memory stays bounded.
"""
import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing import connection

MEMORY_LIMIT = 2 << 30              # bytes of address space of a worker


@dataclass
class Lost:
    """A job without a result, and why."""
    reason: str


class Worker:
    def __init__(self, function):
        context = multiprocessing.get_context('spawn')          # no locks or threads of the parent come along
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(function, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.job, self.deadline = None, None

    def give(self, job, time_limit_s):
        self.job, self.deadline = job, time.monotonic() + time_limit_s
        try:
            self.pipe.send(job)
        except BrokenPipeError:
            pass                                                # it died; the pipe will say so when read

    def end(self):
        self.process.kill()
        self.process.join()
        self.pipe.close()


def serve(function, pipe):
    """Life of a worker: answer jobs until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)                # the parent decides what Ctrl-C means
    try:
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    except (ImportError, ValueError, OSError):                  # not every system has it; the time limit remains
        pass
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            result = function(job)
        except MemoryError:
            result = Lost('out of memory')
        except Exception as e:                                  # a bug in our code; it is counted and named, the run goes on
            result = Lost(f'crash: {type(e).__name__}: {e}')
        try:
            pipe.send(result)
        except OSError:
            return


def run(function, jobs, workers, time_limit_s):
    """Yield (job, function(job) or Lost) for each of `jobs`. `function` must be importable by name."""
    jobs = iter(jobs)
    idle, busy = [], []
    started = 0
    more = True
    try:
        while more or busy:
            while more and (idle or started < workers):
                try:
                    job = next(jobs)
                except StopIteration:
                    more = False
                    break
                if not idle:
                    idle.append(Worker(function))
                    started += 1
                worker = idle.pop()
                worker.give(job, time_limit_s)
                busy.append(worker)
            if not busy:
                continue
            soonest = min(worker.deadline for worker in busy)
            ready = connection.wait([worker.pipe for worker in busy], max(0, soonest - time.monotonic()))
            now = time.monotonic()
            for worker in list(busy):
                if worker.pipe in ready:
                    try:
                        outcome = worker.pipe.recv()
                        idle.append(worker)
                    except (EOFError, OSError):                 # no answer comes any more
                        worker.process.join()
                        outcome = Lost(f'worker died (exit {worker.process.exitcode})')
                elif now >= worker.deadline:
                    outcome = Lost(f'longer than {time_limit_s:g} s')
                else:
                    continue
                busy.remove(worker)
                if worker not in idle:
                    worker.end()
                    started -= 1
                yield worker.job, outcome
    finally:
        for worker in idle + busy:
            worker.end()
