"""The flags that `run` and `create` share, as Docker names them.

A flag's value arrives in the command under its own name (`--cap-add` as `cap_add`), and `container_request` makes the
API's body of them.
"""

from orlop.cli.declaring import Function, option

# (names, metavar, help): flags that take a value, once or several times, and switches
_SINGLE = (
    ("--name", "NAME", "Name of the container."),
    ("-u,--user", "USER[:GROUP]", "Run as this user."),
    ("-w,--workdir", "PATH", "Working directory."),
    ("-h,--hostname", "NAME", "Host name within."),
    ("--domainname", "NAME", "Domain name within."),
    ("--entrypoint", "PROGRAM", "Run this instead of the image's entry point ('' for none)."),
    ("--network,--net", "MODE", "bridge, none, host or container:NAME [default: bridge]."),
    ("--restart", "POLICY", "no, always, unless-stopped or on-failure[:N] [default: no]."),
    ("-m,--memory", "BYTES", "Limit of memory, such as 512m."),
    ("--memory-swap", "BYTES", "Limit of memory and swap together; -1 for none."),
    ("--memory-reservation", "BYTES", "Memory that it is squeezed to when the host runs short."),
    ("--cpus", "NUMBER", "How many processors' time it may use, such as 1.5."),
    ("-c,--cpu-shares", "N", "Its weight where processors are short."),
    ("--cpu-period", "MICROSECONDS", "Period of the scheduler's limit."),
    ("--cpu-quota", "MICROSECONDS", "Time in each period."),
    ("--cpuset-cpus", "LIST", "The processors it may use, such as 0-2,4."),
    ("--cpuset-mems", "LIST", "The memory nodes it may use."),
    ("--pids-limit", "N", "How many processes; -1 for no limit."),
    ("--stop-signal", "SIGNAL", "What `stop` sends."),
    ("--stop-timeout", "SECONDS", "How long `stop` waits before it kills."),
    ("--shm-size", "BYTES", "Size of /dev/shm [default: 64m]."),
    ("--log-driver", "NAME", "How the output is kept."),
    ("--pid", "MODE", "host or container:NAME: whose processes it sees."),
    ("--ipc", "MODE", "host, private, shareable, none or container:NAME."),
    ("--uts", "MODE", "host: share the host's name."),
    ("--userns", "MODE", "User namespace."),
    ("--cgroup-parent", "PATH", "Parent of its control group."),
    ("--oom-score-adj", "N", "How readily the kernel ends it when memory runs out (-1000 to 1000)."),
    ("--runtime", "NAME", "OCI runtime."),
    ("--volume-driver", "NAME", "Driver of the volumes that -v makes."),
    ("--platform", "OS/ARCH", "Platform of the image."),
    ("--cidfile", "FILE", "Write the id of the container to a file that does not exist yet."),
    ("--storage-opt", None, ""),
    ("--ip", None, ""),
    ("--mac-address", None, ""),
    ("--health-cmd", None, ""),
    ("--isolation", None, ""),
)
_SEVERAL = (
    (
        "-v,--volume",
        "VOLUME:PATH[:MODE]",
        "Mount a volume, or a host path, at a path; only a path: an anonymous volume.",
    ),
    (
        "--mount",
        "KEY=VALUE,...",
        "The same in words: type=volume|bind|tmpfs|image,source=...,target=...[,readonly][,idmap].",
    ),
    ("--tmpfs", "PATH[:OPTIONS]", "Mount memory."),
    ("--volumes-from", "CONTAINER[:ro]", "Mount what another container mounts."),
    ("-e,--env", "NAME[=VALUE]", "Set a variable; only a name: pass on this shell's."),
    ("--env-file", "FILE", "Set the variables of a file, one a line."),
    ("-l,--label", "KEY[=VALUE]", "Label."),
    ("--label-file", "FILE", "Labels of a file, one a line."),
    ("--ulimit", "NAME=SOFT[:HARD]", "Limit of a resource, such as nofile=1024:2048."),
    ("--cap-add", "CAPABILITY", "Grant a capability."),
    ("--cap-drop", "CAPABILITY", "Take a capability away."),
    ("--security-opt", "OPTION", "Such as no-new-privileges, seccomp=unconfined."),
    ("--device", "PATH[:PATH[:rwm]]", "Give it a device of the host."),
    ("--dns", "ADDRESS", "Name server."),
    ("--dns-search", "DOMAIN", "Search domain."),
    ("--dns-option,--dns-opt", "OPTION", "Option of the resolver."),
    ("--add-host", "NAME:ADDRESS", "A line of /etc/hosts."),
    ("--group-add", "GROUP", "Further group of the user."),
    ("--sysctl", "NAME=VALUE", "Kernel setting within its namespaces."),
    ("--log-opt", "KEY=VALUE", "Option of the log driver."),
    ("--expose", "PORT", "Note a port that it listens at."),
    ("-a,--attach", "STREAM", "Connect only stdin, stdout or stderr."),
    ("-p,--publish", None, ""),
    ("--link", None, ""),
    ("--network-alias,--net-alias", None, ""),
    ("--gpus", None, ""),
)
_SWITCHES = (
    ("-i,--interactive", "Keep its standard input open."),
    ("-t,--tty", "Give it a terminal."),
    ("--rm", "Remove it and its anonymous volumes when it exits."),
    ("--privileged", "Give it everything that the host's root has."),
    ("--read-only", "Let it write to nothing but its mounts."),
    ("--init", "Run a small init that reaps processes and forwards signals."),
    ("--oom-kill-disable", "Do not end its processes when it runs out of memory."),
    ("-P,--publish-all", ""),
    ("--no-healthcheck", ""),
)
_PULL_WORDS = ("missing", "never", "always")
_PULL_HELP = "Registries come later: an image that is not here is not fetched, and `always` is refused."


def container_options(function: Function) -> Function:
    """All of them, the everyday ones first in the help."""
    options = [option(*names.split(","), is_flag=True, help=text, hidden=not text) for names, text in _SWITCHES]
    for rows, multiple in ((_SEVERAL, True), (_SINGLE, False)):
        for names, metavar, text in rows:
            settings = {"multiple": multiple, "metavar": metavar, "help": text, "hidden": not metavar}
            options.append(option(*names.split(","), **settings))
    options.append(option("--pull", choices=_PULL_WORDS, default="missing", help=_PULL_HELP))
    for add in reversed(options):
        function = add(function)
    return function
