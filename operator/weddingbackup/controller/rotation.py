"""Gives a policy's vault new keys, by a person's own rights; see vault/rotate.py for the order.

The operator may read vaults' Secrets and change none, and has no part in this: its workers go on with the
keys that they were given, and the next ones get the new. The vault's Secret decides between two rotations
at once: whose write comes second takes back what it stored.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from weddingbackup.controller.kits import KitsError
from weddingbackup.kube import credentials, organisations, registry
from weddingbackup.kube.client import LOCATIONS, SECRETS, Cluster, Object
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.stores import open_keeper, open_store
from weddingbackup.stores.api import Keeper, Store
from weddingbackup.stores.errors import MissingError, StoreError
from weddingbackup.stores.retry import Retry
from weddingbackup.vault import rotate
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.names import FORMAT
from weddingbackup.vault.parallel import ask_all

_IMPATIENT = Retry(deadline_seconds=10)
"""A location that does not answer is told of, and asked again by the next run."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What came of a rotation.

    Attributes:
        kit: the vault's kit now.
        locations: that hold the vault, or do not answer; "" or why older key objects stay there.
        strangers: key objects at the locations of data keys that the kit does not know.
        outdated: records of kits that were taken out and lack the present keys.
    """

    kit: Kit
    locations: Mapping[str, str]
    strangers: int
    outdated: tuple[KitRecord, ...]


async def rotate_keys(
    cluster: Cluster,
    home: str,
    *,
    namespace: str,
    policy: str,
    wrapping_keys: bool,
    data_keys: bool,
) -> Rotated:
    """Rotate the keys of a policy's vault; with neither kind of keys, only remove what earlier ones left.

    Raises:
        KitsError: there is no such vault, or it was rotated or erased meanwhile.
        VaultError: its Secret is damaged or no longer the newest; too few locations took the new keys.
    """
    secret = await _secret(cluster, home, namespace, policy)
    kit = registry.registered(secret).kit
    places, left = await _places(cluster, home, kit)
    stores = [place.store for place in places]
    keepers = {place.store.location: place.keeper for place in places}
    try:
        found = await asyncio.to_thread(rotate.find, kit, stores)
        new = kit
        if wrapping_keys or data_keys:
            new = rotate.renew(kit, wrapping_keys=wrapping_keys, data_keys=data_keys)
        failed = await asyncio.to_thread(rotate.establish, new, stores)
        if new is not kit and not await registry.replace_kit(cluster, home, secret, new):
            await asyncio.to_thread(rotate.discard, new, kit, stores, keepers)
            raise KitsError(
                f"The vault of policy {policy} was rotated or erased by somebody else at the same time; that "
                "stands, and this rotation was taken back."
            )
        stay = await asyncio.to_thread(
            rotate.retire, new, stores, keepers, found, failed=failed.keys()
        )
    finally:
        for place in places:
            place.keeper.close()
    left |= found.silent | failed | stay
    present = new.fingerprints().items()
    recorded = registry.registered(secret).exported
    return Rotated(
        kit=new,
        locations={name: str(left.get(name, "")) for name in sorted({*keepers, *left})},
        strangers=len(found.strangers(new)),
        outdated=tuple(record for record in recorded if not present <= record.keys.items()),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """One location's vault, with the right to create and with the right to remove."""

    store: Store
    keeper: Keeper


async def _secret(cluster: Cluster, home: str, namespace: str, policy: str) -> Object:
    uid = (await organisations.read(cluster, namespace)).uid
    secret = await cluster.get(SECRETS, registry.secret_name(uid, policy), home)
    if secret is None:
        raise KitsError(
            f"There is no vault of policy {policy} of namespace {namespace} in namespace {home}. Is that where "
            "the operator runs, and did it look at the policy yet?"
        )
    return secret


async def _places(
    cluster: Cluster, home: str, kit: Kit
) -> tuple[list[_Place], dict[str, Exception]]:
    """Where the vault is, or may be (who does not answer); and why others could not even be asked."""
    places: list[_Place] = []
    problems: dict[str, Exception] = {}
    for body in await cluster.list(LOCATIONS):
        location = BackupLocation.model_validate(body)
        try:
            access, secrets = await credentials.of_location(cluster, home, location)
            keeper = open_keeper(access, secrets, prefix=kit.prefix)
            store = open_store(access, secrets, prefix=kit.prefix, retry=_IMPATIENT)
        except (credentials.CredentialsError, StoreError) as error:
            problems[location.metadata.name] = error
        else:
            places.append(_Place(store, keeper))

    def is_elsewhere(store: Store) -> bool:
        try:
            return check_format(store.get(FORMAT)).hex() != kit.vault_id
        except MissingError:
            return True
        except VaultError:  # damaged, or newer than this program
            return False

    stores = [place.store for place in places]
    answers = await asyncio.to_thread(ask_all, stores, is_elsewhere)
    for place, answer in zip(places, answers, strict=True):
        if answer is True:
            place.keeper.close()
    return [p for p, answer in zip(places, answers, strict=True) if answer is not True], problems
