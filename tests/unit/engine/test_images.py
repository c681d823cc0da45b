"""Import, commit, tags, listing, history, removal, save: on a driver that keeps tars, so quickly and without root."""

import gzip
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.engine.images import Images
from orlop.errors import Conflict, HostFailure, Malformed, NoSuchImage, Unsupported
from orlop.model.image import Image, ImageConfig
from support.image_archives import ImageParts, docker_files, layer_tar, read_archive, sha256, write_archive
from support.image_store import ImageStore

ROOTFS = layer_tar({"bin/sh": b"#!", "etc/passwd": b"root"})
CHANGE = layer_tar({"new": b"new"})
EMPTY = bytes(1024)


def ignore(_: str) -> None:
    pass


@pytest.fixture
def imported(store: ImageStore, tmp_path: Path) -> Callable[..., Image]:
    def run(reference: str = "base:1", content: bytes = ROOTFS, changes: tuple[str, ...] = ()) -> Image:
        archive = tmp_path / "rootfs.tar"
        archive.write_bytes(content)
        return store.images.import_archive(archive, reference, changes, "", "", ignore)

    return run


@pytest.fixture
def committed(store: ImageStore, tmp_path: Path) -> Callable[..., Image]:
    def run(parent: Image | None, reference: str, content: bytes = CHANGE) -> Image:
        archive = tmp_path / "changes.tar"
        archive.write_bytes(content)
        config = replace(store.images.config(parent), user="app") if parent else ImageConfig()
        return store.images.create_from_layer(archive, parent, config, reference, "said", "me", "sh -c make", ignore)

    return run


def removed(images: Images, reference: str, force: bool = False) -> tuple[tuple[str, ...], int]:
    """Names that went, and how many images and layers."""
    removal = images.remove(reference, force, prune_parents=True)
    return removal.untagged, len(removal.deleted)


# import


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
def test_import_makes_an_image_of_one_layer(
    store: ImageStore, imported: Callable[..., Image], squeeze: Callable[[bytes], bytes]
) -> None:
    image = imported("me/base", squeeze(ROOTFS), ("CMD sh", "ENV A=1"))
    assert image.diff_ids == (sha256(ROOTFS),)
    assert image.id == sha256(image.raw_config.encode())
    assert store.images.resolve("me/base:latest") == image
    assert store.images.config(image).command == ("/bin/sh", "-c", "sh")
    (item,) = store.images.history("me/base")
    assert (item.comment, item.size_bytes, item.tags) == ("Imported from -", 6, ("me/base:latest",))
    assert store.actions == [("import", image.id), ("tag", "me/base:latest")]


def test_same_root_file_system_imported_twice_is_kept_once(store: ImageStore, imported: Callable[..., Image]) -> None:
    first, second = imported("a"), imported("b", changes=("USER x",))
    assert first.id != second.id
    assert store.images.top_layer(first) == store.images.top_layer(second)
    assert len(store.driver.list_layers()) == 1
    assert len(list(store.data_root.recipes.iterdir())) == 1


@pytest.mark.parametrize(
    ("reference", "changes", "content"),
    [("A", (), ROOTFS), ("a", ("RUN x",), ROOTFS), ("a", (), ROOTFS[:700]), ("a", (), b"no tar" * 100)],
)
def test_refused_import_leaves_nothing(
    store: ImageStore, imported: Callable[..., Image], reference: str, changes: tuple[str, ...], content: bytes
) -> None:
    before = store.state()
    with pytest.raises(Malformed):
        imported(reference, content, changes)
    assert store.state() == before


def test_import_for_another_machine_says_so_and_for_windows_is_refused(store: ImageStore, tmp_path: Path) -> None:
    archive = tmp_path / "rootfs.tar"
    archive.write_bytes(ROOTFS)
    image = store.images.import_archive(archive, "a", (), "mine", "linux/arm/v7", ignore)
    file = store.images.config_file(image)
    assert (file.os, file.architecture, file.variant, file.comment) == ("linux", "arm", "v7", "mine")
    with pytest.raises(Unsupported):
        store.images.import_archive(archive, "a", (), "", "windows/amd64", ignore)


# commit


def test_commit_adds_one_layer_and_says_who_made_it(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("base")
    image = committed(base, "app:1")
    assert image.diff_ids == (sha256(ROOTFS), sha256(CHANGE))
    assert image.parent == base.id
    assert image.size_bytes == base.size_bytes + 3
    assert store.images.config(image).user == "app"
    top, bottom = store.images.history("app:1")
    assert (top.created_by, top.comment, top.size_bytes, bottom.id) == ("sh -c make", "said", 3, "<missing>")
    assert store.images.config_file(image).author == "me"


def test_commit_of_nothing_adds_no_layer(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("base")
    image = committed(base, "app:1", EMPTY)
    assert image.diff_ids == base.diff_ids
    assert store.images.config_file(image).history[-1].empty_layer
    assert len(store.driver.list_layers()) == 1


def test_commit_onto_125_layers_is_refused(store: ImageStore, committed: Callable[..., Image], tmp_path: Path) -> None:
    parts = ImageParts([layer_tar({f"f{index}": b""}) for index in range(125)])
    store.load(write_archive(tmp_path / "archive.tar", docker_files([(parts, ["deep"])])))
    with pytest.raises(Malformed, match="max depth exceeded"):
        committed(store.images.resolve("deep"), "app:1")


# names


def test_images_are_found_by_name_and_by_the_beginning_of_their_id(
    store: ImageStore, imported: Callable[..., Image]
) -> None:
    image = imported("me/base:1")
    for reference in ("me/base:1", "docker.io/me/base:1", image.id, image.id[7:], image.id[7:19], image.id[:20]):
        assert store.images.resolve(reference) == image
    for reference in ("me/base", "base:1", "f" * 64, "sha256:" + "f" * 64):
        with pytest.raises(NoSuchImage):
            store.images.resolve(reference)
    with pytest.raises(NoSuchImage, match="No such image: gone:latest"):
        store.images.resolve("gone")
    with pytest.raises(Malformed, match="invalid reference format"):
        store.images.resolve("a b")


def test_beginning_of_two_ids_names_neither(store: ImageStore, imported: Callable[..., Image]) -> None:
    images = [imported(f"a:{index}", changes=(f"USER u{index}",)) for index in range(17)]
    first_digits = [image.id[7] for image in images]
    shared = next(digit for digit in first_digits if first_digits.count(digit) > 1)
    with pytest.raises(NoSuchImage):
        store.images.resolve(shared)


def test_tag_gives_a_further_name_and_survives_a_restart(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.images.tag("a:1", "registry.example:5000/b", "")
    store.restart()
    assert store.images.references(image.id) == ("a:1", "registry.example:5000/b:latest")
    assert store.images.resolve("registry.example:5000/b") == image


# listing


def test_listing_filters_by_name_label_and_time(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("base:1", changes=("LABEL tier=db",))
    app = committed(base, "me/app:1")
    nameless = committed(app, "", layer_tar({"x": b"x"}))

    def listed(**filters: str) -> list[str]:
        return [item.image.id for item in store.images.list_images({k: (v,) for k, v in filters.items()}, False)]

    assert listed() == [nameless.id, app.id, base.id]
    assert listed(reference="me/*") == [app.id]
    assert listed(reference="*:1") == [base.id]
    assert listed(dangling="true") == [nameless.id]
    assert listed(dangling="false") == [app.id, base.id]
    assert listed(label="tier=db") == [nameless.id, app.id, base.id]
    assert listed(label="tier=web") == []
    assert listed(before="me/app:1") == [base.id]
    assert listed(since="base:1") == [nameless.id, app.id]
    assert listed(until="2000-01-01T00:00:00Z") == []
    with pytest.raises(Malformed, match="invalid filter 'colour'"):
        listed(colour="red")
    with pytest.raises(Malformed, match="invalid filter 'dangling"):
        listed(dangling="maybe")
    with pytest.raises(NoSuchImage):
        listed(before="gone")


def test_nameless_step_to_another_image_is_listed_only_with_all(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("")
    app = committed(base, "app")
    store.users[app.id] = [("c1", True), ("c2", False)]
    (only,) = store.images.list_images({}, all_images=False)
    assert (only.image.id, only.containers) == (app.id, 2)
    assert {item.image.id for item in store.images.list_images({}, all_images=True)} == {app.id, base.id}


def test_bytes_shared_with_another_image_are_told(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("base")
    app = committed(base, "app")
    alone = imported("alone", layer_tar({"alone": b"1"}))
    assert store.images.shared_bytes() == {base.id: base.size_bytes, app.id: base.size_bytes, alone.id: 0}


# removal: Docker's rules


def test_one_of_two_names_goes_and_the_image_stays(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.images.tag("a:1", "b", "1")
    assert removed(store.images, "a:1") == (("a:1",), 0)
    assert store.images.references(image.id) == ("b:1",)
    assert removed(store.images, "b:1") == (("b:1",), 2)
    assert store.driver.list_layers() == []
    assert list(store.data_root.recipes.iterdir()) == []
    assert store.actions[-2:] == [("untag", image.id), ("delete", image.id)]


def test_id_with_names_in_two_repositories_must_be_forced(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.images.tag("a:1", "b", "1")
    short = image.id[7:19]
    with pytest.raises(Conflict) as refused:
        store.images.remove(short, False, True)
    assert refused.value.message == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    )
    assert removed(store.images, short, force=True) == (("a:1", "b:1"), 2)


def test_name_in_use_by_a_container_must_be_forced(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.users[image.id] = [("c" * 64, False)]
    with pytest.raises(Conflict) as refused:
        store.images.remove("a:1", False, True)
    assert refused.value.message == (
        f'conflict: unable to remove repository reference "a:1" (must force) - container {"c" * 12} '
        f"is using its referenced image {image.id[7:19]}"
    )
    assert removed(store.images, "a:1", force=True) == (("a:1",), 1)


def test_image_of_a_running_container_only_loses_its_name(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.users[image.id] = [("c" * 64, True)]
    with pytest.raises(Conflict) as refused:
        store.images.remove(image.id, True, True)
    assert refused.value.message == (
        f"conflict: unable to delete {image.id[7:19]} (cannot be forced) - "
        f"image is being used by running container {'c' * 12}"
    )
    assert removed(store.images, "a:1", force=True) == (("a:1",), 0)
    assert store.images.resolve(image.id) == image


def test_image_of_a_stopped_container_goes_by_id_only_with_force(
    store: ImageStore, imported: Callable[..., Image]
) -> None:
    image = imported("a:1")
    store.users[image.id] = [("c" * 64, False)]
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container cccccccccccc"):
        store.images.remove(image.id, False, True)
    assert removed(store.images, image.id, force=True) == (("a:1",), 1)


def test_layers_under_a_stopped_container_stay_until_it_goes(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.users[image.id] = [("c" * 64, False)]
    store.images.remove("a:1", True, True)
    for reference in ("a:1", image.id, image.id[7:19]):
        with pytest.raises(NoSuchImage):
            store.images.resolve(reference)
    assert store.images.list_images({}, True) == []
    store.restart()
    assert store.images.of_container(image.id).diff_ids == image.diff_ids
    assert len(store.driver.list_layers()) == 1
    store.users.clear()
    store.images.collect()
    assert store.driver.list_layers() == []
    with pytest.raises(NoSuchImage):
        store.images.of_container(image.id)


def test_image_removed_by_force_comes_back_when_it_is_loaded_again(
    store: ImageStore, imported: Callable[..., Image], tmp_path: Path
) -> None:
    image = imported("a:1")
    (tmp_path / "saved.tar").write_bytes(store.save("a:1"))
    store.users[image.id] = [("c" * 64, False)]
    store.images.remove("a:1", True, True)
    store.load(tmp_path / "saved.tar")
    store.users.clear()
    store.images.collect()
    assert store.images.resolve("a:1").id == image.id
    assert len(store.driver.list_layers()) == 1


def test_image_others_were_made_from_stays(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("base:1")
    app = committed(base, "app:1")
    with pytest.raises(Conflict, match=r"\(cannot be forced\) - image has dependent child images"):
        store.images.remove(base.id, True, True)
    assert removed(store.images, "base:1") == (("base:1",), 0)
    assert removed(store.images, app.id)[1] == 4  # and the base, which only served it
    assert store.driver.list_layers() == []


def test_no_prune_leaves_the_nameless_parent(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    base = imported("")
    committed(base, "app:1")
    store.images.remove("app:1", False, prune_parents=False)
    assert store.images.resolve(base.id) == base
    assert len(store.driver.list_layers()) == 1


def test_layers_another_image_needs_stay(
    store: ImageStore, imported: Callable[..., Image], committed: Callable[..., Image]
) -> None:
    imported("a", changes=("USER x",))
    base = imported("b")
    committed(base, "c")
    store.images.remove("a", False, True)
    store.images.remove("c", False, True)
    assert len(store.driver.list_layers()) == 1
    assert read_archive(store.save("b"))


def test_image_held_by_another_operation_is_not_removed(
    store: ImageStore, imported: Callable[..., Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.engine.image_catalogue.HOLD_SECONDS", 0.01)
    image = imported("a")
    with store.images.hold(image), pytest.raises(Conflict, match="another operation is using the image"):
        store.images.remove("a", True, True)
    assert removed(store.images, "a") == (("a:latest",), 2)
    with pytest.raises(NoSuchImage), store.images.hold(image):
        pass


def test_prune_takes_nameless_images_and_with_all_every_unused_one(
    store: ImageStore, imported: Callable[..., Image]
) -> None:
    imported("", layer_tar({"nameless": b"12345"}))
    used, unused = imported("used", layer_tar({"used": b"1"})), imported("unused", layer_tar({"unused": b"1234567"}))
    store.users[used.id] = [("c", False)]
    removal, freed = store.images.prune({})
    assert (removal.untagged, len(removal.deleted), freed) == ((), 2, 5)
    assert (store.heard[-1].action, store.heard[-1].attributes) == ("prune", {"reclaimed": "5"})
    removal, freed = store.images.prune({"dangling": ("false",)})
    assert (removal.untagged, removal.deleted[0], freed) == (("unused:latest",), unused.id, 7)
    assert store.images.prune({"dangling": ("false",)})[1] == 0


def test_prune_looks_at_labels_and_age(store: ImageStore, imported: Callable[..., Image]) -> None:
    imported("", changes=("LABEL keep=1",))
    assert store.images.prune({"label!": ("keep",)})[0].deleted == ()
    assert store.images.prune({"label": ("keep=2",)})[0].deleted == ()
    assert store.images.prune({"until": ("2000-01-01T00:00:00Z",)})[0].deleted == ()
    assert len(store.images.prune({"label": ("keep",), "until": ("99999999999",)})[0].deleted) == 2


# save


def test_saved_archive_is_read_by_both_kinds_of_readers_and_is_the_same_each_time(
    store: ImageStore, imported: Callable[..., Image]
) -> None:
    image = imported("me/a:1")
    saved = store.save("me/a:1")
    files = read_archive(saved)
    (entry,) = json.loads(files["manifest.json"])
    assert files[entry["Config"]].decode() == image.raw_config
    assert [files[layer] for layer in entry["Layers"]] == [ROOTFS]
    assert entry["RepoTags"] == ["me/a:1"]
    (descriptor,) = json.loads(files["index.json"])["manifests"]
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/me/a:1"
    assert json.loads(files["repositories"]) == {"me/a": {"1": image.diff_ids[0][7:]}}
    assert store.save("me/a:1") == saved


def test_saved_image_is_the_same_image_in_another_root(
    make_store: Callable[[str], ImageStore], store: ImageStore, imported: Callable[..., Image], tmp_path: Path
) -> None:
    image = imported("a:1")
    (tmp_path / "saved.tar").write_bytes(store.save("a:1"))
    other = make_store("other")
    assert other.load(tmp_path / "saved.tar") == [(image.id, ("a:1",))]
    assert other.save("a:1") == (tmp_path / "saved.tar").read_bytes()


def test_bare_name_saves_all_its_tags_and_an_id_none(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a:1")
    store.images.tag("a:1", "a", "2")
    store.images.tag("a:1", "b", "3")
    tags = [json.loads(read_archive(store.save(name))["manifest.json"])[0]["RepoTags"] for name in ("a", image.id)]
    assert tags == [["a:1", "a:2"], None]
    with pytest.raises(NoSuchImage):
        store.images.save(["a:1", "gone"])


def test_image_being_saved_stays_until_the_reader_leaves(
    store: ImageStore, imported: Callable[..., Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.engine.image_catalogue.HOLD_SECONDS", 0.01)
    imported("a")
    chunks = store.images.save(["a"])
    with pytest.raises(Conflict):
        store.images.remove("a", True, True)
    assert next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert removed(store.images, "a")[1] == 2


def test_layer_that_lost_bytes_fails_the_save(store: ImageStore, imported: Callable[..., Image]) -> None:
    image = imported("a")
    tar = store.data_root.path / "layers" / store.images.top_layer(image) / "tar"
    tar.write_bytes(ROOTFS[:-512])
    with pytest.raises(HostFailure, match=r"its tar has 9728 bytes, not the 10240"):
        store.save("a")


# uploads, several at once, and after a crash


def test_upload_is_deleted_once_it_is_unpacked_and_a_file_of_the_users_is_not(
    store: ImageStore, imported: Callable[..., Image], tmp_path: Path
) -> None:
    imported("a")
    upload = store.data_root.incoming / "upload"
    upload.write_bytes(gzip.compress(store.save("a")))
    store.load(upload)
    assert list(store.data_root.incoming.iterdir()) == []
    assert (tmp_path / "rootfs.tar").exists()


def test_same_archive_loaded_by_many_at_once_is_there_once(store: ImageStore, tmp_path: Path) -> None:
    parts = ImageParts([ROOTFS, CHANGE])
    archive = write_archive(tmp_path / "archive.tar", docker_files([(parts, ["a:1"])]))
    threads = [threading.Thread(target=store.load, args=(archive,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.driver.list_layers()) == 2
    assert store.images.resolve("a:1").id == parts.id


def test_start_removes_what_nobody_knows(store: ImageStore, imported: Callable[..., Image]) -> None:
    imported("a")
    before = store.state()
    for layer in ("d" * 64, "e" * 64):
        store.driver.create(layer, "")
    (store.data_root.recipes / ("d" * 64)).touch()
    (store.data_root.incoming / "upload").touch()
    (store.data_root.incoming / "folder").mkdir()
    assert len(store.images.reconcile({"e" * 64})) == 1
    assert "e" * 64 in store.driver.list_layers()
    assert store.images.reconcile(()) == [f"removed layer {'e' * 64}, which no image and no container uses"]
    assert store.state() == before
