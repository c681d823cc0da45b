"""Many threads load, tag, save and remove images that share layers; afterwards every image is whole and nothing else
is there. Each thread's deeds are drawn from a seed, their interleaving is the machine's."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.errors import Conflict, NoSuchImage
from support.image_archives import ImageParts, docker_files, layer_tar, oci_files, write_archive
from support.image_store import ImageStore

LAYERS = [layer_tar({f"file{index}": bytes([index]) * 100}) for index in range(4)]
STACKS = [[0], [0, 1], [0, 1, 2], [0, 2], [3], [3, 1], []]
THREADS, DEEDS = 6, 40


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    found = []
    for number, stack in enumerate(STACKS):
        parts = ImageParts([LAYERS[index] for index in stack], config={"User": str(number)})
        path = tmp_path / f"{number}.tar"
        files = oci_files([(parts, f"image:{number}")], "gzip") if number % 2 else docker_files([(parts, ["x"])])
        found.append(write_archive(path, files))
    return found


def act(store: ImageStore, archives: list[Path], seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(DEEDS):
        name = choose.choice(["x", *(f"image:{number}" for number in range(len(STACKS)))])
        deeds: list[Callable[[], object]] = [
            lambda: store.load(choose.choice(archives)),
            lambda: store.load(choose.choice(archives)),
            lambda name=name: store.images.remove(name, choose.random() < 0.5, True),
            lambda name=name: store.save(name),
            lambda name=name: store.images.tag(name, "image", str(choose.randrange(9))),
            lambda: store.images.prune({"dangling": ("true",)}),
            lambda: store.images.import_archive(archives[0], "x", (), "", "", lambda line: None),
        ]
        try:
            choose.choice(deeds)()
        except (NoSuchImage, Conflict):
            continue  # another thread was faster


@pytest.mark.parametrize("round_number", range(3))
def test_every_image_is_whole_and_nothing_else_is_left(
    store: ImageStore, archives: list[Path], round_number: int
) -> None:
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            act(store, archives, seed)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(round_number * 100 + seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    catalogue = store.images.list_images({}, all_images=True)
    for item in catalogue:
        assert store.save(item.image.id)
    chains = {chain for item in catalogue for chain in item.image.chain_ids}
    assert len(store.driver.list_layers()) == len(chains)
    assert len(list(store.data_root.recipes.iterdir())) == len(chains)
    before = store.state()
    listed = [(item.image.id, item.references) for item in catalogue]
    store.restart()
    assert store.state() == before
    assert [(item.image.id, item.references) for item in store.images.list_images({}, True)] == listed
