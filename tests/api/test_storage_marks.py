"""Storage elsewhere is known again by a mark in it: another bucket or share in its place is refused, naming both; what
others keep there stays untouched; containers see nothing of it."""

from pathlib import Path

import pytest

from support.daemon import LiveDaemon

MARK = ".orlop-mark-*"


@pytest.fixture
def far(tmp_path: Path) -> Path:
    (tmp_path / "far").mkdir()
    return tmp_path / "far"


def create(ship: LiveDaemon, far: Path, *more: str, name: str = "photos") -> None:
    options = ("type=alias", f"rclone.remote={far}", *more)
    ship.docker("volume", "create", "-d", "cloud", *(word for each in options for word in ("-o", each)), name)


def run(ship: LiveDaemon, script: str, code: int = 0, name: str = "photos") -> str:
    done = ship.docker("run", "--rm", "-v", f"{name}:/p", "busybox", "sh", "-c", script, code=code)
    return done.stderr if code else done.stdout


def mark_of(far: Path) -> str:
    (found,) = far.glob(MARK)
    return found.name


def test_the_wrong_storage_is_refused_and_both_are_named(daemon: LiveDaemon, far: Path, tmp_path: Path) -> None:
    create(daemon, far)
    run(daemon, "echo mine > /p/a")
    mark = mark_of(far)
    aside, other = far.rename(tmp_path / "aside"), tmp_path / "far"
    other.mkdir()
    said = run(daemon, "echo lost > /p/b", code=125)
    assert "has no mark" in said and mark.removeprefix(".orlop-mark-")[:12] in said
    assert "made for volume photos of host" in said
    assert not any(other.iterdir()), "nothing is written to what is not the volume's"
    create(daemon, other, name="films")
    run(daemon, "true", name="films")
    said = run(daemon, "echo lost > /p/b", code=125)
    assert mark_of(other).removeprefix(".orlop-mark-")[:12] in said and "made for volume films" in said
    assert mark.removeprefix(".orlop-mark-")[:12] in said
    daemon.docker("volume", "rm", "films")
    assert mark_of(other) != mark
    other.rename(tmp_path / "other")
    aside.rename(far)
    assert run(daemon, "cat /p/a") == "mine\n"


def test_containers_do_not_see_the_mark(daemon: LiveDaemon, far: Path) -> None:
    create(daemon, far)
    assert run(daemon, "ls -A /p") == ""
    mark = mark_of(far)
    run(daemon, f"mkdir /p/d; rm -rf /p/* /p/.[!.]*; ! cat /p/{mark}")
    assert mark_of(far) == mark


def test_what_others_keep_there_is_used_as_it_is(daemon: LiveDaemon, far: Path) -> None:
    (far / "theirs").write_text("old\n")
    create(daemon, far)
    assert run(daemon, "cat /p/theirs; echo new > /p/ours") == "old\n"
    assert not list(far.glob(MARK))
    assert run(daemon, "cat /p/ours") == "new\n"
    create(daemon, far, "mark=always", name="marked")
    assert run(daemon, "cat /p/theirs", name="marked") == "old\n"
    mark = mark_of(far)
    assert run(daemon, "cat /p/theirs") == "old\n", "it is known by that from now on"
    (far / mark).unlink()
    assert mark.removeprefix(".orlop-mark-")[:12] in run(daemon, "true", code=125)


@pytest.mark.parametrize("option", ["read-only=true", "mark=never"])
def test_nothing_is_written_where_nothing_is_to_be(daemon: LiveDaemon, far: Path, option: str) -> None:
    create(daemon, far, option)
    run(daemon, "ls /p")
    assert not list(far.iterdir())


def test_hosts_that_share_storage_know_it_by_one_mark(daemon: LiveDaemon, far: Path) -> None:
    create(daemon, far)
    create(daemon, far, name="same")
    for name in ("photos", "same"):
        run(daemon, "echo x >> /p/a", name=name)
    mark = mark_of(far)
    (far / (mark[:-1] + ("0" if mark[-1] != "0" else "1"))).write_text("marked at the same moment")
    assert run(daemon, "cat /p/a", name="same") == "x\nx\n"


def test_the_way_out_is_the_one_that_is_said(daemon: LiveDaemon, far: Path) -> None:
    create(daemon, far)
    run(daemon, "true")
    (far / mark_of(far)).unlink()
    said = run(daemon, "true", code=125)
    identity = said[said.index("delete ") + len("delete ") :].split()[0].rstrip(".")
    Path(identity).unlink()
    run(daemon, "true")
    assert mark_of(far)
