"""A database that organisations share: each gets its own rows, and whatever it puts back stays among them."""

import json
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.demo import platform
from tests.integration.sources.database import Database, read, save, tables
from weddingbackup.sources.errors import SourceError
from weddingbackup.sources.postgres import PostgresSource, apply

pytestmark = pytest.mark.integration

OURS = platform.wedding_id(1)  # vendor 2's, as are 6, 11 …
THEIRS = platform.wedding_id(2)  # vendor 3's
VENDOR = "2"


def fence_of(vendor: str) -> list[Any]:
    via = {"table": "weddings", "foreignKey": "wedding_id"}
    children = ("timeline_events", "guests", "contracts", "messages")
    return tables(
        *({"name": name, "via": via} for name in children),
        {"name": "timeline_notes", "via": {"table": "timeline_events", "foreignKey": "event_id"}},
        {"name": "weddings", "match": {"vendor_id": vendor}},
    )


def chosen(wedding: str = OURS) -> list[Any]:
    return tables(*platform.policy_tables(wedding), {"name": "weddings", "match": {"id": wedding}})


def fetch(database: Database, wedding: str, vendor: str, directory: Path) -> Path:
    with PostgresSource(database.uri, chosen(wedding), fence_of(vendor)) as source:
        return save(read(source), directory)


def rows_in(directory: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (directory / "tables").iterdir())


def test_what_is_read_is_inside_both(database: Database, tmp_path: Path) -> None:
    platform.create(database.uri, weddings=7)
    with PostgresSource(database.uri, chosen()) as source:
        whole = read(source)
    with PostgresSource(database.uri, chosen(), fence_of(VENDOR)) as source:
        fenced = read(source)
    assert {k: v for k, v in fenced.items() if k != b"meta.json"} == {
        k: v for k, v in whole.items() if k != b"meta.json"
    }
    assert rows_in(fetch(database, THEIRS, VENDOR, tmp_path)) == 0


def test_a_table_without_a_fence_is_refused(database: Database) -> None:
    platform.create(database.uri, weddings=1)
    table = tables({"name": "vendors", "match": {"id": "1"}})
    for fence in ([], fence_of(VENDOR)):
        with (
            pytest.raises(
                SourceError, match=r"nothing says whose the rows of table public\.vendors"
            ),
            PostgresSource(database.uri, table, fence),
        ):
            pass


@pytest.mark.parametrize(
    ("type_", "label", "others", "finds"),
    [
        ("int", "7", ["8", "77"], True),
        ("int", "07", [], False),
        ("text", "a", ["A", "a ", " a"], True),
        ("citext", "a", ["A"], True),
        ("char(4)", "a", ["A"], True),
        ("numeric", "1.00", ["1.0", "1"], True),
        ('text COLLATE "nobody"', "a", ["A", "á"], True),
    ],
)
def test_a_label_is_the_owner_to_the_letter(
    database: Database, *, type_: str, label: str, others: list[str], finds: bool
) -> None:
    database.run("""
        CREATE EXTENSION citext;
        CREATE COLLATION nobody (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
    """)
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, w text, owner {type_})")
    for number, value in enumerate([label, *others, None]):
        literal = "NULL" if value is None else f"'{value}'"
        database.run(f"INSERT INTO t VALUES ({number}, 'w', {literal})")
    table = tables({"name": "t", "match": {"w": "w"}})
    source = PostgresSource(database.uri, table, tables({"name": "t", "match": {"owner": label}}))
    if finds:
        with source:
            data = read(source)[b"tables/public.t.copy"]
        assert [line.split(b"\t")[0] for line in data.splitlines()] == [b"0"]
    else:
        with pytest.raises(SourceError, match="writes the label as the column holds it"), source:
            pass


@pytest.mark.parametrize("seed", range(4))
def test_each_organisation_gets_exactly_its_own(
    database: Database, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    platform.create(database.uri, weddings=12, seed=seed)
    database.run(f"""
        UPDATE weddings SET vendor_id = 1 + (hashtext(id || '{seed}') & 3);
        UPDATE messages m SET reply_to = (SELECT id FROM messages ORDER BY id LIMIT 1)
            WHERE read AND sent_at < '2026-06-01';
    """)
    owner = dict(database.rows("SELECT id, vendor_id::text FROM weddings"))
    for number in chance.sample(range(12), 4):
        wedding = platform.wedding_id(number)
        for vendor in "1234":
            got = rows_in(fetch(database, wedding, vendor, tmp_path / f"{number}-{vendor}"))
            sums = platform.checksum(database.uri, wedding)
            whole = sum(int(text.split()[0]) for text in sums.values())
            assert got == (whole if owner[wedding] == vendor else 0)


def test_a_lost_wedding_comes_back_inside_its_fence(database: Database, tmp_path: Path) -> None:
    platform.create(database.uri, weddings=7)
    directory = fetch(database, OURS, VENDOR, tmp_path)
    ours = platform.checksum(database.uri, OURS)
    platform.delete_wedding(database.uri, OURS)
    others = platform.checksum_others(database.uri, OURS)
    apply(directory, database.uri, tables=chosen(), fence=[*fence_of(VENDOR)])
    assert platform.checksum(database.uri, OURS) == ours
    assert platform.checksum_others(database.uri, OURS) == others


# --- hostile rows -----------------------------------------------------------------------------------


class Files:
    """Rows as an attacker edits them."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory, self.database = directory, database

    def lines(self, table: str, change: Callable[[list[list[str]]], Any]) -> Any:
        file = self.directory / "tables" / f"public.{table}.copy"
        rows = [line.split("\t") for line in file.read_text().splitlines()]
        change(rows)
        file.write_text("".join("\t".join(row) + "\n" for row in rows))
        self.meta(lambda meta: self._of(meta, table).update(rows=len(rows)))

    def meta(self, change: Callable[[dict[str, Any]], Any]) -> Any:
        file = self.directory / "meta.json"
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))

    def first(self, table: str, column: int, value: str) -> None:
        self.lines(table, lambda rows: rows[0].__setitem__(column, value))

    def added(self, table: str, changes: dict[int, str]) -> None:
        def add(rows: list[list[str]]) -> None:
            row = list(rows[0])
            for column, value in changes.items():
                row[column] = value
            rows.append(row)

        self.lines(table, add)

    def one(self, query: str) -> str:
        return str(self.database.rows(query)[0][0])

    @staticmethod
    def _of(meta: dict[str, Any], table: str) -> dict[str, Any]:
        return next(t for t in meta["tables"] if t["table"]["name"] == table)


def their(table: str, column: str) -> str:
    return f"SELECT {column} FROM {table} WHERE wedding_id = '{THEIRS}' ORDER BY 1 LIMIT 1"


def without_column(files: Files, table: str, column: int) -> None:
    files.meta(lambda meta: Files._of(meta, table)["columns"].pop(column))
    files.lines(table, lambda rows: [row.pop(column) for row in rows])


ATTACKS: dict[str, tuple[Callable[[Files], Any], str]] = {
    "a row moves to another wedding": (
        lambda f: f.first("guests", 0, THEIRS),
        "have keys that others have",
    ),
    "a new row in another wedding": (
        lambda f: f.added("guests", {0: THEIRS, 1: "999"}),
        "would point",
    ),
    "a new row in another wedding of our own": (
        lambda f: f.added("guests", {0: platform.wedding_id(6), 1: "999"}),
        "would not be this wedding's",
    ),
    "a wedding changes its owner": (
        lambda f: f.first("weddings", 5, "3"),
        "would not be this wedding's",
    ),
    "a wedding that is another's": (
        lambda f: f.added("weddings", {0: THEIRS}),
        "have keys that others have",
    ),
    "a new wedding beside ours": (
        lambda f: f.added("weddings", {0: "w-new"}),
        "would not be this wedding's",
    ),
    "a key of somebody else's row": (
        lambda f: f.added("timeline_events", {0: f.one(their("timeline_events", "id")), 2: "99"}),
        "have keys that others have",
    ),
    "a note on somebody else's event": (
        lambda f: f.first("timeline_notes", 1, f.one(their("timeline_events", "id"))),
        "would point",
    ),
    "a note on an event that is not there": (
        lambda f: f.first("timeline_notes", 1, "987654"),
        "would point",
    ),
    "a reply to somebody else's message": (
        lambda f: f.first("messages", 2, f.one(their("messages", "id"))),
        "would point",
    ),
    "a number of tomorrow": (
        lambda f: f.added("timeline_events", {0: "9223372036854775807", 2: "99"}),
        "has not handed out yet",
    ),
    "NULL for the owner": (lambda f: f.first("contracts", 1, "\\N"), "violates not-null"),
    "no owner's column at all": (
        lambda f: without_column(f, "weddings", 5),
        "",
    ),
    "another match in meta.json": (
        lambda f: (
            f.meta(lambda m: Files._of(m, "guests")["table"].update(match={"wedding_id": THEIRS})),
            f.lines("guests", lambda rows: [row.__setitem__(0, THEIRS) for row in rows]),
        ),
        "have keys that others have",
    ),
    "another table in meta.json": (
        lambda f: f.meta(lambda m: Files._of(m, "guests")["table"].update(name="vendors")),
        "which the policy does not list",
    ),
    "a table of another schema": (
        lambda f: f.meta(lambda m: Files._of(m, "guests")["table"].update(schema="pg_catalog")),
        "which the policy does not list",
    ),
    "one table twice": (
        lambda f: f.meta(lambda m: m["tables"].append(Files._of(m, "guests"))),
        "name one table more than once",
    ),
    "a file of the broker's": (
        lambda f: f.meta(lambda m: Files._of(m, "guests").update(file="../../../etc/passwd")),
        "names no file of its own",
    ),
    "an end in the middle": (
        lambda f: f.lines("guests", lambda rows: rows.insert(1, ["\\."])),
        "",
    ),
    "SQL in the encoding": (
        lambda f: f.meta(lambda m: m.update(encoding="UTF8'); DROP TABLE guests; --")),
        "",
    ),
    "SQL in a column's name": (
        lambda f: f.meta(
            lambda m: Files._of(m, "guests")["columns"][2].update(name='x"; DROP TABLE guests; --')
        ),
        "has no column",
    ),
}


@pytest.fixture(scope="module")
def scene(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Path]:
    uri = postgres.create_database(f"test_{secrets.token_hex(6)}")
    database = Database(postgres, uri)
    platform.create(uri, weddings=7)
    return database, fetch(database, OURS, VENDOR, tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_others_changes_whatever_is_put_back(
    scene: tuple[Database, Path], tmp_path: Path, attack: str
) -> None:
    database, good = scene
    change, message = ATTACKS[attack]
    directory = tmp_path / "rows"
    save({str(f.relative_to(good)).encode(): f.read_bytes() for f in good.rglob("*.*")}, directory)
    change(Files(directory, database))
    before = database.content()
    sequences = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
    numbers = database.rows(sequences)
    try:
        apply(directory, database.uri, tables=chosen(), fence=fence_of(VENDOR))
    except SourceError as error:
        assert message in str(error)  # noqa: PT017  some attacks are harmless and pass
    else:
        assert not message
    assert database.content() == before
    assert database.rows(sequences) == numbers


def test_rows_that_name_nobody_are_nobodys(database: Database, tmp_path: Path) -> None:
    """ON DELETE SET NULL left a row of another organisation without its event."""
    database.run("""
        CREATE TABLE event (id int PRIMARY KEY, w text, owner int);
        CREATE TABLE note (id int PRIMARY KEY, event int REFERENCES event, v text);
        INSERT INTO event VALUES (1, 'a', 1), (2, 'b', 2);
        INSERT INTO note VALUES (1, 1, 'ours'), (2, NULL, 'once theirs');
    """)
    note = {"name": "note", "via": {"table": "event", "foreignKey": "event"}}
    policy = tables({"name": "event", "match": {"w": "a"}}, note)
    fence = tables({"name": "event", "match": {"owner": "1"}}, note)
    with PostgresSource(database.uri, policy, fence) as source:
        files = read(source)
    files[b"tables/public.note.copy"] = b"1\t1\tours\n2\t\\N\tmine now\n"
    files[b"meta.json"] = files[b"meta.json"].replace(
        b'"file":"public.note.copy","rows":1', b'"file":"public.note.copy","rows":2'
    )
    before = database.content()
    with pytest.raises(SourceError, match="have keys that others have"):
        apply(save(files, tmp_path), database.uri, tables=policy, fence=fence)
    assert database.content() == before


def test_no_key_is_rewritten_in_rows_of_others(database: Database, tmp_path: Path) -> None:
    """ON UPDATE CASCADE carries a key that is only written in another way."""
    database.run("""
        CREATE EXTENSION citext;
        CREATE TABLE place (name citext PRIMARY KEY, w text, owner int);
        CREATE TABLE visit (id int PRIMARY KEY, owner int,
            place citext REFERENCES place ON UPDATE CASCADE);
        INSERT INTO place VALUES ('Barn', 'a', 1);
        INSERT INTO visit VALUES (1, 2, 'Barn');
    """)
    policy = tables({"name": "place", "match": {"w": "a"}})
    fence = tables({"name": "place", "match": {"owner": "1"}})
    with PostgresSource(database.uri, policy, fence) as source:
        files = read(source)
    files[b"tables/public.place.copy"] = b"BARN\ta\t1\n"
    before = database.content()
    with pytest.raises(SourceError, match="would be changed with it"):
        apply(save(files, tmp_path), database.uri, tables=policy, fence=fence)
    assert database.content() == before


def test_rows_of_others_are_not_deleted_with_ours(database: Database, tmp_path: Path) -> None:
    database.run("""
        CREATE TABLE event (id int PRIMARY KEY, w text, owner int);
        CREATE TABLE bill (id int PRIMARY KEY, event int REFERENCES event ON DELETE CASCADE);
        INSERT INTO event VALUES (1, 'a', 1), (2, 'a', 1);
        INSERT INTO bill VALUES (1, 2);
    """)
    policy = tables({"name": "event", "match": {"w": "a"}})
    fence = tables({"name": "event", "match": {"owner": "1"}})
    with PostgresSource(database.uri, policy, fence) as source:
        files = read(source)
    files[b"tables/public.event.copy"] = b"1\ta\t1\n"
    files[b"meta.json"] = files[b"meta.json"].replace(b'"rows":2', b'"rows":1')
    before = database.content()
    with pytest.raises(SourceError, match="would be deleted with them"):
        apply(save(files, tmp_path), database.uri, tables=policy, fence=fence)
    assert database.content() == before


def contracts_alone(wedding: str) -> tuple[list[Any], list[Any]]:
    """What a photographer protects, and its fence: the wedding is its planner's."""
    return (
        tables({"name": "contracts", "match": {"wedding_id": wedding}}),
        tables(
            {"name": "contracts", "match": {"vendor_id": VENDOR}},
            {"name": "weddings", "match": {"vendor_id": VENDOR}},
        ),
    )


@pytest.mark.parametrize("open_to_all", [False, True])
def test_rows_come_back_below_others_rows_where_the_administrator_lets_them(
    database: Database, tmp_path: Path, open_to_all: bool
) -> None:
    platform.create(database.uri, weddings=7)
    database.run(f"UPDATE contracts SET vendor_id = {VENDOR} WHERE wedding_id = '{THEIRS}'")
    mine, fence = contracts_alone(THEIRS)
    with PostgresSource(database.uri, mine, fence) as source:
        directory = save(read(source), tmp_path)
    before = platform.checksum(database.uri, THEIRS)
    database.run(f"DELETE FROM contracts WHERE wedding_id = '{THEIRS}'")
    parents = [("public", "weddings")] if open_to_all else []

    def recover() -> None:
        apply(directory, database.uri, tables=mine, fence=fence, parents_of_all=parents)

    if open_to_all:
        recover()
        assert platform.checksum(database.uri, THEIRS) == before
    else:
        with pytest.raises(SourceError, match="not this organisation's"):
            recover()
