"""The control plane of a native cluster: etcd, the Kubernetes servers, DNS and the volumes' provisioner.

They share the control plane's namespaces, where etcd listens on the loopback alone.
"""

import json
from pathlib import Path

from tests.cluster.addresses import Addresses
from tests.cluster.certificates import Authority, Pair, signing_key
from tests.cluster.images import HELPER
from tests.cluster.layout import Layout, kubeconfig
from tests.cluster.privileges import give_to_caller
from tests.cluster.processes import Namespaces
from tests.tools import binary

DOMAIN = "cluster.local"
_STORAGE_NAMESPACE = "local-path-storage"


class ControlPlane:
    """Writes the control plane's files, then starts its processes. Nodes ask it for certificates."""

    def __init__(self, layout: Layout, addresses: Addresses) -> None:
        self._layout = layout
        self._addresses = addresses
        self.server = f"https://{addresses.control_plane}:6443"
        layout.certificates.mkdir(parents=True)
        self.authority = Authority(layout.certificates, "kubernetes")
        self._tokens = signing_key(layout.certificates)
        layout.kubeconfig.touch(mode=0o600)
        layout.kubeconfig.write_text(self.kubeconfig("admin", group="system:masters"))
        give_to_caller(layout.kubeconfig)

    def kubeconfig(self, user: str, *, group: str | None = None) -> str:
        """A kubeconfig with a new certificate for the user."""
        return self.kubeconfig_with(self.authority.issue(user, group=group))

    def kubeconfig_with(self, pair: Pair) -> str:
        return kubeconfig(self.server, self.authority.pair.certificate, pair)

    def start_api(self, inside: Namespaces) -> None:
        """Start etcd and the API server."""
        logs = self._layout.logs
        # In memory: on a disk that others keep busy, a write to the API can take twenty seconds.
        data = self._layout.folder / "etcd"
        data.mkdir(mode=0o700)
        inside.run("mount", "-t", "tmpfs", "tmpfs", data)
        inside.start(
            logs / "etcd.log",
            *(binary("etcd"), f"--data-dir={data}", "--log-level=warn", "--unsafe-no-fsync"),
        )
        inside.start(logs / "kube-apiserver.log", binary("kube-apiserver"), *self._api_flags())

    def start_controllers(self, inside: Namespaces) -> None:
        """Start what needs an API server that answers."""
        logs = self._layout.logs
        manager = self._file(
            "controller-manager.kubeconfig", self.kubeconfig("system:kube-controller-manager")
        )
        inside.start(
            logs / "kube-controller-manager.log",
            binary("kube-controller-manager"),
            f"--kubeconfig={manager}",
            f"--root-ca-file={self.authority.pair.certificate}",
            f"--service-account-private-key-file={self._tokens.key}",
            f"--cluster-signing-cert-file={self.authority.pair.certificate}",
            f"--cluster-signing-key-file={self.authority.pair.key}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            # A node without power is noticed in seconds, for tests that cut it.
            "--node-monitor-period=2s",
            "--node-monitor-grace-period=16s",
        )
        scheduler = self._file("scheduler.kubeconfig", self.kubeconfig("system:kube-scheduler"))
        inside.start(
            logs / "kube-scheduler.log",
            *(binary("kube-scheduler"), f"--kubeconfig={scheduler}", "--leader-elect=false"),
        )
        admin = self._layout.kubeconfig
        corefile = self._file("Corefile", corefile_text(self._addresses, admin))
        inside.start(logs / "coredns.log", binary("coredns"), "-conf", corefile)
        storage = self._file(
            "storage.json",
            json.dumps(
                {"sharedFileSystemPath": str(self._layout.volumes), "cmdTimeoutSeconds": 120}
            ),
        )
        helper = self._file("helper-pod.json", json.dumps(_HELPER_POD))
        inside.start(
            logs / "local-path-provisioner.log",
            *(binary("local-path-provisioner"), "start", "--kubeconfig", admin),
            *("--config", storage, "--helper-pod-file", helper, "--helper-image", HELPER),
            *("--namespace", _STORAGE_NAMESPACE, "--service-account-name", "default"),
        )

    def _file(self, name: str, text: str) -> Path:
        path = self._layout.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def _api_flags(self) -> list[str]:
        addresses, certificates = self._addresses, self._layout.certificates
        authority = self.authority
        serving = authority.issue(
            "kube-apiserver",
            names=[
                "localhost",
                *("kubernetes", "kubernetes.default", "kubernetes.default.svc"),
                f"kubernetes.default.svc.{DOMAIN}",
            ],
            addresses=[addresses.control_plane, addresses.kubernetes_service],
        )
        to_kubelets = authority.issue("kube-apiserver-kubelet-client", group="system:masters")
        # An authority apart: whom it vouches for may speak in anybody's name.
        front = Authority(certificates, "front-proxy")
        to_extensions = front.issue("front-proxy-client")
        return [
            f"--advertise-address={addresses.control_plane}",
            f"--bind-address={addresses.control_plane}",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--service-cluster-ip-range={addresses.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--enable-aggregator-routing",
            f"--cert-dir={certificates}",
            f"--client-ca-file={authority.pair.certificate}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--kubelet-certificate-authority={authority.pair.certificate}",
            f"--kubelet-client-certificate={to_kubelets.certificate}",
            f"--kubelet-client-key={to_kubelets.key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={front.pair.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={to_extensions.certificate}",
            f"--proxy-client-key-file={to_extensions.key}",
            f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
            f"--service-account-key-file={self._tokens.certificate}",
            f"--service-account-signing-key-file={self._tokens.key}",
            "--default-not-ready-toleration-seconds=10",
            "--default-unreachable-toleration-seconds=10",
        ]


def corefile_text(addresses: Addresses, kubeconfig: Path) -> str:
    """CoreDNS's configuration.

    No cache: a name that a test looks up too early would stay unknown for seconds. All other names
    are answered at once, in a block of their own: there is nobody to ask.
    """
    return f"""
{DOMAIN} in-addr.arpa ip6.arpa {{
    bind {addresses.control_plane}
    errors
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
    }}
}}
. {{
    bind {addresses.control_plane}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


_HELPER_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "helper-pod"},
    "spec": {
        "priorityClassName": "system-node-critical",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "helper-pod", "image": HELPER, "imagePullPolicy": "IfNotPresent"}],
    },
}

# Volumes: one folder that all nodes share, so that a claim may be ReadWriteMany and a pod may move
# to another node; open to all, because pods run under user ids that nobody knows beforehand.
STORAGE = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _STORAGE_NAMESPACE}},
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "local-path-config", "namespace": _STORAGE_NAMESPACE},
        "data": {
            "setup": 'mkdir -m 0777 -p "$VOL_DIR"\n',
            "teardown": 'rm -rf "$VOL_DIR"\n',
        },
    },
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    },
]
