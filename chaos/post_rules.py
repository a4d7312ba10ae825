"""What requests met: one run for one key, a refusal that says when to come back, and never our own fault."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from chaos.finding import Finding
from chaos.history import History, Post

_COME_BACK = (429, 503)
_INTERNAL = 500
_CONFLICT = 409


def post_findings(history: History) -> Iterator[Finding]:
    """What was wrong with the answers to submissions."""
    by_key: dict[tuple[str, str], list[Post]] = defaultdict(list)
    for post in history.posts:
        by_key[post.tenant, post.key].append(post)
        subject = post.run_id or post.key
        if post.status == _INTERNAL:
            yield Finding(name="internal-error", subject=subject, detail=f"a POST to {post.via} met status 500")
        if post.status in _COME_BACK and post.retry_after_seconds is None:
            detail = f"a POST to {post.via} met status {post.status} and no Retry-After"
            yield Finding(name="refused-without-retry-after", subject=subject, detail=detail)
    for (_, key), posts in by_key.items():
        if key:
            yield from _of_key(key, posts)


def _of_key(key: str, posts: Sequence[Post]) -> Iterator[Finding]:
    accepted = [post for post in posts if post.is_accepted]
    runs = {post.run_id for post in accepted}
    if len(runs) > 1:
        yield Finding(name="key-made-two-runs", subject=key, detail=f"it was given to {sorted(runs)}")
    bodies = {post.body_digest for post in accepted}
    if len(bodies) > 1:
        detail = (
            f"{len(bodies)} different bodies were accepted with it, instead of all but one refused with {_CONFLICT}"
        )
        yield Finding(name="conflict-not-refused", subject=key, detail=detail)
