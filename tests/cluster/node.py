"""One node of a native cluster: containerd, kubelet and kube-proxy in namespaces of their own.

`prepare` writes its files once; `start` brings it up, also after its power was cut: what it keeps
on disk (images, volumes) is still there, what lived in memory is not.
"""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

from tests.cluster import archives, cgroups, images, network
from tests.cluster.addresses import Addresses
from tests.cluster.control_plane import DOMAIN, ControlPlane
from tests.cluster.layout import Layout
from tests.cluster.processes import ClusterError, Namespaces, wait_until
from tests.tools import binary

_CNI_PLUGINS = "/usr/lib/cni"  # Debian's place
_CTR = ("ctr", "--namespace", "k8s.io")

# The kubelet would set these for the whole machine. It finds them as it wants them, in files that
# only the node sees.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def node_name(number: int) -> str:
    return f"node-{number}"


def prepare(layout: Layout, addresses: Addresses, control_plane: ControlPlane, number: int) -> None:
    """Write all that a node needs: its certificate, configurations and the images it starts with."""
    name, address = node_name(number), addresses.node(number)
    folder = layout.node(name)
    for part in ("kernel", "log", "cni"):
        (folder / part).mkdir(parents=True)
    pair = control_plane.authority.issue(
        f"system:node:{name}", group="system:nodes", names=[name], addresses=[address]
    )
    kubelet = _kubelet_configuration(folder, addresses, number) | {
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(control_plane.authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupRoot": f"/{layout.cgroup}/{name}",
        "tlsCertFile": str(pair.certificate),
        "tlsPrivateKeyFile": str(pair.key),
    }
    for file, text in {
        "containerd.toml": containerd_configuration(folder),
        "cni/10-pods.conflist": json.dumps(_cni_configuration(addresses, number)),
        "resolv.conf": f"nameserver {addresses.control_plane}\n",
        "kubelet.json": json.dumps(kubelet),
        "kubelet.kubeconfig": control_plane.kubeconfig_with(pair),
        "kube-proxy.json": json.dumps(_proxy_configuration(folder, addresses, number)),
        "kube-proxy.kubeconfig": control_plane.kubeconfig("system:kube-proxy"),
        **{
            f"kernel/{name.replace('/', '.')}": f"{value}\n"
            for name, value in _KERNEL_SETTINGS.items()
        },
    }.items():
        path = folder / file
        path.touch(mode=0o600)
        path.write_text(text)
    images.write_pause(folder / "pause.tar")
    images.write_helper(folder / "helper.tar")


def start(
    layout: Layout, addresses: Addresses, control_plane: Namespaces, number: int
) -> Namespaces:
    """Power on: namespaces, links, containerd with its first images, kubelet, kube-proxy."""
    name = node_name(number)
    folder, logs = layout.node(name), layout.logs
    cgroups.create(f"{layout.cgroup}/{name}")
    inside = Namespaces.create(logs / f"{name}.log", inside=control_plane)
    for folder_of_machine in ("/run", "/var/lib"):
        inside.run("mount", "-t", "tmpfs", "tmpfs", folder_of_machine)
    inside.run("mount", "--bind", folder / "log", "/var/log")
    for setting in _KERNEL_SETTINGS:
        ours = folder / "kernel" / setting.replace("/", ".")
        inside.run("mount", "--bind", ours, f"/proc/sys/{setting}")
    network.connect_node(addresses, number, inside, control_plane)
    inside.start(
        logs / f"{name}-containerd.log",
        *("containerd", "--config", folder / "containerd.toml", "--log-level", "warn"),
    )
    wait_until(lambda: _answers(inside), f"containerd of {name}; see {logs}", seconds=30)
    for archive in ("pause.tar", "helper.tar"):
        load_image(inside, folder / archive)
    inside.start(
        logs / f"{name}-kubelet.log",
        *(binary("kubelet"), "--config", folder / "kubelet.json"),
        *("--kubeconfig", folder / "kubelet.kubeconfig", "--root-dir", folder / "kubelet"),
        *("--hostname-override", name, "--node-ip", str(addresses.node(number))),
    )
    inside.start(
        logs / f"{name}-kube-proxy.log",
        *(binary("kube-proxy"), "--config", folder / "kube-proxy.json"),
    )
    return inside


def load_image(inside: Namespaces, archive: Path) -> None:
    """Import a docker-archive into a node's containerd, of its blobs only the new ones."""
    held = set(inside.run(*_CTR, "content", "ls", "--quiet").split())
    command = inside.entering(*_CTR, "images", "import", "-")
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as importer:
            assert importer.stdin is not None
            with contextlib.suppress(BrokenPipeError), importer.stdin as pipe:  # it says why
                archives.write_new_blobs(archive, held, pipe)
        if importer.returncode:
            said.seek(0)
            raise ClusterError(f"{archive} could not be imported: {said.read().decode()}")


def _answers(inside: Namespaces) -> bool:
    try:
        # Images can be imported only when the CRI plugin is up, which is the last one to come.
        return " ok" in inside.run("ctr", "plugins", "list", "id==cri")
    except ClusterError:
        return False


def containerd_configuration(folder: Path) -> str:
    """Containerd's configuration.

    AppArmor is off because a profile is loaded for the whole machine and would stay. Out-of-memory
    scores are not lowered below our own, which the machine may forbid.
    """
    return f"""
version = 2
root = "{folder}/containerd"
state = "/run/containerd"

[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  sandbox_image = "{images.PAUSE}"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PLUGINS}"
    conf_dir = "{folder}/cni"
"""


def _cni_configuration(addresses: Addresses, number: int) -> dict[str, object]:
    # A routed link a pod instead of a bridge: all traffic, also between two pods of a node, passes
    # kube-proxy's rules, whatever the machine's bridge settings are.
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": [[{"subnet": str(addresses.node_pods(number))}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def _kubelet_configuration(folder: Path, addresses: Addresses, number: int) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(addresses.node(number)),
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [str(addresses.control_plane)],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "resolvConf": str(folder / "resolv.conf"),
        # The machine's disk and memory are not the node's alone: nothing is evicted or collected.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _proxy_configuration(folder: Path, addresses: Addresses, number: int) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        # By default a new Service refuses connections for up to a second.
        "nftables": {"minSyncPeriod": "100ms"},
        "clientConnection": {"kubeconfig": str(folder / "kube-proxy.kubeconfig")},
        "hostnameOverride": node_name(number),
        "bindAddress": str(addresses.node(number)),
        "clusterCIDR": str(addresses.pods),
        "detectLocalMode": "ClusterCIDR",
        # Limits of the whole machine, and not ours to set.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
