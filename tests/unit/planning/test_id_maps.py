"""Tables of ids: every id on disk is shown as one id, and every id shown is stored as one."""

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from orlop.planning.id_maps import ALL_IDS, swap_ids

ids = st.integers(0, ALL_IDS - 1)


@example(0, ALL_IDS - 1, 1)
@example(1000, 1001, 1000)
@example(0, 0, 0)
@given(ids, ids, ids)
def test_two_ids_change_places_and_all_others_stay(owner: int, user: int, other: int) -> None:
    table = swap_ids(owner, user)

    def shown(on_disk: int) -> int:
        (found,) = [(first, at) for first, at, count in table if first <= on_disk < first + count]
        return found[1] + on_disk - found[0]

    assert (shown(owner), shown(user)) == (user, owner)
    if other not in (owner, user):
        assert shown(other) == other
    assert sum(count for _, _, count in table) == ALL_IDS
    places = sorted((at, count) for _, at, count in table)
    assert all(first + count <= following for (first, count), (following, _) in itertools.pairwise(places))
