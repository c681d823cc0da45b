"""What a device answers about reservations, as bytes of SPC-4."""

import struct

from orlop.kernel.scsi import parse_holder, parse_keys, parse_sense


def test_keys_are_read_as_many_as_there_are() -> None:
    data = struct.pack(">IIQQ", 7, 16, 1, 2) + bytes(32)
    assert parse_keys(data) == [1, 2]
    assert parse_keys(struct.pack(">II", 7, 0) + bytes(32)) == []


def test_a_list_that_is_longer_than_what_came_ends_where_that_ends() -> None:
    assert parse_keys(struct.pack(">IIQ", 7, 8000, 5)) == [5]


def test_the_holder_is_nobody_where_nobody_has_reserved_it() -> None:
    assert parse_holder(struct.pack(">II", 3, 0) + bytes(24)) == 0
    assert parse_holder(struct.pack(">IIQIBB2x", 3, 16, 0x4F72000000000002, 0, 0, 1)) == 0x4F72000000000002


def test_both_formats_of_sense_data_are_understood() -> None:
    assert parse_sense(bytes([0x70, 0, 0x06, 0])) == 6
    assert parse_sense(bytes([0x72, 0x05, 0x24, 0])) == 5
    assert parse_sense(b"") == 0
