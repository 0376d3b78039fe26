from typing import Any

from tests.cluster.native import names_ready


def test_only_ready_nodes_are_ready() -> None:
    items = [
        {"kind": "ServiceAccount", "metadata": {"name": "default"}},
        _node("node-1", "True"),
        _node("node-2", "False"),
        _node("node-3", "Unknown"),
    ]
    assert names_ready(items) == {"default", "node-1"}


def _node(name: str, ready: str) -> dict[str, Any]:
    conditions = [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": ready}]
    return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": conditions}}
