"""`weddingbackup vault rotate`: new keys for a vault that no cluster has, and the kit that holds them.

The new kit is a draft beside the old one before anything is stored with it. So a rotation that is cut
short is ended by the next call, and no two kits ever hold different new keys.
"""

import os
import tempfile
from pathlib import Path

import click

from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.vault import rotate as rotation
from weddingbackup.vault.kit import Kit

_DRAFT = ".rotating"


@click.command()
@vault_options
@click.option("--wrapping-keys", is_flag=True, help="Wrap the data keys anew.")
@click.option("--data-keys", is_flag=True, help="Seal what comes with new data keys.")
@click.option("--finish", is_flag=True, help="Only remove what earlier rotations had to leave.")
def rotate(places: Places, *, wrapping_keys: bool, data_keys: bool, finish: bool) -> None:
    """Give the vault new keys: for wrapping, for what is sealed from now on, or both [default].

    No stored data is read or changed. The new kit takes the place of --kit, or lies beside it where
    the old one's id is in its name; the old kit is kept. A rotation that was cut short is ended.

    Of a vault that a cluster has, use `rotate-keys`: the cluster does not learn of this one.
    """
    if finish and (wrapping_keys or data_keys):
        raise click.UsageError(
            "--finish makes no new keys: leave out --wrapping-keys and --data-keys"
        )
    old = places.kit()
    stores = places.stores(old)
    found = rotation.find(old, stores)
    if not any(found.names.values()):
        raise click.ClickException(
            "no location that answers holds this vault: is it the right place?"
        )
    draft = places.kit_file.with_name(places.kit_file.name + _DRAFT)
    new = (
        old
        if finish
        else rotation.renew(
            old,
            wrapping_keys=wrapping_keys or not data_keys,
            data_keys=data_keys or not wrapping_keys,
        )
    )
    if draft.exists():
        new = _resumed(draft, old)
        click.echo("an earlier rotation was cut short: this ends it, with the keys that it made")
    if strangers := found.strangers(new):
        raise click.ClickException(
            f"the locations hold {len(strangers)} keys that {places.kit_file} does not: it was rotated"
            " elsewhere. Take the newest kit, or points that were made since will not open"
        )
    if new is not old and not draft.exists():
        _write(draft, new)
    failed = rotation.establish(new, stores)
    if new is not old:
        _replace(places.kit_file, draft, old, new)
    keepers = {
        place.location: place.keeper(new.prefix)
        for place in places.locations
        if place.location in found.names
    }
    left = found.silent | failed | rotation.retire(new, stores, keepers, found, failed=failed)
    for place in places.locations:
        problem = left.get(place.location)
        click.echo(f"  {place.location}: {f'KEEPS OLD KEYS: {problem}' if problem else 'done'}")
    if left:
        raise click.ClickException(
            f"{len(left)} of {len(stores)} locations still hold the data keys as they were wrapped before:"
            " later, run vault rotate --finish with the new kit"
        )


def _resumed(draft: Path, old: Kit) -> Kit:
    new = Kit.from_json(draft.read_bytes())
    if new.vault_id != old.vault_id or not set(old.keyring().keys) <= set(new.keyring().keys):
        raise click.ClickException(
            f"{draft} is no successor of this kit; move it away if you know what it is"
        )
    return new


def _replace(file: Path, draft: Path, old: Kit, new: Kit) -> None:
    """Put the new kit in place, in one rename; the old one stays beside it."""
    if old.id in file.name:
        kept, file = file, file.with_name(file.name.replace(old.id, new.id))
    else:
        kept = file.with_name(f"{file.stem}.{old.id}{file.suffix}")
        _write(kept, old)
    draft.replace(file)
    _settle(file.parent)
    click.echo(f"{file}: the vault's new kit, {new.id}; copy it to where you keep kits")
    click.echo(
        f"{kept}: the old one, {old.id}, now out of date like all its copies. It still opens what was"
        " sealed before: destroy it once the new one is safe"
    )


def _write(file: Path, kit: Kit) -> None:
    """Have a kit on the disk, whole or not at all, readable by its owner alone."""
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=file.parent, prefix=".kit-"
        )  # its mode is 0600
        with os.fdopen(descriptor, "wb") as writer:
            writer.write(kit.to_json())
            writer.flush()
            os.fsync(writer.fileno())
        Path(temporary).replace(file)
        _settle(file.parent)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None


def _settle(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
