"""Python packages with volume drivers, installed as pip would: modules and a dist-info folder."""

from collections.abc import Mapping
from pathlib import Path

GROUP = "orlop.volume_drivers"


def install(site: Path, package: str, modules: Mapping[str, str], drivers: Mapping[str, str]) -> Path:
    """`modules` by name; `drivers` are entry points. The folder, for PYTHONPATH."""
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "".join(f"{name} = {value}\n" for name, value in drivers.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    for name, source in modules.items():
        (site / f"{name}.py").write_text(source)
    return site
