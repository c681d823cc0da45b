from pathlib import Path

import pytest

from orlop.cluster.copy import Copy
from orlop.cluster.etcd import Change, Entry, Found
from orlop.cluster.keys import Keys, Membership, render
from orlop.model.cluster import Access, GlobalUse, GlobalVolume

KEYS = Keys("/t/")


def volume(name: str, volume_id: str = "") -> GlobalVolume:
    return GlobalVolume(name, volume_id or f"id-{name}", "juicefs", Access.RWX, 1, "a")


def put(volume: GlobalVolume, revision: int) -> Change:
    return Change(KEYS.volume(volume.name), render(volume), revision)


def entry(key: str, value: bytes, revision: int) -> Entry:
    return Entry(key, value, revision, revision)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(KEYS, tmp_path / "copy")


def test_volumes_are_found_by_name_and_by_id(copy: Copy) -> None:
    assert copy.apply([put(volume("b"), 1), put(volume("a"), 2)]) == {"a": None, "b": None}
    assert [each.name for each in copy.volumes()] == ["a", "b"]
    found = copy.find_by_id("id-b")
    assert found is not None
    assert (found.volume.name, found.revision) == ("b", 1)
    copy.apply([Change(KEYS.volume("b"), None, 3)])
    assert (copy.find("b"), copy.find_by_id("id-b"), copy.revision) == (None, None, 3)


def test_a_name_that_changed_hands_between_two_looks_leaves_no_trace_of_the_first(copy: Copy) -> None:
    copy.apply([put(volume("a", "1"), 1), put(volume("a", "2"), 5)])
    assert copy.find_by_id("1") is None
    assert [each.id for each in copy.volumes()] == ["2"]


def test_of_one_key_the_newer_counts_whoever_tells_first(copy: Copy) -> None:
    copy.apply([put(volume("a", "2"), 7)], is_from_watch=False)
    assert copy.revision == 0  # what others did meanwhile is not known
    copy.apply([put(volume("a", "1"), 5)])
    assert [each.id for each in copy.volumes()] == ["2"]
    copy.apply([Change(KEYS.volume("a"), None, 9)], is_from_watch=False)
    copy.apply([put(volume("a", "2"), 7), put(volume("a", "3"), 8)])
    assert copy.volumes() == ()
    copy.apply([Change(KEYS.volume("a"), None, 9), put(volume("a", "4"), 10)])
    assert [each.id for each in copy.volumes()] == ["4"]


def test_loading_says_what_is_otherwise_than_before(copy: Copy) -> None:
    copy.apply([put(volume("stays"), 1), put(volume("goes"), 2), put(volume("changes"), 3)])
    entries = [
        entry(KEYS.volume("stays"), render(volume("stays")), 1),
        entry(KEYS.volume("changes"), render(volume("changes", "x")), 8),
        entry(KEYS.volume("comes"), render(volume("comes")), 9),
    ]
    assert copy.load(Found(entries, 10)) == {"goes", "changes", "comes"}
    assert copy.revision == 10


def test_what_this_node_did_after_the_load_was_read_is_kept(copy: Copy) -> None:
    copy.apply([put(volume("a"), 11)], is_from_watch=False)
    copy.apply([Change(KEYS.volume("b"), None, 12)], is_from_watch=False)
    copy.load(Found([entry(KEYS.volume("b"), render(volume("b")), 3)], 10))
    assert [each.name for each in copy.volumes()] == ["a"]


def test_uses_and_nodes(copy: Copy) -> None:
    use = GlobalUse("id-a", "n1", "c1", "db", is_running=True)
    copy.apply(
        [
            Change(KEYS.use(use), render(use), 1),
            Change(KEYS.node("n1"), render(Membership("n1", "d1", "1.0", 5)), 2),
            Change(KEYS.node("n2"), render(Membership("n2", "d2", "1.0", 6)), 3),
            Change(KEYS.alive_node("n1"), b"d1", 4),
        ]
    )
    assert copy.uses("id-a") == (use,)
    assert copy.uses_of_node("n1") == [use]
    assert [(node.name, node.is_alive, node.is_self) for node in copy.nodes("n2")] == [
        ("n1", True, False),
        ("n2", False, True),
    ]
    copy.apply([Change(KEYS.use(use), None, 5), Change(KEYS.alive_node("n1"), None, 6)])
    assert copy.uses("id-a") == ()
    assert not copy.nodes("n1")[0].is_alive


def test_what_was_saved_is_there_without_etcd(copy: Copy, tmp_path: Path) -> None:
    copy.apply([put(volume("a"), 1), Change(KEYS.cluster, b"x", 2)])
    copy.save()
    again = Copy(KEYS, tmp_path / "copy")
    again.restore()
    assert (again.volumes(), again.identity) == (copy.volumes(), b"x")
    other = Copy(Keys("/another/"), tmp_path / "copy")
    other.restore()
    assert other.volumes() == ()


def test_a_copy_that_is_broken_is_as_none(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b'{"prefix": 1')
    copy.restore()
    assert copy.volumes() == ()


def test_a_record_that_makes_no_sense_hides_no_other(copy: Copy) -> None:
    copy.apply([Change(KEYS.volume("bad"), b"{}", 1), put(volume("good"), 2)])
    assert [each.name for each in copy.volumes()] == ["good"]


def test_whoever_saves_it_is_told_once_when_it_differs_from_what_is_on_the_disk(tmp_path: Path) -> None:
    told: list[str] = []
    copy = Copy(KEYS, tmp_path / "copy", unsaved=lambda: told.append("unsaved"))
    copy.apply([put(volume("a"), 1)], is_from_watch=False)
    copy.apply([Change(KEYS.volume("a"), None, 2)], is_from_watch=False)
    assert told == ["unsaved"]
    copy.save()
    copy.apply([Change(KEYS.volume("a"), None, 2)])  # it is known
    assert told == ["unsaved"]
    copy.apply([put(volume("a"), 3)])
    assert told == ["unsaved"] * 2
