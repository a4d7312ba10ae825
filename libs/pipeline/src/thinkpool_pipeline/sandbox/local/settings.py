"""What one sandbox of this machine may use, and how many there may be."""

from dataclasses import dataclass

_MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSandboxSettings:
    """The limits. Every figure is above 0."""

    max_sandboxes: int = 20
    """Sandboxes of this process at once."""
    wait_seconds: float = 10.0
    """How long a run waits for one when all are taken."""
    start_seconds: float = 10.0
    """How long a sandbox may take to start; tens of milliseconds are usual."""
    memory_bytes: int = 1024 * _MEBIBYTE
    """Held by all processes of a sandbox together, and the address space of each."""
    disk_bytes: int = 128 * _MEBIBYTE
    """In `/work`, in `/tmp` and in `/dev/shm` each; they live in memory and are gone with the sandbox."""
    max_disk_files: int = 20_000
    """Files and directories in each of the three."""
    max_processes: int = 32
    """At once, threads counted."""
    cpu_seconds: int = 600
    """Of each process, over all calls."""
    output_bytes: int = 64 * 1024
    """Kept of each stream of a call: its start and its end."""
    max_printed_bytes: int = 16 * _MEBIBYTE
    """A call that prints more is stopped."""
    max_files: int = 8
    """Files that come back from a call."""
    max_file_bytes: int = _MEBIBYTE
    """A larger file comes back as its name and size."""
    packages: tuple[str, ...] = ("numpy", "matplotlib", "pandas", "scipy", "sympy", "networkx", "pillow")
    """Distributions that programs may import, with what those need, as far as they are installed beside the server."""
