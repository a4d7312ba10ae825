"""What a client would rather have. Source: RFC 9110, sections 12.5.1 and 12.5.4."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

LanguageT = TypeVar("LanguageT", bound=str)


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The offered media type that this `Accept` header likes best; the first one of equals, or if it likes none."""
    weights = dict(_weights(accept))

    def weight(offer: str) -> float:
        kind = offer.partition("/")[0]
        return next((weights[name] for name in (offer, f"{kind}/*", "*/*") if name in weights), 0.0)

    return max(offers, key=weight)


def preferred_language(accept_language: str, offers: Sequence[LanguageT]) -> LanguageT:
    """The offered language that this `Accept-Language` header likes best, in any region's form; else the first."""
    weights: dict[str, float] = {}
    for name, weight in _weights(accept_language):
        language = name.partition("-")[0]
        weights[language] = max(weight, weights.get(language, 0.0))
    return max(offers, key=lambda offer: weights.get(offer, weights.get("*", 0.0)))


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name:
            yield name, weight
