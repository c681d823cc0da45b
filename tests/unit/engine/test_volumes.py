"""Volumes as the engine keeps them: real journal, real executor, real directories."""

import contextlib
import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.local import LocalVolumes
from orlop.engine.events import Events
from orlop.engine.executor import Executor, Intent
from orlop.engine.volume_steps import render_record
from orlop.engine.volumes import Volumes
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchVolume, NotFound, Unavailable
from orlop.model.volume import ANONYMOUS_LABEL, RetirementPolicy
from orlop.planning.plan import Plan
from orlop.planning.volumes import plan_create, plan_remove
from orlop.store.journal import Change, Journal, Put
from support.volume_house import VolumeHouse as Daemon
from support.volume_house import mount_of

HOUR_NS = 3600 * 1_000_000_000


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.stop()


def test_a_volume_is_a_directory_that_a_restart_keeps(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", {}, {"tier": "gold"})
    assert volume.mountpoint == str(daemon.data("data"))
    (daemon.data("data") / "note").write_text("kept")
    daemon.restart()
    assert daemon.volumes.get("data") == volume
    assert (daemon.data("data") / "note").read_text() == "kept"


def test_creating_it_again_gives_the_one_that_is_there(daemon: Daemon) -> None:
    first = daemon.volumes.create("data", "local", None, {"a": "1"})
    assert daemon.volumes.create("data", "", None, {"a": "2"}) == first
    assert daemon.actions() == ["create"]


def test_a_volume_without_a_name_gets_one_and_the_mark_of_the_anonymous(daemon: Daemon) -> None:
    volume = daemon.volumes.create("", "", None, {"mine": "yes"})
    assert len(volume.name) == 64
    assert volume.labels == {"mine": "yes", ANONYMOUS_LABEL: ""}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x", "create x: volume name is too short, names should be at least two alphanumeric characters"),
        ("a/b", 'create a/b: "a/b" includes invalid characters for a local volume name'),
        ("..", 'create ..: ".." includes invalid characters'),
        (".retired", "includes invalid characters"),
        ("a" * 256, "the name is 256 characters long"),
    ],
)
def test_a_bad_name_is_refused_with_the_known_text(daemon: Daemon, name: str, text: str) -> None:
    with pytest.raises(Malformed) as refused:
        daemon.volumes.create(name, "", None, None)
    assert text in refused.value.message
    assert daemon.names() == []


def test_an_unknown_driver_is_named(daemon: Daemon) -> None:
    with pytest.raises(NotFound) as refused:
        daemon.volumes.create("data", "nas", None, None)
    assert 'create data: error looking up volume plugin nas: plugin "nas" not found' in refused.value.message


def test_a_name_another_driver_has_is_a_conflict(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    with pytest.raises(Conflict) as refused:
        daemon.volumes.create("data", "nas", None, None)
    text = "create data: driver 'local' already has volume 'data': volume name must be unique"
    assert refused.value.message == text


def test_a_held_volume_cannot_be_removed_even_by_force_or_after_a_restart(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    daemon.volumes.hold("data", "c" * 64)
    daemon.restart()
    for force in (False, True):
        with pytest.raises(Conflict) as refused:
            daemon.volumes.remove("data", force)
        assert f"remove data: volume is in use - [{'c' * 64}]" in refused.value.message
    daemon.volumes.release("data", "c" * 64)
    daemon.volumes.remove("data")
    assert daemon.names() == []


def test_holding_what_is_not_there_is_refused(daemon: Daemon) -> None:
    daemon.volumes.create("one", "", None, None)
    with pytest.raises(NoSuchVolume):
        daemon.volumes.hold_all(["one", "two"], "c" * 64)
    assert daemon.volumes.holders("one") == []


def test_holds_of_containers_that_are_no_more_are_dropped(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    daemon.volumes.hold("data", "a" * 64)
    daemon.volumes.hold("data", "b" * 64)
    assert len(daemon.volumes.release_unknown({"a" * 64})) == 1
    daemon.restart()
    assert daemon.volumes.holders("data") == ["a" * 64]


def test_removing_what_is_not_there_is_an_error_unless_forced(daemon: Daemon) -> None:
    with pytest.raises(NoSuchVolume, match="get data: no such volume"):
        daemon.volumes.remove("data")
    daemon.volumes.remove("data", force=True)


def test_a_removed_volume_comes_back_with_everything(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, {"tier": "gold"})
    (daemon.data("data") / "note").write_text("kept")
    daemon.volumes.remove("data")
    assert not daemon.data("data").exists()
    daemon.volumes.create("data", "", None, None)  # the name is free
    with pytest.raises(Conflict, match="a volume of that name exists"):
        daemon.volumes.restore("data")
    daemon.restart()
    restored = daemon.volumes.restore("data", "old")
    assert (restored.name, restored.id, restored.labels) == ("old", volume.id, volume.labels)
    assert (daemon.data("old") / "note").read_text() == "kept"
    assert restored.mountpoint == str(daemon.data("old"))
    assert daemon.volumes.list_retired() == []
    daemon.restart()
    assert daemon.volumes.get("old") == restored


def test_restore_takes_the_latest_of_a_name_or_one_by_its_id(daemon: Daemon) -> None:
    ids = []
    for text in ("first", "second"):
        ids.append(daemon.volumes.create("data", "", None, None).id)
        (daemon.data("data") / "note").write_text(text)
        daemon.volumes.remove("data")
        daemon.now += 1
    assert daemon.volumes.restore("data").id == ids[1]
    assert daemon.volumes.restore(ids[0][:12], "older").id == ids[0]
    with pytest.raises(NotFound):
        daemon.volumes.restore("data")


def test_grace_depends_on_whether_the_volume_had_a_name(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    anonymous = daemon.volumes.create("", "", None, None)
    daemon.volumes.remove("data")
    daemon.volumes.remove(anonymous.name)
    grace = {found.volume.is_anonymous: found.purge_at_ns - daemon.now for found in daemon.volumes.list_retired()}
    assert grace == {False: 24 * HOUR_NS, True: HOUR_NS}


def test_purge_destroys_for_good(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    (daemon.data("data") / "note").write_text("gone soon")
    daemon.volumes.remove("data")
    found = daemon.volumes.purge("data")
    assert found.volume.name == "data"
    assert list((daemon.root / "volumes" / ".retired").iterdir()) == []
    assert list((daemon.root / "volumes" / ".purging").iterdir()) == []
    with pytest.raises(NotFound):
        daemon.volumes.restore("data")


def test_without_a_grace_a_removal_is_final_as_docker_has_it(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, RetirementPolicy(named_seconds=0))
    daemon.volumes.create("data", "", None, None)
    daemon.volumes.remove("data")
    assert daemon.volumes.list_retired() == []
    daemon.volumes.retirements.cleanup()
    assert list((daemon.root / "volumes" / ".purging").iterdir()) == []
    daemon.stop()


class Final:
    """A driver whose removals cannot be undone."""

    name, scope = "final", "local"

    def __init__(self) -> None:
        self.there: set[str] = set()

    def check(self, name: str, options: Mapping[str, str]) -> None: ...

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        self.there.add(name)
        return self.get(name)

    def get(self, name: str) -> StoredVolume:
        if name not in self.there:
            raise NotFound(f"volume {name}", "there is none of that name")
        return StoredVolume(name, "", 1)

    def list_volumes(self) -> Sequence[StoredVolume]:
        return [self.get(name) for name in self.there]

    def attach(self, name: str, use_id: str) -> Path:
        raise NotFound(f"volume {name}", "it is nowhere")

    def detach(self, name: str, use_id: str) -> None: ...

    def remove(self, name: str) -> None:
        self.there.discard(name)

    discard = remove


def test_a_removal_that_is_final_leaves_nothing_to_give_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "journal.db")
    drivers, policy = {"final": Final()}, RetirementPolicy(named_seconds=0)
    volumes = Volumes(journal, Executor(journal), drivers, Events(), tmp_path / "subpaths", policy)
    volumes.create("data", "final", None, None)
    volumes.remove("data")
    assert volumes.list_retired() == [] and drivers["final"].there == set()
    assert "is kept until it can go" not in caplog.text
    volumes.close()
    journal.close()


def test_prune_takes_only_the_anonymous_unless_told_otherwise(daemon: Daemon) -> None:
    daemon.volumes.create("named", "", None, {"keep": "no"})
    daemon.volumes.create("kept", "", None, {"keep": "yes"})
    daemon.volumes.create("held", "", None, None)
    daemon.volumes.hold("held", "c" * 64)
    anonymous = daemon.volumes.create("", "", None, None)
    (daemon.data(anonymous.name) / "bytes").write_bytes(b"x" * 1000)
    report = daemon.volumes.prune({}, include_named=False)
    assert (report.removed, report.reclaimed_bytes) == ((anonymous.name,), 1000)
    assert daemon.volumes.prune({"label!": ("keep=yes",)}, include_named=True).removed == ("named",)
    assert daemon.names() == ["held", "kept"]
    assert len(daemon.volumes.list_retired()) == 2
    prunes = [event for event in daemon.seen if event.action == "prune"]
    assert [event.attributes["reclaimed"] for event in prunes] == ["1000", "0"]


def test_volumes_with_options_are_never_pruned(daemon: Daemon) -> None:
    daemon.volumes.create("ram", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    assert daemon.volumes.prune({}, include_named=True).removed == ()


def test_two_prunes_at_once_are_refused(daemon: Daemon) -> None:
    daemon.volumes._removal._pruning.acquire()
    with pytest.raises(Conflict, match="a prune operation is already running"):
        daemon.volumes.prune({}, include_named=False)
    daemon.volumes._removal._pruning.release()


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["alpha", "beta", "gamma"]),
        ({"name": ("alpha", "gam")}, ["alpha", "gamma"]),
        ({"name": ("^b.ta$",)}, ["beta"]),
        ({"name": ("be(",)}, []),
        ({"label": ("a",)}, ["alpha", "beta"]),
        ({"label": ("a=1", "b")}, ["alpha"]),
        ({"dangling": ("true",)}, ["alpha", "gamma"]),
        ({"dangling": ("0",)}, ["beta"]),
        ({"driver": ("",)}, []),
        ({"driver": ("nas", "local")}, ["alpha", "beta", "gamma"]),
    ],
)
def test_listing_is_filtered(daemon: Daemon, filters: dict[str, tuple[str, ...]], names: list[str]) -> None:
    daemon.volumes.create("alpha", "", None, {"a": "1", "b": ""})
    daemon.volumes.create("beta", "", None, {"a": "2"})
    daemon.volumes.create("gamma", "", None, None)
    daemon.volumes.hold("beta", "c" * 64)
    assert [volume.name for volume in daemon.volumes.list_volumes(filters)[0]] == names


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"FOO": ("x",)}, "invalid filter 'FOO'"),
        ({"label!": ("x",)}, "invalid filter 'label!'"),
        ({"dangling": ("maybe",)}, "invalid filter 'dangling=[maybe]'"),
        ({"dangling": ("true", "false")}, "invalid filter 'dangling=[true false]'"),
    ],
)
def test_a_senseless_filter_is_refused(daemon: Daemon, filters: dict[str, tuple[str, ...]], text: str) -> None:
    with pytest.raises(Malformed) as refused:
        daemon.volumes.list_volumes(filters)
    assert text in refused.value.message


def test_attaching_tells_of_the_mount_and_detaching_of_its_end(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    mount = mount_of(daemon, "data")
    assert daemon.volumes.attach(mount, "c" * 64) == daemon.data("data")
    daemon.volumes.detach(mount, "c" * 64)
    assert daemon.actions() == ["create", "mount", "unmount"]
    wanted = {"driver": "local", "container": "c" * 64, "destination": "/data", "read/write": "true", "propagation": ""}
    assert daemon.seen[1].attributes == wanted
    assert daemon.seen[2].attributes == {"driver": "local", "container": "c" * 64}


def test_data_that_went_missing_is_not_made_anew(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    daemon.data("data").rmdir()
    daemon.restart()
    assert "is missing" in daemon.volumes.get("data").problem
    (warning,) = daemon.volumes.list_volumes({})[1]
    assert warning == f"volume data: its data directory {daemon.data('data')} is missing"
    with pytest.raises(HostFailure, match="is missing"):
        daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)
    assert not daemon.data("data").exists()


def test_a_volume_whose_whole_directory_went_missing_can_still_be_removed(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    directory = daemon.data("data").parent
    for file in directory.iterdir():
        file.rmdir() if file.is_dir() else file.unlink()
    directory.rmdir()
    with pytest.raises(HostFailure, match="is missing"):
        daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)
    daemon.volumes.remove("data")
    assert daemon.names() == [] and daemon.volumes.list_retired() == []


def test_another_volume_in_its_place_is_not_attached(daemon: Daemon) -> None:
    for name in ("data", "other"):
        daemon.volumes.create(name, "", None, None)
    daemon.data("data").parent.rename(daemon.root / "aside")
    daemon.data("other").parent.rename(daemon.data("data").parent)
    with pytest.raises(HostFailure, match="another volume"):
        daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)
    (daemon.data("data").parent / "orlop.json").unlink()
    daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)


def test_volumes_made_by_hand_appear_after_a_restart(daemon: Daemon) -> None:
    daemon.data("hand").mkdir(parents=True)
    (daemon.root / "volumes" / "nothing").mkdir()
    nfs = daemon.root / "volumes" / "nfs"
    nfs.mkdir()
    (nfs / "_data").mkdir()
    (nfs / "opts.json").write_text('{"MountType":"nfs","MountDevice":":/x","MountOpts":"addr=h","Quota":{"Size":0}}')
    daemon.restart()
    assert daemon.names() == ["hand", "nfs"]
    assert daemon.volumes.get("hand").labels is None
    assert daemon.volumes.get("nfs").options == {"type": "nfs", "device": ":/x", "o": "addr=h"}


def test_creating_over_a_directory_made_by_hand_keeps_its_content(daemon: Daemon) -> None:
    daemon.data("hand").mkdir(parents=True)
    daemon.data("hand").chmod(0o700)
    (daemon.data("hand") / "note").write_text("kept")
    daemon.volumes.create("hand", "", None, {"now": "ours"})
    assert (daemon.data("hand") / "note").read_text() == "kept"
    assert daemon.data("hand").stat().st_mode & 0o777 == 0o700


def test_a_lost_journal_costs_no_volume_no_label_and_nothing_retired(daemon: Daemon) -> None:
    kept = daemon.volumes.create("kept", "", None, {"tier": "gold"})
    daemon.volumes.create("gone", "", None, {"tier": "tin"})
    daemon.volumes.remove("gone")
    (retired,) = daemon.volumes.list_retired()
    daemon.stop()
    for file in daemon.root.glob("journal.db*"):
        file.unlink()
    daemon.start()
    assert daemon.volumes.get("kept") == kept
    assert daemon.volumes.list_retired() == [retired]


def test_corrupt_options_break_only_their_volume(daemon: Daemon) -> None:
    daemon.volumes.create("broken", "", {"type": "tmpfs", "device": "tmpfs"}, None)
    daemon.volumes.create("fine", "", None, None)
    options = daemon.data("broken").parent / "opts.json"
    for text in ("", "{", "[]", '{"MountType": 3}'):
        options.write_text(text)
        daemon.restart()
        assert "opts.json is unreadable" in daemon.volumes.get("broken").problem
        with pytest.raises(HostFailure, match="is unreadable"):
            daemon.volumes.attach(mount_of(daemon, "broken"), "c" * 64)
        daemon.volumes.attach(mount_of(daemon, "fine"), "c" * 64)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"foo": "1"}, 'create data: invalid option: "foo"'),
        ({"device": "/dev/sdb"}, 'create data: missing required option: "type"'),
        ({"type": "ext4"}, 'create data: missing required option: "device"'),
        ({"o": "ro", "type": "ext4"}, 'create data: missing required option: "device"'),
        ({"size": "much"}, "create data: invalid size: 'much'"),
        (
            {"size": "10g", "type": "none", "device": "/srv", "o": "bind"},
            "create data: quota size requested but no quota support for what is mounted (type none)",
        ),
        ({"type": "cifs", "device": "//host:445/share"}, "create data: port not allowed in CIFS device URL"),
    ],
)
def test_options_that_cannot_work_are_refused(daemon: Daemon, options: dict[str, str], text: str) -> None:
    with pytest.raises(Malformed) as refused:
        daemon.volumes.create("data", "", options, None)
    assert text in refused.value.message
    assert not daemon.data("data").exists()


def test_a_volume_made_for_a_container_is_held_from_the_first_moment(daemon: Daemon) -> None:
    named = daemon.volumes.create("data", "", None, None, container_id="c" * 64)
    anonymous = daemon.volumes.create("", "", None, None, container_id="c" * 64)
    daemon.restart()
    for volume in (named, anonymous):
        assert daemon.volumes.holders(volume.name) == ["c" * 64]
        with pytest.raises(Conflict):
            daemon.volumes.remove(volume.name)


def test_a_container_that_was_not_created_leaves_no_hold_and_no_volume_of_its_own(daemon: Daemon) -> None:
    mine = daemon.volumes.create("", "", None, None)  # anonymous, and the user's: named by its 64 digits
    for crash in (False, True):
        names = [
            daemon.volumes.create(name, "", None, None, container_id="c" * 64).name for name in ("data", "", mine.name)
        ]
        wanted = [mine.name]
        if crash:
            daemon.restart()
            assert len(daemon.volumes.release_unknown(set())) == 3
            wanted.append("data")  # by now it may be somebody's
        else:
            daemon.volumes.abandon("c" * 64, names)
        assert daemon.names() == sorted(wanted)
        assert all(daemon.volumes.holders(name) == [] for name in names)


def test_what_holds_something_is_not_fillable(daemon: Daemon) -> None:
    daemon.volumes.create("data", "", None, None)
    assert daemon.volumes.is_fillable("data")
    (daemon.data("data") / ".hidden").touch()
    assert not daemon.volumes.is_fillable("data")


# What a crash between the rename and the journal leaves, and what the next start makes of it


def record_of(daemon: Daemon, name: str) -> str:
    return daemon.driver.metadata(name)


def test_a_create_that_was_cut_off_after_its_rename_happened(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", {}, {"tier": "gold"})
    record = record_of(daemon, "data")
    daemon.volumes.remove("data")
    daemon.volumes.purge("data")
    daemon.driver.create("data", {}, record)
    daemon.restart()
    assert daemon.volumes.get("data") == volume


def test_a_create_that_was_cut_off_before_its_rename_did_not_happen(daemon: Daemon) -> None:
    staging = daemon.root / "volumes" / ".staging"
    (staging / "new-1" / "_data").mkdir(parents=True)
    daemon.restart()
    assert daemon.names() == [] and list(staging.iterdir()) == []


def test_a_removal_that_was_cut_off_after_its_rename_happened(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, None)
    daemon.driver.retire("data", volume.id, "")
    daemon.restart()
    assert daemon.names() == []
    (retired,) = daemon.volumes.list_retired()
    assert retired.id == volume.id
    daemon.restart()
    assert daemon.volumes.list_retired() == [retired]


def test_a_restore_that_was_cut_off_after_its_rename_happened(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, {"tier": "gold"})
    record = record_of(daemon, "data")
    daemon.volumes.remove("data")
    daemon.driver.restore(volume.id, "back", record)
    daemon.restart()
    assert daemon.volumes.get("back").labels == {"tier": "gold"}
    assert daemon.volumes.list_retired() == []


def test_a_purge_that_was_cut_off_after_its_rename_happened(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, None)
    daemon.volumes.remove("data")
    daemon.driver.purge(volume.id)
    daemon.restart()
    assert daemon.volumes.list_retired() == []
    daemon.volumes.retirements.cleanup()
    assert list((daemon.root / "volumes" / ".purging").iterdir()) == []


def test_a_journal_that_cannot_be_written_leaves_no_volume_behind(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*changes: object) -> None:
        raise HostFailure("journal", "database or disk is full")

    monkeypatch.setattr(daemon.journal, "commit", full)
    with pytest.raises(HostFailure, match="disk is full"):
        daemon.volumes.create("data", "", None, None)
    assert not daemon.data("data").parent.exists()
    assert daemon.names() == []


def test_a_removal_whose_record_cannot_be_written_is_told_as_what_it_is(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.volumes.create("data", "", None, None)

    def full(*changes: object) -> None:
        raise HostFailure("journal", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(daemon.journal, "commit", full)
        with pytest.raises(HostFailure, match="disk is full"):
            daemon.volumes.remove("data")
        assert daemon.names() == []
        assert [found.volume.name for found in daemon.volumes.list_retired()] == ["data"]
    daemon.restart()
    assert daemon.names() == []
    daemon.volumes.restore("data")


def test_a_restore_whose_record_cannot_be_written_can_be_repeated(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.volumes.create("data", "", None, None)
    daemon.volumes.remove("data")

    def full(*changes: object) -> None:
        raise HostFailure("journal", "database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(daemon.journal, "commit", full)
        with pytest.raises(HostFailure, match="disk is full"):
            daemon.volumes.restore("data")
    daemon.volumes.restore("data")
    assert daemon.names() == ["data"]


def test_one_volume_that_cannot_go_does_not_keep_the_others_from_a_prune(daemon: Daemon) -> None:
    for name in ("aa", "bb", "cc"):
        daemon.volumes.create(name, "", None, None)
    path = daemon.data("bb").parent
    path.rename(daemon.root / "aside")
    path.symlink_to(daemon.root / "aside")
    assert daemon.volumes.prune({}, include_named=True).removed == ("aa", "cc")
    assert daemon.names() == ["bb"]


# Many at once


def test_many_callers_on_few_names_leave_everything_in_order(daemon: Daemon) -> None:
    """Whatever they do to each other, no volume is lost, none is in two places, and no hold outlives its release."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        container = f"{number:064x}"
        try:
            for turn in range(25):
                name = f"v{(number + turn) % 3}"
                daemon.volumes.create(name, "", None, None)
                try:
                    daemon.volumes.hold(name, container)
                except NoSuchVolume:
                    continue
                with pytest.raises(Conflict):
                    daemon.volumes.remove(name)
                daemon.volumes.release(name, container)
                try:
                    daemon.volumes.remove(name)
                except (Conflict, NoSuchVolume):
                    continue
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    created = daemon.actions().count("create")
    assert created == len(daemon.names()) + len(daemon.volumes.list_retired())
    retired = {found.id for found in daemon.volumes.list_retired()}
    assert retired == set(daemon.driver.list_retired())
    assert all(daemon.volumes.holders(name) == [] for name in ("v0", "v1", "v2"))
    before = (daemon.names(), daemon.volumes.list_retired())
    daemon.restart()
    assert (daemon.names(), daemon.volumes.list_retired()) == before


def test_restoring_purging_and_removing_at_once_never_loses_a_volume_that_was_not_purged(daemon: Daemon) -> None:
    for number in range(10):
        daemon.volumes.create("data", "", None, None)
        (daemon.data("data") / "note").write_text(str(number))
        daemon.volumes.remove("data")
    ids = [found.id for found in daemon.volumes.list_retired()]
    purged: list[str] = []

    def attempt(act: Callable[[], object]) -> None:
        with contextlib.suppress(NotFound, Conflict):
            act()

    def purge(retired_id: str) -> None:
        daemon.volumes.purge(retired_id)
        purged.append(retired_id)

    acts: list[Callable[[], object]] = []
    for number, retired_id in enumerate(ids):
        acts.append(lambda i=retired_id, n=number: daemon.volumes.restore(i, f"back{n}"))  # type: ignore[misc]
        acts.append(lambda i=retired_id: purge(i))  # type: ignore[misc]
        acts.append(lambda i=retired_id: daemon.volumes.restore(i, "data"))  # type: ignore[misc]
    threads = [threading.Thread(target=attempt, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted([volume.id for volume in daemon.volumes.list_volumes({})[0]] + purged) == sorted(ids)
    assert daemon.volumes.list_retired() == [] or daemon.names()
    daemon.restart()
    for name in daemon.names():
        assert (daemon.data(name) / "note").exists()


def mark(daemon: Daemon, plan: Plan, *changes: Change) -> None:
    """As the journal is when the power goes before the disk has settled."""
    intent = Intent(f"{daemon.now:016x}{plan.subject}", plan)
    daemon.now += 1
    daemon.journal.commit(Put("operations", intent.id, intent), *changes)


def test_a_volume_whose_directory_a_power_cut_lost_is_made_again(daemon: Daemon) -> None:
    volume = daemon.volumes.create("kept", "", None, {"tier": "gold"})
    (daemon.data("kept") / "note").write_text("kept")
    lost = dataclasses.replace(volume, name="lost", id="f" * 64)
    mark(daemon, plan_create("kept", "local", render_record(volume)))
    mark(daemon, plan_create("lost", "local", render_record(lost)), Put("volumes", "lost", lost))
    daemon.restart()
    assert daemon.reports == []
    assert (daemon.data("kept") / "note").read_text() == "kept"
    assert daemon.data("lost").is_dir() and daemon.volumes.get("lost").labels == {"tier": "gold"}
    assert daemon.driver.metadata("lost") == render_record(lost)
    daemon.restart()
    assert daemon.recovered == []


def test_a_volume_of_which_a_power_cut_lost_its_record_is_made_again(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, None)
    (daemon.data("data").parent / "orlop.json").write_text("")
    mark(daemon, plan_create("data", "local", render_record(volume)))
    daemon.restart()
    assert daemon.driver.metadata("data") == render_record(volume)


def test_a_removed_volume_that_a_power_cut_shows_again_is_retired_again(daemon: Daemon) -> None:
    volume = daemon.volumes.create("data", "", None, {"tier": "gold"})
    (daemon.data("data") / "note").write_text("kept")
    daemon.volumes.remove("data")
    retired = daemon.volumes.list_retired()[0]
    (daemon.root / "volumes" / ".retired" / volume.id).rename(daemon.data("data").parent)
    mark(daemon, plan_remove([("data", volume.id, render_record(retired))], "local", "rm"))
    daemon.restart()
    assert daemon.names() == [] and daemon.volumes.list_retired() == [retired]
    daemon.volumes.restore("data")
    assert (daemon.data("data") / "note").read_text() == "kept"


def test_a_mark_that_outlived_its_cause_touches_no_later_volume_of_that_name(daemon: Daemon) -> None:
    first = daemon.volumes.create("data", "", None, None)
    daemon.volumes.remove("data")
    retired = daemon.volumes.list_retired()[0]
    daemon.volumes.purge("data")
    second = daemon.volumes.create("data", "", None, None)
    (daemon.data("data") / "note").write_text("kept")
    mark(daemon, plan_create("data", "local", render_record(first)))
    mark(daemon, plan_remove([("data", first.id, render_record(retired))], "local", "rm"))
    daemon.restart()
    assert daemon.volumes.get("data") == second
    assert (daemon.data("data") / "note").read_text() == "kept"


def test_a_volume_that_is_in_sight_again_without_a_mark_is_taken_in(daemon: Daemon) -> None:
    """Somebody moved it back by hand: its data is there, so it is a volume."""
    volume = daemon.volumes.create("data", "", None, {"tier": "gold"})
    daemon.volumes.remove("data")
    (daemon.root / "volumes" / ".retired" / volume.id).rename(daemon.data("data").parent)
    daemon.restart()
    assert daemon.volumes.get("data") == volume
    assert daemon.volumes.list_retired() == []


def test_no_data_goes_where_the_disk_has_not_taken_the_volume(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(daemon.driver, "settle", fail)
    daemon.volumes.create("data", "", None, None)
    with pytest.raises(OSError, match="Input/output error"):
        daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)
    daemon.restart()
    assert daemon.recovered == ["made sure of volume.create data"]
    daemon.volumes.attach(mount_of(daemon, "data"), "c" * 64)


def test_a_volume_whose_driver_is_gone_is_kept_and_says_so(daemon: Daemon) -> None:
    foreign = dataclasses.replace(daemon.volumes.create("data", "", None, None), name="far", driver="nas", id="f" * 64)
    daemon.journal.commit(Put("volumes", "far", foreign))
    daemon.restart()
    assert daemon.volumes.get("far").problem == "its driver nas is not there"
    with pytest.raises(Unavailable, match="its driver nas is not there"):
        daemon.volumes.remove("far")
    with pytest.raises(Unavailable, match='plugin "nas" not found'):
        daemon.volumes.attach(mount_of(daemon, "far"), "c" * 64)
    assert daemon.names() == ["data", "far"]


def test_a_driver_that_does_not_answer_at_start_costs_no_volume(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown is not absent: nothing is dropped, taken in or purged on an error."""
    volume = daemon.volumes.create("data", "", None, {"tier": "gold"})
    daemon.volumes.create("gone", "", None, None)
    daemon.volumes.remove("gone")
    retired = daemon.volumes.list_retired()

    def fail(driver: LocalVolumes) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(LocalVolumes, "list_volumes", fail)
        daemon.restart()
        assert "does not answer" in daemon.volumes.get("data").problem
        assert daemon.volumes.list_retired() == retired
    daemon.restart()
    assert daemon.volumes.get("data") == volume
    assert daemon.volumes.list_retired() == retired


def test_a_data_root_may_be_moved_and_may_be_called_as_a_volume(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data")
    daemon.volumes.create("data", "", None, None)
    daemon.volumes.remove("data")
    assert daemon.volumes.restore("data", "again").mountpoint == str(tmp_path / "data" / "volumes" / "again" / "_data")
    daemon.stop()
    (tmp_path / "data").rename(tmp_path / "moved")
    daemon.root = tmp_path / "moved"
    for _ in range(2):
        daemon.start()
        assert daemon.volumes.get("again").mountpoint == str(tmp_path / "moved" / "volumes" / "again" / "_data")
        assert not daemon.volumes.get("again").problem
        daemon.stop()


def test_where_there_are_many_the_start_goes_by_names_and_looks_later(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.engine.volume_reconcile.MANY", 3)
    for name in ("broken", "fine", "gone"):
        daemon.volumes.create(name, "", None, {"tier": "gold"})
    daemon.data("broken").rmdir()
    shutil.rmtree(daemon.data("gone").parent)
    daemon.data("made-by-hand").mkdir(parents=True)
    daemon.restart()
    assert daemon.names() == ["broken", "fine", "gone", "made-by-hand"]
    assert "is missing" in daemon.volumes.get("gone").problem, "whose very name is not there"
    assert daemon.volumes.get("broken").problem == ""
    assert daemon.volumes.look_closely() == [f"volume broken: {daemon.volumes.get('broken').problem}"]
    assert "is missing" in daemon.volumes.get("broken").problem
    assert daemon.volumes.get("fine").problem == "" and daemon.volumes.get("fine").labels == {"tier": "gold"}


def test_where_there_are_many_a_moved_data_root_is_noticed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.engine.volume_reconcile.MANY", 1)
    before = Daemon(tmp_path / "before")
    before.volumes.create("data", "", None, None)
    before.stop()
    (tmp_path / "before").rename(tmp_path / "after")
    after = Daemon(tmp_path / "after")
    assert after.volumes.get("data").mountpoint == str(after.data("data"))
    after.stop()
