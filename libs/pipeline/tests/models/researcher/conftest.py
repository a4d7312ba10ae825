from collections.abc import Callable

import pytest
from thinkpool_pipeline.values import CitedPassage, Passage, SourceId

Cited = Callable[..., CitedPassage]


@pytest.fixture
def cited() -> Cited:
    def cited(source_id: int, title: str, text: str, url: str | None = None) -> CitedPassage:
        passage = Passage(document=url or f"{title}.md", title=title, text=text, url=url)
        return CitedPassage(source_id=SourceId(source_id), passage=passage)

    return cited
