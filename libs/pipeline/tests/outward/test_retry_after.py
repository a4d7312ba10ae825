from email.utils import formatdate

import httpx
import pytest
from thinkpool_pipeline.outward.retry import retry_after_seconds

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "1e9"}, 60.0),
        ({"retry-after": "inf"}, 60.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": formatdate(NOW + 7, usegmt=True)}, 7.0),
        ({"retry-after": formatdate(NOW - 100, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW + 86_400, usegmt=True)}, 60.0),
        ({"retry-after": "Mon, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "garbage", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms_and_kept_within_a_minute(headers, seconds):
    assert retry_after_seconds(httpx.Headers(headers), NOW) == seconds
