"""A public web of a few sites, each answered by a server on loopback: for tests of what reads addresses of models.

Names, addresses and all checks are as on the real one; only the last step, the connection, ends on loopback.

```python
web = SmallWeb()
async with Loopback(answer(b"<p>Hello</p>")) as site:
    web.add("example.org", site.url)
    async with open_outward(web=web.reach()) as outward:
        ...  # http://example.org/ gets the page
```
"""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from thinkpool_pipeline.outward import WebReach, is_public

_FIRST_ADDRESS = "93.184.216."
"""Public ones, made up for sites that are given none."""


class SmallWeb:
    """The web. It can be given more sites while it is used."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Sequence[str]]] = {}
        self._ports: dict[str, int] = {}
        self.lookups: list[str] = []
        """Every name looked up, in order."""
        self.dialled: list[tuple[str, int]] = []
        """Every address and port that was to be connected to, in order."""

    def add(self, name: str, server_url: str, *addresses: str) -> None:
        """Puts a site on the web: its name, the loopback server that answers, and its addresses or one made up."""
        port = urlsplit(server_url).port
        assert port is not None
        found = addresses or (f"{_FIRST_ADDRESS}{len(self._ports) + 1}",)
        self.answer(name, found)
        for address in found:
            self._ports[address] = port

    def answer(self, name: str, *answers: Sequence[str]) -> None:
        """What the name servers say of a name: one answer a look-up, the last one again and again."""
        self._answers[name] = list(answers)

    def reach(self, *ports: int) -> WebReach:
        """What `open_outward` takes as its web; with ports, those are allowed beside 80 and 443."""
        allowed: Collection[int] = (80, 443, *ports)
        return WebReach(ports=allowed, resolve=self._resolve, connect=self._connect)

    async def _resolve(self, host: str) -> Sequence[str]:
        self.lookups.append(host)
        answers = self._answers.get(host.removesuffix("."))
        if answers is None:
            raise OSError("The name does not exist.")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _connect(self, address: str, port: int) -> tuple[str, int]:
        """What no check stopped is connected to as it is, so that its server notices; all else stays on loopback."""
        self.dialled.append((address, port))
        if address in self._ports:
            return ("::ffff:127.0.0.1" if ":" in address else "127.0.0.1"), self._ports[address]
        if is_public(address):
            raise ConnectionRefusedError("No site has this address.")
        return address, port
