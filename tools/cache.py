"""The cache of downloaded and built things: `.cache/` in the checkout, safe to delete.

Every entry is a directory that appears complete or not at all, named after the content of what
it was made from. A changed input therefore gives a new entry, and an interrupted build leaves
nothing that a later one would trust.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache"


def content_key(*parts: bytes | str) -> str:
    """Return a short name for the sequence of `parts`; equal sequences have equal names."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the cache entry `kind`/`key`, calling `build` on an empty directory if it is new.

    Two processes may build the same entry at once; one of the two equal results is kept.
    """
    final = CACHE / kind / key
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=final.parent))
    try:
        build(work)
        work.chmod(0o755)
        os.rename(work, final)
    except OSError:
        # Somebody else finished first; any other failure is still a failure.
        if not final.is_dir():
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return final


def write(path: Path, data: bytes) -> None:
    """Replace the file at `path` by one that holds `data`, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
