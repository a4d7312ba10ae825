"""The names of responses and of their parts: all of them follow from the run's id."""

from thinkpool_pipeline.values import RunId

_RUN = "run"
_RESPONSE = "resp"


def response_id(run_id: RunId) -> str:
    """The run's id as a response: `run_x` is `resp_x`."""
    return f"{_RESPONSE}{_rest(run_id)}"


def run_id_of(given: str) -> RunId:
    """The run of this response, or of this run: either id names it."""
    rest = given.removeprefix(_RESPONSE)
    return RunId(given if rest == given else f"{_RUN}{rest}")


def part_id(kind: str, run_id: RunId, number: int | None = None) -> str:
    """The id of one of a response's items, or of its container for code."""
    return f"{kind}{_rest(run_id)}" if number is None else f"{kind}{_rest(run_id)}_{number}"


def _rest(run_id: RunId) -> str:
    rest = run_id.removeprefix(_RUN)
    return rest if rest != run_id else f"_{run_id}"
