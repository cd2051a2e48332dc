"""`context`, built from what the host says lies where.

The configuration is plain JSON, written by the host:

    {"v": 1,
     "str_max": N,           bytes of UTF-8 up to which a text is a real str
     "roots": ["/…", …],     folders or files of this sandbox; all paths below are relative to one of them
     "single": true,         one input: its value is `context`; else `context` is a dict by name
     "inputs": [{"name", "as", "root", "path"}, …]}

`as` is `str`, `text` (a `Text`), `json`, `path`, or `files`: then `path` is that of a JSON listing
`{"files": [[name, size, root, path, text size, text root, text path], …]}`, where root and path may be missing: the
input's own root in `files_root`, and the name. The last three say what is read in the file's place, if anything is; for
a single input `"original": [root, path]` says what its text was made of. An empty `inputs` makes `context` None.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guest import values
from guest.files import Entry, Files
from guest.text import Text

VERSION = 1


@dataclass
class Loaded:
    """The built input."""

    context: object = None
    notices: list[str] = field(default_factory=list)
    """Remarks for the model, e.g. a `.json` file that is not JSON."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each input, in the order of their names in `context`."""
    originals: dict[str, Path] = field(default_factory=dict)
    """By the name of an input that was converted: the file that it was made of."""
    has_text: bool = False
    """Whether a `Text` is or may be found in it, so that cells need the `re` that takes one."""
    str_max: int = 64 << 20
    """Bytes of UTF-8 up to which a text is a str."""

    def index(self) -> Iterator[None]:
        """Index every `Text`, in short steps, so that forks made later need not."""
        parts = self.context.values() if isinstance(self.context, dict) else [self.context]
        for part in parts:
            if isinstance(part, Text):
                yield from part.source.index()


def build(config: Mapping[str, Any] | None) -> object:
    """`context` alone; see `load`."""
    return load(config).context


def load(config: Mapping[str, Any] | None) -> Loaded:
    """Build `context`; without a configuration, or without inputs, it is None. `OSError` if a file is not there."""
    loaded = Loaded()
    if not config:
        return loaded
    if config["v"] != VERSION:
        raise ValueError(f"input configuration of version {config['v']}, not {VERSION}")
    loaded.str_max = config["str_max"]
    built = {item["name"]: _value(item, config, loaded) for item in config["inputs"]}
    if built:
        loaded.context = next(iter(built.values())) if config["single"] else built
    return loaded


def _value(item: Mapping[str, Any], config: Mapping[str, Any], loaded: Loaded) -> object:
    path = _place(config["roots"], item["root"], item["path"])
    kind, str_max = item["as"], config["str_max"]
    if "original" in item:
        loaded.originals[item["name"]] = Path(_place(config["roots"], *item["original"]))
    if kind == "files":
        files = _files(path, item, config, loaded)
        loaded.sizes.append(files.size)
        return files
    loaded.sizes.append(os.path.getsize(path))
    if kind == "path":
        return Path(path)
    if kind == "json":
        return _json(path, item["name"], config, loaded)
    value = values.read_text(path, str_max=str_max) if kind == "str" else values.open_text(path)
    loaded.has_text |= isinstance(value, Text)
    return value


def _place(roots: Sequence[str], root: int, path: str) -> str:
    return os.path.join(roots[root], path) if path else roots[root]


def _json(path: str, name: str, config: Mapping[str, Any], loaded: Loaded) -> object:
    text = values.read_text(path, str_max=config["str_max"])
    try:
        return json.loads(str(text).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        loaded.notices.append(f"{name} is not valid JSON ({error}); it is given as text.")
        loaded.has_text |= isinstance(text, Text)
        return text


def _files(listing: str, item: Mapping[str, Any], config: Mapping[str, Any], loaded: Loaded) -> Files:
    roots = config["roots"]
    entries = {}
    with open(listing, encoding="utf-8") as file:
        for name, size, *where in json.load(file)["files"]:
            root, path, *text = where or (item["files_root"], name)
            place = _place(roots, root, path)
            entries[name] = Entry(place, size) if not text else Entry(_place(roots, *text[1:]), text[0], place)
    loaded.has_text |= any(entry.size > config["str_max"] for entry in entries.values())
    return Files(entries, str_max=config["str_max"])
