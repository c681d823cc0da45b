"""Fixtures for all tests. `daemon` is a live daemon with a busybox image, shared by the tests of a module and cleared
after each; `make_daemon` starts one of the test's own, in the state and with the settings that it wants."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import skips
from support.asking import BY_PEER, Api
from support.daemon import LiveDaemon, docker_commands
from support.disks import mounted_disk
from support.dockerd import Dockerd
from support.images import write_busybox_tar

DaemonMaker = Callable[..., LiveDaemon]
# ORLOP_TEST_PEER=/usr/sbin/dockerd plays the tests against Docker itself: does a test tell the truth about Docker?
Daemon = Dockerd if os.environ.get("ORLOP_TEST_PEER") else LiveDaemon


# How long an example takes, or to think it up, says how busy the machine is.
settings.register_profile("orlop", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("orlop")


def pytest_configure(config: pytest.Config) -> None:
    skips.register(config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started with `&` by a script: whoever the tests start and then interrupt would ignore it, too (POSIX, sh).
        signal.signal(signal.SIGINT, signal.default_int_handler)
    pytest.register_assert_rewrite("orlop.testing")  # so that a failing contract shows the values


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="put load on for minutes where it is usually half a minute")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take minutes go first, so that processes that share the tests end together."""
    items.sort(key=lambda item: not {"crash", "cluster"} & set(item.path.parts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured (`record_property`), also where processes share them and nobody sees what they print."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture
def load_seconds(request: pytest.FixtureRequest) -> int:
    return 300 if request.config.getoption("--long") else 20


@pytest.fixture(autouse=True)
def no_hang(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that waits for ever fails instead, and says where it waited."""
    seconds = 1200 if request.node.get_closest_marker("slow") else 120

    def give_up(number: int, frame: object) -> None:
        pytest.fail(f"the test did not end in {seconds} seconds")  # not an OSError, which what it stops may forgive

    usual = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, usual)


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split("-")[0].split(".") if part.isdigit())


DOCKER_COMMANDS = docker_commands()
VERSIONS = sorted(DOCKER_COMMANDS, key=version_key)


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of the image `busybox`, for `docker import`."""
    return write_busybox_tar(tmp_path_factory.mktemp("images") / "busybox.tar")


@pytest.fixture(scope="session")
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo script/test")


@pytest.fixture(scope="session")
def docker_command(needs_root: None) -> Path:
    """The newest stock docker CLI here."""
    if not VERSIONS:
        pytest.skip("no docker command on this machine (script/setup fetches one)")
    return DOCKER_COMMANDS[VERSIONS[-1]]


@contextmanager
def running(daemon: LiveDaemon, busybox_tar: Path) -> Iterator[LiveDaemon]:
    try:
        daemon.start()
        daemon.docker("import", busybox_tar, "busybox")
        yield daemon
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def module_daemon(docker_command: Path, busybox_tar: Path) -> Iterator[LiveDaemon]:
    with running(Daemon(docker_command), busybox_tar) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def our_daemon(docker_command: Path, busybox_tar: Path) -> Iterator[LiveDaemon]:
    """Orlop's own, also where Docker plays the peer."""
    with running(LiveDaemon(docker_command), busybox_tar) as daemon:
        yield daemon


@pytest.fixture
def daemon(module_daemon: LiveDaemon) -> Iterator[LiveDaemon]:
    if not module_daemon.is_running:
        module_daemon.start()
    yield module_daemon
    if not module_daemon.is_running:
        module_daemon.start()
    module_daemon.clear()


@pytest.fixture
def api(daemon: LiveDaemon) -> Api:
    """Raw requests of 1.41 of the API, the version that Docker 20.10 speaks too."""
    return Api(daemon, "1.41")


@pytest.fixture
def modern(daemon: LiveDaemon) -> Api:
    """Raw requests for what came after Docker 20.10, or was said otherwise by it."""
    if BY_PEER:
        pytest.skip("Docker 20.10 does not know this yet")
    return Api(daemon, "1.47")


@pytest.fixture(params=VERSIONS or ["none"])
def docker_clients(request: pytest.FixtureRequest, daemon: LiveDaemon) -> Iterator[LiveDaemon]:
    """The daemon, spoken to by each stock docker CLI found here in turn."""
    usual = daemon.docker_command
    daemon.docker_command = DOCKER_COMMANDS[request.param]
    yield daemon
    daemon.docker_command = usual


@pytest.fixture
def make_daemon(docker_command: Path, busybox_tar: Path) -> Iterator[DaemonMaker]:
    """A daemon of the test's own: `make_daemon(data_root=, arguments=, environment=, start=, image=)`."""
    with ExitStack() as stack:

        def make(
            data_root: Path | None = None,
            arguments: Sequence[str] = (),
            environment: dict[str, str] | None = None,
            start: bool = True,
            image: bool = True,
        ) -> LiveDaemon:
            made = Daemon(docker_command, data_root, arguments, environment)
            stack.callback(made.close)
            if start:
                made.start()
            if start and image:
                made.docker("import", busybox_tar, "busybox")
            return made

        yield make


@pytest.fixture
def small_disk(tmp_path: Path, needs_root: None) -> Iterator[Callable[[int], Path]]:
    """`small_disk(size_bytes)`: an ext4 file system of its own, mounted, to fill up. Ask for it before `make_daemon`:
    fixtures end in the opposite order."""
    with ExitStack() as stack:
        count = iter(range(100))

        def make(size_bytes: int) -> Path:
            folder = tmp_path / f"disk{next(count)}"
            folder.mkdir()
            return stack.enter_context(mounted_disk(folder, size_bytes))

        yield make
