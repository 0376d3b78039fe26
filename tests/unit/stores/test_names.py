"""Names mean the same everywhere, and lead nowhere else."""

import posixpath
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weddingbackup.stores import names


@given(st.text(alphabet="abz09/._-A%\\ é\n\0", max_size=40))
@example("a\n")
@example("..")
@example("a/.hidden")
def test_what_passes_needs_no_escaping_and_stays_where_it_is(name: str) -> None:
    try:
        names.check(name)
    except ValueError:
        return
    assert quote(name) == name
    assert posixpath.normpath(posixpath.join("/root", name)) == f"/root/{name}"
    assert all(component[0] != "." for component in name.split("/"))


@pytest.mark.parametrize(
    "name",
    ["format", "keys/timeline.1", "packs/0a1b.r1", "snapshots/2026/12/05/x_y-z", "journal/s/0/1"],
)
def test_the_names_of_a_vault_pass(name: str) -> None:
    assert names.check(name) == name


@pytest.mark.parametrize("name", ["a" * 201, "/".join(["a" * 100] * 6)])
def test_a_name_that_some_file_system_or_provider_would_cut_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        names.check(name)


@pytest.mark.parametrize("prefix", ["", "packs/", "packs/0a", "snapshots/2026/"])
def test_a_prefix_is_the_beginning_of_a_name(prefix: str) -> None:
    assert names.check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "../", "packs//", "A"])
def test_a_prefix_that_begins_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        names.check_prefix(prefix)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("", ""), ""),
        (("Backups", ""), "Backups/"),
        (("", "v1"), "v1/"),
        (("/a/b/", "v1/"), "a/b/v1/"),
    ],
)
def test_prefixes_are_joined_by_single_slashes(parts: tuple[str, str], joined: str) -> None:
    assert names.below(*parts) == joined
