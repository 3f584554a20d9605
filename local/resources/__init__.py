"""Creates in the emulator what the Pulumi program declares, one function a type."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from local.resources import compute, identity, network, recorded, storage
from local.resources.declared import CannotCreate, Create, Created, Declared

CREATE: dict[str, Create] = {
    **storage.CREATE,
    **identity.CREATE,
    **network.CREATE,
    **compute.CREATE,
    **dict.fromkeys(recorded.RECORDED, recorded.record),
}
"""How each type of resource comes to be, by Pulumi's name for it."""


def create(declared: Declared) -> Created:
    """Create a resource, or write it down if its type is only recorded here.

    :raises CannotCreate: if the type is unknown here, or the emulator refuses it.
    """
    if declared.type not in CREATE:
        raise CannotCreate(
            f"the laptop does not know {declared.type} ({declared.name}): write a function for"
            " it in local/resources/, or add it with its reason to local/resources/recorded.py"
        )
    try:
        return CREATE[declared.type](declared)
    except KeyError as error:
        what = f"{declared.type} {declared.name}"
        raise CannotCreate(f"the laptop cannot make {what} without its input {error}") from error
    except (BotoCoreError, ClientError) as error:
        what = f"{declared.type} {declared.name}"
        raise CannotCreate(f"the emulator refuses {what}: {error}") from error
