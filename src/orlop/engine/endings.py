"""Waiting for a container's process to end, and what is said of one that does not."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from orlop.drivers.runtimes.driver import StartedProcess
from orlop.engine.container_records import WaitResult
from orlop.engine.patience import silent_storage
from orlop.errors import HostFailure
from orlop.model.container import Container

KILL_PATIENCE_SECONDS = 10
_LETTING_GO_SECONDS = 60


def ends_within(ended: "Future[WaitResult]", seconds: float | None) -> bool:
    try:
        ended.result(timeout=seconds)
    except FutureTimeout:
        return False
    return True


def wait_for_end(
    what: str,
    reference: str,
    container: Container,
    ended: "Future[WaitResult]",
    lives: Callable[[Container], bool],
) -> None:
    """Of one that was killed. Once its process is gone, what it used is let go of, which may take longer than dying: no
    reason to call it deathless. Raises HostFailure."""
    if ends_within(ended, KILL_PATIENCE_SECONDS):
        return
    if lives(container):
        raise deathless(what, reference, container)
    if not ends_within(ended, _LETTING_GO_SECONDS):
        why = "its process has ended, and its storage gives no answer to who lets go of it"
        raise HostFailure(f"cannot {what} container: {reference}", why, "Try again when it does")


def deathless(what: str, reference: str, container: Container) -> HostFailure:
    silent = silent_storage(mount.source for mount in container.mounts)
    waits_for = f"the storage under {', '.join(silent)}" if silent else "storage"
    return HostFailure(
        f"cannot {what} container: {reference}",
        f"its process did not end within {KILL_PATIENCE_SECONDS} s of SIGKILL",
        f"It {'waits' if silent else 'is probably waiting'} for {waits_for}, which gives no answer",
    )


def is_restarted(container: Container, exit_code: int) -> bool:
    """By its restart policy."""
    policy, status = container.host.restart_policy, container.status
    if status.stopped_by_user:
        return False
    if policy.name == "on-failure":
        limit = policy.maximum_retry_count
        return exit_code != 0 and not (limit and status.restart_count >= limit)
    return policy.name in ("always", "unless-stopped")


def duration_seconds(container: Container) -> int:
    return max(0, container.status.finished_at_ns - container.status.started_at_ns) // 1_000_000_000


def process_of(container: Container) -> StartedProcess:
    status = container.status
    return StartedProcess(status.pid, status.supervisor_pid, status.supervisor_started)
