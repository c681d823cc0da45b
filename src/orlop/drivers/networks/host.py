"""The host's own network: the container's processes stay in the namespace of the daemon."""

from orlop.drivers.networks.none import NoneDriver
from orlop.model.network import HOST_NAMESPACE


class HostDriver(NoneDriver):
    name = "host"
    _sandbox = HOST_NAMESPACE
