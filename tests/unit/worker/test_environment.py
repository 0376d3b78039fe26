from pathlib import Path

import pytest

from weddingbackup.resources import tasks
from weddingbackup.resources.tasks import EraseTask, VaultRef
from weddingbackup.worker.environment import Environment, read_file
from weddingbackup.worker.errors import RefusedError

TASK = EraseTask(vault=VaultRef(id="0" * 32, prefix="p"), locations=[])


def test_the_pods_paths_are_those_that_the_controller_mounts() -> None:
    environment = Environment.read({})
    assert str(environment.token_file) == tasks.TOKEN_FILE
    assert str(environment.scratch) == tasks.SCRATCH
    assert str(environment.termination_log) == tasks.TERMINATION_LOG
    assert str(environment.location_directory("london")) == tasks.location_directory("london")


def test_a_task_is_read_as_it_was_written() -> None:
    assert Environment.read({tasks.VARIABLE: TASK.to_json()}).parse(EraseTask) == TASK


@pytest.mark.parametrize("task", ["", "{", "null", '{"vault": "hunter2"}'])
def test_no_task_is_refused_without_quoting_it(task: str) -> None:
    with pytest.raises(RefusedError, match="WEDDINGBACKUP_TASK") as caught:
        Environment(task=task).parse(EraseTask)
    assert caught.value.code == "BadTask"
    assert "hunter2" not in str(caught.value)


def test_a_mounted_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "uri").write_text("postgresql://db/\n")
    assert read_file(tmp_path / "uri", what="it") == "postgresql://db/"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_mounted_file_that_is_no_text_is_refused_with_its_key(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "uri").write_bytes(content)
    with pytest.raises(RefusedError, match=r"connection string .* key uri"):
        read_file(tmp_path / "uri", what="the connection string")
