from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509

from tests.cluster.certificates import Authority


def test_what_an_authority_issues_verifies_as_strict_clients_want_it(tmp_path: Path) -> None:
    address = IPv4Address("10.192.0.2")
    authority = Authority(tmp_path, "kubernetes")
    pair = authority.issue("kube-apiserver", names=["kubernetes"], addresses=[address])
    root = x509.load_pem_x509_certificate(authority.pair.certificate.read_bytes())
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    # Its default policy is the web's: key identifiers, usages and names must be there and right.
    verifier = x509.verification.PolicyBuilder().store(x509.verification.Store([root]))
    chain = verifier.build_server_verifier(x509.IPAddress(address)).verify(certificate, [])
    assert chain == [certificate, root]


def test_kubernetes_finds_user_and_group_in_the_subject(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "kubernetes").issue("system:node:node-1", group="system:nodes")
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "kubernetes").issue("admin")
    assert pair.key.stat().st_mode & 0o077 == 0
