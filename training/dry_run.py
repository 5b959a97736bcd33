"""--dry_run: what a run would take, measured in a few of its own steps; nothing is kept of them."""
import time

from plumbing.progress import clock
from training.evaluation import evaluate

MEASURED_S = 5.0        # at most so many seconds of steps, after the first one, which may compile


def print_dry_run(s, meta, run, model, plan, one_step, val_ids, done, n_evaluations):
    """Run a few steps and a part of an evaluation; print FLOPs, memory and time of the whole run.

    `one_step(step)` trains on one step and returns its loss first; `done`: steps that a resumed run
    has completed; `n_evaluations`: those that are still to come.
    """
    times_s = []
    for step in range(done, plan.n_steps):
        start = time.perf_counter()
        float(one_step(step)[0])                # waits for the GPU
        times_s.append(time.perf_counter() - start)
        if len(times_s) > 3 and sum(times_s[1:]) > MEASURED_S:
            break
    if not times_s:
        return run.print('all steps are done; nothing was trained or written')
    first_s = times_s[0]
    step_s = sorted(times_s[1:])[len(times_s[1:]) // 2] if len(times_s) > 1 else first_s

    # A part of val, after one batch that is not timed
    batch_tokens = run.micro_batch_size * run.world * s.block_size
    evaluate(model, val_ids[:batch_tokens + 1], meta['splits']['val'], run)
    part = val_ids[:4 * batch_tokens + 1]
    start = time.perf_counter()
    evaluate(model, part, meta['splits']['val'], run)
    evaluation_s = (time.perf_counter() - start) * len(val_ids) / len(part)

    steps = plan.n_steps - done
    total_s = first_s + (steps - 1) * step_s + n_evaluations * evaluation_s
    flops = steps * plan.step_tokens * model.flops_per_token()
    memory_gb = run.peak_memory_gb()
    run.print(f'first step {first_s:.1f} s{" with compilation" if run.compile else ""}, then '
              f'{step_s:.3g} s each ({plan.step_tokens / step_s / 1e3:.1f}k tokens/s); '
              f'{n_evaluations} evaluations of {evaluation_s:.3g} s')
    if memory_gb is not None:
        if plan.average_start < plan.n_steps:   # the mean of the weights, which begins later
            memory_gb += 4 * model.num_params()['total'] / 1e9
        run.print(f'memory: {memory_gb:.2f} GB')
    run.print(f'{steps:,} steps, {flops:.2e} FLOPs, about {clock(total_s)} on this machine; '
              'nothing was trained or written')
