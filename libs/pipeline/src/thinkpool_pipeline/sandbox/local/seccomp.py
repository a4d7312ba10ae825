"""The system calls that a sandbox refuses, as a program for the kernel's filter.

A list of refusals over calls that the C library and Python need every day: what it refuses either reaches beyond
the sandbox, holds memory that no limit of ours counts, or is a rich source of kernel faults that no program needs.
Whatever is newer than the table does not exist for the program. Numbers: the kernel's `asm/unistd_64.h` (x86_64) and
`asm-generic/unistd.h` (aarch64). Source: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import errno
import struct
from collections.abc import Iterable, Mapping
from typing import Final

# Offsets in `struct seccomp_data`, which the filter reads.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
# Classic BPF, as in linux/bpf_common.h: load a word, jump if equal, greater or any bit set, return.
_LOAD, _IF_EQUAL, _IF_GREATER, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _FAIL_WITH = 0x7FFF0000, 0x80000000, 0x00050000
_AUDIT_ARCHITECTURES: Final[Mapping[str, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NEWEST_CALL = 450
_NONE = -1

_ABSENT: Final[Mapping[str, tuple[int, int]]] = {
    "clone3": (435, 435),  # its flags lie in memory, where a filter cannot look; the C library falls back to clone
    "memfd_create": (319, 279),  # memory that belongs to no process
    "memfd_secret": (447, 447),
}
_REFUSED: Final[Mapping[str, tuple[int, int]]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # file systems and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "sysfs": (139, _NONE),
    "ustat": (136, _NONE),
    # the kernel's own machinery
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "vmsplice": (278, 75),
    "remap_file_pages": (216, 234),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, _NONE),
    "query_module": (178, _NONE),
    "get_kernel_syms": (177, _NONE),
    "uselib": (134, _NONE),
    "_sysctl": (156, _NONE),
    "syslog": (103, 116),
    "acct": (163, 89),
    "reboot": (169, 142),
    "vhangup": (153, 58),
    "modify_ldt": (154, _NONE),
    "iopl": (172, _NONE),
    "ioperm": (173, _NONE),
    # the machine's name, clock and memory nodes
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    # memory that belongs to no process
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
_CLONE, _SOCKET, _SOCKETPAIR, _IOCTL = (56, 220), (41, 198), (53, 199), (16, 29)
_PERSONALITY, _PRCTL = (135, 92), (157, 167)

# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of linux/sched.h.
_NAMESPACE_FLAGS = 0x7E020080
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PERSONALITY_DEFAULT, _PERSONALITY_QUERY = 0, 0xFFFFFFFF
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9

MACHINES: Final = tuple(_AUDIT_ARCHITECTURES)
"""What `filter_program` knows, as `os.uname().machine` names it."""


def filter_program(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`, as `bwrap --seccomp` reads it. `machine`: one of `MACHINES`."""
    column = MACHINES.index(machine)
    rules = [
        _load(_ARCHITECTURE),
        _unless(_AUDIT_ARCHITECTURES[machine], _return(_KILL_PROCESS)),
        _load(_NUMBER),
        _when(_IF_GREATER, _NEWEST_CALL, _fail(errno.ENOSYS)),
        _refusals(_ABSENT, column, errno.ENOSYS),
        _refusals(_REFUSED, column, errno.EPERM),
        _checked(_CLONE[column], _argument(0) + _when(_IF_ANY_BIT, _NAMESPACE_FLAGS, _fail(errno.EPERM))),
        # Sockets of the other families are a way past the namespaces (AF_VSOCK) or into much kernel code.
        _checked(_SOCKET[column], _argument(0) + _unless_one_of((_AF_UNIX,), _fail(errno.EACCES))),
        _checked(_SOCKETPAIR[column], _argument(0) + _unless_one_of((_AF_UNIX,), _fail(errno.EACCES))),
        _checked(_IOCTL[column], _argument(1) + _refused_values((_TIOCSTI, _TIOCLINUX))),
        _checked(_PERSONALITY[column], _argument(0) + _unless_one_of((_PERSONALITY_DEFAULT, _PERSONALITY_QUERY))),
        # Whoever could change it would outlive the server.
        _checked(
            _PRCTL[column],
            _argument(0) + _when(_IF_EQUAL, _PR_SET_PDEATHSIG, _argument(1) + _unless_one_of((_SIGKILL,))),
        ),
        _return(_ALLOW),
    ]
    return b"".join(rules)


def _instruction(code: int, value: int, *, skip_if: int = 0, skip_if_not: int = 0) -> bytes:
    return struct.pack("<HBBI", code, skip_if, skip_if_not, value)


_INSTRUCTION_BYTES = struct.calcsize("<HBBI")


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, offset)


def _argument(index: int) -> bytes:
    """Loads the lower half of an argument; those that are looked at are ints, or flags within it."""
    return _load(_FIRST_ARGUMENT + 8 * index)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _fail(number: int) -> bytes:
    return _return(_FAIL_WITH | number)


def _when(test: int, value: int, then: bytes) -> bytes:
    """Does `then`, or skips it."""
    return _instruction(test, value, skip_if_not=len(then) // _INSTRUCTION_BYTES) + then


def _unless(value: int, otherwise: bytes) -> bytes:
    """Skips `otherwise` when the loaded word is the value."""
    return _instruction(_IF_EQUAL, value, skip_if=len(otherwise) // _INSTRUCTION_BYTES) + otherwise


def _refusals(calls: Mapping[str, tuple[int, int]], column: int, number: int) -> bytes:
    numbers = (columns[column] for columns in calls.values())
    return b"".join(_when(_IF_EQUAL, call, _fail(number)) for call in numbers if call != _NONE)


def _checked(call: int, check: bytes) -> bytes:
    """A call that is allowed unless `check`, which may load what it likes, refuses it."""
    return _when(_IF_EQUAL, call, check + _return(_ALLOW))


def _refused_values(values: Iterable[int]) -> bytes:
    return b"".join(_when(_IF_EQUAL, value, _fail(errno.EPERM)) for value in values)


def _unless_one_of(values: Iterable[int], refusal: bytes = b"") -> bytes:
    allowed = b"".join(_when(_IF_EQUAL, value, _return(_ALLOW)) for value in values)
    return allowed + (refusal or _fail(errno.EPERM))
