"""One document's bytes to Markdown, whatever kind it is. Runs in a worker."""

from dataclasses import replace

from thinkpool_pipeline.parsing.charsets import decoded
from thinkpool_pipeline.parsing.documents import DocumentKind, ParsedDocument
from thinkpool_pipeline.parsing.pdf import read_pdf
from thinkpool_pipeline.parsing.plain_formats import read_csv, read_json, read_markdown
from thinkpool_pipeline.parsing.settings import WorkerLimits
from thinkpool_pipeline.parsing.web_page import read_web_page

_LONGEST_TITLE = 300
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), " ")


def read_document(
    content: bytes, kind: DocumentKind, *, media_type: str = "", address: str = "", limits: WorkerLimits
) -> ParsedDocument:
    """What the document says, at most `limits.max_characters` of it, free of control characters.

    Raises:
        Unparsable: it is encrypted, or broken beyond reading.

    """
    match kind:
        case "pdf":
            parsed = read_pdf(content, limits)
        case "html":
            text = decoded(content, media_type=media_type, is_markup=True)
            parsed = read_web_page(text, address, limits)
        case _:
            parsed = _read_text(decoded(content, media_type=media_type), kind)
    return _tidied(parsed, limits.max_characters)


def _read_text(text: str, kind: DocumentKind) -> ParsedDocument:
    match kind:
        case "json":
            return read_json(text)
        case "csv":
            return read_csv(text)
        case "markdown":
            return read_markdown(text)
        case _:
            return ParsedDocument(title="", text=text)


def _tidied(parsed: ParsedDocument, max_characters: int) -> ParsedDocument:
    text = _printable(parsed.text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    title = " ".join(_printable(parsed.title).split())[:_LONGEST_TITLE]
    is_cut = parsed.is_cut or len(text) > max_characters
    return replace(parsed, title=title, text=text[:max_characters], is_cut=is_cut)


def _printable(text: str) -> str:
    """The text without what no reader sees: control characters and halves of characters."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()
