"""What was read of your own data, kept whole in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from smallprint.spec.dataset import DatasetFacts, Split
from smallprint.training.data.in_memory import Dataset

# A cached data set is one file: four arrays, and in its header what `About` says, as JSON behind its SHA-256. Its name
# comes from where the data lies and how it is split, so there is one file for each and a change replaces it.
_FORMAT = 1  # what is kept, and how; another number leaves older files unread
_ARRAYS = ("train_images_NCHW", "train_labels_N", "test_images_NCHW", "test_labels_N")


def cache_folder() -> Path:
    """Where downloaded data sets, and what was read of your own, are kept for this user."""
    return user_cache_path("smallprint") / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a cached data set was read from."""

    tree: str  # the digest of every file's name, size and times
    settled: bool  # whether a later change would show in that
    content: str  # SHA-256 of the names and bytes of the files that were read
    fingerprint: str  # the data set's own
    title: str
    facts: dict[str, Any]  # as `DatasetFacts.table` gives them


class Cache:
    """The place in the user's cache for the data at one path, split in one way.

    Whatever is wrong with it makes it as good as empty. Files are written under another name and renamed, so any
    number of processes may read and write at once; the last one stays.
    """

    def __init__(self, path: Path, split: Split | None) -> None:
        place = path.resolve()
        key = hashlib.sha256(f"{_FORMAT}\0{place}\0{split or ''}".encode()).hexdigest()
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name)[:40]
        self.file = cache_folder() / "own" / f"{stem}-{key[:20]}.safetensors"

    def about(self) -> About | None:
        """What is kept, without reading all of it; None if nothing whole is there."""
        try:
            with safe_open(self.file, framework="np") as held:
                known, _, about = (held.metadata() or {})["about"].partition(" ")
            return About(**json.loads(about)) if known == _sum(about) else None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def facts(self, about: About, name: str) -> DatasetFacts | None:
        """Shape and classes of what is kept, for data that is called `name`."""
        facts, _ = DatasetFacts.stated(name, about.facts)
        return replace(facts, title=about.title) if facts else None

    def load(self, about: About, name: str, found: str) -> Dataset | None:
        """The data set that is kept, called `name` and found there; None if it is not whole."""
        facts = self.facts(about, name)
        if facts is None:
            return None
        try:
            with safe_open(self.file, framework="np") as held:
                arrays = {array: held.get_tensor(array) for array in _ARRAYS}
        except (OSError, SafetensorError, MemoryError):
            return None
        dataset = Dataset(facts=facts, found=found, **arrays)
        return dataset if dataset.fingerprint == about.fingerprint else None

    def keep(self, dataset: Dataset, *, tree: str, settled: bool, content: str) -> None:
        """Keep a data set in place of what is there; where the cache cannot be written, nothing is kept."""
        about = json.dumps(
            asdict(
                About(
                    tree=tree,
                    settled=settled,
                    content=content,
                    fingerprint=dataset.fingerprint,
                    title=dataset.facts.title,
                    facts=dataset.facts.table(),
                )
            )
        )
        temporary = None
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".", dir=self.file.parent)
            os.close(descriptor)
            arrays = {name: getattr(dataset, name) for name in _ARRAYS}
            save_file(arrays, temporary, metadata={"about": f"{_sum(about)} {about}"})
            Path(temporary).replace(self.file)
        except (OSError, SafetensorError):
            if temporary:
                with suppress(OSError):
                    Path(temporary).unlink(missing_ok=True)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
