"""Every command: its path, the heading it stands under, the module that holds it, and its one-line help.

The one-line help lives here and nowhere else, so that `orlop --help` imports none of them.
"""

from typing import Final


class Entry:
    """`module` is the module under orlop.cli.commands whose `command` it is."""

    __slots__ = ("heading", "module", "summary")

    def __init__(self, module: str, summary: str, heading: str = "") -> None:
        self.module = module
        self.summary = summary
        self.heading = heading


RUN, CONTAINERS, IMAGES, OBJECTS, DAEMON = "Run", "Containers", "Images", "Volumes and networks", "Daemon"

# Commands at the top level, in the order of the help.
TOP: Final[dict[str, Entry]] = {
    "run": Entry("run", "Create a container from an image and run it", RUN),
    "exec": Entry("exec", "Run a command in a running container", RUN),
    "ps": Entry("ps", "List containers", RUN),
    "logs": Entry("logs", "Show what a container wrote", RUN),
    "attach": Entry("attach", "Connect the terminal to a running container", RUN),
    "cp": Entry("cp", "Copy files between a container and the host", RUN),
    "create": Entry("create", "Create a container without starting it", CONTAINERS),
    "start": Entry("start", "Start stopped containers", CONTAINERS),
    "stop": Entry("stop", "Stop running containers", CONTAINERS),
    "restart": Entry("restart", "Stop and start containers", CONTAINERS),
    "kill": Entry("kill", "Send a signal to containers", CONTAINERS),
    "pause": Entry("pause", "Freeze the processes of containers", CONTAINERS),
    "unpause": Entry("unpause", "Let frozen containers go on", CONTAINERS),
    "wait": Entry("wait", "Wait for containers to exit and print their exit codes", CONTAINERS),
    "rename": Entry("rename", "Give a container another name", CONTAINERS),
    "rm": Entry("rm", "Remove containers", CONTAINERS),
    "top": Entry("top", "Show the processes of a container", CONTAINERS),
    "diff": Entry("diff", "Show what a container changed in its file system", CONTAINERS),
    "commit": Entry("commit", "Make an image of a container's file system", CONTAINERS),
    "export": Entry("export", "Write a container's file system as a tar archive", CONTAINERS),
    "inspect": Entry("inspect", "Show everything about containers, images, volumes or networks", CONTAINERS),
    "images": Entry("image_ls", "List images", IMAGES),
    "import": Entry("import_", "Make an image from the tar archive of a file system", IMAGES),
    "load": Entry("load", "Load images from an archive", IMAGES),
    "save": Entry("save", "Write images to an archive", IMAGES),
    "tag": Entry("tag", "Give an image another name", IMAGES),
    "rmi": Entry("rmi", "Remove images", IMAGES),
    "history": Entry("history", "Show how an image was made", IMAGES),
    "volume": Entry("", "Manage volumes: the data that stays", OBJECTS),
    "secret": Entry("", "Keep what options of volumes name instead of passwords", OBJECTS),
    "node": Entry("", "Hosts that share volumes", OBJECTS),
    "network": Entry("", "Look at networks", OBJECTS),
    "container": Entry("", "Manage containers", OBJECTS),
    "image": Entry("", "Manage images", OBJECTS),
    "system": Entry("", "Disk usage, events, pruning", OBJECTS),
    "daemon": Entry("daemon", "Run the engine", DAEMON),
    "adopt": Entry("adopt", "Take over the volumes of Docker or Podman", OBJECTS),
    "plugin": Entry("", "Give drivers of volumes to Docker and Podman", DAEMON),
    "driver-test": Entry("driver_test", "Try a volume driver of your own against the contract", DAEMON),
    "recover": Entry("recover", "Bring the volumes back when the daemon's journal is lost", DAEMON),
    "events": Entry("events", "Show what happens, as it happens", DAEMON),
    "info": Entry("info", "Show facts about the daemon and its host", DAEMON),
    "version": Entry("version", "Show the versions of the command and the daemon", DAEMON),
}


def _same(*names: str) -> dict[str, Entry]:
    return {name: TOP[name] for name in names}


GROUPS: Final[dict[str, dict[str, Entry]]] = {
    "volume": {
        "create": Entry("volume_create", "Create a volume"),
        "ls": Entry("volume_ls", "List volumes"),
        "inspect": Entry("volume_inspect", "Show everything about volumes"),
        "du": Entry("volume_du", "Show what takes the room in a volume"),
        "rm": Entry("volume_rm", "Remove volumes (they can be restored for a while)"),
        "prune": Entry("volume_prune", "Remove the volumes that no container uses"),
        "rename": Entry("volume_rename", "Give a volume another name"),
        "update": Entry("volume_update", "Change the labels, the size and the options of a volume"),
        "move": Entry("volume_move", "Move a volume to other storage, or to another host, while it is in use"),
        "cp": Entry("volume_cp", "Copy a volume, or files into and out of one"),
        "export": Entry("volume_export", "Write a volume as a tar archive, with its labels and options"),
        "import": Entry("volume_import", "Make a volume from a tar archive"),
        "takeover": Entry("volume_takeover", "Get write access to a volume that another host writes to"),
        "where": Entry("volume_where", "List who uses a volume, on all hosts of the cluster"),
        "restore": Entry("volume_restore", "Bring a removed volume back"),
        "purge": Entry("volume_purge", "Destroy the data of removed volumes, for good"),
    },
    "secret": {
        "create": Entry("secret_create", "Keep a value that options can name as secret://NAME"),
        "ls": Entry("secret_ls", "List secrets, without their values"),
        "rm": Entry("secret_rm", "Remove secrets"),
    },
    "node": {
        "ls": Entry("node_ls", "List the hosts of the cluster"),
        "rm": Entry("node_rm", "Take hosts out of the cluster that are gone for good"),
    },
    "plugin": {
        "serve": Entry("plugin_serve", "Serve a volume driver to Docker and Podman"),
    },
    "network": {
        "ls": Entry("network_ls", "List networks"),
        "inspect": Entry("network_inspect", "Show everything about networks"),
    },
    "container": {
        "ls": TOP["ps"],
        **_same(
            "run", "exec", "logs", "attach", "cp", "create", "start", "stop", "restart", "kill", "pause", "unpause",
            "wait", "rename", "rm", "top", "diff", "commit", "export",
        ),
        "inspect": Entry("container_inspect", "Show everything about containers"),
        "prune": Entry("container_prune", "Remove all stopped containers"),
    },
    "image": {
        "ls": TOP["images"],
        **_same("import", "load", "save", "tag", "history"),
        "rm": TOP["rmi"],
        "inspect": Entry("image_inspect", "Show everything about images"),
        "prune": Entry("image_prune", "Remove images that have no name and no container"),
    },
    "system": {
        "df": Entry("system_df", "Show how much disk is used, and by what"),
        **_same("events", "info"),
        "prune": Entry("system_prune", "Remove stopped containers and unused images"),
    },
}  # fmt: skip
