"""Two weddings: backed up to five clouds, lost, and brought back with one cloud gone and one damaged.

Two organisations protect theirs at once, each from its own namespace: a planner the rows of a database
that all vendors share, a photographer hers in the same database, and her photographs.

Every step speaks to real parts as a platform engineer would: kubectl, helm, YAML. The comparison at the end
is made outside the product: hashes of every file and every row, taken before the loss.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import down as cluster_down
from tests.cluster import image, up
from tests.demo import objects, photographs, platform, services
from tests.demo.narrator import DemoError, Narrator
from tests.demo.places import (
    CLAIM,
    CLUSTER,
    DAMAGED,
    DATABASE,
    DATABASE_SECRET,
    HOME_NAMESPACE,
    ORGANISATIONS,
    PHOTOGRAPHER,
    RELEASE,
    TAKEN_AWAY,
    Organisation,
    home,
)
from tests.demo.volume import Volume
from tests.tools import binary

if TYPE_CHECKING:
    from tests.cluster import Cluster

CHART = Path(__file__).parents[2] / "charts" / "wedding-backup-operator"
WEDDINGS = {which: platform.wedding_id(which.wedding) for which in ORGANISATIONS}
MIB = 1024 * 1024
ROWS = (
    'jsonpath={range .status.locations[*]}{.name}{"\\t"}{.phase}{"\\t"}{.bytes}{" bytes\\t"}'
    '{.durationSeconds}{" s\\n"}{end}'
)


@dataclass(frozen=True)
class Evidence:
    """What there was before the loss: a hash for every file, and for every table's rows."""

    files: dict[str, str]
    rows: dict[str, str]
    others: dict[str, str]


class Demo:
    """The story, step by step."""

    def __init__(self, narrator: Narrator) -> None:
        self._tell = narrator
        self._run = time.strftime("%H%M%S", time.gmtime())

    def up(self) -> None:
        """Tell the whole story; `DemoError` where a promise was not kept."""
        started = time.monotonic()
        home().mkdir(parents=True, exist_ok=True)
        with self._tell.step("A Kubernetes cluster, the operator's image, five clouds, a database"):
            self._cluster = up(CLUSTER)
            self._cluster.load_image(image.build())
            self._services = services.start(self._cluster.host_address)
            self._services.bring_back_all()
        self._tell.say(f"export KUBECONFIG={self._cluster.kubeconfig}   # to look around meanwhile")
        with self._tell.step("Installing the operator with Helm"):
            install(self._cluster)
        before = self._prepare()
        self._back_up()
        self._lose()
        recovered = self._recover()
        self._compare(before)
        self._show(recovered)
        self._tell.say(
            f"All of it came back. The whole demo took {time.monotonic() - started:.0f} s."
        )

    def _prepare(self) -> Evidence:
        pictures = photographs.photographs()
        megabytes = photographs.size(pictures) / MIB
        with self._tell.step(
            "A planner's namespace and a photographer's, where only vendors' things are"
        ):
            self._apply(*(objects.organisation(each) for each in ORGANISATIONS))
        volume = self._volume()
        with self._tell.step(f"Photographs ({megabytes:.0f} MiB) into the volume"):
            volume.create("1Gi")
            volume.fill(pictures, home())
        documents: list[dict[str, Any]] = [
            objects.secret(DATABASE_SECRET, {"uri": self._services.database}),
        ]
        for cloud in self._services.clouds:
            documents += objects.location(cloud)
        documents.append(objects.shared_database())
        with self._tell.step(
            "Registering five locations: three S3 (one of them R2), GCS, Azure Blob; and the database"
        ):
            self._apply(*documents)
            self._wait("bl", "--all", "--for=condition=Ready", seconds=90)
            self._wait(f"bdb/{DATABASE}", "--for=condition=Ready", seconds=90)
        self._tell.show(self._kubectl("get", "bl,bdb"))
        evidence = Evidence(
            volume.hashes(),
            platform.checksum(self._services.database, *WEDDINGS.values()),
            platform.checksum_others(self._services.database, *WEDDINGS.values()),
        )
        if not evidence.files or any(rows.startswith("0 ") for rows in evidence.rows.values()):
            raise DemoError("there is nothing to lose: photographs or rows are missing")
        self._tell.say(
            f"Before the loss: {len(evidence.files)} photographs, and of weddings {' and '.join(WEDDINGS.values())}: "
            + ", ".join(f"{table} {value.split()[0]}" for table, value in evidence.rows.items())
        )
        return evidence

    def _back_up(self) -> None:
        for which, wedding in WEDDINGS.items():
            sources = [objects.rows(wedding)]
            if which is PHOTOGRAPHER:
                sources.append(objects.photographs())
            policy = wedding.lower()
            names = " and ".join(source["name"] for source in sources)
            with self._tell.step(f"{which.namespace}: policy {policy} for {names}"):
                self._apply(objects.policy(which, wedding, sources, self._run))
                self._wait(f"wbp/{policy}", "--for=condition=Ready", seconds=60, where=which)
        jobs = {which: self._ordered(which) for which in ORGANISATIONS}
        for which, name in jobs.items():
            with self._tell.step(
                f"{which.namespace}: BackupJob {name}, until all five locations hold every byte"
            ):
                self._follow(which, "bj", name, {"Complete", "Replicated"})
            self._tell.show(self._kubectl("-n", which.namespace, "get", "bj"))
            self._tell.show(self._kubectl("-n", which.namespace, "get", "bj", name, "-o", ROWS))

    def _ordered(self, which: Organisation) -> str:
        """Name the BackupJob that this run's trigger made, once there is one."""

        def look() -> str | None:
            here = ("-n", which.namespace, "get", "-o", "json")
            jobs = json.loads(self._kubectl(*here, "bj"))["items"]
            newest = max(
                jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None
            )
            policy = json.loads(self._kubectl(*here, "wbp", WEDDINGS[which].lower()))
            if newest is None or policy["status"].get("lastManualTrigger") != self._run:
                return None
            return str(newest["metadata"]["name"])

        return self._tell.until(look, f"{which.namespace}'s policy to order a backup", 60)

    def _lose(self) -> None:
        self._services.take_away(TAKEN_AWAY)
        self._tell.say(f"{TAKEN_AWAY} is gone: every connection is refused")
        packs = self._services.damage(DAMAGED)
        self._tell.say(f"{DAMAGED} is damaged: bytes overwritten in {packs} packs")
        with self._tell.step("The photographs and both weddings' rows are deleted"):
            for wedding in WEDDINGS.values():
                platform.delete_wedding(self._services.database, wedding)
            self._volume().empty()
        if self._volume().hashes():
            raise DemoError("the volume should be empty now, and is not")

    def _recover(self) -> dict[Organisation, dict[str, Any]]:
        name = f"bring-it-back-{self._run}"
        self._apply(
            *(objects.recovery(which, name, wedding.lower()) for which, wedding in WEDDINGS.items())
        )
        recovered: dict[Organisation, dict[str, Any]] = {}
        for which in ORGANISATIONS:
            with self._tell.step(f"{which.namespace}: RecoveryRequest {name}, urgency Emergency"):
                recovered[which] = self._follow(which, "rr", name, {"Complete"})["status"]
        return recovered

    def _compare(self, before: Evidence) -> None:
        with self._tell.step("Comparing every file and every row with what there was"):
            files = self._volume().hashes()
            rows = platform.checksum(self._services.database, *WEDDINGS.values())
            others = platform.checksum_others(self._services.database, *WEDDINGS.values())
        for what, now, then in (
            ("photographs", files, before.files),
            ("rows of the weddings", rows, before.rows),
            ("rows of other weddings", others, before.others),
        ):
            different = sorted(
                key for key in now.keys() | then.keys() if now.get(key) != then.get(key)
            )
            if different:
                raise DemoError(f"{what} differ: {', '.join(different[:10])}")
        self._tell.say(
            f"Identical: {len(files)} photographs by SHA-256, {len(rows)} tables' rows, "
            f"and no row of any other wedding changed"
        )

    def _show(self, recovered: dict[Organisation, dict[str, Any]]) -> None:
        self._tell.show(self._kubectl("get", "bl"))
        for which, status in recovered.items():
            self._tell.show(self._kubectl("-n", which.namespace, "get", "wbp,bj,rr"))
            for source in status["sources"]:
                count = (
                    f"{source['rows']} rows" if source.get("rows") else f"{source['files']} files"
                )
                self._tell.say(
                    f"{which.namespace} recovered {source['name']} ({source['dataClass']}): {count}, "
                    f"{source['bytes'] / MIB:.1f} MiB in {source['durationSeconds']:.1f} s"
                )
                for warning in source.get("warnings", []):
                    self._tell.say(f"  on the way: {warning}")
            read = ", ".join(
                f"{row['name']} {row['bytes'] / MIB:.1f} MiB" for row in status["locations"]
            )
            self._tell.say(
                f"Back to {status['recoveredTo']} in {status['elapsedSeconds']:.1f} s "
                f"(objective {status['objectiveSeconds']} s), read from {read}"
            )

    # --- kubectl -----------------------------------------------------------------------------------

    def _volume(self) -> Volume:
        return Volume(self._cluster, PHOTOGRAPHER.namespace, CLAIM, image.NAME)

    def _kubectl(self, *arguments: str) -> str:
        return self._cluster.kubectl(*arguments)

    def _apply(self, *documents: dict[str, Any]) -> None:
        bundle = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps(bundle))

    def _wait(self, *arguments: str, seconds: int, where: Organisation | None = None) -> None:
        place = ["-n", where.namespace] if where else []
        self._kubectl(*place, "wait", *arguments, f"--timeout={seconds}s")

    def _follow(
        self, which: Organisation, kind: str, name: str, wanted: set[str]
    ) -> dict[str, Any]:
        """Show an object's progress until all these conditions hold; gives the object."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = json.loads(
                self._kubectl("-n", which.namespace, "get", kind, name, "-o", "json")
            )
            status = found.get("status", {})
            true = {
                each["type"] for each in status.get("conditions", []) if each["status"] == "True"
            }
            if true & {"Stalled", "Failed"}:
                raise DemoError(f"{kind}/{name} is {status.get('phase')}: {status.get('message')}")
            self._tell.progress(progress_of(status))
            return found if wanted <= true else None

        return self._tell.until(look, f"{kind}/{name} to be {' and '.join(sorted(wanted))}", 600)


def progress_of(status: dict[str, Any]) -> str:
    """One line that says how far a job or a request is."""
    rows = [
        f"{row['name']} {row.get('phase', '')} {row.get('bytes', 0) / MIB:.0f} MiB".replace(
            "  ", " "
        )
        for row in status.get("locations", [])
    ]
    percent = status.get("progress", {}).get("percent")
    head = status.get("phase", "Pending") + (f" {percent} %" if percent is not None else "")
    sources = [
        f"{row['name']} {row['phase']}" for row in status.get("sources", []) if "phase" in row
    ]
    return " · ".join([head, *sources, *rows])


def install(cluster: Cluster) -> None:
    """Install or upgrade the chart, and wait for the operator to be ready."""
    cluster.kubectl("apply", "-f", "-", input=json.dumps(objects.namespace(HOME_NAMESPACE)))
    repository, _, tag = image.NAME.rpartition(":")
    _helm(
        cluster, "upgrade", "--install", RELEASE, str(CHART), "--namespace", HOME_NAMESPACE,
        "--set", f"image.repository={repository},image.tag={tag},image.pullPolicy=IfNotPresent",
        "--set-string", f"podAnnotations.demo/started={time.time_ns()}",
        "--wait", "--timeout", "180s",
    )  # fmt: skip


def down() -> None:
    """Remove all that the demo left running; a cluster that was given to us keeps its other things."""
    cluster = up(CLUSTER) if os.environ.get("KUBECONFIG") else None
    if cluster:
        _helm(cluster, "uninstall", RELEASE, "--namespace", HOME_NAMESPACE, "--wait", check=False)
        namespaces = [HOME_NAMESPACE, *(each.namespace for each in ORGANISATIONS)]
        cluster.kubectl("delete", "namespace", *namespaces, "--ignore-not-found")
    cluster_down(CLUSTER)
    services.stop()
    shutil.rmtree(home(), ignore_errors=True)


def _helm(cluster: Cluster, *arguments: str, check: bool = True) -> None:
    done = subprocess.run(
        [binary("helm"), "--kubeconfig", cluster.kubeconfig, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise DemoError(f"helm {arguments[0]} failed: {done.stderr.strip()}")
