"""What models are told of the tools that run code: two for every model, and those that some were trained on."""

from dataclasses import dataclass

from pydantic import JsonValue

from thinkpool_pipeline.values import JsonObject, ToolSpec

DIRECTORY = "/home/user"
"""Where models that were trained on these tools take the working directory to be."""
_SANDBOX_ID: JsonObject = {
    "type": "string",
    "description": "May be left out or be anything: all calls of this research share one sandbox.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSettings:
    """What programs may cost, and where they run."""

    timeout_seconds: float = 60.0
    """Of one program."""
    is_outward: bool = False
    """Whether the sandboxes are another's, so that what is sent into them leaves the house."""
    has_internet: bool = False
    """Whether programs reach the internet."""
    max_output_characters: int = 20_000
    """Of what a program prints, for the model and for people; more is cut in the middle."""
    max_file_bytes: int = 1024 * 1024
    """Of a file that is asked back by name."""


def python_spec(settings: CodeSettings) -> ToolSpec:
    """Runs Python."""
    return _spec(
        settings,
        "run_python",
        "Runs Python code in a sandbox and gives back what it prints, the plots it shows and the files it makes. "
        "Names, imports and files stay for the next call; all calls of this research share one sandbox. "
        f"Print what you want to see. {_limits(settings)}",
        {"code": {"type": "string", "minLength": 1, "description": "Python code."}},
        required=["code"],
    )


def command_spec(settings: CodeSettings) -> ToolSpec:
    """Runs a shell command."""
    return _spec(
        settings,
        "run_command",
        "Runs a shell command in the sandbox that run_python uses, in the same directory, and gives back what it "
        f"prints. {_limits(settings)}",
        {"command": {"type": "string", "minLength": 1, "description": "A command for the shell."}},
        required=["command"],
    )


def create_spec(settings: CodeSettings) -> ToolSpec:
    """Opens the run's sandbox."""
    return _spec(
        settings,
        "create_sandbox",
        "Creates a Linux sandbox and gives its sandbox_id.",
        {
            "timeout": {
                "type": "number",
                "default": 600,
                "description": "Has no effect: the sandbox lasts as long as this research.",
            }
        },
        is_xml_only=True,
    )


def upload_spec(settings: CodeSettings) -> ToolSpec:
    """Puts a file of the question into the sandbox."""
    return _spec(
        settings,
        "upload_file_from_local_to_sandbox",
        "Puts a file that came with the question into the sandbox. They are all there already under their names.",
        {
            "sandbox_id": _SANDBOX_ID,
            "local_file_path": {"type": "string", "minLength": 1, "description": "The name of the file."},
            "sandbox_file_path": _target(),
        },
        required=["local_file_path"],
        is_xml_only=True,
    )


def download_spec(settings: CodeSettings) -> ToolSpec:
    """Puts a file of the web into the sandbox."""
    return _spec(
        settings,
        "download_file_from_internet_to_sandbox",
        "Downloads a file from the web into the sandbox.",
        {
            "sandbox_id": _SANDBOX_ID,
            "url": {"type": "string", "minLength": 1, "description": "The address of the file."},
            "sandbox_file_path": _target(),
        },
        required=["url"],
        is_outward=True,
        is_xml_only=True,
    )


def bring_spec(settings: CodeSettings) -> ToolSpec:
    """Brings a file of the sandbox back."""
    return _spec(
        settings,
        "download_file_from_sandbox_to_local",
        "Brings a file of the sandbox back, for the reader of the report.",
        {
            "sandbox_id": _SANDBOX_ID,
            "sandbox_file_path": {"type": "string", "minLength": 1, "description": "The file's path in the sandbox."},
            "local_filename": {"type": ["string", "null"], "description": "Its name outside, if it is to be another."},
        },
        required=["sandbox_file_path"],
        is_xml_only=True,
    )


def _target() -> JsonObject:
    return {"type": "string", "default": DIRECTORY, "description": "The directory, or the path, in the sandbox."}


def _limits(settings: CodeSettings) -> str:
    internet = "It reaches the internet." if settings.has_internet else "It has no internet."
    return f"It may take {settings.timeout_seconds:g} s. {internet}"


def _spec(
    settings: CodeSettings,
    name: str,
    description: str,
    properties: JsonObject,
    *,
    required: list[JsonValue] | None = None,
    is_outward: bool = False,
    is_xml_only: bool = False,
) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=description,
        parameters={
            "type": "object",
            "properties": properties,
            "required": required or [],
            "additionalProperties": False,
        },
        is_parallel_safe=False,
        is_outward=is_outward or settings.is_outward,
        is_xml_only=is_xml_only,
    )
