import pytest
from thinkpool_pipeline.models.researcher.names import names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He met Stanley Hall in New York.", ["Stanley Hall", "New York"]),
        ("The University of Oxford is old. Nobody knows why.", ["University of Oxford"]),
        ('Call it "group commit" or `turn/3`.', ["group commit", "turn/3"]),
        (
            "Set MAX_RUNS and Last-Event-ID on ThinkPool or jQuery.",
            ["MAX_RUNS", "Last-Event-ID", "ThinkPool", "jQuery"],
        ),
        ("Christopher Nolan and Sathish Kalathil", ["Christopher Nolan", "Sathish Kalathil"]),
        ("See a crash of BWV 1033 on SQLite's page. NASA knows. A cat.", ["BWV 1033", "SQLite", "NASA"]),
        ("Who wrote Émile's life, and what of Émile?", ["Émile"]),
        ("They read Pick Me today.", ["Pick"]),
        ("nothing of that kind here, 1999", []),
        ("", []),
    ],
)
def test_names_are_told_from_other_words(text, expected):
    assert names(text) == expected
