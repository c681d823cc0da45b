"""Playing the contract suites against a driver by pytest, as `orlop driver-test` does, and telling what came of it.

pytest runs in this process, on settings of its own: no configuration, plugin or option of the surroundings changes what
is tried. It is needed, and not part of what Orlop installs: the suites are pytest's (see docs/decisions/0121).
"""

import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orlop.drivers.volumes.abilities import abilities_of
from orlop.errors import HostFailure, OrlopError, Unsupported
from orlop.kernel.mounts import mounts_at_or_below
from orlop.model.value import dataclass
from orlop.store.files import remove_tree
from orlop.testing.driver_target import Target

INSTALL = "Install it: pip install pytest (or: pip install 'orlop[driver-test]')"
_LINES = 8  # of a reason
_CASES = "from orlop.testing.driver_run import current_classes\n\nglobals().update(current_classes())\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one promise."""

    suite: str
    promise: str
    result: str  # passed, failed, skipped
    reason: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a driver before anything is tried."""

    name: str
    scope: str
    abilities: tuple[str, ...]
    suites: tuple[str, ...]


_current: dict[str, type] = {}


def current_classes() -> dict[str, type]:
    return _current


def run_suites(
    target: Target, seconds: float, starts: Callable[[Found], None], tell: Callable[[Outcome], None]
) -> tuple[Found, list[Outcome]]:
    """`seconds` is what one test may take; `tell` hears of each outcome at once. Raises Unsupported without pytest,
    OrlopError where the driver cannot even be made."""
    if importlib.util.find_spec("pytest") is None:
        raise Unsupported("orlop driver-test", "it needs pytest, which is not installed here", INSTALL)
    place = Path(tempfile.mkdtemp(prefix="orlop-driver-test-"))
    try:
        with _quiet_surroundings():
            import pytest

            pytest.register_assert_rewrite("orlop.testing")  # so that a failing promise shows the values
            found, classes = _look_at(target, place)
            starts(found)
            _current.clear()
            _current.update(classes)
            listener = _Listener(target.file, seconds, tell)
            _play(place, listener)
    finally:
        _clear(place)
    return found, listener.outcomes


def _look_at(target: Target, place: Path) -> tuple[Found, dict[str, type]]:
    from orlop.testing.driver_suites import suites_for, test_classes

    try:
        driver = target.open(place / "look")
    except OrlopError:
        raise
    except Exception as error:
        why = f"making it failed: {type(error).__name__}: {error}"
        raise HostFailure(f"driver of {target.file}", why) from error
    suites = suites_for(driver)
    abilities = tuple(ability.__name__ for ability in abilities_of(driver))
    return Found(driver.name, driver.scope, abilities, tuple(suites)), test_classes(target, suites)


def _play(place: Path, listener: "_Listener") -> None:
    import pytest

    cases = place / "orlop_promises_of_a_driver.py"  # no name that a driver may have
    cases.write_text(_CASES)
    settings = place / "pytest.ini"
    settings.write_text("[pytest]\n")
    # Without its own reports, whose place is the caller's.
    switches = ["-p", "no:terminal", "-p", "no:cacheprovider", "--noconftest", "-c", str(settings)]
    status = pytest.main([*switches, f"--basetemp={place / 'roots'}", str(cases)], plugins=[listener])
    if status not in (0, 1):
        raise HostFailure("orlop driver-test", f"pytest ended with {int(status)}", listener.trouble)


def _clear(place: Path) -> None:
    """What a driver left mounted stays, and is told: whose it is nobody here knows."""
    try:
        remove_tree(place)
    except (OrlopError, OSError) as error:
        left = [entry.mount_point for entry in mounts_at_or_below(place)]
        sys.stderr.write(f"orlop: {place} stays: {', '.join(left) if left else error}\n")


@contextmanager
def _quiet_surroundings() -> Iterator[None]:
    saved = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update({name: value for name, value in saved.items() if value is not None})


class _Listener:
    """A plugin of pytest's: a limit of time for each test, and its outcome in words."""

    def __init__(self, driver_file: str, seconds: float, tell: Callable[[Outcome], None]) -> None:
        self.outcomes: list[Outcome] = []
        self.trouble = ""
        self._file = os.path.realpath(driver_file)
        self._seconds = seconds
        self._tell = tell
        self._began = 0.0
        self._reasons: dict[str, tuple[str, ...]] = {}

    def pytest_runtest_setup(self, item: Any) -> None:
        self._began = time.monotonic()
        signal.signal(signal.SIGALRM, self._too_late)
        # Again and again: what cleans up after a test that hangs may hang as well.
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def _too_late(self, number: int, frame: object) -> None:
        raise TimeoutError(f"it did not end in {self._seconds:g} seconds")

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is not None:
            self._reasons[f"{item.nodeid} {call.when}"] = tuple(_explain(call.excinfo, self._file))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown":
            signal.setitimer(signal.ITIMER_REAL, 0)
        if report.when != "call" and report.passed:
            return
        _, suite, name = report.nodeid.split("::", 2)
        suite, promise = suite.removeprefix("Test"), _words(name)
        if report.when == "teardown":
            last = self.outcomes[-1] if self.outcomes else None
            if last is not None and (last.suite, last.promise, last.result) == (suite, promise, "failed"):
                return  # what comes of a failure is no other one
            promise += ", and what it left can be cleared away"
        reason = self._reasons.pop(f"{report.nodeid} {report.when}", ())
        outcome = Outcome(suite, promise, report.outcome, reason, time.monotonic() - self._began)
        self.outcomes.append(outcome)
        self._tell(outcome)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.trouble = str(report.longrepr)[-2000:]


def _words(name: str) -> str:
    promise, bracket, case = name.removeprefix("test_").partition("[")
    return promise.replace("_", " ") + (f" ({case.removesuffix(']') or 'empty'})" if bracket else "")


def _explain(failure: Any, driver_file: str) -> Iterator[str]:
    """What went wrong, where in the suite, and where in the driver if it happened there."""
    said = failure.exconly(tryshort=True).splitlines()
    yield from (line.rstrip() for line in said[:_LINES])
    if len(said) > _LINES:
        yield "..."
    entries = list(failure.traceback)
    suite = str(Path(__file__).parent)
    in_suite = [entry for entry in entries if str(entry.path).startswith(suite) and str(entry.path) != __file__]
    in_driver = [entry for entry in entries if os.path.realpath(str(entry.path)) == driver_file]
    for what, passed in (("the suite", in_suite), ("the driver", in_driver)):
        if passed:
            last = passed[-1]
            statement = " ".join(str(last.statement).split())
            yield f"in {what}: {statement[:160]}   ({Path(str(last.path)).name}:{last.lineno + 1}, {last.name})"
