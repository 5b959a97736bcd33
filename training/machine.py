"""The machine side of a training process: rank, device, number format, micro-batches, memory, peak rate, signals.

torchrun sets RANK, LOCAL_RANK and WORLD_SIZE; without them there is one rank.
"""
import os
import resource
import signal
import sys

import torch
import torch.distributed as dist

from configurator import fail

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'fp32': torch.float32}
# Dense peak in half precision with fp32 accumulation, FLOP/s, from NVIDIA's data sheets; the first name that matches counts.
PEAK_FLOPS = {'H200': 989e12, 'H100 PCIe': 756e12, 'H100 NVL': 835e12, 'H100': 989e12, 'GH200': 989e12, 'B200': 2250e12,
              'A100': 312e12, 'A10G': 70e12, 'A10': 125e12, 'A40': 150e12, 'A6000': 155e12, 'L40S': 362e12, 'L4': 121e12,
              'V100': 125e12, 'T4': 65e12, '5090': 210e12, '4090': 165e12, '3090': 71e12}


class Run:
    """The machine side of this process: rank, world, device, dtype, compile, micro-batches, and the few collective calls."""

    def __init__(self, s):
        self.rank, self.world = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
        self.device = ('cuda' if torch.cuda.is_available() else 'cpu') if s.device == 'auto' else s.device
        if self.device == 'cuda':
            if not torch.cuda.is_available():
                fail("device 'cuda': torch sees no GPU here; use --device=cpu")
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
            torch.set_float32_matmul_precision('high')
        torch.use_deterministic_algorithms(self.device == 'cpu' or s.deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = False     # a pass over every new tensor that guards nothing here
        self.dtype = s.dtype
        if s.dtype == 'auto' and self.device == 'cuda':
            self.dtype = 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp16'
        elif s.dtype == 'auto':
            self.dtype = 'bf16' if torch.cpu._is_avx512_bf16_supported() else 'fp32'
        if s.batch_size % self.world:
            fail(f'batch_size {s.batch_size} cannot be shared by {self.world} ranks: choose a multiple of {self.world}')
        share, limit = s.batch_size // self.world, 16 if self.device == 'cpu' else 128
        self.micro_batch_size = s.micro_batch_size or max(d for d in range(1, min(share, limit) + 1) if share % d == 0)
        if share % self.micro_batch_size:
            fail(f'micro_batch_size {self.micro_batch_size} does not divide the {share} sequences of a rank')
        self.n_micro = share // self.micro_batch_size
        self.compile = s.compile
        if self.world > 1:
            dist.init_process_group('nccl' if self.device == 'cuda' else 'gloo')

    def autocast(self):
        return torch.autocast(self.device, DTYPES[self.dtype], enabled=self.dtype != 'fp32')

    def sum(self, tensor):
        """Sum over the ranks, on the CPU."""
        if self.world > 1:
            tensor = tensor.to(self.device)
            dist.all_reduce(tensor)
        return tensor.cpu()

    def print(self, *words):
        if self.rank == 0:
            print(*words, flush=True)

    def peak_memory_gb(self):
        if self.device == 'cuda':
            return torch.cuda.max_memory_allocated() / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e9

    def mfu(self, flops_per_s):
        """Share of the peak of all ranks together; None where the chip's peak is unknown."""
        if self.device == 'cpu' or self.dtype == 'fp32':
            return None
        name = torch.cuda.get_device_name()
        peak = next((flops for chip, flops in PEAK_FLOPS.items() if chip in name), None)
        return flops_per_s / (peak * self.world) if peak else None


class StopSignal:
    """SIGTERM or SIGINT, noted once and acted on at a step's end, by all ranks together; a second one kills."""

    def __init__(self, run):
        self.run, self.signal = run, 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.note)

    def note(self, number, frame):
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def requested(self, syncs):
        """The signal's number, or 0. Several ranks agree at the steps that are logged, where a GPU waits anyway."""
        if self.run.world == 1:
            return self.signal
        if not syncs and self.run.device != 'cpu':
            return 0
        return (self.signal or int(signal.SIGTERM)) if self.run.sum(torch.tensor(float(self.signal))) else 0
