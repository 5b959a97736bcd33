"""Training on a GPU: tokens/s, share of the peak (MFU) and memory of train.py itself.

    python bench/gpu.py --data_dir=data/study                       # gpt_large, batch 64 and 96
    python bench/gpu.py --configs=config/gpt_tiny.py,config/rnn_tiny.py --batch_sizes=64

Each line is a run of its own, of `steps` steps; the median of its last log lines counts. Before any
is timed all are run once for three steps, together, so that compiled code is in the cache.
"""
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from configurator import configure, fail


@dataclass
class Settings:
    configs: list[str] = field(default_factory=lambda: ['config/gpt_large.py'])
    batch_sizes: list[int] = field(default_factory=lambda: [64, 96])
    dtypes: list[str] = field(default_factory=lambda: ['bf16', 'fp16'])
    compiled: list[str] = field(default_factory=lambda: ['True', 'False'])
    options: list[str] = field(default_factory=list)        # more of train.py
    data_dir: str = 'data/study'
    steps: int = 60
    device: str = 'cuda'


def start(s, out_dir, steps, config, batch_size, dtype, compiled):
    command = [sys.executable, os.path.join(ROOT, 'train.py'), os.path.join(ROOT, config),
               *s.options,
               f'--data_dir={s.data_dir}', f'--out_dir={out_dir}', f'--batch_size={batch_size}',
               f'--dtype={dtype}', f'--compile={compiled}', f'--device={s.device}',
               f'--max_tokens={steps * batch_size * 256}', '--log_interval=5',
               '--eval_interval=1000000000']
    # the evaluation at the end is not waited for: it comes after the last log line
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main():
    s = configure(Settings)
    runs = list(itertools.product(s.configs, s.batch_sizes, s.dtypes, s.compiled))
    with tempfile.TemporaryDirectory() as folder:
        warm = [start(s, os.path.join(folder, f'warm{i}'), 3, *run)
                for i, run in enumerate(runs) if run[3] == 'True']
        for process in warm:
            process.communicate()
        print(f"{'config':<16}{'batch':>6}{'dtype':>6}{'compiled':>9}{'k tokens/s':>12}"
              f"{'MFU':>7}{'GB':>7}{'first step':>12}")
        for i, run in enumerate(runs):
            config, batch_size, dtype, compiled = run
            out_dir = os.path.join(folder, str(i))
            process = start(s, out_dir, s.steps, *run)
            line = 'no output'
            for line in process.stdout:
                if line.startswith(f'step {s.steps}/'):
                    break
            else:
                fail(f'{" ".join(map(str, run))}: {line.strip().removeprefix("error: ")}')
            process.kill()
            process.wait()
            with open(os.path.join(out_dir, 'log.jsonl'), encoding='utf-8') as f:
                rows = [json.loads(line) for line in f]
            last = rows[len(rows) // 3:]
            speed = statistics.median(row['tokens_per_s'] for row in last)
            mfu = statistics.median(row['mfu'] or 0 for row in last)
            first = rows[0]['time_s'] - (rows[0]['step'] - 1) * batch_size * 256 / speed
            name = os.path.splitext(os.path.basename(config))[0]
            print(f"{name:<16}{batch_size:>6}{dtype:>6}{compiled:>9}{speed / 1e3:>12.1f}{mfu:>7.1%}"
                  f"{last[-1]['memory_gb']:>7.1f}{first:>10.1f} s", flush=True)


if __name__ == '__main__':
    main()
