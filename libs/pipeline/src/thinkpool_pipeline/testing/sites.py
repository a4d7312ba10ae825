"""What the sites of a `SmallWeb` answer: pages, redirects, several of them at one server."""

from collections.abc import Mapping

from thinkpool_pipeline.testing.loopback import Exchange, Loopback, Play, answer


def page(text: str, *, media_type: str = "text/html; charset=utf-8") -> Play:
    """A page with these words, or this markup."""
    return answer(text.encode(), headers={"content-type": media_type})


def redirect(location: str, status: int = 302) -> Play:
    """Sends whoever asks elsewhere."""
    return answer(b"moved", status=status, headers={"location": location})


def routes(plays: Mapping[str, Play]) -> Play:
    """For each target, path and query, its answer; 404 for the others, such as a robots.txt that is not among them."""
    missing = answer(b"nothing here", status=404)

    async def play(exchange: Exchange) -> bool:
        return await plays.get(exchange.request.target, missing)(exchange)

    return play


def pages_asked(service: Loopback) -> list[str]:
    """What a site was asked for, in order; its robots.txt aside."""
    return [request.target for request in service.received if request.target != "/robots.txt"]
