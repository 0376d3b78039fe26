"""A location that hangs keeps its threads from nobody but those who asked there."""

import asyncio
import threading
from collections.abc import Iterator, Mapping

import pytest

from tests import objects
from weddingbackup.broker import keeping
from weddingbackup.broker.keeping import Keeping, Vaulted
from weddingbackup.broker.scope import RefusedError
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.common import Provider
from weddingbackup.resources.tasks import LocationAccess

LONDON = BackupLocation.model_validate(objects.location("london"))


class Closed:
    """Neither keeper nor wire: nothing is sent here."""

    address = "bucket"

    def close(self) -> None:
        pass


async def credentials(location: BackupLocation) -> tuple[LocationAccess, Mapping[str, str]]:
    return LocationAccess(
        name="london", provider=Provider.S3, bucket=location.metadata.uid, region="r"
    ), {}


def prefix(vaulted: Vaulted) -> str:
    return vaulted.prefix


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    buckets: list[str] = []

    def open_keeper(access: LocationAccess, _: object) -> Closed:
        buckets.append(access.bucket)
        return Closed()

    monkeypatch.setattr(keeping, "open_keeper", open_keeper)
    monkeypatch.setattr(keeping, "open_wire", lambda *_, **__: Closed())
    return buckets


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.usefixtures("opened")
async def test_one_vaults_hung_requests_leave_threads_for_others(hang: threading.Event) -> None:
    kept = Keeping(credentials)

    def stuck(_: Vaulted) -> bool:
        return hang.wait(60)

    for _ in range(keeping._THREADS + 1):
        with pytest.raises(RefusedError, match="did not answer"):
            await kept.run(LONDON, "mine", stuck, organisation="a", seconds=0.01)
    assert await kept.run(LONDON, "others", prefix, organisation="a", seconds=30) == "others/"
    assert (
        await kept.run(LONDON, "mine", prefix, organisation="a", seconds=30, signing=True)
        == "mine/"
    )
    hang.set()
    assert await kept.run(LONDON, "mine", prefix, organisation="a", seconds=30) == "mine/"
    kept.close()


@pytest.mark.usefixtures("opened")
async def test_one_organisations_vaults_leave_threads_for_others(hang: threading.Event) -> None:
    kept = Keeping(credentials)

    def stuck(_: Vaulted) -> bool:
        return hang.wait(60)

    for number in range(keeping._THREADS + 1):
        with pytest.raises(RefusedError, match="did not answer"):
            await kept.run(LONDON, f"mine-{number}", stuck, organisation="a", seconds=0.01)
    assert await kept.run(LONDON, "theirs", prefix, organisation="b", seconds=30) == "theirs/"
    hang.set()
    assert await kept.run(LONDON, "mine", prefix, organisation="a", seconds=30) == "mine/"
    kept.close()


async def test_a_location_made_anew_under_its_name_is_opened_anew(opened: list[str]) -> None:
    kept = Keeping(credentials)
    metadata = LONDON.metadata.model_copy(update={"uid": "another"})
    for location in (LONDON, LONDON, LONDON.model_copy(update={"metadata": metadata})):
        await asyncio.wait_for(kept.run(location, "v", prefix, organisation="a", seconds=30), 30)
    assert opened == [LONDON.metadata.uid, "another"]
    kept.close()
