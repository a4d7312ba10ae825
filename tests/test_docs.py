"""What the documentation promises to cover, it covers; and what it says of commands is what is run."""

import re
from pathlib import Path

import pytest
from thinkpool_pipeline.errors import PipelineError
from thinkpool_pipeline.events import EVENT_TYPES
from thinkpool_pipeline.protocols import LimiterStatistics
from thinkpool_server import errors
from thinkpool_server.api_reference import api_reference
from thinkpool_server.app import create_app
from thinkpool_server.metrics import Metrics
from thinkpool_server.service_statistics import PoolFigures, ServiceStatistics
from thinkpool_server.settings import Settings
from thinkpool_server.settings_reference import settings_reference
from thinkpool_server.testing.memory_service import MemoryRunService, memory_runtime

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = (ROOT / "README.md").read_text()
WRITTEN = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / ".env.example"]

INTERNAL_CODES = {"configuration", "asking-failed", "event-log", "superseded", "suspended", "budget-exceeded"}
"""Codes that no client ever reads: what they mean is told in other ways."""


def page(name):
    return (ROOT / "docs" / name).read_text()


def codes(root=PipelineError):
    assert errors  # the server's errors are part of the tree once they are imported
    yield root.code
    for branch in root.__subclasses__():
        yield from codes(branch)


def test_every_event_type_has_a_heading():
    headings = re.findall(r"^### ([a-z]+\.[a-z]+)$", page("events.md"), re.MULTILINE)
    assert sorted(headings) == sorted(EVENT_TYPES)


def test_the_api_reference_is_the_one_that_is_made_of_the_code():
    assert page("api.md") == api_reference(), "python -m thinkpool_server.api_reference > docs/api.md"


def test_every_route_event_and_body_has_a_place_in_the_reference():
    reference = page("api.md")
    document = create_app(Settings.model_validate({}), memory_runtime(MemoryRunService())).openapi()
    routes = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert sorted(re.findall(r"^### ([A-Z]+) (/\S+)$", reference, re.MULTILINE)) == sorted(routes)
    assert re.findall(r"^\| \[`([a-z.]+)`\]", reference, re.MULTILINE) == list(EVENT_TYPES)
    places = {heading.lower() for heading in re.findall(r"^#+ (\S+)$", reference, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", reference)) - places == set()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_links_to_parts_of_pages_lead_to_headings(path):
    for target, part in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        text = (path.parent / target).read_text() if target else path.read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert part in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, part


def test_every_error_code_a_client_may_read_is_in_a_table():
    told = set(re.findall(r"^\| `([a-z-]+)` \|", page("http-api.md"), re.MULTILINE))
    assert set(codes()) - INTERNAL_CODES - told == set()


def test_every_setting_is_explained_as_the_settings_explain_themselves():
    assert page("configuration.md").endswith(settings_reference()), "its table is made by settings_reference()"


def test_every_setting_named_in_a_page_exists():
    named = {name for path in WRITTEN for name in re.findall(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)`", path.read_text())}
    assert {name.lower() for name in named} - set(Settings.model_fields) - {"summary_llm_model"} == set()


def test_example_environment_lists_every_setting_with_its_default():
    given = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert given == {name.upper(): shown(field.default) for name, field in Settings.model_fields.items()}


def shown(default):
    if default is None or default == ():
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_metric_is_in_the_operations_page():
    figures = ServiceStatistics(
        active_runs=0,
        queued_runs=0,
        pool=PoolFigures(size=1, idle=1, in_use=0, waiting=0, broken=0, replaced=0),
        limiter=LimiterStatistics(held=0, waiting=0, total=1),
        engine="none",
    )
    rendered = Metrics("thinkpool").render(figures).decode()
    names = {name.removeprefix("thinkpool_") for name in re.findall(r"^# TYPE (thinkpool_\w+)", rendered, re.MULTILINE)}
    names = {name for name in names if not name.endswith("_created") and not name.startswith("process_")}
    assert {name for name in names if name not in page("operations.md")} == set()


def test_readme_gives_the_test_command_that_ci_runs():
    (command,) = re.findall(r"Run every test:\n\n```\n(.+)\n```", README)
    assert command == (ROOT / ".ci" / "run").read_text().splitlines()[-1]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path):
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_page_names_no_registry_and_no_path_of_a_machine(path):
    text = path.read_text()
    assert not re.search(r"https?://\S*/simple\b|pypi\.org|//registry\.|(?<![\w.])/(?:root|home|work)/", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_opens_with_one_title_and_has_text_under_each_heading(path):
    text = re.sub(r"```.*?```", "code", path.read_text(), flags=re.DOTALL)
    assert re.match(r"# \S", text)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert re.findall(r"^#+ .+\n+(?=# |\Z)", text, re.MULTILINE) == []
