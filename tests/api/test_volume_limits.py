"""Limited volumes with the stock docker command: what a user sees."""

import re
from collections.abc import Iterator

import pytest

from support.daemon import LiveDaemon, wait_for
from support.leaks import loop_devices_below


@pytest.fixture
def limited(daemon: LiveDaemon) -> Iterator[LiveDaemon]:
    daemon.docker("volume", "create", "--opt", "size=16m", "data")
    yield daemon
    daemon.clear()
    wait_for("the loop devices to go", lambda: loop_devices_below(daemon.data_root) == [])


def size_in_container(daemon: LiveDaemon, *run: str) -> int:
    """KiB that df shows for /data."""
    command = run or ("run", "--rm", "-v", "data:/data", "busybox")
    lines = daemon.docker(*command, "df", "-P", "-k", "/data").stdout.splitlines()
    return int(lines[1].split()[1])


def test_df_in_the_container_shows_the_limit_and_no_more_goes_in(limited: LiveDaemon) -> None:
    assert 16 << 10 <= size_in_container(limited) < 17 << 10
    script = "dd if=/dev/zero of=/data/much bs=1M count=20; echo over with $?; echo more > /data/more; cat /data/more"
    run = ("run", "--rm", "-v", "data:/data", "-v", "free:/free", "busybox", "sh", "-c")
    said = limited.docker(*run, script, code=None)
    assert "No space left on device" in said.stderr and "over with 1" in said.stdout
    assert "fits" in limited.docker(*run, "dd if=/dev/zero of=/free/much bs=1M count=20 && echo fits").stdout


def test_it_survives_the_daemon_and_grows_under_a_running_container(limited: LiveDaemon) -> None:
    limited.docker("run", "-d", "--name", "user", "-v", "data:/data", "busybox", "sleep", "1000")
    limited.docker("exec", "user", "sh", "-c", "echo kept > /data/note")
    limited.kill()
    limited.start()
    assert limited.docker("exec", "user", "cat", "/data/note").stdout == "kept\n"
    assert size_in_container(limited, "exec", "user") < 17 << 10
    limited.docker("volume", "rm", "data", code=1)
    limited.orlop("volume", "update", "--size", "32m", "data")
    assert 32 << 10 <= size_in_container(limited, "exec", "user") < 34 << 10
    limited.docker("exec", "user", "sh", "-c", "dd if=/dev/zero of=/data/much bs=1000000 count=20 conv=fsync")
    limited.docker("rm", "-f", "user")
    assert "more than 8 MiB" in limited.orlop("volume", "update", "--size", "8m", "data", code=1).stderr
    assert limited.docker("run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/note").stdout == "kept\n"


def test_removed_and_restored_it_has_its_bytes_and_its_limit(limited: LiveDaemon) -> None:
    limited.docker("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/note")
    limited.docker("volume", "rm", "data")
    limited.docker("volume", "create", "--opt", "size=24m", "data")
    assert size_in_container(limited) >= 24 << 10
    limited.orlop("volume", "restore", "--as", "old", "data")
    said = limited.docker(
        "run", "--rm", "-v", "old:/data", "busybox", "sh", "-c", "cat /data/note; df -P -k /data"
    ).stdout
    assert said.startswith("kept\n") and 16 << 10 <= int(said.splitlines()[2].split()[1]) < 17 << 10
    limited.docker("volume", "rm", "old")


def test_an_image_fills_it_at_the_first_use(limited: LiveDaemon) -> None:
    said = limited.docker("run", "--rm", "-v", "data:/etc", "busybox", "ls", "/etc").stdout
    assert "passwd" in said.split()
    said = limited.docker("run", "--rm", "-v", "data:/seen", "busybox", "ls", "-a", "/seen").stdout
    assert "passwd" in said.split() and not re.search(r"lost|orlop", said)


def test_an_image_with_more_than_fits_says_how_to_get_more(limited: LiveDaemon) -> None:
    limited.docker("volume", "create", "--opt", "size=4m", "small")
    build = "dd if=/dev/urandom of=/srv/much bs=1M count=6"
    limited.docker("run", "--name", "built", "busybox", "sh", "-c", f"mkdir -p /srv && {build}")
    limited.docker("commit", "built", "large")
    said = limited.docker("run", "--rm", "-v", "small:/srv", "large", "true", code=125).stderr
    assert "failed to populate volume" in said and "orlop volume update --size SIZE small" in said
    limited.orlop("volume", "update", "--size", "16m", "small")
    assert "much" in limited.docker("run", "--rm", "-v", "small:/srv", "large", "ls", "/srv").stdout
    limited.docker("rm", "built")
    limited.docker("rmi", "large")


def test_df_and_prune_count_it_like_any_other(limited: LiveDaemon) -> None:
    fill = ("dd", "if=/dev/urandom", "of=/data/much", "bs=1000000", "count=4", "conv=fsync")
    limited.docker("run", "--rm", "-v", "data:/data", "busybox", *fill)
    lines = limited.docker("system", "df", "-v").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("data ")]
    assert 4.0 <= float(line.split()[2].removesuffix("MB")) < 4.3
    shown = limited.docker("volume", "inspect", "-f", "{{json .Options}} {{json .Status.Limit}}", "data").stdout
    assert '{"size":"16m"}' in shown and '"SizeBytes":16777216' in shown
    assert '"Mechanism":"image file' in shown
    assert "data" in limited.docker("volume", "prune", "-a", "-f").stdout.split()


def test_what_cannot_be_is_said_in_words(daemon: LiveDaemon) -> None:
    for options, reason in (
        (["size=1k"], "at least 4 MiB"),
        (["inodes=10"], "Give it a size as well"),
        (["size=x"], "invalid"),
        (["type=none", "device=/srv", "o=bind", "size=1g"], "no quota support for what is mounted"),
    ):
        arguments = [word for option in options for word in ("--opt", option)]
        assert reason in daemon.docker("volume", "create", *arguments, "data", code=1).stderr
    assert daemon.docker("volume", "ls", "-q").stdout == ""
