import struct
from collections.abc import Sequence

import pytest
from thinkpool_pipeline.sandbox.local.seccomp import MACHINES, filter_program

ALLOWED, EPERM, EACCES, ENOSYS = 0x7FFF0000, 0x00050001, 0x0005000D, 0x00050026
KILLED = 0x80000000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def outcome(program: bytes, architecture: int, call: int, arguments: Sequence[int] = ()) -> int:
    """What the kernel would return, by the rules of its classic filter machine."""
    words = (call, architecture, 0, 0, *(half for n in arguments for half in (n & 0xFFFFFFFF, n >> 32)))
    data = struct.pack("<16I", *words, *([0] * (16 - len(words))))
    instructions = list(struct.iter_unpack("<HBBI", program))
    at = loaded = 0
    tests = {0x15: lambda k: loaded == k, 0x25: lambda k: loaded > k, 0x45: lambda k: bool(loaded & k)}
    while True:
        code, yes, no, k = instructions[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x20:
            loaded = struct.unpack_from("<I", data, k)[0]
        else:
            at += yes if tests[code](k) else no


CALLS = {
    # name: x86_64, aarch64, arguments, outcome
    "read": (0, 63, (), ALLOWED),
    "openat": (257, 56, (), ALLOWED),
    "mmap": (9, 222, (), ALLOWED),
    "execve": (59, 221, (), ALLOWED),
    "exit_group": (231, 94, (), ALLOWED),
    "futex": (202, 98, (), ALLOWED),
    "setresuid": (117, 147, (), ALLOWED),
    "ptrace": (101, 117, (), EPERM),
    "mount": (165, 40, (), EPERM),
    "umount2": (166, 39, (), EPERM),
    "pivot_root": (155, 41, (), EPERM),
    "unshare": (272, 97, (), EPERM),
    "setns": (308, 268, (), EPERM),
    "keyctl": (250, 219, (), EPERM),
    "bpf": (321, 280, (), EPERM),
    "perf_event_open": (298, 241, (), EPERM),
    "userfaultfd": (323, 282, (), EPERM),
    "io_uring_setup": (425, 425, (), EPERM),
    "kexec_load": (246, 104, (), EPERM),
    "init_module": (175, 105, (), EPERM),
    "process_vm_writev": (311, 271, (), EPERM),
    "open_by_handle_at": (304, 265, (), EPERM),
    "shmget": (29, 194, (), EPERM),
    "mq_open": (240, 180, (), EPERM),
    "clone3": (435, 435, (), ENOSYS),
    "memfd_create": (319, 279, (), ENOSYS),
    "the newest known": (450, 450, (), EPERM),
    "newer": (451, 451, (), ENOSYS),
    "of the x32 interface": (0x40000000, 0x40000000, (), ENOSYS),
    "fork": (56, 220, (17,), ALLOWED),
    "thread": (56, 220, (0x3D0F00,), ALLOWED),
    "clone into a user namespace": (56, 220, (0x10000000 | 17,), EPERM),
    "clone into a time namespace": (56, 220, (0x80,), EPERM),
    "socket AF_UNIX": (41, 198, (1, 1), ALLOWED),
    "socket AF_INET": (41, 198, (2, 1), EACCES),
    "socket AF_VSOCK": (41, 198, (40, 1), EACCES),
    "socketpair AF_UNIX": (53, 199, (1, 1), ALLOWED),
    "socketpair AF_INET": (53, 199, (2, 1), EACCES),
    "ioctl TCGETS": (16, 29, (0, 0x5401), ALLOWED),
    "ioctl TIOCSTI": (16, 29, (0, 0x5412), EPERM),
    "ioctl TIOCSTI with a high half": (16, 29, (0, 1 << 32 | 0x5412), EPERM),
    "ioctl TIOCLINUX": (16, 29, (0, 0x541C), EPERM),
    "personality as it is": (135, 92, (0xFFFFFFFF,), ALLOWED),
    "personality default": (135, 92, (0,), ALLOWED),
    "personality without randomness": (135, 92, (0x0040000,), EPERM),
    "prctl PR_SET_NAME": (157, 167, (15,), ALLOWED),
    "prctl PR_SET_PDEATHSIG SIGKILL": (157, 167, (1, 9), ALLOWED),
    "prctl PR_SET_PDEATHSIG none": (157, 167, (1, 0), EPERM),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_allowed_or_refused(machine: str, name: str) -> None:
    *numbers, arguments, expected = CALLS[name]
    call = numbers[MACHINES.index(machine)]
    assert outcome(filter_program(machine), ARCHITECTURE[machine], call, arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_by_another_architecture_kill(machine: str) -> None:
    i386 = 0x40000003
    assert outcome(filter_program(machine), i386, 0) == KILLED


def test_arm_has_no_calls_of_the_old_kind() -> None:
    program = filter_program("aarch64")
    numbers = [k for code, _, _, k in struct.iter_unpack("<HBBI", program) if code == 0x15]
    assert 0xFFFFFFFF not in numbers[1:-5]
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
