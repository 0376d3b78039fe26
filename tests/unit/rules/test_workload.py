from typing import Any

import pytest

from weddingbackup.rules.workload import observe

Object = dict[str, Any]

JOB: Object = {"metadata": {"name": "bj-1"}, "status": {}}


def job(**conditions: str) -> Object:
    """A Job with these conditions True, each with its reason."""
    found = [
        {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "it says",
            "lastTransitionTime": "2026-12-05T12:00:00Z",
        }
        for kind, reason in conditions.items()
    ]
    return {"metadata": {"name": "bj-1"}, "status": {"conditions": found}}


def pod(name: str = "p", *, made: int = 1, phase: str = "Running", **container: Any) -> Object:
    statuses = [{"name": "worker", "state": container}] if container else []
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-12-05T12:00:0{made}Z"},
        "spec": {"containers": [{"resources": {"limits": {"memory": "1Gi"}}}]},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def ended(
    name: str, code: int, message: str = "", *, made: int = 1, reason: str = "Error"
) -> Object:
    end = {"exitCode": code, "message": message, "reason": reason}
    return pod(name, made=made, phase="Failed" if code else "Succeeded", terminated=end)


def event(about: str, reason: str, message: str) -> Object:
    return {
        "involvedObject": {"name": about},
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-12-05T12:00:00Z",
    }


def test_a_job_without_pods_is_under_way() -> None:
    seen = observe(JOB, [])
    assert not seen.finished
    assert seen.problem is None


def test_the_pod_that_succeeded_decides_whatever_came_before_or_after() -> None:
    pods = [ended("b", 0, "done", made=2), ended("a", 4, "no", made=1), ended("c", 4, "no", made=3)]
    seen = observe(job(Complete=""), pods)
    assert (seen.finished, seen.succeeded, seen.message) == (True, True, "done")
    assert seen.finished_at is not None


def test_without_success_the_newest_speaks() -> None:
    pods = [ended("b", 4, "second", made=2), ended("a", 4, "first", made=1)]
    seen = observe(job(Failed="BackoffLimitExceeded"), pods)
    assert (seen.finished, seen.succeeded, seen.message) == (True, False, "second")


def test_a_job_about_to_fail_is_not_finished() -> None:
    assert not observe(job(FailureTarget="PodFailurePolicy"), [pod()]).finished


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ImagePullBackOff", "ImagePullFailed"),
        ("ErrImagePull", "ImagePullFailed"),
        ("CreateContainerConfigError", "ContainerFailed"),
        ("ContainerCreating", None),
    ],
)
def test_why_a_container_does_not_start(waiting: str, reason: str | None) -> None:
    stuck = pod(phase="Pending", waiting={"reason": waiting, "message": "the kubelet says"})
    problem = observe(JOB, [stuck]).problem
    assert (problem and problem.reason) == reason
    if problem:
        assert "the kubelet says" in problem.message


@pytest.mark.parametrize(
    ("said", "reason", "hint"),
    [
        (
            'MountVolume.SetUp failed for volume "v1" : secret "db" not found',
            "SecretNotFound",
            " db ",
        ),
        (
            'MountVolume.SetUp failed for volume "v1" : references non-existent secret key: uri',
            "SecretKeyNotFound",
            "no key uri;",
        ),
        ("timed out waiting for the condition", "MountFailed", "timed out"),
    ],
)
def test_what_cannot_be_mounted_is_named_with_what_to_do(said: str, reason: str, hint: str) -> None:
    stuck = pod(phase="Pending", waiting={"reason": "ContainerCreating"})
    told = [event("p", "FailedMount", said), event("q", "FailedMount", "other")]
    problem = observe(JOB, [stuck], told).problem
    assert problem is not None
    assert problem.reason == reason
    assert hint in problem.message
    assert said in problem.message


def test_a_pod_that_fits_no_node() -> None:
    stuck = pod(phase="Pending")
    stuck["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}
    ]
    problem = observe(JOB, [stuck]).problem
    assert problem is not None
    assert (problem.reason, "0/1" in problem.message) == ("Unschedulable", True)


def test_a_worker_killed_for_memory_says_what_to_raise() -> None:
    problem = observe(JOB, [ended("a", 137, reason="OOMKilled")]).problem
    assert problem is not None
    assert problem.reason == "OutOfMemory"
    assert "1Gi" in problem.message
    assert "limits.memory" in problem.message


def test_an_evicted_worker() -> None:
    gone = pod(phase="Failed")
    gone["status"] |= {"reason": "Evicted", "message": "low on disk"}
    problem = observe(JOB, [gone]).problem
    assert problem is not None
    assert (problem.reason, "low on disk" in problem.message) == ("Evicted", True)


def test_a_pod_that_pod_security_forbids() -> None:
    refused = event(
        "bj-1", "FailedCreate", 'pods "x" is forbidden: violates PodSecurity "restricted"'
    )
    problem = observe(JOB, [], [refused]).problem
    assert problem is not None
    assert problem.reason == "PodSecurityForbids"
    assert "baseline" in problem.message


def test_a_pod_that_is_refused_for_another_reason() -> None:
    problem = observe(JOB, [], [event("bj-1", "FailedCreate", "exceeded quota")]).problem
    assert problem is not None
    assert (problem.reason, "exceeded quota" in problem.message) == ("PodRefused", True)


def test_a_job_that_took_too_long() -> None:
    problem = observe(job(Failed="DeadlineExceeded"), []).problem
    assert problem is not None
    assert "spec.worker.deadline" in problem.message
