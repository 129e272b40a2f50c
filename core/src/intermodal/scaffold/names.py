"""What the parts of a new plugin are called, and whether these names may be taken."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from intermodal import catalog
from intermodal.errors import PluginError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST = 50


@dataclass(frozen=True)
class Names:
    """The names of one plugin.

    Attributes:
        name: of the family and of its folder, `"bloom"`.
        model_type: as config.json says it.
        stem: what class names begin with, `"Bloom"`.
    """

    name: str
    model_type: str
    stem: str

    @property
    def dist(self) -> str:
        """The distribution."""
        return f"{catalog.CORE}-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """The package."""
        return self.dist.replace("-", "_")

    @property
    def constant(self) -> str:
        """What its `Family` is called."""
        return self.name.replace("-", "_").upper()


def check_name(name: str) -> None:
    """Refuse a name that no distribution and no package can have.

    Raises:
        PluginError: says which names are possible.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r} cannot be the name of a family: use small letters, digits and single dashes or underscores, a "
            f"letter first, {_LONGEST} at most; config.json's model_type is a good name."
        )


def check_free(names: Names, folder: Path) -> None:
    """Refuse a folder that exists, and names that an installed plugin has.

    Raises:
        PluginError: names what is in the way.
    """
    if folder.exists():
        raise PluginError(f"{folder} exists already; choose another name, or another folder with --into.")
    for key in dict.fromkeys((names.model_type, f"gguf.{names.model_type}")):
        for claim in catalog.find(catalog.FAMILIES, key):
            raise PluginError(
                f"The model type {key!r} is read by {claim}, which is installed. Change that plugin, or remove it "
                f"first: pip uninstall {claim.dist}"
            )
    for claim in catalog.claims():
        if catalog.normalize(claim.dist) == catalog.normalize(names.dist):
            raise PluginError(f"{claim} is installed under the name {names.dist}: choose another name.")
