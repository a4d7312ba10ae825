import pytest
from days_between import DaysBetween
from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.testing.conformance import check_tool, context


async def test_it_counts_days():
    output = await check_tool(DaysBetween(), {"start": "1969-07-16", "end": "1969-07-24"})

    assert output.summary == "8 days"


async def test_what_is_no_date_is_told_to_the_model():
    with pytest.raises(InvalidArguments):
        await DaysBetween()({"start": "then", "end": "now"}, context())
