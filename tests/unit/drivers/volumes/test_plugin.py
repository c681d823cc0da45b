"""A plugin that is late, wrong, gone or replaced: what its driver makes of it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.drivers.volumes.plugin import PluginVolumes
from orlop.drivers.volumes.plugin_link import Deadlines
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.errors import Conflict, HostFailure, NotFound, OrlopError, Unavailable
from support.daemon import wait_for
from support.fake_plugin import CLOSES, HANGS, FakePlugin, Misdeed

SHORT = Deadlines(activation=0.3, call=0.3, mount=0.3, look=0.3)
USE = "a" * 64


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugin = FakePlugin(root / "plugins", root / "volumes")
        self.plugin.start()
        self.sources: list[PluginSource] = []

    def driver(self) -> PluginVolumes:
        """As a daemon started anew has it. It is patient: where nothing hangs, a busy machine is no silent plugin."""
        self.sources.append(PluginSource(self.root / "run", [self.root / "plugins"]))
        found = self.sources[-1].find("fake")
        assert found is not None
        return found

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """For what the plugin will not answer."""
        for source in self.sources:
            source._deadlines = SHORT
        yield
        for source in self.sources:
            source._deadlines = Deadlines()

    def uses(self) -> list[str]:
        return [path.name for path in (self.root / "run" / "fake").iterdir()]

    def close(self) -> None:
        for source in self.sources:
            source.close()
        self.plugin.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


# What is sent
def test_a_life_in_the_words_of_the_protocol(place: Place) -> None:
    driver = place.driver()
    driver.create("team/data", {"size": "5"}, "")
    driver.attach("team/data", USE)
    driver.detach("team/data", USE)
    driver.remove("team/data")
    assert place.plugin.calls == [
        ("Plugin.Activate", {}),
        ("Capabilities", {}),
        ("Create", {"Name": "team/data", "Opts": {"size": "5"}}),
        ("Get", {"Name": "team/data"}),
        ("Mount", {"Name": "team/data", "ID": USE}),
        ("Unmount", {"Name": "team/data", "ID": USE}),
        ("Remove", {"Name": "team/data"}),
    ]


def test_its_scope_is_what_it_says(place: Place) -> None:
    driver = place.driver()
    driver.check("data", {})
    assert driver.scope == "global"
    place.plugin.always["Capabilities"] = Misdeed(404, b"page not found")
    other = place.driver()
    other.check("data", {})
    assert other.scope == "local"


def test_a_mount_point_that_mount_does_not_say_is_asked_for(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["Mount"] = [{"Err": ""}]
    assert driver.attach("data", USE) == place.root / "volumes/data"
    assert place.plugin.named("Path") == [{"Name": "data"}]


def test_many_who_come_at_once_ask_once_what_it_is(place: Place) -> None:
    driver = place.driver()
    together = threading.Barrier(8)

    def come() -> None:
        together.wait()
        driver.find("data")

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.plugin.named("Plugin.Activate")) == 1


# What is wrong


def test_an_error_of_get_is_not_an_absence(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    for deed in ({"Err": "the disk is on fire"}, Misdeed(500, b"oops"), Misdeed(200, b"{"), {"Volume": {"Name": "x"}}):
        place.plugin.script["Get"] = [deed]
        with pytest.raises(HostFailure):
            driver.get("data")
    place.plugin.script["Get"] = [CLOSES, CLOSES]
    with pytest.raises(Unavailable):
        driver.get("data")
    driver.list_volumes()
    place.plugin.script["Get"] = [CLOSES]
    assert driver.get("data").name == "data", "a question is asked again where a kept connection had ended"
    with pytest.raises(NotFound):
        driver.get("other")


def test_what_is_no_volume_driver_says_so_in_dockers_words(place: Place) -> None:
    place.plugin.always["Plugin.Activate"] = {"Implements": ["NetworkDriver"]}
    why = 'Plugin does not implement the requested driver: plugin="fake", requested implementation="VolumeDriver"'
    with pytest.raises(HostFailure, match=why):
        place.driver().check("data", {})


def test_a_failed_mount_is_not_followed_by_an_unmount(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["Mount"] = [{"Err": "no room"}]
    with pytest.raises(HostFailure, match="no room"):
        driver.attach("data", USE)
    driver.detach("data", USE)
    assert place.plugin.named("Unmount") == [] and place.uses() == []


def test_a_mount_point_that_makes_no_sense_is_refused_and_let_go(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["Mount"] = [{"Mountpoint": "relative"}]
    with pytest.raises(HostFailure, match="no absolute path"):
        driver.attach("data", USE)
    wait_for("the unmount", lambda: place.plugin.named("Unmount"))


def test_creating_what_exists_is_success_and_any_other_error_is_told(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.always["Create"] = {"Err": "volume exists"}
    assert driver.create("data", {}, "").name == "data"
    with pytest.raises(HostFailure, match="volume exists"):
        driver.create("other", {}, "")
    place.plugin.always["Create"] = {"Err": "no room"}
    with pytest.raises(HostFailure, match="no room"):
        driver.create("data", {}, "")


def test_removing_what_the_plugin_knows_nothing_of_is_success(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.remove("gone")
    place.plugin.always["Get"] = {"Err": "not found"}
    driver.remove("gone")
    place.plugin.always["Remove"] = {"Err": "busy"}
    with pytest.raises(HostFailure, match="busy"):
        driver.remove("data")


def test_no_secret_is_said_again(place: Place) -> None:
    source = PluginSource(
        place.root / "run",
        [place.root / "plugins"],
        lambda options: {key: value.replace("secret://key", "hunter2") for key, value in options.items()},
    )
    driver = source.find("fake")
    assert driver is not None
    place.plugin.script["Get"] = [
        {"Volume": {"Name": "data", "Status": {"words": ["key=hunter2"], "password": "other", "n": {"a": "hunter2"}}}}
    ]
    stored = driver.create("data", {"login": "secret://key"}, "")
    assert place.plugin.named("Create")[0]["Opts"] == {"login": "hunter2"}
    assert stored.status == {"words": ["key=********"], "password": "********", "n": {"a": "********"}}
    place.plugin.always["Create"] = {"Err": "bad login hunter2"}
    with pytest.raises(HostFailure) as refused:
        driver.create("more", {"login": "secret://key"}, "")
    assert "hunter2" not in str(refused.value)
    source.close()


# Away and back


def test_nobody_there_is_told_at_once_and_the_one_who_comes_is_used(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    with place.impatient():
        place.plugin.stop(leaves_socket=True)
        with pytest.raises(Unavailable, match="fake"):
            driver.get("data")
        place.plugin.stop()
        with pytest.raises(Unavailable, match='plugin "fake" not found'):
            driver.get("data")
    place.plugin.start()
    assert driver.get("data").name == "data"


def test_a_call_waits_a_moment_for_a_plugin_that_is_just_starting(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.stop(leaves_socket=True)
    starting = threading.Timer(0.2, place.plugin.start)
    starting.start()
    assert driver.get("data").name == "data"
    starting.join()


def test_a_body_goes_out_with_every_try_and_nothing_is_sent_twice(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["Mount"] = [CLOSES]
    with pytest.raises(Unavailable):
        driver.attach("data", USE)
    assert place.plugin.named("Mount") == [{"Name": "data", "ID": USE}], "it may have been done: not again"
    wait_for(
        "the unmount of what may be mounted", lambda: place.plugin.named("Unmount") == [{"Name": "data", "ID": USE}]
    )


def test_one_that_is_started_anew_is_asked_again_what_it_is(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.stop()
    place.plugin.scope = "local"
    place.plugin.start()
    driver.get("data")
    assert driver.scope == "local"


def test_one_that_does_not_answer_costs_the_next_caller_nothing(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.always = {"Get": HANGS, "Plugin.Activate": HANGS}
    with place.impatient():
        with pytest.raises(Unavailable, match="no answer within"):
            driver.get("data")
        assert driver.is_silent
        calls = len(place.plugin.named("Get"))
        for _ in range(100):
            with pytest.raises(Unavailable, match="does not answer"):
                driver.get("data")
        assert len(place.plugin.named("Get")) == calls, "nobody asked"
        place.plugin.always.clear()
        wait_for("it to be noticed", lambda: not driver.is_silent)
    assert driver.get("data").name == "data"


def test_one_that_answers_byte_by_byte_is_late_all_the_same(place: Place) -> None:
    """The deadline is that of the whole call, not of each read."""
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["Get"] = [Misdeed(200, b" " * 10_000, dribbles=True)]
    with place.impatient(), pytest.raises(Unavailable, match="no answer within"):
        driver.get("data")


def test_an_answer_has_an_end(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    place.plugin.script["List"] = [Misdeed(200, b" " * (9 << 20))]
    with pytest.raises(Unavailable, match="longer than 8 MiB"):
        driver.list_volumes()


# Uses


def test_an_unmount_that_fails_is_tried_again(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.attach("data", USE)
    place.plugin.script["Unmount"] = [{"Err": "busy"}]
    driver.detach("data", USE)
    wait_for("the second try", lambda: not place.uses())
    assert len(place.plugin.named("Unmount")) == 2 and not place.plugin.mounted["data"]


def test_a_volume_that_is_mounted_is_not_removed(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.attach("data", USE)
    with pytest.raises(Conflict, match="is mounted"):
        driver.remove("data")
    assert place.plugin.named("Remove") == []
    place.plugin.always["Unmount"] = {"Err": "not mounted"}
    driver.detach("data", USE)
    place.plugin.mounted.clear()
    driver.remove("data")
    assert place.uses() == [], "whatever it has not unmounted is its own to judge"


def test_what_a_plugin_that_was_replaced_knows_nothing_of_is_given_up(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.attach("data", USE)
    place.plugin.stop()
    place.plugin.start()
    with caplog.at_level(logging.INFO):
        driver.detach("data", USE)
    assert place.uses() == [] and "was started anew" in caplog.text


def test_the_next_daemon_unmounts_what_a_crash_left_and_nothing_else(place: Place) -> None:
    first = place.driver()
    first.create("data", {}, "")
    running, cut_off = "b" * 64, "c" * 64
    first.attach("data", running)
    first.attach("data", cut_off)
    second = place.driver()
    second.detach("data", cut_off)
    assert place.plugin.named("Unmount") == [], "while the daemon starts, nobody waits for a plugin"
    second.detach_others([running])
    wait_for("the unmount", lambda: len(place.uses()) == 1)
    assert place.plugin.mounted["data"] == [running]
    second.detach("data", running)
    assert place.plugin.mounted["data"] == [] and place.uses() == []


def test_an_unmount_waits_for_a_plugin_that_is_away(place: Place) -> None:
    first = place.driver()
    first.create("data", {}, "")
    first.attach("data", USE)
    place.plugin.stop()
    second = place.driver()
    second.detach_others([])
    assert len(place.uses()) == 1
    place.plugin.mounted["data"] = [USE]  # one that remembers
    place.plugin.start()
    wait_for("the unmount", lambda: not place.uses())
    assert place.plugin.mounted["data"] == []


def test_a_use_of_before_is_mounted_anew_by_a_plugin_that_was_replaced(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.attach("data", USE)
    driver.attach("data", USE)
    assert len(place.plugin.named("Mount")) == 1
    place.plugin.stop()
    place.plugin.start()
    driver.attach("data", USE)
    assert len(place.plugin.named("Mount")) == 2


def test_a_plugin_that_was_replaced_and_remembers_who_had_what_is_told_of_the_end_first(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    driver.attach("data", USE)
    place.plugin.stop()
    place.plugin.start()
    place.plugin.mounted["data"] = [USE]
    place.plugin.script["Mount"] = [{"Err": "already mounted by this id"}]
    driver.attach("data", USE)
    assert [method for method, _ in place.plugin.calls if method in ("Mount", "Unmount")] == [
        "Mount",
        "Mount",
        "Unmount",
        "Mount",
    ]
    assert place.plugin.mounted["data"] == [USE]
    place.plugin.stop()
    place.plugin.start()
    place.plugin.script["Mount"] = [{"Err": "no"}, {"Err": "still no"}]
    with pytest.raises(HostFailure, match="still no"):
        driver.attach("data", USE)


def test_what_the_name_of_a_plugin_can_be(place: Place) -> None:
    source = PluginSource(place.root / "run", [place.root / "plugins"])
    assert source.find("fake:latest") is source.find("fake")
    assert source.find("../fake") is None and source.find("other") is None
    assert source.names() == ["fake"]
    source.close()


def test_every_error_names_the_plugin_or_the_volume(place: Place) -> None:
    driver = place.driver()
    driver.create("data", {}, "")
    for deed in ({"Err": "x"}, Misdeed(500), Misdeed(200, b"?"), CLOSES):
        place.plugin.script["Remove"] = [deed]
        with pytest.raises(OrlopError, match="data"):
            driver.remove("data")
