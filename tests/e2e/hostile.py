"""Code of somebody's own inside a genuine worker's pod, with that pod's token, or with a copy taken out."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.world import Object, World
from weddingbackup.resources import tasks

_AGENT = f"""
import base64, json, os, ssl, sys, urllib.error, urllib.request
task = json.loads(os.environ["{tasks.VARIABLE}"])
trust = ssl.create_default_context(cadata=task["broker"]["authorities"])
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None
opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), Stay)
for wanted in json.load(sys.stdin):
    headers = dict(wanted["headers"])
    url = wanted["url"]
    if url.startswith("/"):
        url = task["broker"]["url"] + url
        token = open("{tasks.TOKEN_FILE}").read().strip()
        headers.setdefault("Authorization", "Bearer " + token)
    body = base64.b64decode(wanted["body"]) if wanted["body"] is not None else None
    if body is None:  # or the server waits for one
        headers = {{key: headers[key] for key in headers if key.lower() != "content-length"}}
    asked = urllib.request.Request(url, body, headers, method=wanted["method"])
    try:
        with opener.open(asked, timeout=30) as answer:
            status, data = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, data = error.code, error.read()
    except (OSError, ValueError) as error:
        status, data = 0, repr(error).encode()
    print(json.dumps([status, base64.b64encode(data).decode()]), flush=True)
"""


@dataclass(frozen=True)
class Asked:
    """One HTTP request; a URL that begins with / goes to the broker, with the pod's token."""

    method: str
    url: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What came back; status 0: nothing did, and the body says why."""

    status: int
    body: bytes

    @property
    def json(self) -> Object:
        found: Object = json.loads(self.body)
        return found

    @property
    def code(self) -> str | None:
        """The broker's word for a refusal."""
        if self.status < 400:
            return None
        try:
            found: str | None = self.json.get("code")
        except ValueError:
            return None
        return found


@dataclass(frozen=True)
class Inside:
    """A worker's pod that somebody has entered."""

    world: World
    pod: str

    @property
    def _exec(self) -> tuple[str, ...]:
        return ("exec", "-i", self.pod, "-n", self.world.namespace, "--")

    def run(self, script: str) -> str:
        """What a script of one's own prints."""
        return self.world.cluster.kubectl(*self._exec, "python3", "-", input=script)

    def ask(self, *wanted: Asked) -> list[Told]:
        """Send requests from inside the pod, one after the other."""
        text = json.dumps(
            [
                {
                    "method": each.method,
                    "url": each.url,
                    "headers": dict(each.headers),
                    "body": None if each.body is None else base64.b64encode(each.body).decode(),
                }
                for each in wanted
            ]
        )
        lines = self.world.cluster.kubectl(*self._exec, "python3", "-c", _AGENT, input=text)
        answers = [json.loads(line) for line in lines.splitlines()]
        return [Told(status, base64.b64decode(body)) for status, body in answers]

    def post(self, path: str, body: Object | None = None) -> Told:
        data = json.dumps(body or {}).encode()
        [told] = self.ask(Asked("POST", path, data, {"Content-Type": "application/json"}))
        return told

    def sign(
        self, *, puts: Sequence[Object] = (), gets: Sequence[Object] = ()
    ) -> tuple[list[Object], list[Object]]:
        """The broker's answers to what is to be signed: `signed` or `refusal` in each."""
        told = self.post("/v1/sign", {"puts": list(puts), "gets": list(gets)})
        assert told.status == 200, told
        return told.json["puts"], told.json["gets"]

    def token(self) -> str:
        """A copy of the pod's token, to use from elsewhere."""
        return self.run(f"print(open({tasks.TOKEN_FILE!r}).read())").strip()


def from_outside(
    url: str,
    token: str,
    authorities: Path,
    *,
    method: str = "POST",
    body: Any = None,
) -> Told:
    """Ask the broker from this machine."""
    trust = ssl.create_default_context(cafile=str(authorities))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if method == "GET" else json.dumps(body or {}).encode()
    asked = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(asked, context=trust, timeout=60) as answer:
            return Told(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return Told(error.code, error.read())
    except OSError as error:
        return Told(0, repr(error).encode())
