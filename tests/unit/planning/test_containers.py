"""Plans and rules of containers, without a world."""

import pytest

from orlop.errors import Malformed
from orlop.model.container import Container, ContainerConfig, HostConfig
from orlop.model.image import ImageConfig
from orlop.model.mount import Mount, MountKind
from orlop.planning.containers import (
    DEFAULT_PATH,
    command_line,
    merge_config,
    plan_cleanup,
    plan_create,
    plan_remove,
    plan_start,
    process_environment,
    unique_volumes,
)

IMAGE = ImageConfig(
    env=("A=1", "B=2"), entrypoint=("/entry",), command=("run",), user="postgres", workdir="/w", volumes=("/data",)
)


def volume_mount(name: str, destination: str, anonymous: bool = False, copy_up: bool = True) -> Mount:
    return Mount(MountKind.VOLUME, destination, f"/v/{name}", volume=name, anonymous=anonymous, copy_up=copy_up)


def container(*mounts: Mount) -> Container:
    return Container("c" * 64, "app", 1, "sha256:i", ContainerConfig(image="i"), HostConfig(), "l" * 64, mounts)


def test_the_image_speaks_where_the_user_is_silent() -> None:
    merged = merge_config(ContainerConfig(image="x"), IMAGE)
    assert command_line(merged) == ("/entry", "run")
    assert (merged.user, merged.workdir, merged.volumes) == ("postgres", "/w", ("/data",))


def test_a_command_goes_to_the_images_entrypoint() -> None:
    assert command_line(merge_config(ContainerConfig(command=("psql",)), IMAGE)) == ("/entry", "psql")


def test_an_entrypoint_drops_the_images_command() -> None:
    assert command_line(merge_config(ContainerConfig(entrypoint=("/bin/sh",)), IMAGE)) == ("/bin/sh",)


def test_an_empty_entrypoint_clears_the_images() -> None:
    merged = merge_config(ContainerConfig(entrypoint=("",), command=("ls",)), IMAGE)
    assert command_line(merged) == ("ls",)


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(Malformed, match="No command specified"):
        command_line(merge_config(ContainerConfig(), ImageConfig()))


def test_the_users_environment_wins_and_a_bare_name_takes_out() -> None:
    merged = merge_config(ContainerConfig(env=("B=3", "A")), IMAGE)
    assert process_environment(merged, "host", "/root") == (DEFAULT_PATH, "HOSTNAME=host", "B=3", "HOME=/root")


def test_a_terminal_gets_its_kind() -> None:
    assert "TERM=xterm" in process_environment(ContainerConfig(tty=True), "h", "/")


def test_a_volume_mounted_twice_is_held_once() -> None:
    mounts = (volume_mount("a", "/x"), volume_mount("a", "/y"), volume_mount("b", "/z"))
    assert [mount.volume for mount in unique_volumes(mounts)] == ["a", "b"]
    plan = plan_create(container(*mounts), "parent", needs_population=True)
    assert [step.subject for step in plan.steps if step.action == "volume.hold"] == ["a", "b"]


def test_the_layer_is_mounted_at_create_only_to_fill_volumes() -> None:
    actions = [step.action for step in plan_create(container(), "parent", needs_population=False).steps]
    assert actions == ["layer.create", "directory.create"]


def test_volumes_are_held_before_anything_is_copied_into_them() -> None:
    plan = plan_create(container(volume_mount("a", "/x")), "parent", needs_population=True)
    actions = [step.action for step in plan.steps]
    assert actions.index("volume.hold") < actions.index("volume.populate")


def test_cleaning_up_takes_away_all_that_starting_made() -> None:
    subject = container(volume_mount("a", "/x"))
    undone_by = {
        "network.join": "network.leave",
        "layer.mount": "layer.unmount",
        "volume.attach": "volume.detach",
        "process.create": "process.delete",
    }
    cleaned = {(step.action, step.subject) for step in plan_cleanup(subject).steps}
    assert {(undone_by[step.action], step.subject) for step in plan_start(subject).steps} == cleaned


def test_removal_retires_anonymous_volumes_only_when_asked_and_never_named_ones() -> None:
    subject = container(volume_mount("anon", "/x", anonymous=True), volume_mount("named", "/y"))

    def retired(ask: bool) -> list[str]:
        return [step.subject for step in plan_remove(subject, ask).steps if step.action == "volume.retire"]

    assert retired(False) == []
    assert retired(True) == ["anon"]


def test_a_removal_begins_with_its_mark_and_lets_go_of_a_volume_before_retiring_it() -> None:
    actions = [step.action for step in plan_remove(container(volume_mount("a", "/x", anonymous=True)), True).steps]
    assert actions[0] == "container.mark"
    assert actions.index("volume.release") < actions.index("volume.retire")
