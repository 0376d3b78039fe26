"""`python -m tests.benchmarks.broker [--short]`: what it costs that a worker has everything signed.

Forty objects of 16 MiB by four threads to and from one S3 server on this machine, as a worker does
it through the broker, and as a user of boto3 does it with the credentials: as it comes, and tuned
(`when_required` checksums, unsigned payload). The parties take turns, after a warm-up five rounds;
every round of puts goes to names that are free. Then signatures alone, in batches as large as the
broker takes, a provider and way of signing at a time; Google's signBlob answers after 50 ms.

Server, broker and client share this machine's processors. Worker and broker speak TLS, worker and
S3 server do not. Prints a table; writes `tests/benchmarks/out/broker.json`, with `--short`
`broker-short.json`. A ratio is the SDK's median over ours: above 1, we need less.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.benchmarks import measure, report, transfer
from tests.benchmarks.measure import Run, Spread
from tests.benchmarks.report import say
from tests.servers.broker import token_for
from tests.servers.gcs import ACCOUNT, HMAC, private_pem
from tests.servers.identity import iam
from tests.servers.s3 import s3
from weddingbackup.resources import broker as messages
from weddingbackup.resources.common import Provider

_BUCKET = "weddings"
_NOWHERE = "http://127.0.0.1:9"
_GIB = transfer.COUNT * transfer.SIZE / 2**30
_TICKS = os.sysconf("SC_CLK_TCK")

Moves = dict[str, dict[str, list[tuple[float, Run]]]]  # step → party → (seconds, whole process)


class _Broker:
    """The broker's process: its plan, and the processor time that it has had."""

    def __init__(self, plan: dict[str, Any], pid: int) -> None:
        self.plan, self._pid = plan, pid

    @property
    def cpu(self) -> float:
        """Seconds, user and system."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def running(work: Path, locations: list[dict[str, Any]], sign_blob: str) -> Iterator[_Broker]:
    """Run the broker as a process of its own while the block runs."""
    plan = {
        "locations": locations,
        "bulk": "bulk",
        "sign_blob": sign_blob,
        "directory": str(work / "broker"),
        "token_file": str(work / "token"),
    }
    (work / "token").write_text(token_for("bench"))
    (work / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "tests.benchmarks.transfer", "serve", str(work / "plan.json")]
    with (
        (work / "broker.log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            said = (work / "broker.log").read_text()[-2000:]
            raise measure.RunError(f"the broker did not start:\n{said}")
        told = json.loads(line)
        plan |= {"broker": told["access"], "prefix": told["prefix"]}
        (work / "plan.json").write_text(json.dumps(plan))
        try:
            yield _Broker(plan, process.pid)
        finally:
            process.stdin.close()


def move(broker: _Broker, work: Path, bucket: Path, rounds: int) -> tuple[Moves, list[float]]:
    """All rounds, the first to warm up; with the broker's seconds a GiB, put and got."""
    moves: Moves = {step: {party: [] for party in transfer.PARTIES} for step in ("put", "get")}
    costs = []
    for number, turn in enumerate(measure.turns(list(transfer.PARTIES), rounds + 1)):
        for party in turn:
            before = broker.cpu
            for step in moves:
                seconds, run = _once(party, step, work)
                say(f"  {number or 'warm-up'} {party} {step}: {_GIB * 1024 / seconds:.0f} MiB/s")
                if number:
                    moves[step][party].append((seconds, run))
            if party == "ours" and number:
                costs.append((broker.cpu - before) / (2 * _GIB))
            for file in (bucket / broker.plan["prefix"] / "packs").iterdir():
                file.unlink()
    return moves, costs


def _once(party: str, step: str, work: Path) -> tuple[float, Run]:
    log = work / "run.log"
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.transfer",
        party,
        step,
        str(work / "plan.json"),
    ]
    run = measure.run(command, {}, log)
    return float(log.read_text()), run


def sign(broker: _Broker, seconds: float) -> dict[str, dict[str, float]]:
    """Signatures a second, by wall clock and by the broker's processor time."""
    client = transfer.client(broker.plan)
    found: dict[str, dict[str, float]] = {}
    for name in (one.name for one in client.open().locations):
        puts = [
            messages.Put(
                location=name, name=f"packs/{n:064x}", size=1, sha256=f"{n:064x}", md5="0" * 32
            )
            for n in range(messages.MOST_SIGNATURES)
        ]
        request = messages.SignRequest(puts=puts)
        answer = client.sign(request)
        assert all(one.signed for one in answer.puts), answer.puts[0].refusal
        count, cpu, start = 0, broker.cpu, time.perf_counter()
        while time.perf_counter() - start < seconds:
            count += len(client.sign(request).puts)
        wall = time.perf_counter() - start
        found[name] = {
            "per_second": round(count / wall),
            "per_broker_cpu_second": round(count / max(broker.cpu - cpu, 1 / _TICKS)),
        }
        say(f"  {name}: {found[name]['per_second']} signatures/s")
    return found


def locations(endpoint: str, region: str, credentials: dict[str, str]) -> list[dict[str, Any]]:
    """The bucket that is written to, and one a way of signing, of which only signatures are asked."""
    file = {"serviceAccount.json": json.dumps(account(_NOWHERE))}
    azure = {"accountName": "weddings", "accountKey": "a2V5IGZvciBhIGJlbmNobWFyaw=="}

    def one(name: str, provider: Provider, endpoint: str, given: dict[str, str]) -> dict[str, Any]:
        access = {"name": name, "provider": provider, "bucket": _BUCKET, "endpoint": endpoint}
        return {"access": {**access, "region": region}, "credentials": given}

    return [
        one("bulk", Provider.S3, endpoint, credentials),
        one("gcs-key-file", Provider.GCS, _NOWHERE, file),
        one("gcs-hmac", Provider.GCS, _NOWHERE, {**file, **HMAC}),
        one("gcs-sign-blob", Provider.GCS, _NOWHERE, {"serviceAccountEmail": ACCOUNT}),
        one("azure-key", Provider.AZURE, f"{_NOWHERE}/weddings", azure),
    ]


def account(login: str) -> dict[str, str]:
    """A service account's key file; `login` gives it its tokens."""
    return {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key": private_pem(rsa.generate_private_key(65537, 2048)),
        "token_uri": f"{login}/token",
    }


def figures(
    moves: Moves, costs: list[float], signatures: dict[str, dict[str, float]]
) -> dict[str, object]:
    """What is written to the file: the ratios, and what they come from."""

    def ratio(step: str, party: str) -> float:
        theirs, own = (Spread.of([s for s, _ in moves[step][p]]).median for p in (party, "ours"))
        return round(theirs / own, 3)

    return {
        "put_ratio": ratio("put", "sdk"),
        "get_ratio": ratio("get", "sdk"),
        "put_ratio_tuned": ratio("put", "sdk-tuned"),
        "get_ratio_tuned": ratio("get", "sdk-tuned"),
        "broker_cpu_seconds_per_gib": round(Spread.of(costs).median, 4),
        "signatures_per_second": signatures,
        "versions": {
            name: version(name)
            for name in ("wedding-backup-operator", "boto3", "urllib3", "uvicorn")
        },
        "machine": report.machine(),
        "measured": report.now(),
        "runs": {
            step: {
                party: {
                    "mib_per_second": _rounded([_GIB * 1024 / seconds for seconds, _ in runs]),
                    "client_cpu_seconds": _rounded([run.user + run.system for _, run in runs]),
                    "peak_memory_mib": _rounded([run.memory for _, run in runs]),
                }
                for party, runs in by_party.items()
            }
            for step, by_party in moves.items()
        },
    }


def _rounded(values: Sequence[float]) -> dict[str, float]:
    return {key: round(value, 2) for key, value in asdict(Spread.of(values)).items()}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.broker")
    parser.add_argument("--short", action="store_true", help="one round")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="needs 1 GiB")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="weddingbackup-bench-", dir=options.work) as directory:
        work = Path(directory)
        with s3(work) as server, _google(work) as google:
            server.create_bucket(_BUCKET)
            places = locations(server.endpoint, server.region, server.credentials)
            with running(work, places, google) as broker:
                rounds, seconds = (1, 0.5) if options.short else (5, 3.0)
                moves, costs = move(broker, work, server.buckets / _BUCKET, rounds)
                signatures = sign(broker, seconds)
    found = figures(moves, costs, signatures)
    report.write(report.out("broker", short=options.short), found)
    return 0


@contextmanager
def _google(work: Path) -> Iterator[str]:
    """Google's signBlob, 50 ms away, and a broker's Application Default Credentials for it."""
    key = private_pem(rsa.generate_private_key(65537, 2048))
    file = work / "application-default.json"
    with iam(ACCOUNT, key, "a token") as service:
        service.latency_seconds = 0.05
        file.write_text(json.dumps(account(service.url.partition("/v1")[0])))
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(file)
        yield service.url


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
