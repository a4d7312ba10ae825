"""Alert rules fire when they should, and what the dashboard asks for can be asked."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "monitoring"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
CASES = [
    case
    for test in yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    for case in test["alert_rule_test"]
]
DASHBOARD = json.loads((FOLDER / "grafana" / "thinkpool.json").read_text())
PANELS = DASHBOARD["panels"]

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool on this machine")


def promtool(*arguments, folder=FOLDER):
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"],
)
def test_promtool_is_content(arguments):
    result = promtool(*arguments.split())
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("fault", ["vector(1) < 0", "vector(1)"], ids=["never fire", "always fire"])
def test_rules_that_do_not_choose_are_noticed(tmp_path, fault):
    """The tests of the rules are tested, on rules with faults in them."""
    shutil.copy(FOLDER / "alerts.test.yml", tmp_path)
    faulty = [{"name": "faulty", "rules": [rule | {"expr": fault} for rule in RULES]}]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": faulty}))
    result = promtool("test", "rules", "alerts.test.yml", folder=tmp_path)
    complaints = result.stdout + result.stderr
    assert {rule["alert"] for rule in RULES if f"alertname: {rule['alert']}," not in complaints} == set()


def test_every_alert_is_shown_to_fire_and_shown_to_be_silent():
    fired = {case["alertname"] for case in CASES if case.get("exp_alerts")}
    silent = {case["alertname"] for case in CASES if not case.get("exp_alerts")}
    assert {rule["alert"] for rule in RULES} == fired == silent


def test_every_alert_says_how_bad_it_is_and_what_it_means():
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule["alert"]
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]


def test_every_alert_has_a_line_on_what_to_do():
    page = (FOLDER.parent / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| (`[A-Z].*?) \| ", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([A-Za-z]+)`", row)} == {rule["alert"] for rule in RULES}


@needs_promtool
def test_what_the_dashboard_asks_for_can_be_asked(tmp_path):
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": asked_for.replace("$__rate_interval", "1m")}
        for number, asked_for in enumerate(asked)
    ]
    assert len(rules) > 20
    (tmp_path / "asked.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = promtool("check", "rules", "asked.yml", folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_dashboard_has_a_place_for_every_panel():
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert [target["refId"] for target in panel["targets"]] == list("ABCDE")[: len(panel["targets"])]
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        assert not (
            one["x"] < other["x"] + other["w"]
            and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"]
            and other["y"] < one["y"] + one["h"]
        )


def test_panels_ask_the_source_that_is_there():
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yml").read_text())["datasources"]
    assert {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in PANELS} == {
        (source["type"], source["uid"])
    }


def test_legends_tell_series_apart():
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.search(r"^(?:sum|max|histogram_quantile\([\d.]+, sum) by \(([^)]*)\)", target["expr"])
            if kept:
                assert named == set(kept[1].split(", ")) - {"le"}, target
            elif re.match(r"(sum|max|count)\(", target["expr"]):
                assert named == set(), target
            else:
                assert named == {"instance"}, target
