"""The broker's certificate: made and renewed by the operator, by the steps that rules.certificates decides.

Two Secrets in the operator's namespace. The broker's has `ca.crt` (all authorities that workers are to
believe), `tls.crt` and `tls.key`; the other one has the authority's key, and nobody mounts it.
"""

import asyncio
import base64
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weddingbackup.kube.client import SECRETS, ApiError, Cluster, ConflictError, Object
from weddingbackup.kube.jobs import Platform
from weddingbackup.resources import names
from weddingbackup.rules import certificates as rules
from weddingbackup.rules.certificates import Step

SINCE = f"{names.GROUP}/authorities-since"
"""Annotation of the broker's Secret: when its authorities changed last."""
_LOOK_SECONDS, _RETRY_SECONDS = 600.0, 10.0
_MOST_STEPS = 12
_SKEW = timedelta(minutes=5)
"""How far behind ours a node's clock may be."""
_GARBAGE = (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound)

Data = dict[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def id(self) -> str:
        """The certificate's fingerprint."""
        return _id(self.certificate)

    def data(self, name: str) -> Data:
        """As two entries of a Secret."""
        return {f"{name}.crt": _pem(self.certificate), f"{name}.key": _key_pem(self.key)}


@dataclass(frozen=True, slots=True)
class State:
    """What the two Secrets hold, as far as it can be read."""

    current: Pair | None
    successor: Pair | None
    believed: tuple[x509.Certificate, ...]
    serving: Pair | None
    since: datetime | None

    @classmethod
    def read(cls, authority: Object | None, broker: Object | None) -> "State":
        """Leave out what is damaged: it is made anew."""
        kept, shown = _data(authority), _data(broker)
        annotations = ((broker or {}).get("metadata") or {}).get("annotations") or {}
        return cls(
            current=_pair(kept, "ca"),
            successor=_pair(kept, "next"),
            believed=_bundle(shown.get("ca.crt", b"")),
            serving=_pair(shown, "tls"),
            since=_time(annotations.get(SINCE)),
        )

    def facts(self) -> rules.Found:
        """For the rules."""
        serving = None
        if self.serving is not None:
            certificate = self.serving.certificate
            issuers = [_id(each) for each in self.believed if _has_signed(each, certificate)]
            serving = rules.Serving(
                issuer=issuers[0] if issuers else "",
                names=_names(certificate),
                not_before=certificate.not_valid_before_utc + _SKEW,
                not_after=certificate.not_valid_after_utc,
            )
        return rules.Found(
            current=_facts(self.current),
            successor=_facts(self.successor),
            believed=frozenset(map(_id, self.believed)),
            serving=serving,
            since=self.since,
        )


def subject_names(url: str) -> frozenset[str]:
    """The names that a broker at this URL is reached by: its host, and a Service's shorter ones."""
    host = urlsplit(url).hostname or ""
    found = {host}
    if host.endswith(".svc"):
        service, namespace, _ = host.split(".", 2)
        found |= {service, f"{service}.{namespace}", f"{host}.cluster.local"}
    return frozenset(found)


async def keep(
    cluster: Cluster, where: Platform, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Keep the certificate in order for ever."""
    while True:
        seconds = _LOOK_SECONDS
        try:
            await renew(cluster, where, now())
        except ApiError as error:
            structlog.get_logger().warning(
                "the broker's certificate was not kept", error=str(error)
            )
            seconds = _RETRY_SECONDS
        await asyncio.sleep(seconds)


async def renew(cluster: Cluster, where: Platform, now: datetime) -> list[Step]:
    """Take all steps that are due; which they were.

    Raises:
        ApiError: a Secret can be neither read nor written.
    """
    taken: list[Step] = []
    wanted = subject_names(where.broker_url)
    # Whoever else writes the same Secrets makes us read again; but nobody makes us turn for ever.
    for _ in range(_MOST_STEPS):
        authority = await cluster.get(SECRETS, where.broker_authority, where.namespace)
        broker = await cluster.get(SECRETS, where.broker_secret, where.namespace)
        state = State.read(authority, broker)
        step = rules.decide(state.facts(), wanted, now)
        if step is None:
            return taken
        with suppress(ConflictError):
            if step in {Step.FOUND, Step.SUCCEED, Step.PROMOTE}:
                data = authority_after(step, state, now)
                await _write(cluster, where, where.broker_authority, authority, data)
            else:
                data = broker_after(step, state, wanted, now)
                since = None if step is Step.ISSUE and state.since else now
                await _write(cluster, where, where.broker_secret, broker, data, since=since)
            taken.append(step)
            structlog.get_logger().info("the broker's certificate", step=step.value)
    return taken


def authority_after(step: Step, state: State, now: datetime) -> Data:
    """What the authority's Secret holds after one of the steps that concern it."""
    nothing: Data = {"next.crt": None, "next.key": None}
    if step is Step.PROMOTE:
        assert state.successor is not None
        return state.successor.data("ca") | nothing
    made = _authority(now)
    return made.data("ca") | nothing if step is Step.FOUND else made.data("next")


def broker_after(step: Step, state: State, wanted: frozenset[str], now: datetime) -> Data:
    """What the broker's Secret holds after one of the steps that concern it."""
    known = [pair.certificate for pair in (state.current, state.successor) if pair is not None]
    if step is Step.DROP:
        return {"ca.crt": _pems(known)}
    believed = _pems([*known, *(each for each in state.believed if each not in known)])
    if step is Step.ANNOUNCE:
        return {"ca.crt": believed}
    signer = state.successor if step is Step.SWITCH else state.current
    assert signer is not None
    return {"ca.crt": believed, **_issue(signer, wanted, now).data("tls")}


async def _write(
    cluster: Cluster,
    where: Platform,
    name: str,
    there: Object | None,
    data: Mapping[str, bytes | None],
    *,
    since: datetime | None = None,
) -> None:
    coded = {
        key: None if value is None else base64.b64encode(value).decode()
        for key, value in data.items()
    }
    metadata: Object = {"annotations": {SINCE: since.isoformat()}} if since else {}
    if there is None:
        labels = {"app.kubernetes.io/managed-by": names.MANAGER}
        metadata |= {"name": name, "namespace": where.namespace, "labels": labels}
        kept = {key: value for key, value in coded.items() if value is not None}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": kept}
        await cluster.create(SECRETS, body)
        return
    metadata["resourceVersion"] = there["metadata"]["resourceVersion"]
    await cluster.patch(SECRETS, name, where.namespace, {"metadata": metadata, "data": coded})


def _authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each has a name of its own, or two that are believed at once could be taken for each other.
    title = f"wedding backup broker authority {now:%Y-%m-%dT%H:%M:%SZ}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    certificate = (
        _builder(subject, subject, key, now, now + rules.AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _issue(signer: Pair, wanted: Iterable[str], now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wedding backup broker")])
    until = min(now + rules.SERVING_LIFE, signer.certificate.not_valid_after_utc)
    issuer_key = signer.key.public_key()
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in sorted(wanted)])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(subject, signer.certificate.subject, key, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(authority, critical=False)
        .sign(signer.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _data(secret: Object | None) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in ((secret or {}).get("data") or {}).items():
        with suppress(ValueError):
            found[key] = base64.b64decode(value)
    return found


def _pair(data: Mapping[str, bytes], name: str) -> Pair | None:
    try:
        certificate = x509.load_pem_x509_certificate(data[f"{name}.crt"])
        key = serialization.load_pem_private_key(data[f"{name}.key"], password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            return None
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        matches = certificate.public_key() == key.public_key()
    except (KeyError, *_GARBAGE):
        return None
    if not matches or constraints.value.ca is (name == "tls"):
        return None
    return Pair(certificate, key)


def _bundle(data: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except _GARBAGE:
        return ()


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else None


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*_GARBAGE, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _GARBAGE:
        return frozenset()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return frozenset([*found.get_values_for_type(x509.DNSName), *addresses])


def _facts(pair: Pair | None) -> rules.Authority | None:
    if pair is None:
        return None
    # Made a moment earlier, for clocks that are behind.
    made = pair.certificate.not_valid_before_utc + _SKEW
    return rules.Authority(pair.id, made, pair.certificate.not_valid_after_utc)


def _id(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pems(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(map(_pem, certificates))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
