from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weddingbackup.kube.status import difference

values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=2), values, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(objects, objects)
def test_the_patch_turns_the_one_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert merged(old, difference(old, new)) == new


@given(objects)
def test_between_equals_there_is_nothing_to_patch(same: dict[str, Any]) -> None:
    assert difference(same, same) == {}


def test_only_what_changed_is_sent() -> None:
    old = {"phase": "Running", "progress": {"bytesDone": 1, "bytesTotal": 9}, "message": "m"}
    new = {"phase": "Running", "progress": {"bytesDone": 2, "bytesTotal": 9}}
    assert difference(old, new) == {"progress": {"bytesDone": 2}, "message": None}
