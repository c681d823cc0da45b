"""`orlop plugin serve`: one driver for Docker and Podman, on a root of its own, without the daemon.

The root is laid out as the daemon's, so that removed volumes, secrets and records are what they are there. A mark in it
says that it is lent: a daemon would take the mounts of other engines for ones that a crash left, and this would take a
daemon's for such.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from orlop.daemon.main import configure_logging
from orlop.daemon.roots import mark_lent, open_exec_root, open_lent_root
from orlop.docker.front import run_front
from orlop.docker.plugin_server import PluginServer
from orlop.engine.events import Events
from orlop.engine.executor import Executor
from orlop.engine.lending import Lending
from orlop.engine.lent_mounts import LentMounts
from orlop.engine.lent_uses import LentUses
from orlop.engine.reaper import Reaper
from orlop.engine.redactor import redact_log
from orlop.engine.secrets import Secrets
from orlop.engine.volumes import Volumes
from orlop.errors import Forbidden, NotFound, OrlopError
from orlop.model.value import dataclass
from orlop.model.volume import RetirementPolicy
from orlop.store.journal import Journal
from orlop.store.paths import LENT_EXEC_ROOTS, LENT_ROOTS, PLUGIN_SOCKETS, DataRoot, ExecRoot
from orlop.store.secrets import SecretFiles

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loan:
    """What is served where. Empty places are the usual ones."""

    driver: str
    socket: str = ""
    root: str = ""
    grace_seconds: int = 24 * 3600
    debug: bool = False

    @property
    def socket_path(self) -> Path:
        """Under a name that is no engine's own driver's."""
        return Path(self.socket or PLUGIN_SOCKETS / f"orlop-{self.driver}.sock")

    @property
    def data_root(self) -> DataRoot:
        return lent_root(self.root or str(LENT_ROOTS / self.driver))

    @property
    def exec_root(self) -> ExecRoot:
        """One for each root: what is mounted belongs to the root, whichever socket it is asked for by."""
        name = hashlib.sha256(str(self.data_root.path).encode()).hexdigest()[:16]
        return ExecRoot(LENT_EXEC_ROOTS / f"{self.driver}-{name}")


def lent_root(path: str) -> DataRoot:
    return DataRoot(Path(os.path.realpath(path)))


def serve(loan: Loan) -> int:
    """Until SIGTERM. The exit status: 1 when it could not start, with the reason on stderr."""
    try:
        configure_logging(loan.debug)
        if os.geteuid() != 0:
            raise Forbidden("orlop plugin serve", "it must run as root", "Start it with sudo")
        _serve(loan)
    except OrlopError as error:
        print(f"orlop plugin serve: {error.message}", file=sys.stderr)
        return 1
    return 0


def _serve(loan: Loan) -> None:
    os.umask(0o022)
    lock = open_lent_root(loan.data_root, loan.driver)
    closing: list[Callable[[], None]] = []
    server = PluginServer(str(loan.socket_path))

    def load() -> None:
        server.provide(_assemble(loan, closing))
        print(f"driver {loan.driver} is ready", file=sys.stderr, flush=True)

    def listening() -> None:
        print(f"listening on {loan.socket_path}", file=sys.stderr, flush=True)

    try:
        run_front(server, load, listening)
    finally:
        for close in reversed(closing):
            close()
        os.close(lock)


def _assemble(loan: Loan, closing: list[Callable[[], None]]) -> Lending:
    from orlop.daemon.assemble import every_volume_driver  # it takes a while, and the handshake need not wait for it

    data_root, exec_root = loan.data_root, loan.exec_root
    open_exec_root(exec_root)
    secrets = Secrets(SecretFiles(data_root.secrets))
    drivers = every_volume_driver(data_root, exec_root, secrets.resolve).drivers
    driver = drivers.get(loan.driver)
    if driver is None:
        raise NotFound(
            f"driver {loan.driver}", "there is none of that name", f"There are: {', '.join(sorted(drivers))}"
        )
    mark_lent(data_root, driver.name)
    journal = Journal(data_root.journal)
    closing.append(journal.close)
    executor = Executor(journal)
    policy = RetirementPolicy(loan.grace_seconds, loan.grace_seconds)
    redact_log(secrets.redactor)
    only = {driver.name: driver}
    volumes = Volumes(journal, executor, only, Events(), exec_root.subpaths, policy, redactor=secrets.redactor)
    closing.append(volumes.close)
    secrets.volumes = volumes.everything
    secrets.note_all()
    for report in [*executor.recover(), *volumes.reconcile()]:
        log.info("recovery: %s", report)
    uses = LentUses(exec_root.lent)
    lending = Lending(volumes, driver, uses, redactor=secrets.redactor)
    lending.start()
    holders = LentMounts(uses, driver.name)
    watch = volumes.watch_mounts(holders.containers, holders)
    watch.start()
    closing.append(watch.stop)
    reaper = Reaper(volumes.retirements, data_root.volumes)
    reaper.start()
    closing.append(reaper.stop)
    return lending
