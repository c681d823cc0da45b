import bz2
import gzip
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from orlop.errors import Malformed, OrlopError
from support.image_archives import (
    Files,
    ImageParts,
    Link,
    blob_path,
    docker_files,
    layer_tar,
    oci_descriptor,
    oci_files,
    oci_manifest,
    read_archive,
    sha256,
    write_archive,
)
from support.image_store import ImageStore

BASE = layer_tar({"etc/base": b"base", "bin/sh": b"#!"})
TOP = layer_tar({"app": b"app" * 1000})
OTHER = layer_tar({"other": b"other"})


def parts(*layers: bytes, **config: Any) -> ImageParts:
    return ImageParts(list(layers) or [BASE, TOP], config={"Env": ["A=1"], **config})


@pytest.fixture
def pack(tmp_path: Path) -> Callable[[Any], Path]:
    return lambda files: write_archive(tmp_path / "archive.tar", files)


def test_docker_archive_is_loaded_with_its_tags(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    image = parts()
    archive = pack(docker_files([(image, ["me/app:1", "docker.io/library/app:latest"])]))
    assert store.load(archive) == [(image.id, ("app:latest", "me/app:1"))]
    found = store.images.resolve("app")
    assert found.raw_config == image.raw_config.decode()
    assert found.size_bytes == sum(len(content) for content in (b"base", b"#!", b"app" * 1000))
    assert store.images.config(found).env == ("A=1",)
    assert store.actions == [("load", image.id)]


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
@pytest.mark.parametrize("annotation", ["io.containerd.image.name", "org.opencontainers.image.ref.name"])
def test_oci_archive_is_loaded_whatever_its_layers_are_packed_with(
    store: ImageStore, pack: Callable[[Any], Path], compression: str, annotation: str
) -> None:
    image = parts()
    archive = pack(oci_files([(image, "docker.io/me/app:1")], compression, annotation))
    assert store.load(archive) == [(image.id, ("me/app:1",))]


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_whole_archive_may_be_compressed(
    store: ImageStore, pack: Callable[[Any], Path], squeeze: Callable[[bytes], bytes]
) -> None:
    archive = pack(docker_files([(parts(), ["app:1"])]))
    archive.write_bytes(squeeze(archive.read_bytes()))
    assert store.load(archive)[0][1] == ("app:1",)
    assert not list(store.data_root.incoming.iterdir())


@pytest.mark.parametrize("annotation", ["", "latest"])
def test_image_without_a_name_is_loaded_by_its_id(
    store: ImageStore, pack: Callable[[Any], Path], annotation: str
) -> None:
    image = parts()
    archive = pack(oci_files([(image, annotation)], annotation="org.opencontainers.image.ref.name"))
    assert store.load(archive) == [(image.id, ())]
    assert store.images.resolve(image.id[7:19]).id == image.id


def test_layers_shared_by_images_exist_once(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    store.load(pack(docker_files([(parts(BASE, TOP), ["a"]), (parts(BASE, OTHER), ["b"])])))
    assert len(store.driver.list_layers()) == 3
    store.load(pack(oci_files([(parts(BASE, TOP, User="x"), "c:1")], "gzip")))
    assert len(store.driver.list_layers()) == 3


def test_same_layer_twice_in_one_image_is_two_layers(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    store.load(pack(docker_files([(parts(BASE, TOP, TOP), ["a"])])))
    assert len(store.driver.list_layers()) == 3


def test_loading_again_changes_nothing(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    archive = pack(docker_files([(parts(), ["a"])]))
    store.load(archive)
    before = store.state()
    store.load(archive)
    assert store.state() == before


def test_tag_moves_to_the_loaded_image_and_the_old_one_stays(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    old, new = parts(BASE), parts(BASE, TOP)
    store.load(pack(docker_files([(old, ["a"])])))
    store.load(pack(docker_files([(new, ["a"])])))
    assert store.images.resolve("a").id == new.id
    assert store.images.references(store.images.resolve(old.id).id) == ()
    assert store.reported == [
        f"The image a:latest already exists, renaming the old one with ID {old.id} to empty string"
    ]


def test_old_docker_archive_with_links_between_layers_is_loaded(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    image = parts(BASE, TOP)
    manifest = [{"Config": f"{image.id[7:]}.json", "RepoTags": ["a:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    files: dict[str, bytes | Link] = {
        "./zero/layer.tar": BASE,
        "./one/layer.tar": Link("../zero/layer.tar"),
        "./two/layer.tar": Link("./three/layer.tar", tarfile.LNKTYPE),
        "./three/layer.tar": TOP,
        f"./{image.id[7:]}.json": image.raw_config,
        "./manifest.json": json.dumps(manifest).encode(),
    }
    assert store.load(pack(files)) == [(image.id, ("a:1",))]


def test_manifest_for_this_machine_is_taken_from_an_index(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    ours, theirs = parts(BASE), ImageParts([OTHER], architecture="s390x")
    files: Files = {}
    inside = []
    for image in (theirs, ours):
        manifest, blobs = oci_manifest(image)
        files.update({blob_path(sha256(blob)): blob for blob in (manifest, *blobs)})
        platform = {"os": "linux", "architecture": image.architecture}
        inside.append(oci_descriptor("application/vnd.oci.image.manifest.v1+json", manifest) | {"platform": platform})
    inside.append({"mediaType": "x", "digest": "none", "platform": {"os": "unknown", "architecture": "unknown"}})
    index = json.dumps({"manifests": inside}).encode()
    outer = oci_descriptor("application/vnd.oci.image.index.v1+json", index) | {
        "annotations": {"io.containerd.image.name": "docker.io/library/many:1"}
    }
    files |= {blob_path(sha256(index)): index, "index.json": json.dumps({"manifests": [outer]}).encode()}
    assert store.load(pack(files)) == [(ours.id, ("many:1",))]


def test_empty_list_of_images_loads_nothing(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    assert store.load(pack({"manifest.json": b"[]"})) == []


@pytest.mark.parametrize("layers", [0, 125])
def test_image_may_have_no_layers_or_125(store: ImageStore, pack: Callable[[Any], Path], layers: int) -> None:
    image = ImageParts([layer_tar({f"f{index}": b"x"}) for index in range(layers)])
    store.load(pack(docker_files([(image, ["a"])])))
    assert bool(store.images.top_layer(store.images.resolve("a"))) is bool(layers)
    assert store.images.resolve("a").id == read_archive_image_id(store.save("a"))


def read_archive_image_id(data: bytes) -> str:
    (entry,) = json.loads(read_archive(data)["manifest.json"])
    return "sha256:" + entry["Config"].removeprefix("blobs/sha256/")


# What is wrong is refused with its name, and nothing of it stays.


def oci() -> Files:
    return oci_files([(parts(), "a:1")], "gzip")


def docker() -> Files:
    return docker_files([(parts(), ["a:1"])])


def edit_manifest(**changes: Any) -> Files:
    files = docker()
    (entry,) = json.loads(files["manifest.json"])
    return files | {"manifest.json": json.dumps([entry | changes]).encode()}


def wrong_diff_id() -> Files:
    image = ImageParts([BASE, TOP], diff_ids=[sha256(BASE), sha256(OTHER)])
    return oci_files([(image, "a:1")], "gzip")


def wrong_blob(position: int) -> Files:
    """One blob's bytes are others, of the same length."""
    files = oci()
    names = sorted(name for name in files if name.startswith("blobs/"))
    blob = files[names[position]]
    return files | {names[position]: bytes([blob[0] ^ 1]) + blob[1:]}


def missing_blob(position: int) -> Files:
    files = oci()
    del files[sorted(name for name in files if name.startswith("blobs/"))[position]]
    return files


def edit_index(**changes: Any) -> Files:
    files = oci()
    index = json.loads(files["index.json"])
    index["manifests"][0] |= changes
    return files | {"index.json": json.dumps(index).encode()}


def ring_of_indexes() -> Files:
    files = oci()
    raw = json.dumps({"manifests": []}).encode()
    for _ in range(20):
        raw = json.dumps({"manifests": [oci_descriptor("application/vnd.oci.image.index.v1+json", raw)]}).encode()
        files[blob_path(sha256(raw))] = raw
    return files | {"index.json": raw}


def many_mouths() -> Files:
    """A small archive whose images all lead to one large configuration, which would be read again and again."""
    image = ImageParts([BASE], config={"Labels": {"a": "x" * (3 << 20)}})
    files = docker_files([(image, [])])
    return files | {"manifest.json": json.dumps(json.loads(files["manifest.json"]) * 1000).encode()}


def layer_count(*layers: str) -> Files:
    return edit_manifest(Layers=list(layers))


HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "no image archive": (lambda: {"etc/passwd": b"root"}, "does not contain a manifest.json"),
    "null for the images": (lambda: docker() | {"manifest.json": b"null"}, "not a list"),
    "manifest is no JSON": (lambda: docker() | {"manifest.json": b"{"}, "manifest.json: it is not valid JSON"),
    "manifest is nested deeply": (lambda: docker() | {"manifest.json": b"[" * 200_000}, "nested too deeply"),
    "manifest is giant": (lambda: docker() | {"manifest.json": b" " * (5 << 20)}, "the limit is"),
    "image is no object": (lambda: docker() | {"manifest.json": b"[1]"}, "not a JSON object"),
    "configuration is not named": (lambda: edit_manifest(Config=""), "Config is missing"),
    "configuration is missing": (lambda: edit_manifest(Config="gone.json"), "gone.json is missing"),
    "configuration lies outside": (lambda: edit_manifest(Config="../../etc/passwd"), "leads out of the archive"),
    "configuration is absolute": (lambda: edit_manifest(Config="/etc/passwd"), "leads out of the archive"),
    "configuration has another digest": (lambda: docker() | {blob_path(parts().id): b"{}"}, "its content has"),
    "layers lie outside": (lambda: layer_count("../x", "../y"), "leads out of the archive"),
    "a layer too few": (lambda: layer_count("manifest.json"), "layers length mismatch: expected 2, got 1"),
    "layer is no tar": (lambda: layer_count("manifest.json", "manifest.json"), f"layer {sha256(TOP)}: "),
    "tag is no reference": (lambda: edit_manifest(RepoTags=["A B"]), "invalid tag 'A B'"),
    "tags are no list": (lambda: edit_manifest(RepoTags="a:1"), "RepoTags must be a list"),
    "image is for windows": (lambda: docker_files([(ImageParts([BASE], os="windows"), [])]), "cannot load windows"),
    "a thousand images of one configuration": (many_mouths, "its descriptions of images exceed"),
    "126 layers": (lambda: docker_files([(ImageParts([BASE] * 126), [])]), "max depth exceeded"),
    "second diff id is wrong": (wrong_diff_id, f'invalid diffID for layer 1: expected "{sha256(OTHER)}"'),
    "index has no manifest of that digest": (lambda: edit_index(digest="sha256:" + "0" * 64), "is missing"),
    "digest is a path": (lambda: edit_index(digest="sha256:../../../etc/passwd"), "is not a digest"),
    "size is another": (lambda: edit_index(size=7), "its descriptor says 7"),
    "size is no number": (lambda: edit_index(size="7"), "size must be a whole number"),
    "media type is no image's": (lambda: edit_index(mediaType="text/plain"), "no image"),
    "indexes without end": (ring_of_indexes, "nested more than 8 deep"),
    "member leads out": (lambda: docker() | {"../evil": b"x"}, "leads out of the archive"),
    "member is absolute": (lambda: docker() | {"/etc/evil": b"x"}, "leads out of the archive"),
    "manifest is a link out": (lambda: docker() | {"manifest.json": Link("../../etc/passwd")}, "out of the archive"),
    "manifest is a link to the host": (lambda: docker() | {"manifest.json": Link("/etc/passwd")}, "out of the archive"),
    "manifest is a link to itself": (lambda: docker() | {"manifest.json": Link("manifest.json")}, "in a circle"),
    "layer is a hard link out": (
        lambda: docker() | {blob_path(sha256(TOP)): Link("../../x", tarfile.LNKTYPE)},
        "out of the archive",
    ),
    "blob is a link to another": (
        lambda: docker() | {blob_path(sha256(TOP)): Link(sha256(BASE)[7:])},
        "invalid diffID for layer 1",
    ),
    "layer is a directory": (lambda: docker() | {blob_path(sha256(TOP)): Link("", tarfile.DIRTYPE)}, "is a directory"),
    "manifest is in it twice": (lambda: [*docker().items(), ("./manifest.json", b"[]")], "is in it twice"),
    **{f"blob {position} is altered": (lambda at=position: wrong_blob(at), "its content has") for position in range(4)},
    **{f"blob {position} is missing": (lambda at=position: missing_blob(at), "is missing") for position in range(4)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_wrong_archive_is_refused_by_name_and_nothing_of_it_stays(
    store: ImageStore, pack: Callable[[Any], Path], case: str
) -> None:
    store.load(pack(docker_files([(parts(BASE), ["before:1"])])))
    before = store.state()
    make, why = HOSTILE[case]
    archive = pack(make())
    with pytest.raises(OrlopError) as refused:
        store.load(archive)
    assert why in refused.value.message
    assert refused.value.status in (400, 501)
    assert store.state() == before


@pytest.mark.parametrize("part", [0, 1, 300, 512, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("squeeze", [bytes, gzip.compress])
def test_archive_cut_anywhere_is_refused_and_nothing_of_it_stays(
    store: ImageStore, pack: Callable[[Any], Path], part: float, squeeze: Callable[[bytes], bytes]
) -> None:
    before = store.state()
    archive = pack(oci())
    content = archive.read_bytes().rstrip(b"\0")
    whole = squeeze(content)
    archive.write_bytes(whole[: int(part * len(whole)) if part < 1 else part])
    with pytest.raises(Malformed):
        store.load(archive)
    assert store.state() == before


def test_one_wrong_image_keeps_all_others_of_the_archive_out(store: ImageStore, pack: Callable[[Any], Path]) -> None:
    wrong = ImageParts([OTHER], diff_ids=[sha256(TOP)])
    before = store.state()
    with pytest.raises(Malformed):
        store.load(pack(docker_files([(parts(), ["good"]), (wrong, ["bad"])])))
    assert store.state() == before
