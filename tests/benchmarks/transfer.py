"""The processes of the broker's benchmark: the broker itself, and whoever puts and gets objects.

`python -m tests.benchmarks.transfer PARTY put|get PLAN` moves the objects of a plan by four threads
and prints how many seconds that took, from the first word to the service to the last byte. What a
process imports before, and the objects' content with its digests, is not in that time: an engine
has both at hand. `serve` runs the broker until its standard input ends.
"""

import contextlib
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from google.oauth2 import service_account

from tests.servers.broker import Broker, Jobs, registered, token_for
from tests.servers.locations import PLACES, Location
from tests.servers.s3 import S3
from tests.servers.toxiproxy import Proxy
from weddingbackup import log
from weddingbackup.broker.scope import Purpose, Scope
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.tasks import BrokerAccess, LocationAccess, ObjectRef, VaultRef
from weddingbackup.stores import gcs
from weddingbackup.stores.wirestore import WireStore
from weddingbackup.vault.kit import Kit
from weddingbackup.worker.brokered import BrokerGrants, Signer, _wire
from weddingbackup.worker.client import Client

COUNT, SIZE, THREADS = 40, 16 << 20, 4
PARTIES = ("ours", "sdk", "sdk-tuned")

Each = Callable[[Callable[[int], object]], None]


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects' bytes: windows on one stretch of random bytes, so all differ."""

    data: memoryview
    digests: list[bytes]

    @classmethod
    def make(cls) -> "Objects":
        data = memoryview(random.Random(1).randbytes(SIZE + COUNT))
        return cls(data, [hashlib.sha256(data[n : n + SIZE]).digest() for n in range(COUNT)])

    def __getitem__(self, number: int) -> memoryview:
        return self.data[number : number + SIZE]

    def name(self, number: int) -> str:
        return f"packs/{self.digests[number].hex()}"


def location(access: LocationAccess, credentials: Mapping[str, str]) -> Location:
    """A location by itself, without proxy."""
    [place, *_] = [place for place in PLACES if place.provider is access.provider]
    server = S3(access.endpoint or "", access.region, "", "", Path())
    return Location(place, access, credentials, Proxy("", access.name, "", 0), server)


def serve(plan: dict[str, Any]) -> None:
    """Run the broker for one job that may use all of the plan's locations; its log goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):  # nobody reads stdout behind its first line
        log.configure()
    places = [
        location(LocationAccess.model_validate(one["access"]), one["credentials"])
        for one in plan["locations"]
    ]
    gcs._SIGN_BLOB = plan["sign_blob"]
    # It would ask Google where the data may rest.
    kind = service_account.Credentials
    setattr(kind, "_is_regional_access_boundary_lookup_required", lambda _: False)  # noqa: B010
    jobs = Jobs({place.name: place for place in places})
    kit = Kit.found()
    jobs.scopes[token_for("bench")] = Scope(
        purpose=Purpose.BACKUP,
        namespace="bench",
        labels={},
        pod="bench",
        pod_uid="bench",
        owner=ObjectRef(namespace="bench", name="bench", uid="bench"),
        job_uid="bench",
        policy="bench",
        vault=VaultRef(id=kit.vault_id, prefix=kit.prefix),
        kit=kit,
        classes=frozenset({DataClass.PORTFOLIO}),
        planned=frozenset(place.name for place in places),
        locations={place.name: registered(place) for place in places},
        quorum=1,
        sources={"portfolio": DataClass.PORTFOLIO},
    )
    broker = Broker(jobs, Path(plan["directory"]))
    broker.start()
    print(json.dumps({"prefix": kit.prefix, "access": broker.access.model_dump()}), flush=True)
    sys.stdin.read()
    broker.stop()


def client(plan: dict[str, Any]) -> Client:
    """A worker's line to the plan's broker."""
    return Client(BrokerAccess.model_validate(plan["broker"]), Path(plan["token_file"]))


def ours(plan: dict[str, Any], objects: Objects, step: str, each: Each) -> None:
    """As a worker does it: signed by the broker, carried out by the wire."""
    line = client(plan)
    [place] = [one for one in line.open().locations if one.name == plan["bulk"]]
    with tempfile.TemporaryDirectory() as directory:
        wire = _wire(place, Path(directory))
    store = WireStore(BrokerGrants(Signer(line), line, place), wire)

    def put(number: int) -> None:
        store.put(objects.name(number), objects[number], sha256=objects.digests[number])

    def get(number: int) -> None:
        assert len(store.get(objects.name(number))) == SIZE

    each(put if step == "put" else get)


def sdk(plan: dict[str, Any], objects: Objects, step: str, each: Each, *, tuned: bool) -> None:
    """As a user of boto3 does it, with the credentials."""
    [found] = [one for one in plan["locations"] if one["access"]["name"] == plan["bulk"]]
    access, credentials = LocationAccess.model_validate(found["access"]), found["credentials"]
    options: dict[str, Any] = {}
    s3: Any = {"addressing_style": "path"}
    if tuned:
        options["request_checksum_calculation"] = "when_required"
        options["response_checksum_validation"] = "when_required"
        s3["payload_signing_enabled"] = False
    service = boto3.session.Session().client(
        "s3",
        endpoint_url=access.endpoint,
        region_name=access.region,
        aws_access_key_id=credentials["accessKeyId"],
        aws_secret_access_key=credentials["secretAccessKey"],
        config=Config(s3=s3, max_pool_connections=THREADS, **options),
    )
    prefix = f"{plan['prefix']}/"

    def put(number: int) -> None:
        body = bytes(objects[number])
        service.put_object(Bucket=access.bucket, Key=prefix + objects.name(number), Body=body)

    def get(number: int) -> None:
        found = service.get_object(Bucket=access.bucket, Key=prefix + objects.name(number))
        assert len(found["Body"].read()) == SIZE

    each(put if step == "put" else get)


def main(arguments: list[str]) -> int:
    plan = json.loads(Path(arguments[-1]).read_text())
    if arguments[0] == "serve":
        serve(plan)
        return 0
    party, step = arguments[:2]
    objects = Objects.make()

    def each(work: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(work, range(COUNT)))

    start = time.perf_counter()
    if party == "ours":
        ours(plan, objects, step, each)
    else:
        sdk(plan, objects, step, each, tuned=party == "sdk-tuned")
    print(time.perf_counter() - start)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
