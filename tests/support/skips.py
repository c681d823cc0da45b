"""Where the machine lacks an ability, tests of it skip with the reason. In CI (ORLOP_STRICT_SKIPS=1) a skip that is not
on the list tests/allowed_skips.txt is a failure: an ability that got lost must not go unnoticed."""

import os
from fnmatch import fnmatch
from pathlib import Path

import pytest

LIST = Path(__file__).parents[1] / "allowed_skips.txt"


class StrictSkips:
    def __init__(self, allowed: list[str]) -> None:
        self._allowed = allowed
        self.unexpected: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        if not any(fnmatch(report.nodeid, pattern) for pattern in self._allowed):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> object:
        if self.unexpected and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section("skips that are not in tests/allowed_skips.txt", red=True)
            for line in self.unexpected:
                terminalreporter.line(line)


def read_allowed(text: str) -> list[str]:
    """One pattern of test ids a line; what follows a # is the reason."""
    return [pattern for line in text.splitlines() if (pattern := line.split("#")[0].strip())]


def register(config: pytest.Config) -> None:
    if os.environ.get("ORLOP_STRICT_SKIPS") == "1":
        config.pluginmanager.register(StrictSkips(read_allowed(LIST.read_text())), "strict-skips")
