"""secret://name in a volume's options: mounted with, and shown nowhere."""

import json

import pytest

from support.daemon import LiveDaemon

VALUE = "u1d-of-the-night"


@pytest.fixture
def secret(daemon: LiveDaemon) -> str:
    assert daemon.orlop("secret", "create", "--force", "planted", stdin=VALUE + "\n").stdout == "planted\n"
    return "secret://planted"


def test_the_value_is_what_the_mount_is_made_with(daemon: LiveDaemon) -> None:
    daemon.orlop("secret", "create", "room", stdin="3m")
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=secret://room", "small")
    shown = daemon.docker("run", "--rm", "-v", "small:/data", "busybox", "df", "-k", "/data").stdout
    assert " 3072 " in shown
    daemon.docker("volume", "rm", "small")


def test_a_secret_that_is_not_there_is_named_before_anything_is_made(daemon: LiveDaemon) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=secret://nowhere")
    refused = daemon.docker("volume", "create", *options, "data", code=1)
    assert "secret nowhere: there is none of that name on this host" in refused.stderr
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_a_secret_lives_as_long_as_a_volume_may_need_it(daemon: LiveDaemon, secret: str) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", f"o=password={secret}", "data")
    for _ in range(2):
        refused = daemon.orlop("secret", "rm", "planted", code=1)
        assert "volumes need it: data" in refused.stderr
        daemon.docker("volume", "rm", "-f", "data")  # removed ones can be restored, and need it then
    listed = map(json.loads, daemon.orlop("secret", "ls", "--format", "json").stdout.splitlines())
    assert {each["Name"]: each["UsedBy"] for each in listed}["planted"] == ["data"]
    daemon.orlop("volume", "purge", "--all", "--force")
    assert daemon.orlop("secret", "rm", "planted").stdout == "planted\n"
