"""Small documents of every format, made on the spot."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

PHRASE = "The harbour opens at seven"


def pdf(text: str = PHRASE) -> bytes:
    """One page in Helvetica, written by hand."""
    stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(text: str = PHRASE, *, repeated: int = 1) -> bytes:
    """`repeated` paragraphs: compressed they take next to nothing."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", _TYPES)
        file.writestr("_rels/.rels", _RELS)
        with file.open("word/document.xml", "w") as body:
            body.write(f'<?xml version="1.0"?><w:document {_W}><w:body>'.encode())
            paragraph = f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>".encode() * min(repeated, 1000)
            for _ in range(max(1, repeated // 1000)):
                body.write(paragraph)
            body.write(b"</w:body></w:document>")
    return out.getvalue()


def pptx(text: str = PHRASE) -> bytes:
    import pptx

    deck, out = pptx.Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = text
    deck.save(out)
    return out.getvalue()


def xlsx(text: str = PHRASE) -> bytes:
    import openpyxl

    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["id", "note"])
    book.active.append([1, text])
    book.save(out)
    return out.getvalue()


def html(text: str = PHRASE) -> bytes:
    return f"<html><head><script>x()</script></head><body><h1>News</h1><p>{text}</p></body></html>".encode()


def epub(text: str = PHRASE) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("mimetype", "application/epub+zip")
        file.writestr(
            "META-INF/container.xml",
            '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
            '<rootfiles><rootfile full-path="content.opf" media-type="application/oebps-package+xml"/></rootfiles>'
            "</container>",
        )
        file.writestr(
            "content.opf",
            '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
            'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Book</dc:title></metadata><manifest><item id="c1" '
            'href="c1.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c1"/></spine>'
            "</package>",
        )
        file.writestr("c1.xhtml", html(text))
    return out.getvalue()


def ipynb(text: str = PHRASE) -> bytes:
    cells = [
        {"cell_type": "markdown", "source": [text], "metadata": {}},
        {"cell_type": "code", "source": ["1 + 1"], "metadata": {}, "outputs": [], "execution_count": 1},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def msg(text: str = PHRASE) -> bytes:
    """An Outlook message: a compound file with two streams, subject and body, each of 4 KiB: so it has sectors."""
    sector, free, end = 512, 0xFFFFFFFF, 0xFFFFFFFE
    streams = [("__substg1.0_0037001F", "Hours"), ("__substg1.0_1000001F", text)]
    bodies = [content.ljust(2048).encode("utf-16-le") for _, content in streams]

    def entry(name: str, kind: int, child: int, right: int, start: int, size: int) -> bytes:
        raw = (name + "\0").encode("utf-16-le")
        head = raw.ljust(64, b"\0") + struct.pack("<HBB3I", len(raw) if name else 0, kind, 1, free, right, child)
        return head + bytes(36) + struct.pack("<IQ", start, size)

    directory = entry("Root Entry", 5, 1, free, end, 0)
    directory += entry(streams[0][0], 2, free, 2, 2, 4096) + entry(streams[1][0], 2, free, free, 10, 4096)
    directory += entry("", 0, free, free, 0, 0)
    chains = [0xFFFFFFFD, end, *range(3, 10), end, *range(11, 18), end]
    table = struct.pack(f"<{len(chains)}I", *chains).ljust(sector, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<I", 0)
    return header.ljust(sector, b"\xff") + table + directory + b"".join(bodies)


MAKERS = {
    "a.pdf": pdf,
    "a.docx": docx,
    "a.pptx": pptx,
    "a.xlsx": xlsx,
    "a.html": html,
    "a.epub": epub,
    "a.ipynb": ipynb,
    "a.msg": msg,
}


def write_all(folder: Path) -> None:
    for name, make in MAKERS.items():
        (folder / name).write_bytes(make())
