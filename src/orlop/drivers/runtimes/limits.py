"""Fitting what was asked for to what this host can give, and saying where it falls short.

As Docker does: a limit whose controller is missing is left out with a warning, never an error. A ulimit above the
daemon's own hard limit is lowered where the daemon may not raise it (no CAP_SYS_RESOURCE): the runtime would refuse
to start the container otherwise.
"""

import dataclasses
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from orlop.drivers.runtimes import security
from orlop.drivers.runtimes.cgroups import CgroupLayout, Controllers, available, find_controllers, parse_set
from orlop.drivers.runtimes.driver import Bundle, Process
from orlop.errors import Malformed
from orlop.model.container import Resources, Ulimit
from orlop.model.value import dataclass

_UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Limits:
    controllers: Controllers
    capabilities: tuple[str, ...]  # that a process here can have at all
    may_raise: bool
    cpus: str = ""  # that there are, as in 0-3,8; "" = not known
    memory_nodes: str = ""

    @staticmethod
    def of_this_host(layout: CgroupLayout) -> "Limits":
        bounding = security.capabilities_in_mask(_status_mask("CapBnd"))
        effective = security.capabilities_in_mask(_status_mask("CapEff"))
        return Limits(
            find_controllers(layout),
            bounding,
            "CAP_SYS_RESOURCE" in effective,
            available("cpus", layout),
            available("mems", layout),
        )

    def fitted(self, bundle: Bundle) -> Bundle:
        return dataclasses.replace(
            bundle, process=self.clamped(bundle.process), resources=self.possible(bundle.resources)
        )

    def possible(self, wanted: Resources) -> Resources:
        return self._possible(wanted)[0]

    def capabilities_of(self, process: Process) -> tuple[str, ...]:
        return security.effective_capabilities(process.cap_add, process.cap_drop, process.privileged, self.capabilities)

    def clamped(self, process: Process) -> Process:
        """Limits that the daemon may not go beyond itself, brought down to its own."""
        score = process.oom_score_adj
        if score is not None and not self.may_raise:
            score = max(score, _own_oom_score())
        return dataclasses.replace(
            process, rlimits=tuple(self._clamp(limit) for limit in process.rlimits), oom_score_adj=score
        )

    def shortfalls(self, resources: Resources, rlimits: Sequence[Ulimit]) -> Sequence[str]:
        self._refuse_impossible(resources)
        warnings = self._possible(resources)[1]
        for limit in rlimits:
            lowered = self._clamp(limit)
            if lowered != limit:
                warnings.append(
                    f"ulimit {limit.name}={_shown(limit)} is more than this host allows the daemon to give:"
                    f" lowered to {_shown(lowered)}"
                )
        return warnings

    def _refuse_impossible(self, wanted: Resources) -> None:
        """In dockerd's words."""
        count = len(parse_set(self.cpus)) or os.cpu_count() or 1
        if wanted.nano_cpus > count * 1_000_000_000:
            why = f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
            raise Malformed("", why)
        _check_set("CPUs", "cpuset cpus", wanted.cpuset_cpus, self.cpus)
        _check_set("memory nodes", "cpuset mems", wanted.cpuset_mems, self.memory_nodes)

    def _possible(self, wanted: Resources) -> tuple[Resources, list[str]]:
        has = self.controllers
        changes: dict[str, int | str | bool] = {}
        warnings: list[str] = []

        def drop(what: str, *fields: str) -> None:
            if any(getattr(wanted, field) for field in fields):
                changes.update({field: type(getattr(wanted, field))() for field in fields})
                warnings.append(f"Your kernel does not support {what}. Limitation discarded.")

        if not has.memory:
            drop("memory limit capabilities or the cgroup is not mounted", "memory_bytes", "memory_reservation_bytes")
        if not has.memory or not has.swap:
            drop(
                "swap limit capabilities or the cgroup is not mounted. Memory limited without swap", "memory_swap_bytes"
            )
        if not has.cpu:
            drop("CPU shares or the cgroup is not mounted", "cpu_shares")
        if not has.cpu_quota:
            drop("CPU CFS quota or the cgroup is not mounted", "cpu_quota_us", "cpu_period_us", "nano_cpus")
        if not has.cpuset:
            drop("cpuset or the cgroup is not mounted", "cpuset_cpus", "cpuset_mems")
        if not has.pids:
            drop("PIDs limit capabilities or the cgroup is not mounted", "pids_limit")
        fitted = dataclasses.replace(wanted, **changes)  # type: ignore[arg-type]
        if fitted.memory_bytes and not fitted.memory_swap_bytes and has.swap:
            fitted = dataclasses.replace(fitted, memory_swap_bytes=2 * fitted.memory_bytes)  # Docker's default
        return fitted, warnings

    def _clamp(self, limit: Ulimit) -> Ulimit:
        number = getattr(resource, f"RLIMIT_{limit.name.upper()}", None)
        if number is None or self.may_raise:
            return limit
        ceiling = resource.getrlimit(number)[1]
        return Ulimit(limit.name, _least(limit.soft, ceiling), _least(limit.hard, ceiling))


def _check_set(what: str, option: str, wanted: str, available: str) -> None:
    try:
        numbers = parse_set(wanted)
    except ValueError as error:
        raise Malformed("", f"Invalid value {wanted} for {option}", "Write numbers and ranges: 0-2,5") from error
    if available and not numbers <= parse_set(available):
        raise Malformed("", f"Requested {what} are not available - requested {wanted}, available: {available}")


def _least(wanted: int, ceiling: int) -> int:
    if ceiling == _UNLIMITED:
        return wanted
    return ceiling if wanted == _UNLIMITED else min(wanted, ceiling)


def _shown(limit: Ulimit) -> str:
    return f"{limit.soft}:{limit.hard}"


def _status_mask(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1], 16)
    return 0


def _own_oom_score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())
