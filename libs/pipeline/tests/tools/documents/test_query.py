import jsonschema
import pytest
from thinkpool_pipeline.errors import InvalidArguments
from thinkpool_pipeline.protocols import CallContext
from thinkpool_pipeline.testing.conformance import check_tool
from thinkpool_pipeline.tools.documents import QueryDocuments
from thinkpool_pipeline.values import Passage, RunId, StepName

CONTEXT = CallContext(run_id=RunId("r1"), step=StepName("turn/1/call/1"), report_progress=lambda line: None)


async def asked(knowledge, sql, database="shop.db"):
    return await QueryDocuments(knowledge)({"database": database, "sql": sql}, CONTEXT)


async def test_rows_come_home_as_a_table_of_the_database(shop):
    output = await asked(shop, "SELECT id, item FROM orders ORDER BY id")
    assert output.passages == (
        Passage(
            document="shop.db",
            title="shop.db (database)",
            text="| id | item |\n| --- | --- |\n| 1 | blue lamp |\n| 2 | red \\| chair |",
        ),
    )
    assert (output.text, output.summary) == ("2 rows.", "2 rows of shop.db")


async def test_that_there_are_more_rows_is_said(shop):
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    output = await asked(shop, endless)
    assert output.text == "The first 200 rows: there are more."
    assert output.passages[0].text.endswith("| 200 |")
    assert (await asked(shop, "SELECT 1")).text == "1 row."


async def test_no_row_is_an_empty_result_that_names_the_columns(shop):
    output = await asked(shop, 'SELECT id, item AS "the\nitem" FROM orders WHERE id > 5')
    assert (output.is_empty, output.passages) == (True, ())
    assert output.text == "No row was found. The columns are: id, the item."


async def test_addresses_of_the_database_are_told_and_those_that_a_query_makes_up_are_not_addresses(shop):
    stored = await asked(shop, "SELECT page FROM orders WHERE id = 1")
    assert "| https://e.example/lamp |" in stored.passages[0].text
    made = await asked(
        shop,
        "SELECT 'HTTPS://evil.example/' || item, page || '?q=' || item, 1 AS 'http://x.example' FROM orders LIMIT 1",
    )
    text = made.passages[0].text
    assert "http: //x.example" in text
    assert "HTTPS: //evil.example/blue" in text
    assert "https: //e.example/lamp?q=blue" in text
    assert "://" not in text


async def test_of_very_many_addresses_the_first_are_looked_at(shop):
    numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 60)"
    many = f"{numbers} SELECT 'http://a.example/' || x FROM c"
    output = await asked(shop, f"{many} UNION ALL SELECT page FROM orders WHERE id = 1")
    assert "://" not in output.passages[0].text


async def test_what_a_query_may_not_do_is_told_to_the_model(shop, tmp_path):
    with pytest.raises(InvalidArguments, match="may only read"):
        await asked(shop, "DELETE FROM orders")
    with pytest.raises(InvalidArguments, match="no such table: lamps"):
        await asked(shop, "SELECT * FROM lamps")
    with pytest.raises(InvalidArguments, match=r"There is: shop\.db"):
        await asked(shop, "SELECT 1", "pool.md")


@pytest.mark.parametrize(
    "arguments", [{}, {"database": "a.db"}, {"database": "", "sql": "SELECT 1"}, {"database": "a", "sql": "x" * 10_001}]
)
def test_the_schema_refuses_what_no_query_is(arguments, knowledge):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(arguments, QueryDocuments(knowledge).spec.parameters)


async def test_the_tool_keeps_the_protocol(shop):
    await check_tool(QueryDocuments(shop), {"database": "shop.db", "sql": "SELECT * FROM orders"})
