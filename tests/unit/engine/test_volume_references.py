"""Many containers at once come, go, fail and share volumes that are renamed, removed and pruned meanwhile: what memory
says of who uses what is what the journal says, and what lies on the disk is what both say."""

import random
import threading
from contextlib import suppress
from pathlib import Path

from orlop.errors import Conflict, Malformed, NotFound
from orlop.model.volume import VolumeUse
from support.volume_house import VolumeHouse, mount_of

CLIENTS, ROUNDS = 20, 8
NAMES = [f"data-{number}" for number in range(6)]
USUAL = (Conflict, Malformed, NotFound)  # what a user may be told when others are at it too


class Client:
    """One after the other it creates a container with two volumes, uses them, and removes it."""

    def __init__(self, house: VolumeHouse, number: int) -> None:
        self.volumes = house.volumes
        self.house = house
        self.dice = random.Random(number)
        self.number = number
        self.held: dict[str, set[str]] = {}  # by container, what it must find held at the end
        self.done = False

    def run(self) -> None:
        for turn in range(ROUNDS):
            container_id = f"{self.number:032x}{turn:032x}"
            self.disturb()
            self.live(container_id, self.dice.choice(("stays", "goes", "fails")))
        self.done = True

    def live(self, container_id: str, fate: str) -> None:
        names = [self.dice.choice(NAMES), self.dice.choice([*NAMES, ""])]
        made = {self.create(name, container_id) for name in names}
        for name in made:
            assert container_id in self.volumes.holders(name)
            mount = mount_of(self.house, name)
            self.volumes.attach(mount, container_id)
            with suppress(*USUAL):
                self.volumes.remove(name, force=True)
            assert container_id in self.volumes.holders(name), "what is held is not removed"
            self.volumes.detach(mount, container_id)
        if fate == "fails":
            self.volumes.abandon(container_id, made)
        elif fate == "goes":
            for name in made:
                self.volumes.release(name, container_id)
        else:
            self.held[container_id] = made

    def create(self, name: str, container_id: str) -> str:
        volume = self.volumes.create(name, "", None, None, container_id)
        return name or volume.name

    def disturb(self) -> None:
        with suppress(*USUAL):
            self.volumes.remove(self.dice.choice(NAMES))
        with suppress(*USUAL):
            self.volumes.rename(self.dice.choice(NAMES), self.dice.choice(NAMES), self.dice.random() < 0.5)
        with suppress(*USUAL):
            self.volumes.prune({}, include_named=self.dice.random() < 0.5)
        with suppress(*USUAL):
            self.volumes.update(self.dice.choice(NAMES), {"by": str(self.number)}, None)
        with suppress(*USUAL):
            self.volumes.restore(self.dice.choice(NAMES))


def test_every_reference_is_right_at_the_end(tmp_path: Path) -> None:
    house = VolumeHouse(tmp_path)
    clients = [Client(house, number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(client.done for client in clients)
    wanted = {(name, holder) for client in clients for holder, names in client.held.items() for name in names}
    for _ in range(2):
        kept = {(use.volume, use.container_id) for use in house.journal.load("uses", VolumeUse).values()}
        assert kept == wanted
        for name, holder in wanted:
            assert holder in house.volumes.holders(name)
        on_disk = {path.name for path in (tmp_path / "volumes").iterdir() if path.name[0] != "."}
        assert on_disk == set(house.names())
        assert house.executor.stuck == []
        house.restart()
        assert house.reports == []
    house.stop()
