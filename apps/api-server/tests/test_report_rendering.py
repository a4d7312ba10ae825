import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from thinkpool_server.report_rendering import PAGE_POLICY, PAGE_STYLE, report_page

_TAGS = frozenset(
    "html head meta title body main h1 p a ul li ol strong code pre blockquote table thead tbody tr th td".split()  # noqa: SIM905 -- a list of 21 strings reads worse
)
_ATTRIBUTES = {"href", "title", "rel", "lang", "charset", "start", "value", "style", "class", "name", "content"}

SCRIPTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<form action=//evil.example><input name=a></form>",
    "<details open ontoggle=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?php echo 1 ?>",
    "</title></main><script>alert(1)</script>",
]
LINKS = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java&#x0A;script:alert(1)",
    "javascript&colon;alert(1)",
    "&#106;avascript:alert(1)",
    "%6Aavascript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "//evil.example/x",
    "blob:https://x/1",
    "http://[evil",
]
SHAPES = [
    "{}",
    "text {} text",
    "# {}",
    "> {}",
    "- {}",
    "| a |\n|-|\n| {} |",
    "**{}**",
]
LINK_SHAPES = [
    "[x]({})",
    "[x](<{}>)",
    "![x]({})",
    "<{}>",
    "[x]\n\n[x]: {}",
    "![x][y]\n\n[y]: {}",
    '[x]({} "title")',
    "[![a]({})](https://ok.example)",
]
PAYLOADS = [shape.replace("{}", text) for shape in SHAPES for text in SCRIPTS] + [
    shape.replace("{}", link) for shape in LINK_SHAPES for link in LINKS
]


class _Walk(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.faults.append(tag)
        for name, value in attrs:
            if name not in _ATTRIBUTES or (name == "style" and not (value or "").startswith("text-align:")):
                self.faults.append(f"{tag} {name}")
            if name == "href":
                self.links.append(value or "")

    def handle_comment(self, data: str) -> None:
        self.faults.append("comment")

    def unknown_decl(self, data: str) -> None:
        self.faults.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.faults.append("instruction")


def walked(report: str, title: str = "t") -> _Walk:
    walk = _Walk()
    page = report_page(report, title=title)
    assert f"<style>{PAGE_STYLE}</style>" in page
    walk.feed(page.replace(f"<style>{PAGE_STYLE}</style>", "", 1))  # any other would be a fault
    walk.close()
    return walk


def test_there_are_enough_payloads() -> None:
    assert len(PAYLOADS) >= 150


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_active_and_nothing_foreign_is_rendered(payload: str) -> None:
    walk = walked(payload)
    assert walk.faults == []
    assert [link for link in walk.links if not link.startswith(("https://ok.example", "http://", "https://"))] == []


def test_a_title_is_text() -> None:
    assert walked("x", title="</title><script>alert(1)</script>").faults == []


def test_the_policy_lets_the_page_have_its_own_style_sheet_and_no_other() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", report_page("x", title="t"), re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY


def test_a_page_begins_with_the_question() -> None:
    assert '<p class="question">Why &amp; how?</p>\n<main>' in report_page("x", title="Why & how?")


def test_a_report_is_rendered_with_links_tables_and_sources() -> None:
    page = report_page(
        "# T\n\nBlue.[1]\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. [Sky](https://sky.example/?a=1&b=2)\n", title="t"
    )
    assert '<a href="https://sky.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow ugc">Sky</a>' in page
    assert "<table>" in page
    assert "Blue.[1]" in page


def test_sources_keep_their_numbers() -> None:
    page = report_page("1. one\n3. three\n12. twelve\n\n- none\n", title="t")
    assert '<li value="1">one</li>\n<li value="3">three</li>\n<li value="12">twelve</li>' in page
    assert "<li>none</li>" in page


def test_mail_links_are_kept() -> None:
    assert walked("[m](mailto:a@b.example)").links == ["mailto:a@b.example"]
