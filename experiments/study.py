"""The study: train what is still missing of its plan, and keep one row of every finished run in a table that is committed.

    python prepare.py --source=FOLDER --out_dir=data/dev
    python -m experiments.study --source=FOLDER --table=out/study.csv --predictions=out/prediction.csv --ablations=out/ablations.csv
    python -m experiments.study --part=sizes                # sizes | data | ablations
    python -m experiments.study --part=table                # trains nothing: prints what the ablations have shown
    python fit_scaling.py --table=results/study.csv

sizes      L(N): six GPTs and five LSTMs (config/study_*.py), 10M tokens once, cosine; three seeds at the two smallest sizes, two at
           the third. Before the largest of an architecture is trained, what the others foretell for it goes to results/prediction.csv
data       L(N, D): three sizes of GPT, one trunk at a constant rate, cool-downs at 1.25M, 2.5M, 5M and 10M tokens (schedule wsd)
ablations  paired runs that differ in one thing, to results/ablations.csv: see ABLATIONS

All of it takes about two and a half hours on two cores and goes on where it was stopped. The tables in results/ are full: for runs of
your own name others, as above. Runs are made `jobs` at a time, one thread each: for models this small that beats all cores on one run.
"""
import csv
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import stats

from configurator import configure, fail
from fit_scaling import average_seeds, load_checkpoint, read_table, run_of
from plumbing.files import atomic_write
from scaling import laws
from train import ARCHS, load_meta
from train import Settings as Training

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZES = {'gpt': 6, 'rnn': 5}
SEEDS = {1: (1, 2, 3), 2: (1, 2, 3), 3: (1, 2)}                 # of the n-th size; of all others one
D_SIZES = {'gpt': (1, 2, 4)}
D_TOKENS = (1_250_000, 2_500_000, 5_000_000, 10_000_000)
COOLDOWN = 0.2
# name: (folder beside data_dir, options for prepare.py, options for train.py). Each against the size axis' run of the same config and seed.
ABLATIONS = {'muon': (None, [], ['--optimizer=muon', '--muon_lr=0.02']),
             'midi2abc': ('midi2abc', ['--converter=midi2abc'], []),
             'characters': ('char', ['--tokenizer=char'], []),
             'near-duplicates kept': ('copies', ['--near_duplicates=False'], [])}
ABLATION_SEEDS = (1,)
STOPPED = 'stopped; the same command goes on from here'
ABLATED = ('study_gpt_2', 'study_rnn_2')
COLUMNS = ('name', 'group', 'arch', 'n_total', 'n_non_embedding', 'tokens', 'seed', 'loss', 'loss_per_token', 'loss_per_note', 'loss_se',
           'epochs', 'batch_size', 'block_size', 'optimizer', 'schedule', 'learning_rate', 'weight_decay', 'init', 'decayed', 'tokenizer',
           'val_set', 'flops', 'seconds', 'machine', 'git')


@dataclass
class Settings:
    data_dir: str = 'data/dev'              # the prepared corpus
    source: str | None = None               # what it was prepared from; only for ablations that prepare it in another way
    out_dir: str = 'out/study'
    part: str | None = None                 # sizes | data | ablations | table; None: all
    jobs: int = 0                           # runs at a time; 0: as many as there are cores
    table: str = 'results/study.csv'
    ablations: str = 'results/ablations.csv'
    predictions: str = 'results/prediction.csv'


class Study:
    def __init__(self, s):
        self.s, self.lock, self.stopped = s, threading.Lock(), False
        self.pool = ThreadPoolExecutor(s.jobs or os.cpu_count())

    def rows(self, table):
        return list(csv.DictReader(open(table, encoding='utf-8'))) if os.path.exists(table) else []

    def train(self, name, config, table, group, options):
        """Train a run if the table has no row of it, and add the row."""
        if self.stopped or any(row['name'] == name for row in self.rows(table)):
            return
        out = os.path.join(self.s.out_dir, name)
        command = [sys.executable, os.path.join(ROOT, 'train.py'), os.path.join(ROOT, 'config', f'{config}.py'), f'--out_dir={out}',
                   '--resume', '--compile=True', '--eval_interval=1000000', '--log_interval=20', *options]
        if not any(option.startswith('--data_dir') for option in options):
            command.append(f'--data_dir={self.s.data_dir}')
        print(f'{name}: begins', flush=True)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
        self.stopped = self.stopped or done.returncode != 0         # begin nothing more
        if done.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            sys.exit(STOPPED)
        if done.returncode:
            fail(f'{name}: {(done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1].removeprefix("error: ")}')
        checkpoint = load_checkpoint(os.path.join(out, 'ckpt.pt'))
        run = {**run_of(checkpoint, name), 'group': group, 'git': checkpoint['git']}
        with self.lock:
            write_table(table, [*self.rows(table), {k: f'{v:.10g}' if isinstance(v, float) else v for k, v in run.items()}])
        print(f"{name}: {run['loss_per_note']:.4f} nats a note, {run['seconds']:.0f} s", flush=True)

    def size(self, arch, n, seed):
        name = f'{arch}_{n}-seed{seed}'
        return self.pool.submit(self.train, name, f'study_{arch}_{n}', self.s.table, 'sizes', [f'--seed={seed}'])

    def branches(self, arch, n):
        """The trunk of one size and, from it, a run to each number of tokens."""
        config, name = f'study_{arch}_{n}', f'{arch}_{n}-wsd'
        starts = [int((1 - COOLDOWN) * tokens) // 4096 * 4096 for tokens in D_TOKENS[:-1]]
        common = ['--schedule=wsd', f'--cooldown_fraction={COOLDOWN}', '--warmup_steps=100']
        self.train(f'{name}-{D_TOKENS[-1]}', config, self.s.table, 'data',
                   [*common, f'--max_tokens={D_TOKENS[-1]}', f'--snapshots={",".join(map(str, starts))}'])
        for tokens, start in zip(D_TOKENS, starts):
            trunk = os.path.join(self.s.out_dir, f'{name}-{D_TOKENS[-1]}', f'trunk-{start}.pt')
            self.train(f'{name}-{tokens}', config, self.s.table, 'data', [*common, f'--max_tokens={tokens}', f'--trunk={trunk}'])

    def predict(self, arch):
        """Row of what the law of the smaller sizes says of the largest, written before that one is trained."""
        largest = f'{arch}_{SIZES[arch]}'
        known = [run for run in read_table(self.s.table) if run['group'] == 'sizes' and run['name'].startswith(f'{arch}_')]
        if any(row['name'] == largest for row in self.rows(self.s.predictions)) or any(run['name'].startswith(largest) for run in known):
            return
        for run in known:
            run['loss'] = run['loss_per_note']
        n_new = {'n_total': self.parameters(largest)['total'], 'n_non_embedding': self.parameters(largest)['non_embedding']}
        rows = []
        for key, new in n_new.items():
            n, loss, _ = average_seeds(known, key)
            law = laws.fit_pure(n, loss)
            low, high = laws.band(law, [new], new_point=True)
            a, alpha, c = (laws.fit_offset(n, loss)[k] for k in ('a', 'alpha', 'c'))
            rows.append({'name': largest, 'over': key, 'n': new, 'sizes': len(n), 'predicted': f"{law['a'] * new ** -law['alpha']:.4f}",
                         'low': f'{low[0]:.4f}', 'high': f'{high[0]:.4f}', 'with_floor': f'{a * new ** -alpha + c:.4f}'})
        write_table(self.s.predictions, [*self.rows(self.s.predictions), *rows], tuple(rows[0]))
        print(*rows, sep='\n', flush=True)

    def parameters(self, size):
        """Parameter counts of a config of the study, without training it."""
        s = configure(Training, [os.path.join(ROOT, 'config', f'study_{size}.py')])
        model, config = ARCHS[s.arch]
        fields = {k: v for k, v in vars(s).items() if k in config.__dataclass_fields__}
        return model(config(**fields, vocab_size=load_meta(self.s.data_dir)['vocab_size'])).num_params()

    def sizes(self):
        last = {arch: [] for arch in SIZES}
        for n in range(max(SIZES.values()) - 1, 0, -1):                                 # the longest first
            for arch in SIZES:
                if n < SIZES[arch]:
                    last[arch] += [self.size(arch, n, seed) for seed in SEEDS.get(n, (1,))]
        for arch, n in SIZES.items():
            wait(last[arch])
            self.predict(arch)
            yield self.size(arch, n, 1)

    def data(self):
        return [self.pool.submit(self.branches, arch, n) for arch in D_SIZES for n in D_SIZES[arch]]

    def ablate(self):
        for seed, (name, (folder, prepare, options)) in itertools.product(ABLATION_SEEDS, ABLATIONS.items()):
            configs = [c for c in ABLATED if not any(row['name'] == run_name(c, name, seed) for row in self.rows(self.s.ablations))]
            data_dir = f'{self.s.data_dir}-{folder}'
            if configs and folder and not os.path.exists(os.path.join(data_dir, 'meta.json')):
                if not self.s.source:
                    fail(f'source: needed once, to prepare {data_dir}')
                done = subprocess.run([sys.executable, os.path.join(ROOT, 'prepare.py'), f'--source={self.s.source}',
                                       f'--out_dir={data_dir}', *prepare])
                if done.returncode:
                    sys.exit(done.returncode)                       # prepare.py has said why
            for config in configs:
                yield self.pool.submit(self.train, run_name(config, name, seed), config, self.s.ablations, name,
                                       [*options, *[f'--data_dir={data_dir}'] * bool(folder), f'--seed={seed}'])

    def differences(self):
        """Print what each ablation changes, in nats a note against the same config and seeds of the size axis.

        The intervals (95%, t) take the noise of seeds from all models of an architecture that were trained more than once.
        """
        cells = {}                          # (ablation, model) -> {seed: loss}
        for table, group in ((self.s.table, 'sizes'), (self.s.ablations, None)):
            for row in self.rows(table):
                if group in (None, row['group']):
                    cells.setdefault((row['group'], row['name'].split('-')[0]), {})[row['seed']] = float(row['loss_per_note'])
        print(f'| ablation | model | nats a note without it | with it | difference, each seed | 95% interval |\n|{"---|" * 6}')
        for (name, size), losses in cells.items():
            reference = cells.get(('sizes', size), {})
            seeds = sorted(losses.keys() & reference.keys())
            if name == 'sizes' or not seeds:
                continue
            same = [list(cell.values()) for (_, other), cell in cells.items() if other.split('_')[0] == size.split('_')[0]]
            freedom = sum(len(cell) - 1 for cell in same)
            variance = sum(np.var(cell) * len(cell) for cell in same) / freedom if freedom else math.nan
            differences = np.array([losses[seed] - reference[seed] for seed in seeds])
            middle, half = differences.mean(), stats.t.ppf(0.975, max(1, freedom)) * math.sqrt(2 * variance / len(seeds))
            print(f'| {name} | {size} | {np.mean([reference[seed] for seed in seeds]):.3f} | {np.mean([losses[seed] for seed in seeds]):.3f} '
                  f'| {", ".join(f"{d:+.3f}" for d in differences)} | {middle - half:+.3f} to {middle + half:+.3f} |')


def run_name(config, ablation, seed):
    return f'{config[6:]}-{ablation.replace(" ", "_")}-seed{seed}'


def write_table(path, rows, columns=COLUMNS):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with atomic_write(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def wait(futures):
    for future in futures:
        future.result()


def main():
    s = configure(Settings)
    parts = ('sizes', 'data', 'ablations')
    if s.part not in (None, *parts, 'table'):
        fail(f"'part' must be one of {', '.join(parts)}, table, not {s.part!r}")
    if s.part != 'table':
        load_meta(s.data_dir)                                       # says what is wrong once, not once a run
    study = Study(s)
    try:
        for part, work in zip(parts, (study.sizes, study.data, study.ablate)):
            if s.part in (None, part):
                wait(list(work()))
        study.differences()
    except BaseException as e:
        study.pool.shutdown(wait=False, cancel_futures=True)        # what has begun saves itself; begin nothing more
        if isinstance(e, KeyboardInterrupt):
            sys.exit(STOPPED)
        raise


if __name__ == '__main__':
    main()
