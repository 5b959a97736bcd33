"""The machine of a training process: ranks, device, number format, memory, peak rate, signals."""
import ctypes
import os
import re
import shutil
import signal
import sys
from contextlib import suppress

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from configurator import fail

try:
    import resource
except ImportError:         # Windows
    resource = None

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'fp32': torch.float32}
# Dense peak in half precision with fp32 accumulation, FLOP/s, from NVIDIA's data sheets; the first
# that matches counts.
PEAK_FLOPS = {
    'B200': 2250e12, 'GH200': 989e12, 'H200 NVL': 835e12, 'H200': 989e12, 'H100 PCIe': 756e12,
    'H100 NVL': 835e12, 'H100': 989e12, 'A100': 312e12, 'A10G': 70e12, 'A10': 125e12, 'A40': 150e12,
    'A6000': 155e12, 'L40S': 362e12, 'L4': 121e12, 'V100': 125e12, 'T4': 65e12, 'RTX 5090': 210e12,
    'RTX 4090': 165e12, 'RTX 3090': 71e12}
OTHER_CHIP = {'Ti', 'D', 'Laptop', 'MIG'}       # in a name: not the chip above, or a part of it
COMPILE_FLOPS = 1e13        # a CPU run of fewer FLOPs ends before it has repaid its compilation
# As one piece the model compiles for 45 s longer than in parts, for steps of 0.96 of the time: from
# so many FLOPs on
WHOLE_FLOPS = 1e14


def keep_freed_memory():
    """Ask glibc to keep the memory that a step frees for the next step.

    By default it returns large blocks to the system and asks for them again: 19,000 page faults a
    step of a small GPT, a fifth of the time (bench/README.md).
    """
    M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1     # their unit is bytes
    with suppress(OSError, AttributeError):         # another C library
        libc = ctypes.CDLL('libc.so.6')
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def usable_device(name):
    """Type of the device of a setting, 'cpu', 'cuda', 'mps' ...; exits (2) if torch cannot use it.

    'auto' is 'cuda' where there is a GPU. An index, as in 'cuda:1', selects that device.
    """
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        if device.type != 'cuda':
            torch.ones(1, device=device).item()
        elif not torch.cuda.is_available():
            fail(f'device {name!r}: torch sees no GPU here; use --device=cpu')
        if device.index is not None and device.type != 'cpu':
            torch.accelerator.set_device_index(device.index)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as e:
        reason = str(e).splitlines()[0][:100]
        fail(f'device {name!r}: torch cannot use it here ({reason}); use --device=cpu')
    return device.type


def auto_dtype(device):
    """bf16 where the chip computes with it; else fp16 on a GPU, fp32 elsewhere."""
    if device == 'cuda':
        return 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp16'
    has_bf16 = device == 'cpu' and torch.cpu._is_avx512_bf16_supported()
    return 'bf16' if has_bf16 else 'fp32'


class Run:
    """This process among the ranks: device, number format, micro-batches; sums over the ranks."""

    def __init__(self, s):      # torchrun sets the environment of a rank
        self.rank = int(os.environ.get('RANK', 0))
        self.world = int(os.environ.get('WORLD_SIZE', 1))

        # Device
        if s.deterministic:         # cuBLAS reads it once, when CUDA begins
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        self.device = usable_device(s.device)
        if self.device == 'cuda' and 'LOCAL_RANK' in os.environ:
            torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
        if self.device == 'cuda':
            torch.set_float32_matmul_precision('high')
        elif self.device != 'cpu':
            self.print(f'device {s.device!r} is untested by us: compare a few losses with those of '
                       '--device=cpu')
        torch.use_deterministic_algorithms(self.device == 'cpu' or s.deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = False     # a pass over each tensor
        if self.device == 'cpu':
            keep_freed_memory()

        self.dtype = auto_dtype(self.device) if s.dtype == 'auto' else s.dtype

        # Micro-batches: the largest that divide this rank's share of a batch
        if s.batch_size % self.world:
            fail(f'batch_size {s.batch_size} cannot be shared by {self.world} ranks: '
                 f'choose a multiple of {self.world}')
        share, limit = s.batch_size // self.world, 16 if self.device == 'cpu' else 128
        divisors = [d for d in range(1, min(share, limit) + 1) if share % d == 0]
        self.micro_batch_size = s.micro_batch_size or max(divisors)
        if share % self.micro_batch_size:
            fail(f'micro_batch_size {self.micro_batch_size} does not divide the {share} sequences '
                 'of a rank')
        self.n_micro = share // self.micro_batch_size

        self.compile = s.compile
        if self.world > 1:
            dist.init_process_group('nccl' if self.device == 'cuda' else 'gloo')

    def resolve_compile_mode(self, flops):
        """compile='auto' becomes True or False for a run of so many FLOPs.

        Short runs on a CPU are compiled in parts.
        """
        self.in_parts = self.device == 'cpu' and flops < WHOLE_FLOPS
        if self.compile == 'auto':
            has_compiler = shutil.which(os.environ.get('CXX', 'g++')) is not None
            pays_on_cpu = self.device == 'cpu' and flops > COMPILE_FLOPS and has_compiler
            self.compile = self.device == 'cuda' or pays_on_cpu

    def wrap(self, model):
        """The model as it is trained: compiled, and with gradients that the ranks share."""
        wrapped = model
        if self.compile and self.device == 'cpu':       # else torch tests g++ for 15 s
            torch._inductor.config.cpp.vec_isa_ok = True
        if self.compile and self.in_parts and hasattr(model, 'in_parts'):
            wrapped = model.in_parts(torch.compile)
        elif self.compile:
            wrapped = torch.compile(model)
        if self.world > 1:
            if self.compile:
                torch._dynamo.config.optimize_ddp = False       # it cuts the chunked loss
            # The only buffers are rotary tables, which every rank has made for itself
            wrapped = DistributedDataParallel(wrapped, gradient_as_bucket_view=True,
                                              broadcast_buffers=False)
        return wrapped

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
        """The most this process has held; None where the system does not say (Windows)."""
        if self.device == 'cuda':
            return torch.cuda.max_memory_allocated() / 1e9
        if resource is None:
            return None
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    def mfu(self, flops_per_s):
        """Share of the peak of all ranks together; None where the chip's peak is unknown."""
        if self.device != 'cuda' or self.dtype == 'fp32':
            return None
        words = set(re.split('[ -]', torch.cuda.get_device_name()))
        if words & OTHER_CHIP:
            return None
        for chip, flops in PEAK_FLOPS.items():
            if words >= set(chip.split()):
                return flops_per_s / (flops * self.world)
        return None


class StopSignal:
    """SIGTERM or SIGINT, obeyed at the end of a step by all ranks together; a second one kills."""

    def __init__(self, run):
        self.run, self.signal = run, 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.note)

    def note(self, number, frame):
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def requested(self, syncs):
        """The signal's number, or 0. Ranks on GPUs agree only if `syncs`: the GPU waits anyway."""
        if self.run.world == 1:
            return self.signal
        if not syncs and self.run.device != 'cpu':
            return 0
        anyone = self.run.sum(torch.tensor(float(self.signal))) > 0
        return (self.signal or int(signal.SIGTERM)) if anyone else 0
