"""What `orlop volume` shows of sizes and of what goes."""

import json
import os
from typing import Any

import pytest

from support.fake_daemon import Run

NEVER = "0001-01-01T00:00:00Z"
PREVIEW = "POST /orlop/v1/volumes/preview"


def usage(size: int = 1_500_000, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "SizeBytes": size,
        "DiskBytes": size,
        "Entries": 3,
        "LimitBytes": 0,
        "LimitInodes": 0,
        "LastWrite": "2020-01-01T00:00:00Z",
        "LastMount": NEVER,
        "LastUnmount": NEVER,
        "LastContainer": "app",
        "MeasuredAt": NEVER,
        "Current": True,
        "Measuring": False,
        "Users": [],
    }
    return {**known, **changes}


def report(name: str, **changes: Any) -> dict[str, Any]:
    return {"Name": name, "Driver": "local", "Usage": usage(**changes)}


def departure(name: str, why: str = "", until: str = "2999-01-02T03:04:05Z", **changes: Any) -> dict[str, Any]:
    known = None if why == "no such volume" else usage(**changes)
    return {"Name": name, "Goes": not why, "StaysBecause": why, "RestorableUntil": until, "Usage": known}


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)


def test_sizes_are_listed_with_limit_users_and_times(orlop: Run) -> None:
    users = [{"Container": "app"}, {"Container": "app"}, {"Container": "db"}]
    answer = {"Volumes": [report("b", LimitBytes=10**10, LimitInodes=50, Users=users), report("a", Current=False)]}
    lines = orlop("volume", "ls", "--size", answers={"GET /orlop/v1/volumes": answer}).out.splitlines()
    assert lines[0].split("  ")[0] == "VOLUME NAME"
    assert lines[1].split()[:5] == ["a", "local", "~1.5MB", "-", "-"]
    assert "10GB, 50 files" in lines[2]
    assert "app, db" in lines[2]
    assert "never" in lines[2]


@pytest.mark.parametrize(
    ("column", "order"), [("name", "abc"), ("size", "cab"), ("last-mount", "bac"), ("last-write", "abc")]
)
def test_sizes_are_sorted_by_a_column(orlop: Run, column: str, order: str) -> None:
    volumes = [report("c", size=9), report("b", size=-1, LastMount="2024-01-01T00:00:00Z"), report("a", size=5)]
    done = orlop("volume", "ls", "--sort", column, "-q", answers={"GET /orlop/v1/volumes": {"Volumes": volumes}})
    assert done.out.split() == list(order)


def test_a_first_count_is_waited_for_only_so_long(orlop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.cli.volume_sizes.PATIENCE_SECONDS", 0.05)
    answer = {"Volumes": [report("a", size=-1, Measuring=True), report("b", Measuring=True)]}
    outcome = orlop("volume", "ls", "--size", answers={"GET /orlop/v1/volumes": answer})
    assert outcome.status == 0
    assert "1 volumes are still being measured" in outcome.err
    assert "unknown" in outcome.out


def test_a_removal_shows_what_goes_only_at_a_terminal(orlop: Run, at_a_terminal: None) -> None:
    answers = {
        PREVIEW: {"Volumes": [departure("data"), departure("used", "in use by app")]},
        "DELETE /volumes/data": 204,
    }
    outcome = orlop("volume", "rm", "data", answers=answers)
    assert outcome.out == "data\n"
    assert "1.5MB" in outcome.err
    assert "app" in outcome.err
    assert "in use" not in outcome.err
    quiet = orlop("volume", "rm", "-q", "data", answers=answers)
    assert quiet.err == ""


def test_letting_go_of_an_alias_is_told_at_a_terminal(orlop: Run, at_a_terminal: None) -> None:
    why = "only this name of the volume new goes; its data stays"
    answers = {PREVIEW: {"Volumes": [departure("old", why)]}, "DELETE /volumes/old": 204}
    outcome = orlop("volume", "rm", "old", answers=answers)
    assert (outcome.out, outcome.err) == ("old\n", f"orlop: old: {why}\n")


def test_a_removal_in_a_script_says_names_alone(orlop: Run) -> None:
    outcome = orlop("volume", "rm", "data", answers={"DELETE /volumes/data": 204})
    assert (outcome.out, outcome.err) == ("data\n", "")
    assert not any(asked.path.endswith("preview") for asked in outcome.fake.asked)


def test_a_dry_run_removes_nothing_and_ends_as_the_removal_would(orlop: Run) -> None:
    answers = {PREVIEW: {"Volumes": [departure("data", Current=False), departure("mem", size=-1, until=NEVER)]}}
    outcome = orlop("volume", "rm", "--dry-run", "data", "mem", answers=answers)
    assert outcome.status == 0
    assert "~1.5MB" in outcome.out
    assert "2 to remove, at least 1.5MB" in outcome.out
    assert "never" in outcome.out
    assert {asked.method for asked in outcome.fake.asked} == {"POST"}
    stays = {PREVIEW: {"Volumes": [departure("ghost", "no such volume")]}}
    assert orlop("volume", "rm", "--dry-run", "ghost", answers=stays).status == 1
    assert orlop("volume", "rm", "--dry-run", "--force", "ghost", answers=stays).status == 0
    assert orlop("volume", "rm", "--dry-run", "data").status == 1


def test_a_prune_shows_what_goes_and_asks(orlop: Run) -> None:
    answers = {
        PREVIEW: {"Volumes": [departure("old"), departure("kept", "protected by its label orlop.protect")]},
        "POST /volumes/prune": {"VolumesDeleted": ["old"], "SpaceReclaimed": 7},
    }
    asked = orlop("volume", "prune", "--all", "--filter", "label=x", answers=answers)
    assert asked.status == 1
    assert "old" in asked.err
    assert "kept stays: protected" in asked.err
    assert "nobody is there to be asked" in asked.err
    assert asked.fake.asked[-1].json == {"Prune": {"label": ["x"]}, "All": True}
    assert orlop("volume", "prune", "--force", answers=answers).out.startswith("Removed volumes:\nold\n")
    dry = orlop("volume", "prune", "--all", "--force", "--dry-run", answers=answers)
    assert "1 to remove" in dry.out
    assert [asked.path for asked in dry.fake.asked] == ["/orlop/v1/volumes/preview"]


def test_a_prune_with_nothing_to_take_does_not_ask(orlop: Run) -> None:
    outcome = orlop("volume", "prune", answers={PREVIEW: {"Volumes": []}})
    assert (outcome.status, outcome.out) == (0, "Total reclaimed space: 0B\n")


def test_a_prune_of_everything_shows_the_volumes_that_stopped_containers_let_go_of(orlop: Run) -> None:
    def used(name: str, running: bool) -> dict[str, Any]:
        return departure(name, "in use by app", Users=[{"Container": "app", "Running": running}])

    kept = departure("kept", "protected by its label orlop.protect", Users=[{"Container": "app", "Running": False}])
    answers = {
        PREVIEW: {"Volumes": [departure("free"), used("soon", False), used("busy", True), kept]},
        "GET /containers/json": [],
    }
    asked = orlop("system", "prune", "--volumes", answers=answers).err
    assert "2 to remove" in asked
    assert "busy stays: in use by app" in asked
    assert "kept stays: protected" in asked


def test_what_takes_the_room_is_listed_the_biggest_first(orlop: Run) -> None:
    entry = {"SizeBytes": 20, "DiskBytes": 4096, "Entries": 0, "Directory": False, "LastWrite": NEVER}
    whole = {**entry, "Name": "data", "Path": "", "Directory": True, "Entries": 9, "LeftOut": 4}
    below = [{**entry, "Path": "a\x1b[2J"}, {**entry, "Path": "sub", "Directory": True}]
    lines = [{"Progress": {"Entries": 1, "SizeBytes": 2}}, {"Usage": {**whole, "Below": below}}]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()

    def answer(handler: Any) -> None:
        handler.reply(200, body, {})

    outcome = orlop("volume", "du", "data", answers={"GET /orlop/v1/volumes/data/usage": answer})
    assert outcome.out.splitlines()[1].split() == ["4.1kB", "20B", "-", "a?[2J"]
    assert outcome.out.splitlines()[2].endswith("sub/")
    assert "(4 smaller ones are not listed)" in outcome.out
    assert orlop("volume", "du", "--depth", "x", "data").status == 125


def test_a_walk_that_fails_says_why(orlop: Run) -> None:
    def answer(handler: Any) -> None:
        handler.reply(200, b'{"Error": "its storage has not answered for 30 s"}\n', {})

    outcome = orlop("volume", "du", "data", answers={"GET /orlop/v1/volumes/data/usage": answer})
    assert outcome.status == 1
    assert "has not answered" in outcome.err


def test_disk_usage_tells_what_removed_volumes_still_take(orlop: Run) -> None:
    def retired(*sizes: int) -> dict[str, Any]:
        return {"Retired": [{"Name": f"v{size}", "RetiredAt": NEVER, "SizeBytes": size} for size in sizes]}

    def last_row(answer: Any) -> str:
        answers = {"GET /system/df": {}, "GET /orlop/v1/volumes/retired": answer}
        return orlop("system", "df", answers=answers).out.splitlines()[-1]

    assert last_row(retired(1000, 500)).split("   ")[0] == "Removed Volumes"
    assert "1.5kB (volume purge)" in last_row(retired(1000, 500))
    assert "> 1kB" in last_row(retired(1000, -1))
    assert "unknown" in last_row(retired(-1))
    assert last_row(retired()).startswith("Local Volumes")
    assert last_row((404, {"message": "page not found"})).startswith("Local Volumes")
