"""For how long write access may be used after etcd was asked to renew it.

    asked         every sixth        lost_at 60 %            ends_at 90 %     100 %
    |-- renewed ---|-- renewed ---   |-- freeze, tear down --|   nobody       |-- etcd may give it to another
                                                             |   writes

Everything is counted from before the question was sent, so etcd's own time begins later. From `lost_at` on the node
lets go by itself; at `ends_at` the kernel kills what reaches the storage, whatever else runs or hangs
(kernel/leash.py). The last tenth is for clocks that run at different speeds, and for what is on its way.

The clock is CLOCK_BOOTTIME: it is not set by anybody, and goes on while the host is suspended.
"""

import time

from orlop.model.value import dataclass

LEASE_SECONDS = 20
SHORTEST_LEASE_SECONDS = 4  # etcd's own limit is 2, and a renewal needs some time
_BILLION = 1_000_000_000


def boot_clock() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Term:
    seconds: int = LEASE_SECONDS

    @property
    def renewal_seconds(self) -> float:
        return self.seconds / 6

    def lost_at_ns(self, asked_ns: int) -> int:
        return asked_ns + self.seconds * _BILLION * 6 // 10

    def ends_at_ns(self, asked_ns: int) -> int:
        return asked_ns + self.seconds * _BILLION * 9 // 10
