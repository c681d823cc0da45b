"""Where an archive's bytes are: a whole file, or a stretch of one (a layer inside an image archive, read in place)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    path: Path
    offset: int = 0
    length: int = -1  # -1 = to the end of the file
