"""One worker's life: read the task, do it while telling how far it is, report, end with a code.

Built to crash: killed at any moment, it leaves nothing that the next attempt trips over. So being
told to stop is no more than writing the report and going, and needs nobody's cooperation.
"""

import os
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from threading import Lock, Thread
from typing import NoReturn

import structlog

from weddingbackup import log
from weddingbackup.resources.base import Model
from weddingbackup.resources.reports import (
    BackupReport,
    CheckReport,
    CollectReport,
    CopyReport,
    EraseReport,
    ErrorReport,
    ExitCode,
    ProgressLine,
    RestoreReport,
)
from weddingbackup.resources.tasks import (
    BackupTask,
    CheckTask,
    CollectTask,
    CopyTask,
    EraseTask,
    RestoreTask,
)
from weddingbackup.vault.errors import RestoreIncompleteError
from weddingbackup.vault.progress import Progress
from weddingbackup.worker import restore as restoring
from weddingbackup.worker.backup import backup
from weddingbackup.worker.check import check
from weddingbackup.worker.collect import collect
from weddingbackup.worker.copy import copy
from weddingbackup.worker.environment import Environment
from weddingbackup.worker.erase import erase
from weddingbackup.worker.errors import INTERRUPTED, ending
from weddingbackup.worker.reporter import ProgressLines, write_report

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Work(StrEnum):
    """What a worker can be told to do."""

    BACKUP = "backup"
    RESTORE = "restore"
    COPY = "copy"
    CHECK = "check"
    COLLECT = "collect"
    ERASE = "erase"


_REPORTS: Mapping[Work, Callable[..., Model]] = {
    Work.CHECK: CheckReport,
    Work.COLLECT: CollectReport,
    Work.ERASE: EraseReport,
}


def run(work: Work, variables: Mapping[str, str]) -> ExitCode:
    """Do what the task in these environment variables says, and report.

    Returns:
        what the process is to end with.
    """
    environment = Environment.read(variables)
    log.configure(environment.log_level)
    attempt = _Attempt(work, environment)
    attempt.watch_signals()
    try:
        report = attempt.perform()
    except Exception as error:  # noqa: BLE001  whatever ends an attempt is reported
        end = ending(error)
        structlog.get_logger().error(
            "failed", code=end.code, message=end.message, exc_info=not end.expected
        )
        return attempt.finish(attempt.failure(end.report, error), end.exit_code)
    return attempt.finish(report, ExitCode.DONE)


class _Attempt:
    """One try at one task."""

    def __init__(self, work: Work, environment: Environment) -> None:
        self._work = work
        self._environment = environment
        self._begun = datetime.now(UTC)
        self._progress = Progress()
        # What the task is about, for a report of failure; known once the task is read.
        self._about = ""
        self._ending = Lock()

    def watch_signals(self) -> None:
        """From now on end at once when told to stop.

        A thread of its own waits for the signal: the others may be in the middle of anything, and
        they inherit that the signal is blocked for them.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        Thread(target=self._stop, name="signals", daemon=True).start()

    def perform(self) -> Model:
        """Read the task and do it."""
        environment, progress = self._environment, self._progress
        with ProgressLines(self._line):
            match self._work:
                case Work.BACKUP:
                    return backup(environment.parse(BackupTask), environment, progress)
                case Work.RESTORE:
                    restore_task = environment.parse(RestoreTask)
                    self._about = restore_task.source
                    return restoring.restore(restore_task, environment, progress)
                case Work.COPY:
                    copy_task = environment.parse(CopyTask)
                    self._about = copy_task.target
                    return copy(copy_task, environment, progress)
                case Work.CHECK:
                    return check(environment.parse(CheckTask), environment, progress)
                case Work.COLLECT:
                    return collect(environment.parse(CollectTask), environment)
                case Work.ERASE:
                    return erase(environment.parse(EraseTask), environment)

    def failure(self, error: ErrorReport, cause: Exception | None = None) -> Model:
        """The report of an attempt that failed, with what is known of it."""
        match self._work:
            case Work.BACKUP:
                return BackupReport(
                    started_at=self._begun, finished_at=datetime.now(UTC), error=error
                )
            case Work.RESTORE:
                if isinstance(cause, RestoreIncompleteError):
                    return restoring.report(self._about, cause.result, error=error)
                return RestoreReport(source=self._about, error=error)
            case Work.COPY:
                return CopyReport(target=self._about, error=error)
            case Work.CHECK | Work.COLLECT | Work.ERASE:
                return _REPORTS[self._work](error=error)

    def finish(self, report: Model, code: ExitCode) -> ExitCode:
        """Report. Whoever comes first ends the attempt: the lock is never given back."""
        self._ending.acquire()
        structlog.get_logger().info("report", report=report.dump())
        write_report(report, self._environment.termination_log)
        return code

    def _stop(self) -> NoReturn:
        signal.sigwait(_STOP_SIGNALS)
        os._exit(self.finish(self.failure(INTERRUPTED.report), INTERRUPTED.exit_code))

    def _line(self) -> ProgressLine:
        progress = self._progress
        return ProgressLine(
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            files=progress.files,
            locations=progress.locations,
        )
