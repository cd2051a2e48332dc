"""What a file is, by its first bytes and its name: for the manifest, and to know what to do with it."""

from __future__ import annotations

from pathlib import PurePosixPath

SNIFF = 8 << 10
"""Bytes at the head among which a NUL makes a file binary."""

DOCUMENTS = {
    ".pdf": "PDF",
    ".docx": "DOCX",
    ".pptx": "PPTX",
    ".xlsx": "XLSX",
    ".epub": "EPUB",
    ".msg": "Outlook message",
    ".html": "HTML",
    ".ipynb": "notebook",
}
"""What is converted to text: suffix -> type."""
SAME = {".htm": ".html", ".xhtml": ".html", ".docm": ".docx", ".pptm": ".pptx", ".xlsm": ".xlsx"}
"""Suffixes of the same formats."""
SOURCES = frozenset({".html", ".ipynb"})
"""Documents that are text already: a directory's stay as they are, since they may be its subject."""

TABLES = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".parquet": "Parquet",
    ".sqlite": "SQLite",
}

_MAGIC = {
    b"PAR1": "Parquet",
    b"SQLite format 3\0": "SQLite",
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"\xd0\xcf\x11\xe0": "OLE (doc, xls, msg)",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"fLaC": "FLAC",
}
_ZIPPED = ((b"word/", ".docx"), (b"ppt/", ".pptx"), (b"xl/", ".xlsx"), (b"application/epub+zip", ".epub"))
_MIME = {
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/epub+zip": ".epub",
    "application/vnd.ms-outlook": ".msg",
    "application/xhtml+xml": ".html",
    "text/html": ".html",
    "application/x-ipynb+json": ".ipynb",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.sqlite3": ".sqlite",
    "application/zip": ".zip",
    "application/x-tar": ".tar",
    "application/gzip": ".tar.gz",
    "image/png": ".png",
    "image/jpeg": ".jpg",
}


def suffix_of(name: str, head: bytes = b"") -> str:
    """The suffix that tells what a file is, `.htm` as `.html`; by `head` where the name has none. `""`: unknown."""
    suffix = PurePosixPath(name).suffix.lower()
    suffix = SAME.get(suffix, suffix)
    if suffix or not head:
        return suffix
    if head.startswith(b"%PDF"):
        return ".pdf"
    if head.startswith(b"PK\x03\x04"):
        return next((inner for mark, inner in _ZIPPED if mark in head), ".zip")
    return ""


def suffix_of_mime(mime: str) -> str:
    """`application/pdf; version=1.7` -> `.pdf`; `""` for what is not known."""
    return _MIME.get(mime.partition(";")[0].strip().lower(), "")


def type_of(name: str, head: bytes) -> str:
    """A word or two for a file, e.g. `PDF`, `CSV`, `text`, `binary`."""
    suffix = suffix_of(name, head)
    if suffix in DOCUMENTS:
        return DOCUMENTS[suffix]
    if magic := next((told for magic, told in _MAGIC.items() if head.startswith(magic)), None):
        return magic
    if head.startswith(b"PK\x03\x04"):
        return "ZIP"
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"WAVE": "WAV"}.get(head[8:12], "RIFF")
    if b"\0" in head[:SNIFF]:
        return "binary"
    return {**TABLES, ".json": "JSON"}.get(suffix, "text")
