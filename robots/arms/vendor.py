"""Arms whose URDF and meshes are their vendor's: which files they are, where they are found, how they are fetched.

The rest of such an arm is in `robots/arms`, as an arm file whose URDF is called `vendor://ARM/FILE`. Nothing is
downloaded but by `fetch`.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robots.host.writing import write_bytes
from robots.specs import SpecError

FOLDERS = "SIM2REAL_DESCRIPTIONS"
"""Environment variable with folders of vendors' files, separated as those of PATH."""
SCHEME = "vendor://"
TIMEOUT = 30.0
"""Longest silence of a server [s]."""
MOST_BYTES = 32 << 20
"""Largest file."""


@dataclass(frozen=True)
class VendorFiles:
    """What a vendor publishes of an arm."""

    address: str
    """Folder at a pinned revision, as an address that file names are appended to."""
    licence: str
    """Of the files."""
    sums: Path
    """Their SHA-256 and their paths in the folder, as `sha256sum` writes and checks them."""

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its path."""
        rows = (line.split(maxsplit=1) for line in self.sums.read_text().splitlines())
        return {name: digest for digest, name in rows}


VENDORS: dict[str, VendorFiles] = {
    "so101": VendorFiles(
        "https://raw.githubusercontent.com/TheRobotStudio/SO-ARM100/fda892cba81032c46c40976a48c9ceadbf40a9ca/"
        "Simulation/SO101/",
        "Apache-2.0, TheRobotStudio",
        Path(__file__).with_name("so101.sha256"),
    ),
}
"""By arm."""


def folders(arm: str) -> list[Path]:
    """Return where the files of `arm` are looked for: folders that the user names, then that of `fetch`."""
    named = [Path(each) for each in os.environ.get(FOLDERS, "").split(os.pathsep) if each]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sim2real" / "arms" / arm
    return [*(place for each in named for place in (each, each / arm)), cache]


def find_vendor_file(name: str) -> Path:
    """Return the file that is called `vendor://ARM/FILE`.

    Raises:
        SpecError: if it is in none of the folders, with the next step.
    """
    arm, _, file = name.removeprefix(SCHEME).partition("/")
    tried = [folder / file for folder in folders(arm)]
    for path in tried:
        if path.is_file():
            return path
    raise SpecError(
        f"'{file}' of arm '{arm}' is not in {', '.join(str(path.parent) for path in tried)}; 'sim2real fetch {arm}' "
        f"downloads it from its vendor, or export {FOLDERS}=FOLDER where you have it"
    )


def fetch(arm: str, address: str | None = None, told: Callable[[str], None] = lambda _: None) -> Path:
    """Download the files of `arm` from its vendor, each checked against its hash; return their folder.

    Args:
        arm: a name in `VENDORS`.
        address: folder, as a URL, to take them from in place of the vendor's.
        told: called with the name of each file that has been downloaded; those that are there already are not.

    Raises:
        SpecError: for an unknown arm, a server that does not answer, or a file that is not the pinned one.
    """
    if arm not in VENDORS:
        raise SpecError(f"no vendor's files are known of arm '{arm}'; known are {', '.join(VENDORS)}")
    vendor, folder = VENDORS[arm], folders(arm)[-1]
    source = (address or vendor.address).rstrip("/") + "/"
    for name, expected in vendor.hashes().items():
        path = folder / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            continue
        content = _download(source + name, arm)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise SpecError(
                f"{source}{name}: SHA-256 is {found}, expected {expected}; it is not the file that this version of "
                "sim2real was tested with, and was not kept"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
        told(name)
    return folder


def _download(url: str, arm: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            content = response.read(MOST_BYTES + 1)
    except (urllib.error.URLError, TimeoutError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise SpecError(
            f"{url}: {reason}; is there a network? Else copy the vendor's files of '{arm}' to a folder and export "
            f"{FOLDERS}=FOLDER, or give their address with --source"
        ) from None
    if len(content) > MOST_BYTES:
        raise SpecError(
            f"{url}: larger than {MOST_BYTES >> 20} MiB, expected an arm's URDF or mesh; is the address right?"
        )
    return content
