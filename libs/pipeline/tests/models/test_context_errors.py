import pytest
from thinkpool_pipeline.models.context_errors import is_context_error


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "x", "code": "context_length_exceeded"}},
        {"error": {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}},
        {"error": {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000."}},
        {"object": "error", "message": "The prompt is too long: 9000 tokens, max_model_len 8192", "code": 400},
        {"error": "input is too long"},
        {"error": {"message": "The input token count (9) exceeds the maximum number of tokens allowed (8)."}},
    ],
)
def test_a_conversation_that_is_too_long_is_known_in_every_wording(body):
    assert is_context_error(body)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Invalid API key", "code": "invalid_api_key"}},
        {"error": {"message": None, "code": None}},
        {"error": {"message": "Rate limit: too many tokens per minute"}},
        {"error": 5},
        {"detail": "Not found"},
        ["context length"],
        None,
    ],
)
def test_other_complaints_are_not_taken_for_it(body):
    assert not is_context_error(body)
