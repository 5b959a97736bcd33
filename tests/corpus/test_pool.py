"""pool.py: a job that crashes, hangs, raises or eats memory costs itself and nothing else."""
import itertools
import os
import signal
import time

from corpus import pool


def work(job):
    kind, n = job
    if kind == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == 'exit':
        os._exit(3)
    if kind == 'hang':
        time.sleep(600)
    if kind == 'raise':
        raise KeyError('no such thing')
    if kind == 'eat':
        return len(bytearray(pool.MEMORY_LIMIT + 1))
    if kind == 'big':
        return b'x' * n
    return n * n


def test_every_job_is_answered_and_only_the_bad_ones_are_lost():
    bad = {5: ('die', 5), 9: ('hang', 9), 13: ('raise', 13), 17: ('eat', 17), 21: ('exit', 21)}
    jobs = [bad.get(i, ('square', i)) for i in range(40)]
    outcomes = {job[1]: outcome for job, outcome in pool.run(work, jobs, 2, time_limit_s=2)}
    assert sorted(outcomes) == list(range(40))
    lost = {n: outcome.reason for n, outcome in outcomes.items() if isinstance(outcome, pool.Lost)}
    assert lost == {5: 'worker died (exit -9)', 9: 'longer than 2 s', 13: "crash: KeyError: 'no such thing'", 17: 'out of memory',
                    21: 'worker died (exit 3)'}
    assert all(outcomes[n] == n * n for n in range(40) if n not in lost)


def test_results_larger_than_a_pipe_arrive():
    assert [len(outcome) for _, outcome in pool.run(work, [('big', 5_000_000)] * 3, 2, time_limit_s=30)] == [5_000_000] * 3


def test_jobs_are_drawn_only_when_a_worker_is_free():
    drawn = itertools.count()
    jobs = (('square', next(drawn)) for _ in range(100))
    answers = pool.run(work, jobs, 2, time_limit_s=30)
    next(answers)
    assert next(drawn) <= 3
    answers.close()


def test_no_worker_is_left_behind():
    answers = pool.run(work, [('hang', 0)] * 3 + [('square', 1)], 2, time_limit_s=1)
    list(answers)
    import multiprocessing
    assert multiprocessing.active_children() == []
