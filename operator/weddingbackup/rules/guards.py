"""Whether what guards workers can do so, as it is written: admission policies and organisations' namespaces."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weddingbackup.resources.common import Privilege
from weddingbackup.resources.wedding_backup_policy import WeddingBackupPolicy

Object = Mapping[str, Any]

ADMISSION = (
    *("worker-pods", "worker-shells", "worker-jobs", "worker-accounts", "worker-tokens"),
    *("operators-jobs", "operators-accounts"),
)
"""How the names of the chart's admission policies end."""
ENFORCE = "pod-security.kubernetes.io/enforce"
"""Label of a namespace: the Pod Security level that its pods are held to."""


def toothless(home: str, policies: Iterable[Object], bindings: Sequence[Object]) -> list[str]:
    """What keeps the chart's admission policies from refusing; nothing where all of them do.

    Args:
        home: the operator's namespace, with which the policies' names begin.
        policies: all of the cluster.
        bindings: likewise.
    """
    mine = [body for body in policies if _name(body).startswith(f"{home}-")]
    problems = []
    for end in ADMISSION:
        found = [body for body in mine if _name(body).endswith(f"-{end}")]
        if not found:
            problems.append(f"{end} is missing")
        for body in found:
            bound = [each for each in bindings if each["spec"]["policyName"] == _name(body)]
            problems += [f"{_name(body)} {why}" for why in _weaknesses(body["spec"], bound)]
    return problems


def _weaknesses(spec: Object, bound: Sequence[Object]) -> list[str]:
    if not bound:
        return ["is not bound"]
    found = []
    if spec.get("failurePolicy", "Fail") != "Fail":
        found.append("lets pass what it cannot judge (failurePolicy)")
    denying = [each for each in bound if "Deny" in (each["spec"].get("validationActions") or ())]
    if not denying:
        said = sorted({action for each in bound for action in each["spec"]["validationActions"]})
        found.append(f"only has {', '.join(said)} for validationActions, and refuses nothing")
    # The chart's know all that they judge by: with parameters, whoever writes those decides.
    if spec.get("paramKind") or any(each["spec"].get("paramRef") for each in bound):
        found.append("goes by parameters (paramKind, paramRef), which the chart's does not have")
    return found


def lax(namespaces: Iterable[Object], policies: Iterable[WeddingBackupPolicy]) -> dict[str, str]:
    """The namespaces with policies whose labels hold pods to less than workers keep to: name -> what to set.

    Workers that restore as root need `baseline`; all others keep to `restricted`.
    """
    roots: dict[str, bool] = {}
    for policy in policies:
        name = policy.metadata.namespace or ""
        root = policy.spec.worker.privilege is Privilege.ROOT
        roots[name] = roots.get(name, False) or root
    found = {}
    for body in namespaces:
        name, labels = _name(body), body["metadata"].get("labels") or {}
        if name not in roots:
            continue
        enough = ("restricted", "baseline") if roots[name] else ("restricted",)
        if labels.get(ENFORCE) not in enough:
            found[name] = enough[-1]
    return found


def _name(body: Object) -> str:
    name: str = body["metadata"]["name"]
    return name
