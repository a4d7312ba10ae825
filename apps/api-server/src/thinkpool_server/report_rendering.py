"""A report's Markdown as a page that does nothing but show it.

A report is written by a model out of strangers' pages. So raw HTML is text, links go to http, https and mailto only,
images are not loaded, and the page forbids itself scripts, frames and everything foreign. Its one style sheet is
let through by its hash.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

PAGE_STYLE = """
:root { color-scheme: light dark; font: 1.0625rem/1.55 system-ui, sans-serif }
body { margin: 0 auto; max-width: 44rem; padding: 2rem 1.25rem 4rem; overflow-wrap: anywhere }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.8em 0 .5em }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem } h3, h4 { font-size: 1.0625rem }
.question { border-bottom: 1px solid #8886; font-size: 1.6rem; font-weight: 600; line-height: 1.25; margin: 0;
  max-height: 12rem; overflow: auto; padding-bottom: 1rem; white-space: pre-line }
a { color: LinkText } li { margin: .3em 0 }
code { background: #8882; border-radius: .25em; font-size: .9em; padding: .1em .3em }
pre { background: #8882; border-radius: .4em; overflow: auto; padding: .8em 1em }
pre code { background: none; padding: 0 }
blockquote { border-left: .25em solid #8886; margin: 1em 0; padding: .1em 1em }
table { border-collapse: collapse; display: block; overflow: auto }
th, td { border: 1px solid #8886; padding: .35em .7em; text-align: left; vertical-align: top }
"""
"""How the page looks: a column that is easy to read on any screen and on paper, light or dark as the reader likes."""

_STYLE_HASH = b64encode(sha256(PAGE_STYLE.encode()).digest()).decode()

PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
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
    """The report as an HTML document with the question as its title and its first line; neither is trusted."""
    question = escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{question}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{PAGE_STYLE}</style></head>\n'
        f'<body><p class="question">{question}</p>\n<main>\n{_MARKDOWN.render(report)}</main></body></html>\n'
    )
