"""Renaming volumes, changing their labels and options, and what they are called meanwhile."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine import faults
from orlop.engine.container_create import ContainerCreation
from orlop.engine.executor import Intent
from orlop.engine.volume_steps import render_record
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchVolume, NotFound, Unsupported
from orlop.model.mount import MountKind, MountOrigin, MountRequest
from orlop.model.volume import HIDDEN, PROTECT_LABEL, Volume
from orlop.planning.volumes import plan_change
from orlop.store.journal import Put
from orlop.store.paths import DataRoot
from support.dying import dies_before
from support.volume_house import VolumeHouse, mount_of

ONE, TWO = "a" * 64, "b" * 64


@pytest.fixture
def house(tmp_path: Path) -> Iterator[VolumeHouse]:
    house = VolumeHouse(tmp_path)
    yield house
    house.stop()


# Names


def test_a_renamed_volume_is_found_by_both_names_also_after_a_restart(house: VolumeHouse) -> None:
    volume = house.volumes.create("old", "", None, {"tier": "gold"})
    (house.data("old") / "note").write_text("kept")
    renamed = house.volumes.rename("old", "new")
    assert (renamed.name, renamed.aliases, renamed.id) == ("new", ("old",), volume.id)
    assert renamed.mountpoint == str(house.data("new"))
    for _ in range(2):
        assert house.names() == ["new"]
        assert house.volumes.get("old") == house.volumes.get("new") == renamed
        assert (house.data("new") / "note").read_text() == "kept"
        assert not house.data("old").exists()
        house.restart()
    assert house.reports == []


def test_a_rename_is_told_with_the_old_name(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None)
    house.volumes.rename("old", "new")
    event = house.seen[-1]
    assert (event.action, event.subject) == ("rename", "new")
    assert event.attributes == {"driver": "local", "oldName": "old"}


def test_creating_by_the_alias_gives_the_volume_and_holds_it_by_that_name(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None)
    renamed = house.volumes.rename("old", "new")
    assert house.volumes.create("old", "local", None, None, container_id=ONE) == renamed
    assert house.volumes.holders("new") == [ONE]
    with pytest.raises(Conflict, match="create old: driver 'local' already has volume 'old'"):
        house.volumes.create("old", "nas", None, None)
    assert house.names() == ["new"]


def test_who_was_created_before_goes_on_with_the_name_it_knows(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None, container_id=ONE)
    mount = mount_of(house, "old")
    house.volumes.attach(mount, ONE)
    house.volumes.mounted(ONE)
    house.volumes.rename("old", "new")
    house.volumes.detach(mount, ONE)
    house.restart()
    assert house.volumes.attach(mount, ONE) == house.data("new")
    house.volumes.detach(mount, ONE)
    assert [event.subject for event in house.seen if event.action in ("mount", "unmount")] == ["new", "new"]
    assert house.volumes.with_current_sources([mount])[0].source == str(house.data("new"))
    with pytest.raises(Conflict, match=f"remove new: volume is in use - \\[{ONE}\\]"):
        house.volumes.remove("new")
    house.volumes.release("old", ONE)
    house.volumes.remove("new")


def test_a_rename_waits_for_a_start_that_is_about_to_follow_the_path(
    house: VolumeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.volumes.create("old", "", None, None, container_id=ONE)
    path = house.volumes.attach(mount_of(house, "old"), ONE)
    renaming = threading.Thread(target=house.volumes.rename, args=("old", "new"))
    renaming.start()
    renaming.join(0.1)
    assert renaming.is_alive() and path.is_dir()
    house.volumes.create("old", "", None, None, container_id=TWO)  # nobody else waits for it
    house.volumes.mounted(ONE)
    renaming.join(10)
    assert house.names() == ["new"]
    house.volumes.attach(mount_of(house, "old"), TWO)
    monkeypatch.setattr("orlop.engine.volume_changes.PATIENCE_SECONDS", 0.0)
    with pytest.raises(Conflict, match=r"just being mounted or opened for somebody\. Try again"):
        house.volumes.rename("new", "third")
    house.volumes.detach(mount_of(house, "old"), TWO)
    assert house.volumes.rename("new", "third").name == "third"


def test_removing_the_alias_only_lets_go_of_the_name(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None, container_id=ONE)
    (house.data("old") / "note").write_text("kept")
    house.volumes.describe_container = {ONE: "web"}.__getitem__
    house.volumes.rename("old", "new")
    for force in (False, True):
        with pytest.raises(Conflict) as refused:
            house.volumes.remove("old", force)
        assert refused.value.message.startswith(f"remove old: volume is in use - [{ONE}]. ")
        assert "another name of the volume new" in refused.value.hint
        assert refused.value.hint.endswith("web")
    house.volumes.release("old", ONE)
    house.volumes.remove("old")
    with pytest.raises(NoSuchVolume):
        house.volumes.get("old")
    house.restart()
    assert house.volumes.get("new").aliases == ()
    assert (house.data("new") / "note").read_text() == "kept"
    assert house.volumes.list_retired() == []
    assert '"aliases":[]' in house.driver.metadata("new")
    house.volumes.create("old", "", None, None)
    assert house.names() == ["new", "old"]


def test_what_is_held_by_two_names_counts_once(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None, container_id=ONE)
    house.volumes.rename("old", "new")
    house.volumes.hold("new", ONE)
    house.volumes.hold("new", TWO)
    assert sorted(house.volumes.holders("old")) == sorted(house.volumes.holders("new")) == [ONE, TWO]
    house.restart()
    house.volumes.release("new", ONE)
    house.volumes.release("new", TWO)
    assert house.volumes.holders("new") == [ONE]
    house.volumes.release("old", ONE)
    assert house.volumes.holders("new") == []


def test_renaming_back_swaps_the_names(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None)
    house.volumes.rename("old", "new")
    assert house.volumes.rename("new", "old").aliases == ("new",)
    assert house.volumes.rename("new", "third").aliases == ("new", "old")
    house.restart()
    assert house.names() == ["third"]


def test_without_an_alias_the_old_name_is_free_unless_a_container_needs_it(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None, container_id=ONE)
    with pytest.raises(Conflict, match=f"containers know it by the name old: {ONE[:12]}"):
        house.volumes.rename("old", "new", keep_alias=False)
    house.volumes.release("old", ONE)
    assert house.volumes.rename("old", "new", keep_alias=False).aliases == ()
    house.volumes.create("old", "", None, None)
    assert house.names() == ["new", "old"]


@pytest.mark.parametrize(
    ("new_name", "error", "text"),
    [
        ("data", Malformed, "rename data: it has that name already"),
        ("x", Malformed, "rename data: volume name is too short"),
        ("../up", Malformed, 'rename data: "../up" includes invalid characters'),
        ("other", Conflict, "rename data: the volume other exists"),
        ("former", Conflict, "rename data: former is another name of the volume other"),
    ],
)
def test_a_name_that_cannot_be_is_refused(house: VolumeHouse, new_name: str, error: type, text: str) -> None:
    house.volumes.create("data", "", None, None)
    house.volumes.create("former", "", None, None)
    house.volumes.rename("former", "other")
    with pytest.raises(error, match=text):
        house.volumes.rename("data", new_name)
    assert house.names() == ["data", "other"]
    with pytest.raises(NoSuchVolume):
        house.volumes.rename("nothing", "something")


def test_a_driver_that_cannot_rename_is_named(house: VolumeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.volumes.create("data", "", None, None)
    monkeypatch.setattr("orlop.engine.volume_change_steps.Renaming", type("Nobody", (), {}))
    with pytest.raises(Unsupported, match="volume driver local: it cannot rename volumes"):
        house.volumes.rename("data", "new")


def test_a_name_given_to_an_anonymous_volume_takes_it_out_of_the_prune(house: VolumeHouse) -> None:
    volume = house.volumes.create("", "", None, {"mine": "yes"}, container_id=ONE)
    renamed = house.volumes.rename(volume.name, "data")
    assert renamed.labels == {"mine": "yes"}
    house.volumes.release(volume.name, ONE)
    assert house.volumes.prune({}, include_named=False).removed == ()
    house.volumes.remove(volume.name, reason="removed with its container")  # as rm -v does
    assert house.names() == ["data"]
    assert house.volumes.get("data").aliases == ()


def test_listing_finds_it_by_either_name(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None)
    house.volumes.create("other", "", None, None)
    house.volumes.rename("old", "new")
    for name in ("old", "new", "^old$", "^new$"):
        assert [volume.name for volume in house.volumes.list_volumes({"name": (name,)})[0]] == ["new"]
    assert house.volumes.names_of("old") == house.volumes.names_of("new") == ("new", "old")
    assert house.volumes.names_of("nothing") == ()


def test_aliases_go_with_a_removed_volume_and_come_back_where_they_are_free(house: VolumeHouse) -> None:
    house.volumes.create("first", "", None, None)
    house.volumes.rename("first", "second")
    house.volumes.rename("second", "third")
    house.volumes.remove("third")
    house.volumes.create("first", "", None, None)  # free as long as the volume is away
    house.restart()
    restored = house.volumes.restore("third")
    assert restored.aliases == ("second",)
    house.restart()
    assert house.volumes.get("second").name == "third"
    assert house.volumes.get("first").name == "first"


def test_nothing_is_restored_over_an_alias(house: VolumeHouse) -> None:
    house.volumes.create("data", "", None, None)
    house.volumes.remove("data")
    house.volumes.create("data", "", None, None)
    house.volumes.rename("data", "other")
    with pytest.raises(Conflict, match=r"it is another name of the volume other.*--as NAME"):
        house.volumes.restore("data")
    assert house.volumes.restore("data", "again").name == "again"


def test_a_directory_that_turns_up_under_an_alias_is_not_taken_for_the_volume(house: VolumeHouse) -> None:
    house.volumes.create("old", "", None, None)
    house.volumes.rename("old", "new")
    house.data("old").mkdir(parents=True)
    (house.data("old") / "stray").touch()
    house.restart()
    assert house.reports == ["left old of local alone: volume new is known by that name"]
    assert house.names() == ["new"]
    assert house.volumes.attach(mount_of(house, "old"), ONE) == house.data("new")
    assert (house.data("old") / "stray").exists()


def test_with_the_journal_lost_aliases_come_back_unless_they_clash(house: VolumeHouse) -> None:
    for name in ("one", "two"):
        house.volumes.create(name, "", None, None)
        house.volumes.rename(name, f"{name}-now")
    house.data("one").mkdir(parents=True)  # somebody's meanwhile
    house.stop()
    for file in house.root.glob("journal.db*"):
        file.unlink()
    house.start()
    assert {volume.name: volume.aliases for volume in house.volumes.list_volumes({})[0]} == {
        "one": (),
        "one-now": (),
        "two-now": ("two",),
    }


def test_a_rename_whose_outcome_is_not_kept_did_not_happen(house: VolumeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = house.volumes.create("old", "", None, {"tier": "gold"}, container_id=ONE)
    stop_at(monkeypatch, "volume.rename/after", OSError(5, "Input/output error"))
    with pytest.raises(HostFailure, match="Input/output error"):
        house.volumes.rename("old", "new")
    monkeypatch.undo()
    assert house.volumes.get("old") == volume
    assert house.names() == ["old"]
    assert house.data("old").exists() and not house.data("new").exists()
    assert house.volumes.holders("old") == [ONE]
    assert house.executor.stuck == []


def stop_at(monkeypatch: pytest.MonkeyPatch, point: str, error: OSError) -> None:
    def stop(operation: str, action: str, when: str) -> None:
        if f"{action}/{when}" == point:
            raise error

    monkeypatch.setattr(faults, "point", stop)


# Labels and options


def test_a_map_that_is_given_replaces_and_one_left_out_stays(house: VolumeHouse) -> None:
    house.volumes.create("data", "", {"type": "tmpfs", "device": "tmpfs"}, {"a": "1", "b": "2"})
    changed = house.volumes.update("data", {"b": "3"}, None)
    assert (changed.labels, changed.options) == ({"b": "3"}, {"type": "tmpfs", "device": "tmpfs"})
    changed = house.volumes.update("data", None, {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
    assert changed.labels == {"b": "3"}
    house.restart()
    assert house.volumes.get("data") == changed
    assert house.volumes.update("data", {}, None).labels == {}
    assert '"size=1m"' in house.driver.metadata("data")


def test_an_update_is_told_once_and_only_where_something_changed(house: VolumeHouse) -> None:
    house.volumes.create("data", "", None, None)
    house.volumes.update("data", {}, {})
    house.volumes.update("data", None, None)
    house.volumes.update("data", {"a": "1"}, None)
    assert house.actions() == ["create", "update"]
    assert house.seen[-1].attributes == {"driver": "local"}


def test_options_that_could_never_work_are_refused_and_nothing_changes(house: VolumeHouse) -> None:
    volume = house.volumes.create("data", "", None, None)
    with pytest.raises(Malformed, match='update data: invalid option: "colour"'):
        house.volumes.update("data", {"a": "1"}, {"colour": "red"})
    with pytest.raises(NoSuchVolume):
        house.volumes.update("nothing", {}, None)
    assert house.volumes.get("data") == volume


def test_a_hidden_secret_that_comes_back_stays_what_it_was(house: VolumeHouse) -> None:
    cifs = {"type": "cifs", "device": "//h/share", "o": "username=u,password=hush"}
    house.volumes.create("data", "", cifs, None)
    changed = house.volumes.update("data", None, {**cifs, "o": f"username=v,password={HIDDEN},ro"})
    assert changed.options == {**cifs, "o": "username=v,password=hush,ro"}
    with pytest.raises(Malformed, match="there is no stored one"):
        house.volumes.update("data", None, {**cifs, "o": f"password2={HIDDEN}"})


def test_an_update_whose_outcome_is_not_kept_did_not_happen(
    house: VolumeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = house.volumes.create("data", "", None, {"a": "1"})
    stop_at(monkeypatch, "volume.change/after", OSError(5, "Input/output error"))
    with pytest.raises(HostFailure, match="Input/output error"):
        house.volumes.update("data", {"a": "2"}, None)
    monkeypatch.undo()
    assert house.volumes.get("data") == volume
    assert '"a":"1"' in house.driver.metadata("data"), "beside the data stands the same"


def test_what_could_not_be_taken_back_is_not_taken_back_from_what_came_after(
    house: VolumeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in an update, and a disk at the next start that takes nothing: the update is still to be undone. Then
    somebody updates the volume again, and it stays so at all starts that follow."""
    house.volumes.create("data", "", None, {"a": "1"})
    before = render_record(house.volumes.get("data"))
    house.driver.change("data", {}, before.replace('"1"', '"2"'))
    plan = plan_change("data", "local", before, before.replace('"1"', '"2"'))
    house.journal.commit(Put("operations", "0" * 32, Intent("0" * 32, plan)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LocalVolumes, "change", full)
        house.restart()
    assert len(house.executor.stuck) == 1
    house.volumes.update("data", {"a": "3"}, None)
    for _ in range(2):
        house.restart()
        assert house.executor.stuck == []
        assert house.volumes.get("data").labels == {"a": "3"}
        assert '"a":"3"' in house.driver.metadata("data")


CHANGES: dict[str, Callable[[Volumes], object]] = {
    "rename": lambda volumes: volumes.rename("old", "new"),
    "rename back": lambda volumes: volumes.rename("old", "before"),
    "let go": lambda volumes: volumes.remove("before"),
    "update": lambda volumes: volumes.update("old", {"a": "2"}, {"type": "tmpfs", "device": "tmpfs", "o": "size=2m"}),
}


def _change(name: str, root: Path) -> object:
    return CHANGES[name](VolumeHouse(root).volumes)


@pytest.mark.parametrize("name", CHANGES)
def test_dying_at_any_call_leaves_the_volume_as_before_or_as_wished(name: str, tmp_path: Path) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    outcomes: set[str] = set()
    number, went_on = 0, True
    while went_on:
        root = tmp_path / str(number)
        house = VolumeHouse(root)
        house.volumes.create("before", "", options, {"a": "1"}, container_id=TWO)
        house.volumes.rename("before", "old")
        house.volumes.release("before", TWO)
        house.volumes.hold("old", ONE)
        before = house.volumes.get("old")
        house.stop()
        went_on = dies_before(number, partial(_change, name, root))
        house.start()
        assert house.reports == [] and house.executor.stuck == []
        (after,) = house.volumes.list_volumes({})[0]
        beside = msgspec.json.decode(house.driver.metadata(after.name), type=Volume)
        assert replace(beside, mountpoint="") == replace(after, mountpoint=""), f"call {number}"
        assert [path.name for path in (root / "volumes").iterdir() if path.name[0] != "."] == [after.name]
        assert house.volumes.get("old").id == before.id
        assert house.volumes.holders("old") == [ONE]
        if after != before:
            outcomes.add(repr((after.name, after.aliases, after.labels, after.options)))
        house.stop()
        number += 1
    assert len(outcomes) == 1
    assert number > 5


# Broken ones


def test_an_update_may_mend_a_volume(house: VolumeHouse) -> None:
    options = {"type": "tmpfs", "device": "tmpfs"}
    house.volumes.create("data", "", options, None)
    (house.data("data").parent / "opts.json").write_text("")
    house.restart()
    assert "opts.json is unreadable" in house.volumes.get("data").problem
    renamed = house.volumes.rename("data", "new")
    assert str(house.data("new").parent / "opts.json") in renamed.problem
    house.volumes.update("new", None, {**options, "o": "size=1m"})
    assert house.volumes.get("new").problem == ""


def test_what_is_missing_is_said_to_be(house: VolumeHouse) -> None:
    house.volumes.create("data", "", None, None)
    shutil.rmtree(house.data("data").parent)
    with pytest.raises(HostFailure, match=r"volume rename data: its data directory .*/data/_data is missing"):
        house.volumes.rename("data", "new")
    with pytest.raises(HostFailure, match="volume change data: its data directory"):
        house.volumes.update("data", {"a": "1"}, None)
    assert "is missing" in house.volumes.get("data").problem
    assert (house.names(), house.executor.stuck) == (["data"], [])


# Protection


def test_a_protected_volume_is_not_removed_and_says_why(house: VolumeHouse) -> None:
    house.volumes.create("data", "", None, {PROTECT_LABEL: "true"})
    for force in (False, True):
        with pytest.raises(Conflict) as refused:
            house.volumes.remove("data", force)
        assert "remove data: volume is protected by its label orlop.protect" in refused.value.message
        assert "orlop volume update data --label-rm orlop.protect" in refused.value.hint
    house.volumes.update("data", {}, None)
    house.volumes.remove("data")


def test_a_prune_passes_over_what_is_protected(house: VolumeHouse, caplog: pytest.LogCaptureFixture) -> None:
    house.volumes.create("data", "", None, {PROTECT_LABEL: "true"})
    house.volumes.create("free", "", None, {PROTECT_LABEL: "false"})
    with caplog.at_level("INFO"):
        assert house.volumes.prune({}, include_named=True).removed == ("free",)
    assert "volume data is not pruned: its label orlop.protect protects it" in caplog.text


def test_what_was_retired_with_the_label_is_not_purged(house: VolumeHouse) -> None:
    """The label may have meant nothing when it was removed, or have been put there by another engine."""
    house.volumes.create("data", "", None, {"orlop.protec": "true"})
    house.volumes.remove("data")
    house.driver.settle()
    record = next((house.root / "volumes" / ".retired").glob("*/retired.json"))
    record.write_text(record.read_text().replace("orlop.protec", PROTECT_LABEL))
    house.stop()
    for file in house.root.glob("journal.db*"):
        file.unlink()
    house.start()
    with pytest.raises(Conflict, match=r"protected by its label orlop\.protect.*orlop volume restore"):
        house.volumes.purge("data")
    house.volumes.restore("data")
    assert house.data("data").exists()


# What is retired


def test_what_was_removed_is_listed_by_filter(house: VolumeHouse) -> None:
    for name, labels in (("one", {"tier": "gold"}), ("two", None), ("old", None)):
        house.volumes.create(name, "", None, labels)
    house.volumes.rename("old", "three")
    for name in ("one", "two", "three"):
        house.volumes.remove(name)
        house.now += 1

    def listed(**filters: tuple[str, ...]) -> list[str]:
        return [retired.volume.name for retired in house.volumes.list_retired(filters)]

    assert listed() == ["one", "two", "three"]
    assert listed(label=("tier=gold",)) == ["one"]
    assert listed(name=("^t",)) == ["two", "three"]
    assert listed(name=("old",)) == ["three"]
    assert listed(driver=("nas",)) == []
    with pytest.raises(Malformed, match="invalid filter 'dangling'"):
        listed(dangling=("true",))


def test_owner_mode_options_and_labels_come_back(house: VolumeHouse) -> None:
    options = {"mode": "0751"}
    volume = house.volumes.create("data", "", options, {"tier": "gold"})
    house.data("data").chmod(0o4711)
    house.volumes.remove("data")
    house.restart()
    restored = house.volumes.restore("data", "again")
    assert (restored.labels, restored.options, restored.id) == ({"tier": "gold"}, options, volume.id)
    assert house.data("again").stat().st_mode & 0o7777 == 0o4711


# What failed creations leave


def test_a_failed_creation_takes_back_the_volumes_it_made_and_no_others(house: VolumeHouse) -> None:
    house.volumes.create("before", "", None, None)
    made = ["made", "labelled", "wanted", "before"]
    for name in made:
        labels = {PROTECT_LABEL: "true"} if name == "labelled" else None
        house.volumes.create(name, "", None, labels, container_id=ONE)
    house.volumes.create("wanted", "", None, None)  # somebody else asks for it
    house.volumes.create("shared", "", None, None, container_id=ONE)
    house.volumes.hold("shared", TWO)
    house.volumes.abandon(ONE, [*made, "shared"])
    assert house.names() == ["before", "shared", "wanted"]
    assert house.volumes.holders("shared") == [TWO]
    house.volumes.purge("labelled")  # nothing protects what nobody ever had


def test_an_heir_of_volumes_from_gets_no_empty_volume_for_one_that_is_gone(house: VolumeHouse) -> None:
    """Removed between the look at the other container's mounts and the hold."""
    creation = ContainerCreation(None, None, house.volumes, None, DataRoot(house.root))  # type: ignore[arg-type]
    request = MountRequest(MountKind.VOLUME, "/d", "gone", origin=MountOrigin.VOLUMES_FROM)
    with pytest.raises(Conflict, match="its volume gone was removed meanwhile"):
        creation._hold_volume(request, ONE)
    house.volumes.create("there", "", None, None)
    house.volumes.rename("there", "here")
    request = MountRequest(MountKind.VOLUME, "/d", "there", origin=MountOrigin.VOLUMES_FROM)
    assert creation._hold_volume(request, ONE).name == "here"
    assert house.volumes.holders("here") == [ONE]
    assert house.names() == ["here"]


def test_what_was_there_on_the_disk_was_not_made(house: VolumeHouse) -> None:
    house.data("hand").mkdir(parents=True)
    house.volumes.create("hand", "", None, None, container_id=ONE)
    house.volumes.abandon(ONE, ["hand"])
    assert house.names() == ["hand"]


# At once


def test_many_at_once_leave_one_volume_under_one_name(house: VolumeHouse) -> None:
    house.volumes.create("data-0", "", None, None)
    (house.data("data-0") / "note").write_text("kept")
    refused = (Conflict, Malformed, NotFound)  # what a user may be told when others are at it too

    def walk(start: int) -> None:
        for step in range(start, start + 8):
            with suppress(*refused):
                house.volumes.rename("data-0", f"data-{step % 5}")
            with suppress(*refused):
                house.volumes.create("data-0", "", None, None, container_id=f"{start:064x}")
            with suppress(*refused):
                house.volumes.update("data-0", {"by": str(start)}, None)
            with suppress(*refused):
                house.volumes.release("data-0", f"{start:064x}")
        done.append(start)

    done: list[int] = []
    threads = [threading.Thread(target=walk, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(6))
    (name,) = house.names()
    volume = house.volumes.get("data-0")
    assert (house.data(name) / "note").read_text() == "kept"
    assert house.volumes.holders(name) == []
    house.restart()
    assert house.volumes.get("data-0") == volume
    assert house.reports == []
