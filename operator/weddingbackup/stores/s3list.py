"""Reads what S3 answers to a listing (ListObjectsV2): an XML document a thousand objects.

Amazon's library needs seven times the processor's time for one, most of it for dates.
The format: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

_MD5 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Listed:
    """One object, as the listing has it.

    Attributes:
        key: its whole name in the bucket.
        class_name: "" where none is told.
        is_back: it is archived, and a copy is at hand for some days.
        is_returning: it was asked back.
    """

    key: str
    size: int
    modified: datetime
    md5: bytes | None
    class_name: str
    is_back: bool
    is_returning: bool


def parse(body: bytes) -> tuple[Sequence[Listed], str | None]:
    """The objects of a page; and what to ask the next one with, None at the end.

    Raises:
        ValueError: it is something else than a page of a listing. What is not understood must never
            look like an empty bucket.
    """
    try:
        # Expat bounds what entities expand to.
        page = ET.fromstring(body, ET.XMLParser(encoding="utf-8"))  # noqa: S314  see above
    except ET.ParseError as error:
        raise ValueError(f"it is no XML: {error}") from None
    if _tag(page) != "ListBucketResult":
        raise ValueError(f"it is a {_tag(page)}")
    facts = _texts(page)
    decode: Callable[[str], str] = unquote_plus if facts.get("EncodingType") == "url" else str
    try:
        found = [_listed(one, decode) for one in page if _tag(one) == "Contents"]
    except KeyError as error:
        raise ValueError(f"an object lacks {error}") from None
    if facts.get("IsTruncated") != "true":
        return found, None
    if not (following := facts.get("NextContinuationToken")):
        raise ValueError("it is cut off and does not say how to go on")
    return found, following


def md5_of(etag: str) -> bytes | None:
    """The MD5 that an ETag is; of what was stored in parts it is something else, with a hyphen."""
    digits = etag.strip('"')
    return bytes.fromhex(digits) if _MD5.fullmatch(digits) else None


def _listed(element: ET.Element, decode: Callable[[str], str]) -> Listed:
    facts, restored = _texts(element), {}
    for child in element:
        if _tag(child) == "RestoreStatus":
            restored = _texts(child)
    return Listed(
        decode(facts["Key"]),
        int(facts["Size"]),
        _moment(facts["LastModified"]),
        md5_of(facts.get("ETag", "")),
        facts.get("StorageClass", ""),
        is_back="RestoreExpiryDate" in restored,
        is_returning=restored.get("IsRestoreInProgress") == "true",
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def _texts(element: ET.Element) -> dict[str, str]:
    return {_tag(child): child.text or "" for child in element}


def _tag(element: ET.Element) -> str:
    """Its name without the namespace, which not everybody writes."""
    return element.tag.rpartition("}")[2]
