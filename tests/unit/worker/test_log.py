import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from weddingbackup import log


@pytest.mark.parametrize(
    ("text", "kept", "secret"),
    [
        ("cannot reach postgresql://me:hunter2@db:5432/x", "db:5432/x", "hunter2"),
        ("bad string host=db password=hunter2 user=me", "user=me", "hunter2"),
        ("bad string password='hun ter2' user=me", "user=me", "ter2"),
        ("GET https://s3/b/k?X-Amz-Signature=abc&x=1", "https://s3/b/k?", "abc"),
        ("GET https://gcs/b/k?X-Goog-Signature=abc failed", "failed", "abc"),
        ("PUT https://a/b?sv=2024&sp=c&sig=abc%3D", "https://a/b?", "abc"),
        ("bad string password = hunter2 user=me", "user=me", "hunter2"),
        ("bad string sslpassword='hunter2' user=me", "user=me", "hunter2"),
        ("bad string password=hun'ter2&x user=me", "user=me", "ter2"),
        ("cannot reach postgresql://me:hun/ter2@db:5432/x", "@db:5432/x", "ter2"),
        ("cannot reach postgresql://me:hun@ter2@db:5432/x", "@db:5432/x", "ter2"),
        ("DefaultEndpointsProtocol=https;AccountKey=hunter2==", "https;AccountKey=", "hunter2"),
        ("accountKey=hunter2== of dublin", "of dublin", "hunter2"),
        ("secretAccessKey: hunter2 of london", "of london", "hunter2"),
        ("{'secret_access_key': 'hun ter2', 'region': 'x'}", "'region': 'x'", "ter2"),
        ("Authorization: Bearer hunter2", "Authorization:", "hunter2"),
        ("token eyJhb.eyJzd.c2ln-_ is none", "is none", "c2ln"),
        ('{"private_key": "-----BEGIN\\nhunter2", "x": 1}', '"x": 1', "hunter2"),
        ("SharedAccessSignature=sv=1&sig=hunter2 of dublin", "of dublin", "hunter2"),
    ],
)
def test_secrets_are_taken_out_and_the_rest_is_kept(text: str, kept: str, secret: str) -> None:
    assert secret not in log.redact(text)
    assert kept in log.redact(text)


@given(st.text(alphabet=st.characters(exclude_characters="@?&=:"), max_size=200))
def test_text_without_secrets_is_left_alone(text: str) -> None:
    assert log.redact(text) == text


@pytest.fixture(autouse=True)
def as_it_was() -> object:
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_lines_are_json_with_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    structlog.get_logger().info("progress", bytesDone=3)
    structlog.get_logger().debug("unheard")
    logging.getLogger("library").warning("by %s", "the library")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["event"], first["bytesDone"], first["level"]) == ("progress", 3, "info")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("by the library", "warning")


def test_nothing_that_is_said_hides_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    uri = "postgresql://me:hunter2@db/"
    structlog.get_logger().info("a", one=[uri, {"two": (uri,)}], three={uri: 1}, error=OSError(uri))
    said = json.loads(capsys.readouterr().out)
    assert "hunter2" not in str(said)
    assert said["one"][1] == {"two": ["postgresql://***@db/"]}


def test_a_trace_shows_no_password_and_no_local_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("no-such-level")
    try:
        int("postgresql://me:hunter2@db/")
    except ValueError:
        structlog.get_logger().exception("failed")
    said = capsys.readouterr().out
    assert "Traceback" in said
    assert "hunter2" not in said
    assert said.count("\n") == 1
