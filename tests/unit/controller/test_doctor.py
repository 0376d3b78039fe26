"""How the doctor tells what became of its attempt, by what the API server says of the pod."""

from typing import Any

import pytest

from weddingbackup.controller import doctor
from weddingbackup.controller.doctor import Grade
from weddingbackup.kube.client import JOBS, NETWORK_POLICIES, ApiError

BROKER = {
    "spec": {"containers": [{"image": "i", "ports": [{"containerPort": 8443}]}]},
    "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
}
REFUSED = ApiError("no", status=403, reason="Forbidden")


def ended(code: int) -> Any:
    return {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": code}}}]}}


RUNNING: Any = {"status": {"containerStatuses": [{"state": {"running": {}}}]}}


class Api:
    """Says of the attempt's pods what it is told to, one look after the other."""

    def __init__(self, *looks: Any) -> None:
        self.looks = list(looks)
        self.jobs: list[str] = []

    async def create(self, _resource: object, body: Any) -> None:
        if self.looks == [REFUSED]:
            raise REFUSED
        self.jobs.append(body["metadata"]["name"])

    async def list(self, resource: object, *_: object, labels: Any) -> Any:
        if resource is NETWORK_POLICIES or "batch.kubernetes.io/job-name" not in labels:
            return [BROKER]
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def delete(self, resource: object, name: str, *_: object) -> None:
        assert resource is JOBS
        self.jobs.remove(name)


@pytest.mark.parametrize(
    ("looks", "grade", "said"),
    [
        ([[ended(0)]], Grade.OK, "are enforced"),
        ([[], [{}], [RUNNING], [ended(0)]], Grade.OK, "are enforced"),
        ([[ended(doctor._REACHED)]], Grade.WARNING, "NOT ENFORCED"),
        ([[ended(doctor._CUT_OFF)]], Grade.WARNING, "did not even reach the API server"),
        ([[ended(137)]], Grade.WARNING, "ended with 137"),
        ([[RUNNING]], Grade.WARNING, "no pod that was to try it came to its end"),
        ([REFUSED], Grade.WARNING, "could not be tried: no"),
        ([[], REFUSED], Grade.WARNING, "could not be tried: no"),
    ],
)
async def test_each_end_of_the_attempt_is_told_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, looks: list[Any], grade: Grade, said: str
) -> None:
    monkeypatch.setattr(doctor, "_POLL_SECONDS", 0)
    if looks == [[RUNNING]]:
        monkeypatch.setattr(doctor, "_ATTEMPT_SECONDS", 0.05)
    api: Any = Api(*looks)
    [finding] = await doctor._network(api, "ops")
    assert finding.grade is grade
    assert said in finding.message
    assert api.jobs == []


class Refusing:
    """An API server that refuses in these words, or not at all."""

    def __init__(self, words: str | None) -> None:
        self.words = words

    async def create(self, *_: object, dry_run: bool) -> None:
        assert dry_run
        await self.token()

    async def token(self, *_: object) -> None:
        if self.words is not None:
            raise ApiError(self.words, status=403, reason="Forbidden")


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        (None, True),
        ("ValidatingAdmissionPolicy 'ops-worker-pods' denied request", False),
        ("exceeded quota: no-pods", None),
    ],
)
async def test_what_others_refuse_is_not_taken_for_guarded(
    words: str | None, accepted: object
) -> None:
    api: Any = Refusing(words)
    assert await doctor._lets_forge(api, "vendor") is accepted
    assert await doctor._gives(api, "vendor") is accepted
