import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the long form of the slow suites."""
    parser.addoption("--long", action="store_true", help="run the long form of the slow suites")
