"""Secrets are kept encrypted, told by name, and gone only when nobody needs them."""

import stat
from pathlib import Path

import pytest

from orlop.engine.secrets import Secrets
from orlop.errors import Conflict, HostFailure, Malformed, NotFound
from orlop.model.volume import Volume
from orlop.store.secrets import KEY, SecretFiles


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(SecretFiles(tmp_path / "secrets"))


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "secrets").iterdir())


def test_a_value_comes_back_for_those_who_mount_and_for_nobody_else(secrets: Secrets, tmp_path: Path) -> None:
    secrets.create("nas", b"hunter2\n")
    assert secrets.resolve({"o": "password=secret://nas"}) == {"o": "password=hunter2"}
    assert Secrets(SecretFiles(tmp_path / "secrets")).resolve({"a": "secret://nas"}) == {"a": "hunter2"}
    assert [secret.name for secret in secrets.list_secrets()] == ["nas"]
    for path in files(tmp_path):
        assert b"hunter2" not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_it_is_replaced_only_when_asked_to(secrets: Secrets) -> None:
    secrets.create("nas", b"one")
    with pytest.raises(Conflict, match="a secret of that name exists"):
        secrets.create("nas", b"two")
    secrets.create("nas", b"two", replace=True)
    assert secrets.resolve({"a": "secret://nas"}) == {"a": "two"}


@pytest.mark.parametrize(("name", "value"), [("nas", b""), ("nas", b"x" * (513 << 10)), ("../nas", b"x"), ("", b"x")])
def test_what_makes_no_sense_is_refused(secrets: Secrets, tmp_path: Path, name: str, value: bytes) -> None:
    with pytest.raises(Malformed):
        secrets.create(name, value)
    assert not (tmp_path / "secrets").exists()


def test_a_missing_one_is_named_with_the_way_out(secrets: Secrets) -> None:
    with pytest.raises(NotFound, match=r"there is none of that name on this host.*orlop secret create nas"):
        secrets.resolve({"a": "secret://nas"})
    with pytest.raises(NotFound):
        secrets.remove("nas")


def test_one_that_a_volume_needs_stays(secrets: Secrets) -> None:
    secrets.create("nas", b"x")
    needy = Volume("team", "1" * 64, "local", 0, "", options={"o": "password=secret://nas"})
    secrets.volumes = lambda: [needy]
    assert secrets.list_secrets()[0].used_by == ("team",)
    with pytest.raises(Conflict, match="volumes need it: team"):
        secrets.remove("nas")
    secrets.volumes = list
    secrets.remove("nas")
    assert secrets.list_secrets() == []


def test_a_file_in_the_place_of_another_is_noticed(secrets: Secrets, tmp_path: Path) -> None:
    secrets.create("one", b"1")
    secrets.create("two", b"2")
    (tmp_path / "secrets" / "one.secret").rename(tmp_path / "secrets" / "two.secret")
    with pytest.raises(HostFailure, match="does not fit this host's key"):
        secrets.resolve({"a": "secret://two"})


def test_a_lost_key_is_not_made_anew_over_what_it_encrypted(secrets: Secrets, tmp_path: Path) -> None:
    secrets.create("one", b"1")
    (tmp_path / "secrets" / KEY).unlink()
    for attempt in (lambda: secrets.resolve({"a": "secret://one"}), lambda: secrets.create("two", b"2")):
        with pytest.raises(HostFailure, match=r"key .* is missing"):
            attempt()
