import pytest
from thinkpool_pipeline.models.tools_errors import is_tools_error

MISTRAL = {"type": "extra_forbidden", "loc": ["body", "tools"], "msg": "Extra inputs are not permitted"}


@pytest.mark.parametrize(
    "body",
    [
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        {"error": {"message": "registry.ollama.ai/library/gemma3:4b does not support tools", "type": "api_error"}},
        {"error": "registry.ollama.ai/library/gemma3:4b does not support tools"},
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
        {"code": 500, "message": "Unsupported param: tools", "type": "server_error"},
        {"error": {"message": "No endpoints found that support tool use.", "code": 404}},
        {"error": {"message": "No endpoints found that support the provided 'tool_choice' value.", "code": 404}},
        {"error": {"message": "tools is not supported in this model.", "param": "tools"}},
        {"error": {"message": "Functions are not supported for this API version or this model version."}},
        {"error": {"code": 400, "message": "Tool use with function calling is unsupported"}},
        {"error": {"message": "Tool calling is not supported for model: x", "code": "405"}},
        {"code": "x", "error": "The model does not support tool use or function calling but tools were specified."},
        {"error": {"message": "bad parameter", "param": "tool_choice"}},
        {"detail": [{"loc": ["body", "tools"], "msg": "extra fields"}]},
        {"object": "Error", "detail": [MISTRAL], "message": [MISTRAL], "code": 3001},
        {"object": "error", "message": {"detail": [MISTRAL]}},
    ],
)
def test_a_refusal_of_tools_is_known_in_every_wording(body):
    assert is_tools_error(body)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Invalid API key"}},
        {"error": {"message": "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"}},
        {"error": {"message": "Invalid schema for function 'f'", "param": "tools[0].function.parameters"}},
        {"error": {"message": "temperature is not supported with this model", "param": "temperature"}},
        {"error": {"message": None, "param": None}},
        {"error": 5},
        {"detail": "Not found"},
        {"detail": [{"loc": ["body", "tools", 0, "function"]}, {"loc": []}, {"loc": "tools"}, "tools"]},
        {"message": {"detail": "tools"}},
        ["tools are not supported"],
        None,
    ],
)
def test_other_complaints_are_not_taken_for_it(body):
    assert not is_tools_error(body)
