import asyncio

import pytest
from thinkpool_pipeline.tools.read_page.robots import MAX_ROBOTS_BYTES, read_robots


async def is_allowed(text: str, path: str) -> bool:
    return (await read_robots(text)).is_allowed(f"https://a.example{path}")


@pytest.mark.parametrize("text", ["", "nonsense", "Disallow: /", "User-agent: other\nDisallow: /", "\n# Disallow: /"])
async def test_where_nothing_is_said_to_us_everything_is_allowed(text):
    assert await is_allowed(text, "/a")


@pytest.mark.parametrize(
    "group",
    [
        "User-agent: *",
        "user-agent:ThinkPool",
        "USER-AGENT : thinkpool/1.0 # us",
        "User-agent: x\n\nUser-agent: thinkpool",
    ],
)
async def test_a_group_for_everyone_or_for_us_is_obeyed(group):
    text = f"Sitemap: x\n{group}\nCrawl-delay: 9\nDisallow: /private # secret\r\nDisallow:\n"
    assert not await is_allowed(text, "/private/a?b=c")
    assert await is_allowed(text, "/public")


async def test_a_group_that_names_us_goes_before_the_one_for_everyone_and_is_put_together():
    text = (
        "User-agent: *\nDisallow: /\n\nUser-agent: thinkpool\nDisallow: /a\n\n"
        "User-agent: other\nDisallow: /c\n\nUser-agent: thinkpool\nDisallow: /b\n"
    )
    assert [await is_allowed(text, path) for path in ("/a", "/b", "/c", "/d")] == [False, False, True, True]


async def test_a_group_that_names_us_and_says_nothing_allows_everything():
    assert await is_allowed("User-agent: thinkpool\n\nUser-agent: *\nDisallow: /", "/a") is False
    assert await is_allowed("User-agent: thinkpool\nDisallow:\n\nUser-agent: *\nDisallow: /", "/a")


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Disallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("Allow: /a/b\nDisallow: /a", "/a/c", False),
        ("Disallow: /a\nAllow: /a", "/a", True),
        ("Disallow: /a*\nAllow: /a/", "/a/x", True),
        ("Disallow: /*.pdf$", "/x/y.pdf", False),
        ("Disallow: /*.pdf$", "/x/y.pdf?z", True),
        ("Disallow: /a$", "/a", False),
        ("Disallow: /a$", "/ab", True),
        ("Disallow: /a*b*c", "/a1b2b3c4", False),
        ("Disallow: /a*b*c$", "/a1c2b", True),
        ("Disallow: /a*b$", "/ab", False),
        ("Disallow: /a*b", "/cab", True),
        ("Disallow: /ab*b$", "/ab", True),
        ("Disallow: *", "/", False),
        ("Disallow: /", "", False),
        ("Disallow: /", "/robots.txt", True),
        ("Disallow: /%7Ejoe/é", "/~joe/%c3%a9x", False),
        ("Disallow: /%2f", "//", True),
        ("Disallow: /a?b=", "/a?b=c", False),
        ("Disallow: fish", "/fish", True),
    ],
)
async def test_the_longest_match_decides_and_allowing_wins_ties(rules, path, allowed):
    assert await is_allowed(f"User-agent: *\n{rules}", path) is allowed


async def test_the_event_loop_has_its_turn_while_long_rules_are_read():
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    text = "User-agent: *\n" + "Disallow: /*a\nDisallow: /b\n" * 9000
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        rules = await read_robots(text[:MAX_ROBOTS_BYTES])
        counting.cancel()
    assert turns >= 18
    assert repr(rules) == "<RobotsRules [2001 rules]>"
    assert not rules.is_allowed("https://a.example/b")
