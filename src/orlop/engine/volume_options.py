"""What the options of a volume may be: those of its driver, and those that every driver's volumes have."""

from collections.abc import Mapping

from orlop.drivers.volumes.abilities import Independent, Interrupting, Watched
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Malformed
from orlop.model.on_hang import ON_HANG, OnHang, for_driver, parse_hang_policy
from orlop.model.volume import mounts_content


def check_options(name: str, driver: VolumeDriver, options: Mapping[str, str] | None) -> None:
    """Raises Malformed, and what the driver raises."""
    driver.check(name, for_driver(options))
    subject = f"create {name}"
    wanted = parse_hang_policy(subject, options).on_hang
    if wanted is OnHang.WAIT:
        return
    is_elsewhere = isinstance(driver, Independent) or mounts_content(driver.name, options)
    if not (isinstance(driver, Watched) and is_elsewhere):
        why = f"{ON_HANG}={wanted} is for storage that may hang, and this volume's is a part of this host"
        raise Malformed(subject, why, f"Leave {ON_HANG} out")
    if wanted is OnHang.FAIL and not isinstance(driver, Interrupting):
        why = f"{ON_HANG}=fail: the driver {driver.name} cannot end what waits for its storage"
        raise Malformed(subject, why, f"Choose {ON_HANG}=kill or freeze; the kernel's NFS and CIFS know -o o=soft")
