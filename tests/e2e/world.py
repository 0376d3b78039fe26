"""One organisation's namespace with all that a wedding's protection needs; ways to look at it and to break it."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests import objects
from tests.cluster import Cluster
from tests.home import Home
from tests.servers.locations import Location
from weddingbackup.kube.client import OUR_KINDS
from weddingbackup.resources import names

Object = dict[str, Any]

IMAGE = "wedding-backup-operator:dev"
PHOTOGRAPHER = 65532
"""Who writes photographs; workers run as the same user."""


@dataclass(frozen=True)
class World:
    """One organisation's namespace in a test.

    Attributes:
        home: where operator and broker are.
        mark: a label that only this test's locations carry.
    """

    home: Home
    namespace: str
    locations: Mapping[str, Location]
    mark: str

    @property
    def cluster(self) -> Cluster:
        return self.home.cluster

    def elsewhere(self, namespace: str) -> "World":
        """The same world seen from another namespace: another organisation's, or the operator's."""
        return replace(self, namespace=namespace)

    def neighbour(self) -> "World":
        """Make another organisation's namespace, which may use the same locations."""
        other = self.elsewhere(f"{self.namespace}-other")
        other.found()
        return other

    def found(self) -> None:
        """Make the namespace, with an empty claim in it."""
        self.home.add_namespace(self.namespace)
        self.cluster.kubectl("label", "namespace", self.namespace, f"mark={self.mark}")
        self.apply(self.claim("portfolio"))

    @property
    def at_home(self) -> "World":
        return self.elsewhere(self.home.namespace)

    def apply(self, *bodies: Object) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", input=text)

    def get(self, kind: str, name: str) -> Object:
        text = self.cluster.kubectl("get", kind, name, "-n", self.namespace, "-o", "json")
        body: Object = json.loads(text)
        return body

    def list(self, kind: str, selector: str = "") -> list[Object]:
        text = self.cluster.kubectl("get", kind, "-n", self.namespace, "-l", selector, "-o", "json")
        items: list[Object] = json.loads(text)["items"]
        return items

    def delete(self, kind: str, name: str, *arguments: str) -> None:
        self.cluster.kubectl("delete", kind, name, "-n", self.namespace, *arguments)

    def wait(
        self,
        kind: str,
        name: str,
        holds: Callable[[Object], object],
        *,
        seconds: float = 120,
    ) -> Object:
        """The object once `holds` is true of it (of an empty status while it has none).

        Raises:
            AssertionError: it was not in time; the message shows the object's status.
        """
        end = time.monotonic() + seconds
        while True:
            text = self.cluster.kubectl(
                "get", kind, name, "-n", self.namespace, "-o", "json", "--ignore-not-found"
            )
            body: Object = {"status": {}, **(json.loads(text) if text.strip() else {})}
            if holds(body):
                return body
            if time.monotonic() > end:
                shown = json.dumps(body.get("status", {}), indent=1)
                raise AssertionError(f"{kind} {name} after {seconds:g} s: {shown}\n{self.events()}")
            time.sleep(0.3)

    def wait_phase(self, kind: str, name: str, *phases: str, seconds: float = 120) -> Object:
        return self.wait(kind, name, lambda body: phase(body) in phases, seconds=seconds)

    def events(self) -> str:
        return self.cluster.kubectl(
            "get", "events", "-n", self.namespace, "--sort-by=.lastTimestamp", check=False
        )

    def shell(self, claim: str, script: str, *, user: int = PHOTOGRAPHER) -> str:
        """Run a script in a pod with the claim at /data and give its output."""
        name = f"shell-{time.monotonic_ns()}"
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": {
                    "restartPolicy": "Never",
                    "securityContext": {"runAsUser": user, "runAsGroup": user},
                    "containers": [
                        {
                            "name": "shell",
                            "image": IMAGE,
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python3", "-c", script],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        }
                    ],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
                },
            }
        )
        done = self.wait("pod", name, lambda body: phase(body) in {"Succeeded", "Failed"})
        output = self.cluster.kubectl("logs", name, "-n", self.namespace)
        self.delete("pod", name, "--wait=false")
        assert phase(done) == "Succeeded", output
        return output

    def add_locations(self, chosen: Iterable[str], **spec: Any) -> None:
        for name in chosen:
            self.at_home.apply(self.secret_of(name), self.location(name, **spec))

    def location_name(self, name: str) -> str:
        """BackupLocations are the cluster's, so each test's are named apart."""
        return f"{name}-{self.mark[-6:]}"

    def secret_of(self, name: str) -> Object:
        """Goes home: no organisation has a location's credentials."""
        return secret(f"location-{name}-{self.mark[-6:]}", self.locations[name].credentials)

    def location(self, name: str, **spec: Any) -> Object:
        there = self.locations[name]
        return {
            "apiVersion": names.API_VERSION,
            "kind": "BackupLocation",
            "metadata": {"name": self.location_name(name), "labels": {"mark": self.mark}},
            "spec": {
                "provider": there.place.provider,
                "region": there.place.region,
                "country": there.place.country,
                "bucket": there.access.bucket,
                "endpoint": there.access.endpoint,
                "credentialsSecretRef": {"name": f"location-{name}-{self.mark[-6:]}"},
                "probe": {"interval": "5s", "timeout": "5s"},
                **spec,
            },
        }

    def claim(self, name: str) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }

    def policy(self, name: str = "wedding", **spec: Any) -> Object:
        chosen = {
            "sources": [
                {
                    "name": "portfolio",
                    "dataClass": "Portfolio",
                    "volume": {"claimName": "portfolio"},
                }
            ],
            "redundancy": {"copies": 3, "quorum": 2},
            "placement": {"locationSelector": {"matchLabels": {"mark": self.mark}}},
            "worker": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
        }
        return objects.policy(name, **{**chosen, **spec})

    def backup(self, name: str, policy: str = "wedding", **spec: Any) -> Object:
        return objects.backup_job(name, policyRef={"name": policy}, **spec)

    def request(self, name: str, policy: str = "wedding", **spec: Any) -> Object:
        chosen = {"policyRef": {"name": policy}, "urgency": "Emergency"}
        return objects.recovery_request(name, **{**chosen, **spec})


@contextmanager
def living(home: Home, stores: Iterable[Location]) -> Iterator[World]:
    """A world while the block runs; operator and broker have to be gone at its end."""
    namespace = f"e2e-{secrets.token_hex(5)}"
    locations = {location.name: location for location in stores}
    world = World(home, namespace, locations, mark=namespace)
    world.found()
    try:
        yield world
    finally:
        for location in locations.values():
            location.proxy.heal()
        _clean(world)


def _clean(world: World) -> None:
    """The operator is gone by now, so its finalizers are taken off by hand."""
    cluster, marked = world.cluster, ["-l", f"mark={world.mark}"]
    found = ("get", "namespaces", *marked, "-o", "jsonpath={.items[*].metadata.name}")
    namespaces = cluster.kubectl(*found).split()
    patch = '{"metadata":{"finalizers":null}}'
    for resource in OUR_KINDS:
        chosen = [["-n", each] for each in namespaces] if resource.namespaced else [marked]
        for place in chosen:
            where = place if resource.namespaced else []
            for name in cluster.kubectl("get", resource.plural, *place, "-o", "name").split():
                cluster.kubectl("patch", name, *where, "--type=merge", "-p", patch, check=False)
                cluster.kubectl("delete", name, *where, "--wait=false", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", *namespaces, "--wait=false")
    here = ("-n", world.home.namespace, "--wait=false")
    cluster.kubectl("delete", "jobs", *here, "-l", names.LABEL_TASK)
    cluster.kubectl("delete", "secrets", *here, "-l", names.LABEL_VAULT)


def secret(name: str, data: Mapping[str, str]) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


def phase(body: Object) -> str | None:
    found: str | None = body.get("status", {}).get("phase")
    return found


def condition(body: Object, kind: str) -> Object:
    """One condition of an object; {} where it has none such."""
    found = [each for each in body.get("status", {}).get("conditions", []) if each["type"] == kind]
    return found[0] if found else {}
