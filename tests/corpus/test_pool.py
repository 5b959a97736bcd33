"""pool.py: a job that crashes, hangs, raises or eats memory costs itself and nothing else."""
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from pool_jobs import work

from conftest import ROOT
from corpus import pool


def test_every_job_is_answered_and_only_the_bad_ones_are_lost():
    bad = {5: ('die', 5), 9: ('hang', 9), 13: ('raise', 13), 17: ('eat', 17), 21: ('exit', 21)}
    jobs = [bad.get(i, ('square', i)) for i in range(40)]
    outcomes = {job[1]: outcome for job, outcome in pool.run(work, jobs, 2, time_limit_s=1)}
    assert sorted(outcomes) == list(range(40))
    lost = {n: outcome.reason for n, outcome in outcomes.items() if isinstance(outcome, pool.Lost)}
    assert lost == {5: 'worker died (exit -9)', 9: 'longer than 1 s', 13: "crash: KeyError: 'no such thing'", 17: 'out of memory',
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
    answers = pool.run(work, [('hang', 0)] * 3 + [('square', 1)], 2, time_limit_s=0.2)
    list(answers)
    assert multiprocessing.active_children() == []


def test_a_job_lost_by_chance_is_tried_again_with_more_time(tmp_path):
    """A job of 3 s under a limit of 2 s, as on a busy machine, and one whose worker is killed the first time."""
    jobs = [('log', (i, str(tmp_path))) for i in range(8)]
    jobs[2], jobs[5] = ('slow', (2, str(tmp_path))), ('die once', (5, str(tmp_path)))
    outcomes = list(pool.run(work, jobs, 2, time_limit_s=2))
    assert sorted(outcome for _, outcome in outcomes) == list(range(8))
    assert len(list(tmp_path.iterdir())) == 10                                          # two jobs were begun twice


def test_what_raises_is_no_chance_and_not_tried_again(tmp_path):
    (_, outcome), = pool.run(work, [('raise and log', (0, str(tmp_path)))], 2, time_limit_s=30)
    assert outcome.reason == 'crash: ValueError: again' and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='counts address space as Linux does')
def test_workers_need_no_address_space_for_the_threads_of_other_cores(monkeypatch):
    """OpenBLAS takes 41 MB a thread: of two threads the second is over a limit that is right for one."""
    with monkeypatch.context() as m:
        for name in pool.ONE_BLAS_THREAD:
            m.setenv(name, '1')
        (_, size), = pool.run(work, [('address space with numpy', 0)], 1, time_limit_s=30)
    for name in pool.ONE_BLAS_THREAD:
        monkeypatch.setenv(name, '2')
    monkeypatch.setattr(pool, 'MEMORY_LIMIT', size + (24 << 20))
    (_, outcome), = pool.run(work, [('big with numpy', 8 << 20)], 1, time_limit_s=30)
    assert not isinstance(outcome, pool.Lost)


def test_a_worker_that_dies_between_two_jobs_costs_at_most_the_next():
    def jobs():
        for i in range(6):
            yield 'square', i
            if i == 2:
                time.sleep(0.5)                         # both have answered by now
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    outcomes = {n: outcome for (_, n), outcome in pool.run(work, jobs(), 2, time_limit_s=30)}
    assert outcomes == {i: i * i for i in range(6)}


def test_ctrl_c_ends_every_worker(tmp_path):
    script = tmp_path / 'script.py'
    # A shell's background jobs ignore Ctrl-C, and so would a process that these tests start there.
    script.write_text('import signal, sys; sys.path[:0] = sys.argv[1:]\nfrom corpus import pool\nfrom pool_jobs import work\n'
                      'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
                      'if __name__ == "__main__":\n'
                      '    for _, pid in pool.run(work, [("pid", 0)] * 2 + [("hang", 0)] * 2, 2, 60): print(pid, flush=True)\n')
    process = subprocess.Popen([sys.executable, script, ROOT, os.path.dirname(__file__), os.path.join(ROOT, 'tests')],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    workers = [int(process.stdout.readline()) for _ in range(2)]
    time.sleep(0.5)                     # until it waits for the jobs that hang
    os.killpg(process.pid, signal.SIGINT)
    process.wait(20)
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
