"""Threads, memory and versions of the process that trains."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from smallprint.results.runs import Environment

_WORTH_SHARING = 20_000_000  # multiply-adds of a step, forward; below, one thread is as fast
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h> of the GNU C library


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu() -> bool:
    """Whether the driver of an NVIDIA GPU finds one; asks the driver, since importing torch takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


def gpus() -> list[str]:
    """Names of the GPUs that torch can use."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(number) for number in range(count)]


def free_memory(device: str) -> int:
    """Bytes of a GPU that nobody uses; without one, of this machine."""
    if device == "cpu":
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import torch

    return torch.cuda.mem_get_info(device)[0]


def threads_for(work: int) -> int:
    """Threads for a step of `work` multiply-adds: all cores, or one where sharing would cost more than it saves."""
    return cores() if work >= _WORTH_SHARING else 1


def prepare(threads: int) -> None:
    """Set the number of threads, and keep freed memory for the next step.

    A step of a tiny network allocates and frees the same few megabytes; handing them back to the system
    each time costs more than some of its layers. Only the GNU C library has this switch.
    """
    import torch

    torch.set_num_threads(threads)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            for switch, size in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 64 << 20)):
                library.mallopt(switch, size)


def torch_version() -> str:
    """Of the torch that is here, with what it is built for, as in 2.13.0+cpu; without the seconds of importing it."""
    with suppress(OSError, ValueError):
        if (found := find_spec("torch")) and found.origin:
            text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
            if said := re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE):
                return said[1]
    return version("torch")


def describe() -> dict[str, str | int]:
    """What a bug report needs to know of this machine."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch_version(),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "vector unit": torch.backends.cpu.get_cpu_capability(),
    }


def environment(release: str, device: str, threads: int) -> Environment:
    """What a run's folder says about where it was trained; `release` is smallprint's."""
    return Environment(
        smallprint=release,
        python=platform.python_version(),
        torch=torch_version(),
        numpy=version("numpy"),
        platform=f"{platform.system()} {platform.machine()}",
        device=_name_of(device),
        threads=threads,
        commit=_commit(),
    )


def _name_of(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(device)


def _commit() -> str:
    """The commit of the working folder, with + behind it if files differ; empty outside a git checkout."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
