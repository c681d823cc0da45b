"""Deleting what is out of sight: a purged volume, or one that was staged and never got its name."""

from contextlib import suppress

from orlop.drivers.volumes.local_project import free_project, project_of
from orlop.drivers.volumes.local_subvolume import destroy_data
from orlop.drivers.volumes.volume_directory import VolumesRoot
from orlop.kernel.mounts import mounts_at_or_below
from orlop.store.files import remove_tree


def delete_tree(root: VolumesRoot, folder: str, entry: str) -> None:
    """Crosses no mount point and follows no link; gone already is success. Its limits go with it."""
    path = root.path / folder / entry
    project = 0
    with suppress(FileNotFoundError, NotADirectoryError), root.open_within(folder, entry) as volume:
        project = project_of(volume)
        if not mounts_at_or_below(path):
            destroy_data(volume)
    remove_tree(path)
    if project:
        with root.open_within(folder, ".") as top:
            free_project(top, project)
