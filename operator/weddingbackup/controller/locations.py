"""BackupLocation: probed again and again, its status written only when a probe says something new."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from weddingbackup.controller import access
from weddingbackup.controller.bulkheads import HungError
from weddingbackup.controller.context import Context
from weddingbackup.kube.client import LOCATIONS, Object
from weddingbackup.kube.credentials import CredentialsError
from weddingbackup.resources.backup_location import AccessMode, BackupLocation, Capabilities
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.rules.locations import RECHECK, Fault, Finding, judge
from weddingbackup.stores import open_keeper, open_wire
from weddingbackup.stores.api import Probe
from weddingbackup.stores.errors import (
    DeniedError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.stores.probe import probe


@dataclass(slots=True)
class Watch:
    """What the operator remembers of one location between two probes."""

    generation: int = 0
    due: datetime | None = None
    failures: int = 0

    def is_due(self, generation: int, now: datetime) -> bool:
        """Whether a probe is: it is time to, or the spec was edited since the last one."""
        return self.generation != generation or self.due is None or now >= self.due


async def reconcile(context: Context, body: Object, watch: Watch) -> bool:
    """Probe a location that is due, and write what came of it; True where its phase changed."""
    location = BackupLocation.model_validate(body)
    if location.metadata.deletion_timestamp is not None:
        return False
    now = context.now()
    finding = await _find_out(context, location, watch)
    watch.generation = location.metadata.generation
    watch.failures = finding.failures
    again = location.spec.probe.interval
    if finding.failures == 1:
        again = min(again, RECHECK)
    watch.due = now + again - timedelta(seconds=1)
    fresh = await context.cluster.get(LOCATIONS, location.metadata.name)
    if fresh is None:
        return False
    location = BackupLocation.model_validate(fresh)
    status = judge(location, finding, now=context.now())
    await context.publish(LOCATIONS, fresh, status)
    return status.phase is not location.status.phase


async def _find_out(context: Context, location: BackupLocation, watch: Watch) -> Finding:
    seconds = location.spec.probe.timeout.total_seconds()
    failures = watch.failures + 1
    try:
        reach, credentials = await access.for_operator(context, location)
        answer, readable = await context.bulkheads.run(
            f"probe/{location.metadata.name}",
            lambda: _probe(reach, credentials, location.spec.access_mode),
            seconds=seconds,
        )
    except CredentialsError as error:
        return Finding(Fault.MISCONFIGURED, message=str(error), failures=failures)
    except HungError as error:
        message = f"The location did not answer: {error}."
        return Finding(Fault.UNREACHABLE, message=message, failures=failures)
    except Exception as error:  # noqa: BLE001  whatever an SDK throws is a finding about this location
        return Finding(Fault.OTHER, message=f"The probe failed: {error}", failures=failures)
    return _finding(answer, readable=readable, failures=failures)


def _probe(
    reach: LocationAccess, credentials: Mapping[str, str], mode: AccessMode
) -> tuple[Probe, bool]:
    """What a probe finds, and whether the location can be listed: one may be denied without the other."""
    try:
        keeper = open_keeper(reach, credentials)
    except StoreError as error:
        failed = Probe(
            reachable=False,
            writable=False,
            latency_seconds=None,
            capabilities=None,
            message=str(error),
            error=error,
        )
        return failed, False
    wire = open_wire(reach, keeper.address, connections=1)
    try:
        answer = probe(keeper, wire, write=mode is AccessMode.READ_WRITE)
        if answer.error is None or isinstance(answer.error, TransientError):
            return answer, answer.error is None
        return answer, probe(keeper, wire, write=False).error is None
    finally:
        wire.close()
        keeper.close()


_FAULTS: Mapping[type[StoreError], Fault] = {
    TransientError: Fault.UNREACHABLE,
    DeniedError: Fault.DENIED,
    MissingError: Fault.MISSING,
    UnsupportedError: Fault.MISCONFIGURED,
}


def _finding(answer: Probe, *, readable: bool, failures: int) -> Finding:
    fault = Fault.NONE
    if answer.error is not None:
        fault = next(
            (each for kind, each in _FAULTS.items() if isinstance(answer.error, kind)), Fault.OTHER
        )
    elif answer.capabilities is not None and not answer.capabilities.create_only:
        fault = Fault.OVERWRITES
    found = answer.capabilities
    return Finding(
        fault=fault,
        reachable=answer.reachable,
        readable=readable,
        writable=answer.writable,
        latency_milliseconds=(
            None if answer.latency_seconds is None else round(answer.latency_seconds * 1000)
        ),
        capabilities=None if found is None else Capabilities.model_validate(asdict(found)),
        message=answer.message,
        failures=0 if fault is Fault.NONE else failures,
    )
