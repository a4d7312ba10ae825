from thinkpool_pipeline.knowledge.databases import DatabaseReader, database_documents


async def documents(path):
    outline = await DatabaseReader().outline(path)
    return {document.document: document for document in database_documents("data/shop.db", outline)}


def passages(document):
    text = document.cut.text
    return [(cut.heading, text[cut.start : cut.end]) for cut in document.cut.passages]


async def test_a_database_lists_its_tables_and_each_of_them_is_a_document(make):
    found = await documents(
        make("""
        CREATE TABLE customers (id INTEGER PRIMARY KEY, name);
        CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id REFERENCES customers (id));
        INSERT INTO customers VALUES (1, 'Ada'), (2, NULL);
        """)
    )
    assert [*found] == ["data/shop.db", "data/shop.db/customers", "data/shop.db/orders"]
    assert found["data/shop.db"].title == "shop.db (database)"
    assert found["data/shop.db"].cut.text == (
        "shop.db (database)\n\nThe database shop.db has 2 tables.\n\n"
        "- customers (2 rows): id, name\n- orders (0 rows): id, customer_id"
    )
    customers = found["data/shop.db/customers"]
    assert customers.title == "customers (shop.db)"
    assert passages(customers) == [
        ("", "customers (shop.db)\n\nThe table customers of the database shop.db has 2 rows."),
        ("Columns", "Columns\n\n- id INTEGER, primary key\n- name"),
        ("Rows / Rows 1 to 2", "Rows\n\nRows 1 to 2\n\n| id | name |\n| --- | --- |\n| 1 | Ada |\n| 2 | NULL |"),
    ]
    assert "- customer_id, refers to customers.id" in found["data/shop.db/orders"].cut.text


async def test_what_is_missing_is_said(make):
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) INSERT INTO t SELECT x FROM c LIMIT 6000;"
    found = await documents(
        make(f"CREATE TABLE t (x); {rows} CREATE TABLE gone (x); CREATE VIEW v AS SELECT x FROM gone; DROP TABLE gone;")
    )
    assert "has 6000 rows" in found["data/shop.db/t"].cut.text
    assert "Here are the first 20 only. A query of the database finds the others." in found["data/shop.db/t"].cut.text
    assert "The view v of the database shop.db has rows that cannot be read." in found["data/shop.db/v"].cut.text
    assert "- v (rows that cannot be read): its columns cannot be read" in found["data/shop.db"].cut.text


async def test_more_tables_than_are_read_and_more_columns_than_are_shown_are_counted(make):
    wide = ", ".join(f"c{number}" for number in range(40))
    tables = "".join(f"CREATE TABLE t{number} (x);" for number in range(205))
    found = await documents(make(f"CREATE TABLE wide ({wide}); {tables}"))
    text = found["data/shop.db"].cut.text
    assert "has 206 tables" in text
    assert text.endswith("- 6 tables more, which are not listed here")
    assert "c28, c29, ..." in text
