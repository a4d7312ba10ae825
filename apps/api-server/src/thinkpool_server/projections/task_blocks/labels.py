"""What the blocks are called, in the languages that there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
"""The first is for everybody who wants none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The words of one language."""

    research: str
    thinking: str
    search: str
    """Has a place for `count`."""
    browse: str
    document: str
    code: str
    tool: str
    """Has a place for `name`."""
    subtopic: str
    findings: str
    error: str
    completed: str
    retracted: str
    """Not a label but a line: what was just said does not count."""


LABELS: Mapping[Language, Labels] = {
    "en": Labels(
        research="Gathering and weighing material",
        thinking="Thinking",
        search="New sources found: {count}",
        browse="Page read",
        document="Document read",
        code="Running code",
        tool="Using {name}",
        subtopic="Looking into one part of the question",
        findings="Findings",
        error="Error",
        completed="The research is done, the answer follows",
        retracted="(Withdrawn: this step is done again.)",
    ),
    "zh": Labels(
        research="正在收集并分析资料",
        thinking="思考过程",
        search="搜索完成，新增 {count} 个来源",
        browse="已阅读网页",
        document="已阅读文档",
        code="运行代码",
        tool="使用工具 {name}",
        subtopic="正在研究子问题",
        findings="子问题结论",
        error="错误",
        completed="研究已完成，即将回答",
        retracted="（以上内容已撤回，此步骤将重新进行。）",
    ),
}
