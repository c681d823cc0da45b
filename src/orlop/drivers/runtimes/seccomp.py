"""From a seccomp profile to what the runtime is given.

Docker's profiles (the default one and the user's own) are conditional: a rule holds for some capabilities,
architectures or kernels only. `section` decides those and gives the `linux.seccomp` of the OCI specification;
`FilterCache` compiles such a section once, since compiling it anew costs more than all the rest of a start.
"""

import base64
import json
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from orlop.drivers.runtimes import seccomp_profile
from orlop.errors import Malformed
from orlop.kernel import seccomp as kernel

Document = dict[str, Any]

_ARCHITECTURES = {  # uname -m -> (Docker's name, tokens of the OCI specification)
    "x86_64": ("amd64", ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "aarch64": ("arm64", ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")),
    "ppc64le": ("ppc64le", ("SCMP_ARCH_PPC64LE",)),
    "riscv64": ("riscv64", ("SCMP_ARCH_RISCV64",)),
    "s390x": ("s390x", ("SCMP_ARCH_S390X", "SCMP_ARCH_S390")),
}
_ACTIONS = {
    "SCMP_ACT_ALLOW": kernel.ALLOW,
    "SCMP_ACT_LOG": kernel.LOG,
    "SCMP_ACT_ERRNO": kernel.ERRNO,
    "SCMP_ACT_TRAP": kernel.TRAP,
    "SCMP_ACT_TRACE": kernel.TRACE,
    "SCMP_ACT_KILL": kernel.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": kernel.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.KILL_PROCESS,
}
_OPERATORS = {
    "SCMP_CMP_NE": kernel.NOT_EQUAL,
    "SCMP_CMP_LT": kernel.LESS,
    "SCMP_CMP_LE": kernel.LESS_OR_EQUAL,
    "SCMP_CMP_EQ": kernel.EQUAL,
    "SCMP_CMP_GE": kernel.GREATER_OR_EQUAL,
    "SCMP_CMP_GT": kernel.GREATER,
    "SCMP_CMP_MASKED_EQ": kernel.MASKED_EQUAL,
}


def section(wanted: str, capabilities: Sequence[str]) -> Document | None:
    """`wanted` is default, unconfined or the JSON of a profile in Docker's format; None for no filter at all."""
    if wanted == "unconfined":
        return None
    if wanted in ("", "default", "builtin"):
        return _default(frozenset(capabilities))
    return _parse(wanted, frozenset(capabilities))


def _default(capabilities: frozenset[str]) -> Document:
    architecture, tokens = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ()))
    allowed = [*seccomp_profile.ALWAYS, *seccomp_profile.ON_ARCHITECTURE.get(architecture, [])]
    for capability, calls in seccomp_profile.WITH_CAPABILITY.items():
        if capability in capabilities:
            allowed += calls
    families = [_argument("SCMP_CMP_LT", seccomp_profile.SOCKET_FAMILIES_BELOW)]
    families += [_argument("SCMP_CMP_EQ", family) for family in seccomp_profile.SOCKET_FAMILIES]
    rules: list[Document] = [{"names": allowed, "action": "SCMP_ACT_ALLOW"}]
    rules += [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [family]} for family in families]
    rules += [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [_argument("SCMP_CMP_EQ", value)]}
        for value in seccomp_profile.PERSONALITIES
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        # s390 passes clone's arguments in another order.
        index = 1 if architecture == "s390x" else 0
        no_namespaces = _argument("SCMP_CMP_MASKED_EQ", seccomp_profile.NAMESPACE_FLAGS, index)
        rules += [
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [no_namespaces]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": seccomp_profile.ENOSYS},
        ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": seccomp_profile.EPERM,
        "architectures": list(tokens),
        "syscalls": rules,
    }


def _argument(operator: str, value: int, index: int = 0) -> Document:
    return {"index": index, "value": value, "valueTwo": 0, "op": operator}


def _parse(text: str, capabilities: frozenset[str]) -> Document:
    """A profile file of the user's. Malformed names what is wrong in it: a rule that is silently left out would be a
    hole."""
    try:
        profile = json.loads(text)
        result: Document = {
            "defaultAction": _known(_ACTIONS, profile["defaultAction"], "action"),
            "architectures": _architectures(profile),
            "syscalls": [
                rule
                for given in profile.get("syscalls") or []
                if _applies(given, capabilities)
                for rule in [_rule(given)]
            ],
        }
        if profile.get("defaultErrnoRet") is not None:
            result["defaultErrnoRet"] = int(profile["defaultErrnoRet"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise Malformed(
            "seccomp profile", f"decoding failed: {why}", "See docker run --security-opt seccomp"
        ) from error
    return result


def _architectures(profile: Mapping[str, Any]) -> list[str]:
    if profile.get("architectures"):
        return [str(name) for name in profile["architectures"]]
    native = _ARCHITECTURES.get(platform.machine(), ("", ()))[1][:1]
    for entry in profile.get("archMap") or []:
        if entry["architecture"] in native:
            return [str(entry["architecture"]), *(str(name) for name in entry.get("subArchitectures") or [])]
    return []


def _rule(given: Mapping[str, Any]) -> Document:
    names = given.get("names") or ([given["name"]] if given.get("name") else [])
    if not names:
        raise ValueError("a rule names no system call")
    rule: Document = {"names": [str(name) for name in names], "action": _known(_ACTIONS, given["action"], "action")}
    if given.get("errnoRet") is not None:
        rule["errnoRet"] = int(given["errnoRet"])
    if given.get("args"):
        rule["args"] = [
            {
                "index": _argument_index(argument["index"]),
                "value": _argument_value(argument["value"]),
                "valueTwo": _argument_value(argument.get("valueTwo") or 0),
                "op": _known(_OPERATORS, argument["op"], "operator"),
            }
            for argument in given["args"]
        ]
    return rule


def _argument_index(value: object) -> int:
    if value not in range(6):
        raise ValueError(f"a system call has arguments 0 to 5, not {value}")
    return int(str(value))


def _argument_value(value: object) -> int:
    number = int(str(value))
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{number} does not fit an argument of 64 bits")
    return number


def _known(table: Mapping[str, int], name: object, what: str) -> str:
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}")
    return str(name)


def _applies(rule: Mapping[str, Any], capabilities: frozenset[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    architecture = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ()))[0]
    if includes.get("caps") and not capabilities.issuperset(includes["caps"]):
        return False
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if includes.get("minKernel") and _kernel_version() < _version(includes["minKernel"]):
        return False
    if capabilities.intersection(excludes.get("caps") or ()):
        return False
    if architecture in (excludes.get("arches") or ()):
        return False
    return not (excludes.get("minKernel") and _kernel_version() >= _version(excludes["minKernel"]))


def _kernel_version() -> tuple[int, int]:
    return _version(os.uname().release)


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)


def can_compile() -> bool:
    return kernel.is_available()


class FilterCache:
    """Compiled filters by their section. There are few: one a set of capabilities that somebody uses."""

    _MOST = 64

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: dict[str, str] = {}

    def compiled(self, wanted: Document) -> str:
        """The program in base64. Malformed for rules that no filter can express."""
        key = json.dumps(wanted, sort_keys=True)
        with self._lock:
            found = self._programs.get(key)
        if found is not None:
            return found
        try:
            program = base64.b64encode(_compile(wanted)).decode()
        except (OSError, OverflowError) as error:
            raise Malformed("seccomp profile", f"cannot be compiled: {error}") from error
        with self._lock:
            if len(self._programs) >= self._MOST:
                self._programs.clear()
            self._programs[key] = program
        return program


def _compile(wanted: Document) -> bytes:
    default = _action(wanted["defaultAction"], wanted.get("defaultErrnoRet"))
    rules = [
        kernel.Rule(name, _action(rule["action"], rule.get("errnoRet")), conditions)
        for rule in wanted["syscalls"]
        for conditions in _condition_sets(rule.get("args") or [])
        for name in rule["names"]
    ]
    names = [token.removeprefix("SCMP_ARCH_").lower() for token in wanted["architectures"]]
    return kernel.compile_filter(default, names, rules)


def _action(name: str, errno: int | None) -> int:
    number = _ACTIONS[name]
    if number in (kernel.ERRNO, kernel.TRACE):
        return number | ((seccomp_profile.EPERM if errno is None else errno) & 0xFFFF)
    return number


def _condition_sets(arguments: Sequence[Mapping[str, Any]]) -> Sequence[tuple[kernel.Condition, ...]]:
    """libseccomp takes one condition an argument in a rule. Where a rule has two about one argument, the runtimes make
    each condition a rule of its own, any of which suffices; the same here, so that a profile means the same."""
    conditions = [
        kernel.Condition(
            int(given["index"]), _OPERATORS[given["op"]], int(given["value"]), int(given.get("valueTwo") or 0)
        )
        for given in arguments
    ]
    if len({condition.index for condition in conditions}) == len(conditions):
        return [tuple(conditions)]
    return [(condition,) for condition in conditions]
