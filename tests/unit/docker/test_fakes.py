"""The fakes must not drift from what they stand for."""

import inspect

import pytest

from orlop.engine.archives import Archives
from orlop.engine.containers import Containers
from orlop.engine.disk_usage import DiskUsages
from orlop.engine.images import Images
from orlop.engine.networks import Networks
from orlop.engine.plugins import Plugins
from orlop.engine.sessions import Sessions
from orlop.engine.system import System
from orlop.engine.volume_previews import VolumePreviews
from orlop.engine.volume_reports import VolumeReports
from orlop.engine.volume_trees import VolumeTrees
from orlop.engine.volumes import Volumes
from support import edge

PAIRS = [
    (edge.FakeContainers, Containers),
    (edge.FakeImages, Images),
    (edge.FakeVolumes, Volumes),
    (edge.FakeNetworks, Networks),
    (edge.FakeSessions, Sessions),
    (edge.FakeArchives, Archives),
    (edge.FakeSystem, System),
    (edge.FakeDiskUsages, DiskUsages),
    (edge.FakeReports, VolumeReports),
    (edge.FakePreviews, VolumePreviews),
    (edge.FakeTrees, VolumeTrees),
    (edge.FakePlugins, Plugins),
]
OWN = {"put", "connect"}  # what the tests use to play the world


@pytest.mark.parametrize(("fake", "real"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_fake_has_the_signatures_of_the_real_service(fake: type, real: type) -> None:
    methods = [name for name, _ in inspect.getmembers(fake, inspect.isfunction) if not name.startswith("_")]
    assert methods
    for name in set(methods) - OWN:
        ours, theirs = inspect.signature(getattr(fake, name)), inspect.signature(getattr(real, name))
        known, more = (
            [*theirs.parameters.values()][: len(ours.parameters)],
            [*theirs.parameters.values()][len(ours.parameters) :],
        )
        assert [*ours.parameters] == [each.name for each in known], name
        assert [default(each) for each in ours.parameters.values()] == [default(each) for each in known], name
        assert all(each.default is not each.empty for each in more), f"{name} needs {more}"


def default(parameter: inspect.Parameter) -> object:
    """Two functions are never equal: that there is one must do."""
    return callable(parameter.default) or parameter.default
