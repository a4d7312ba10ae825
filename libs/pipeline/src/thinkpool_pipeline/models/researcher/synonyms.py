"""Words that ask for the same thing: a question says `crash` where a manual says `restart`."""

from collections.abc import Mapping

from thinkpool_pipeline.knowledge.words import stem

_GROUPS = """
crash kill restart recover failure outage
survive recover restore resume
resume continue replay reconnect restart
disconnect leave drop gone
client reader caller
limit cap bound maximum
fast speed quick latency
slow delay latency
start launch boot begin
stop end cancel abort terminate shutdown
error failure fault exception
delete remove erase
setting configuration option variable
key token secret credential
install setup
run execute
check verify validate
store save persist record
wait queue
cost price expense
wrote author writer written
founded established created formed started
based headquartered located
birthplace born birth
died death
wife husband spouse married
son daughter child father mother
film movie
song single album
directed director
performer singer band
population inhabitants people residents
borders bordering adjacent
language spoken
nationality citizen
"""


def _synonyms() -> Mapping[str, tuple[str, ...]]:
    related: dict[str, dict[str, None]] = {}
    for line in _GROUPS.split("\n"):
        group = line.split()
        for word in group:
            related.setdefault(stem(word), {}).update(dict.fromkeys(other for other in group if other != word))
    return {word: tuple(others) for word, others in related.items()}


SYNONYM_WORDS = _synonyms()
"""Words that may stand for a stem."""

SYNONYMS = {word: frozenset(map(stem, others)) for word, others in SYNONYM_WORDS.items()}
"""Stems that may stand for a stem."""
