"""Compile a seccomp filter with libseccomp into the BPF program the kernel runs."""

import ctypes
import os
from collections.abc import Sequence
from functools import cache

from orlop.model.value import dataclass

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
ERRNO = 0x00050000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000

NOT_EQUAL, LESS, LESS_OR_EQUAL, EQUAL, GREATER_OR_EQUAL, GREATER, MASKED_EQUAL = range(1, 8)

_EEXIST = -17
_NO_SUCH_CALL = -1  # __NR_SCMP_ERROR
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """On argument `index` of the call; for MASKED_EQUAL `value` is the mask and `second` what must remain."""

    index: int
    operator: int
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    call: str
    action: int
    conditions: tuple[Condition, ...] = ()


def is_available() -> bool:
    return _library() is not None


def compile_filter(default_action: int, architectures: Sequence[str], rules: Sequence[Rule]) -> bytes:
    """The program, ready for seccomp(SECCOMP_SET_MODE_FILTER). `architectures` in libseccomp's names (x86_64, x86),
    the native one included or not. Calls this libseccomp has not heard of are passed over: without a rule they get the
    default action. OSError when libseccomp is missing or refuses a rule."""
    library = _library()
    if library is None:
        raise OSError(2, "libseccomp is not installed")
    context = library.seccomp_init(default_action)
    if not context:
        raise OSError(22, "seccomp_init: Invalid argument")
    try:
        for name in architectures:
            token = library.seccomp_arch_resolve_name(name.encode())
            if not token:
                raise OSError(22, f"seccomp_arch_resolve_name: unknown architecture {name}")
            _check(library.seccomp_arch_add(context, token), "seccomp_arch_add", name)
        library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE)  # older ones lack it: slower, not wrong
        for rule in rules:
            _add(library, context, rule, default_action)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: Rule, default_action: int) -> None:
    number = library.seccomp_syscall_resolve_name(rule.call.encode())
    if number == _NO_SUCH_CALL or rule.action == default_action:
        return
    comparisons = (_Comparison * len(rule.conditions))()
    for place, condition in zip(comparisons, rule.conditions, strict=True):
        place.arg, place.op = condition.index, condition.operator
        place.datum_a, place.datum_b = condition.value, condition.second
    result = library.seccomp_rule_add_array(context, rule.action, number, len(rule.conditions), comparisons)
    _check(result, "seccomp_rule_add", rule.call)


def _export(library: ctypes.CDLL, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(library.seccomp_export_bpf(context, fd), "seccomp_export_bpf", "")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(result: int, call: str, subject: str) -> None:
    if result < 0 and result != _EEXIST:
        raise OSError(-result, f"{call}: {os.strerror(-result)}", subject or None)


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_release.restype = None
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    ]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library
