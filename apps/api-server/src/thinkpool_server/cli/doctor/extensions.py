"""Tools of the operator's own: whether they can be made."""

from collections.abc import Sequence
from typing import Final

from thinkpool_pipeline.errors import ConfigurationError

from thinkpool_server.cli.doctor.examination import Subject
from thinkpool_server.cli.doctor.findings import Finding, ok, problem
from thinkpool_server.extensions import make_extra_tools

CHECK: Final = "own tools"


async def examine_own_tools(subject: Subject) -> Sequence[Finding]:
    """Every tool that `EXTRA_TOOLS` names."""
    try:
        tools = make_extra_tools(subject.settings.extra_tools)
    except ConfigurationError as error:
        return [problem(CHECK, error.message.rstrip("."), mend="correct EXTRA_TOOLS, or the module")]
    return [ok(CHECK, ", ".join(tool.spec.name for tool in tools))]
