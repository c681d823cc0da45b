"""Taking a directory over together with its limit, where the file system limits directories."""

import os
from pathlib import Path

import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.errors import Unsupported
from orlop.kernel.project_quota import ProjectUsage


class Projects:
    """A file system with project quota, and one number on what another engine made."""

    def __init__(self, is_on: bool = True) -> None:
        self.is_on = is_on
        self.limits: dict[int, tuple[int, int]] = {7: (1 << 20, 0)}

    def is_enforced(self, fd: int) -> bool:
        return self.is_on

    def project(self, fd: int) -> int:
        return 7

    def assign(self, fd: int, project: int) -> None:
        raise AssertionError("it has a number")

    def usage(self, fd: int, project: int) -> ProjectUsage:
        return ProjectUsage(5, 1, *self.limits.get(project, (0, 0)))

    def limit(self, fd: int, project: int, limit_bytes: int, limit_inodes: int) -> None:
        self.limits[project] = (limit_bytes, limit_inodes)


def theirs(tmp_path: Path) -> Path:
    source = tmp_path / "theirs/data"
    (source / "_data").mkdir(parents=True)
    return source


def test_it_keeps_its_number_and_gets_its_limit(tmp_path: Path) -> None:
    projects = Projects()
    driver = LocalVolumes(tmp_path / "volumes", projects)
    assert driver.limits_adopted
    driver.adopt(theirs(tmp_path), "data", {"size": "2m"}, '{"id": "1"}')
    assert driver.limits("data").size_bytes == 2 << 20
    driver.attach("data", "a" * 64)
    assert projects.limits == {7: (2 << 20, 0)}
    driver.detach("data", "a" * 64)
    driver.close()


def test_without_quota_a_limit_is_refused_and_nothing_moved(tmp_path: Path) -> None:
    driver = LocalVolumes(tmp_path / "volumes", Projects(is_on=False))
    source = theirs(tmp_path)
    with pytest.raises(Unsupported, match="limit"):
        driver.adopt(source, "data", {"size": "2m"}, '{"id": "1"}')
    assert os.listdir(source) == ["_data"]
    driver.close()
