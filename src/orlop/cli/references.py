"""Names of images, as far as the command must take them apart; the daemon judges them."""


def split_reference(reference: str) -> tuple[str, str]:
    """(repository, tag): `localhost:5000/a:b` is (`localhost:5000/a`, `b`); the tag is "" where there is none."""
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, ""
    return head, tag
