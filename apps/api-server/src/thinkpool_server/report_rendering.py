"""A report's Markdown as a page that does nothing but show it.

A report is written by a model out of strangers' pages. So raw HTML is text, links go to http, https and mailto only,
images are not loaded, and the page forbids itself scripts, frames and everything foreign.
"""

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

PAGE_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy that such a page is sent with."""

_LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


class _Renderer(RendererHTML):
    """Writes links that tell their target nothing of where they were followed, and lists that keep their numbers."""

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("rel", "noopener noreferrer nofollow ugc")
        return self.renderToken(tokens, idx, options, env)

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        number = tokens[idx].info  # Markdown counts on from the first; sources leave numbers out
        if number.isdigit():
            tokens[idx].attrSet("value", number)
        return self.renderToken(tokens, idx, options, env)


class _Markdown(MarkdownIt):
    """CommonMark with tables, without raw HTML and images."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False}, renderer_cls=_Renderer)
        self.enable("table").disable(["image", "html_inline", "html_block"])

    def validateLink(self, url: str) -> bool:  # noqa: N802 -- the library's name
        """Whether a link may point there."""
        return _LINK.match(url) is not None


_MARKDOWN = _Markdown()


def report_page(report: str, *, title: str) -> str:
    """The report as an HTML document; neither argument is trusted."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>\n'
        f"<body><main>\n{_MARKDOWN.render(report)}</main></body></html>\n"
    )
