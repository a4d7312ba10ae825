import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the long form of the slow suites."""
    parser.addoption("--long", action="store_true", help="run the long form of the slow suites")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what only the long form runs."""
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.skip(reason="runs with --long"))
