"""Detach keys: the typed sequence that leaves a container running and ends the attachment."""

from orlop.errors import Malformed

DEFAULT_KEYS = "ctrl-p,ctrl-q"

_CONTROL = {f"ctrl-{chr(letter)}": letter - 96 for letter in range(ord("a"), ord("z") + 1)} | {
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
}


def parse_detach_keys(text: str) -> bytes:
    """ "ctrl-p,ctrl-q" or "a,b" to the bytes a terminal sends. Raises Malformed."""
    keys = bytearray()
    for word in (text or DEFAULT_KEYS).split(","):
        if len(word) == 1 and word.isascii():
            keys.append(ord(word))
        elif word.lower() in _CONTROL:
            keys.append(_CONTROL[word.lower()])
        else:
            raise Malformed("", f"invalid detach keys ({text}) provided: unknown character: {word!r}")
    return bytes(keys)


class DetachFilter:
    """Passes input on, holding back what may be the beginning of the sequence."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the sequence was completed (what follows it is dropped)."""
        if not self._matched and self._keys[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                passed.append(byte)
        return bytes(passed), False
