"""What a worker's pod holds: the task, and the files that the controller has mounted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from weddingbackup.resources import tasks
from weddingbackup.worker.errors import RefusedError

ROOT_VARIABLE = "WEDDINGBACKUP_ROOT"
LOG_LEVEL_VARIABLE = "WEDDINGBACKUP_LOG_LEVEL"

_Task = TypeVar("_Task", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Environment:
    """One worker's surroundings.

    Attributes:
        task: JSON, as the controller wrote it; "" where there is none.
        root: what the pod's fixed paths are below; `/` save in tests.
        log_level: of the worker's own lines on standard output.
    """

    task: str
    root: Path = Path("/")
    log_level: str = "INFO"

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Environment":
        """The surroundings that environment variables describe."""
        return cls(
            task=variables.get(tasks.VARIABLE, ""),
            root=Path(variables.get(ROOT_VARIABLE, "/")),
            log_level=variables.get(LOG_LEVEL_VARIABLE, "INFO"),
        )

    @property
    def token_file(self) -> Path:
        """What the broker is shown; the kubelet renews it."""
        return self._path(tasks.TOKEN_FILE)

    @property
    def scratch(self) -> Path:
        """A directory that is gone when the pod is."""
        return self._path(tasks.SCRATCH)

    @property
    def termination_log(self) -> Path:
        """What the kubelet copies into the pod's status."""
        return self._path(tasks.TERMINATION_LOG)

    def location_directory(self, location: str) -> Path:
        """A location's credentials, one file a key."""
        return self._path(tasks.location_directory(location))

    def _path(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def parse(self, model: type[_Task]) -> _Task:
        """The task.

        Raises:
            RefusedError: there is none, or it is not one of this kind.
        """
        if not self.task:
            raise RefusedError(
                "BadTask",
                f"{tasks.VARIABLE} is not set: a worker is started by the operator, which puts the"
                " task there",
            )
        try:
            return model.model_validate_json(self.task)
        except ValidationError as error:
            # Without the values: whoever wrote the task knows them, and a log is read by many.
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_url=False)
            )
            raise RefusedError(
                "BadTask", f"{tasks.VARIABLE} is no {model.__name__}: {problems}"
            ) from None


def read_file(path: Path, *, what: str) -> str:
    """A mounted text file, without the white space around it.

    Args:
        path: where it is.
        what: what it is, in words, for the message.

    Raises:
        RefusedError: it is missing, unreadable, empty or no text.
    """
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise RefusedError(
            "FileMissing",
            f"{what} cannot be read from {path} ({reason}): check the Secret's key {path.name}",
        ) from None
    if not text:
        raise RefusedError("FileMissing", f"{what} is empty: check the Secret's key {path.name}")
    return text
