"""A writer as it stands in etcd, and how people are told of it."""

import time

from orlop.cluster.keys import parse
from orlop.errors import OrlopError, WriterElsewhere
from orlop.model.cluster import Writer


def writer_at(volume_id: str, key: str, value: bytes) -> Writer:
    """What makes no sense is somebody's all the same."""
    try:
        return parse(Writer, key, value)
    except OrlopError:
        return Writer(volume_id, "?", 0, 0)


def held_elsewhere(volume: str, writer: Writer, own_node: str, silent_seconds: int) -> WriterElsewhere:
    """`silent_seconds`: how much longer it has it, when it was not heard of lately."""
    hint = f"Stop it there, wait for it with volume-opt=wait=60s, or force it: orlop volume takeover {volume}"
    if not writer.epoch:
        return WriterElsewhere(f"volume {volume}", f"node {writer.node} is taking it over", hint)
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(writer.since_ns / 1e9))
    users = f", for {', '.join(writer.containers)}" if writer.containers else ""
    why = f"node {writer.node} writes to it since {since}{users}"
    if writer.node == own_node:
        why = f"this node wrote to it before it lost what it knew, since {since}"
    if silent_seconds:
        why += f"; it was not heard of lately, and loses it in {silent_seconds} s"
    return WriterElsewhere(f"volume {volume}", why, hint)
