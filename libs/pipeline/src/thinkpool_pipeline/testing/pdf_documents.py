"""Small PDF documents, written by hand, for tests of whatever reads them.

Source: ISO 32000-1, 7.5 for the file's structure; 7.6 for what an encrypted one says of itself.
"""

from collections.abc import Iterator, Sequence

_FIRST_PAGE_OBJECT = 5
_ENCRYPTION = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"ab" * 32, b"cd" * 32)


def pdf_document(pages: Sequence[str], *, title: str = "", is_encrypted: bool = False) -> bytes:
    """A document with these pages, whose lines are those of the texts, in characters of Latin-1.

    An encrypted one says that it is, by a password that nobody has.
    """
    offsets: list[int] = []
    content = bytearray(b"%PDF-1.4\n")
    for number, body in enumerate(_objects(pages, title), 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    content += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    encryption = b" /Encrypt %s /ID [<00> <00>]" % _ENCRYPTION if is_encrypted else b""
    content += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R%s >>\n" % (len(offsets) + 1, encryption)
    return bytes(content + b"startxref\n%d\n%%%%EOF\n" % start)


def _objects(pages: Sequence[str], title: str) -> Iterator[bytes]:
    kids = b" ".join(b"%d 0 R" % (_FIRST_PAGE_OBJECT + 2 * index) for index in range(len(pages)))
    yield b"<< /Type /Catalog /Pages 2 0 R >>"
    yield b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(pages), kids)
    yield b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    yield b"<< /Title (%s) >>" % _escaped(title)
    for index, text in enumerate(pages):
        stream = b"BT /F1 12 Tf 72 720 Td 14 TL " + b" ".join(
            b"(%s) Tj T*" % _escaped(line) for line in text.split("\n")
        )
        stream += b" ET"
        yield (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (_FIRST_PAGE_OBJECT + 2 * index + 1)
        )
        yield b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)


def _escaped(text: str) -> bytes:
    return text.encode("latin-1").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
