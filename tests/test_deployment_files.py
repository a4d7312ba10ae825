"""The files that deploy the server agree with each other, with the settings and with the packages.

`requirements.lock` says in its first lines by which command it is made anew.
"""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from thinkpool_server.settings import Settings

ROOT = Path(__file__).parents[1]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SERVER = SERVICES["api-server"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = (ROOT / "nginx" / "nginx.conf").read_text()
UPSTREAM_DNS = (ROOT / "nginx" / "upstream-dns.conf").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
MEMBERS = ["apps/api-server/pyproject.toml", "libs/pipeline/pyproject.toml"]


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def test_compose_sets_only_settings_that_exist():
    assert {name.lower() for name in SERVER["environment"]} <= set(Settings.model_fields)


def test_composed_server_starts_with_these_settings(tmp_path):
    settings = {name.lower(): value for name, value in SERVER["environment"].items()}
    assert Settings.model_validate(settings).port == 8000


def test_compose_gives_the_server_longer_to_stop_than_it_takes():
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    assert seconds(SERVER["stop_grace_period"]) >= 2 * grace + 5


def test_compose_publishes_the_open_server_on_this_machine_only():
    assert "ports" not in SERVER
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["nginx"]["ports"])


def test_compose_keeps_the_data_directory_in_a_volume():
    targets = [volume.partition(":")[2] for volume in SERVER["volumes"]]
    assert SERVER["environment"]["DATA_DIR"] in targets
    assert f"VOLUME {SERVER['environment']['DATA_DIR']}" in DOCKERFILE


def test_health_check_asks_a_route_the_server_has_on_its_own_port():
    check = " ".join(SERVER["healthcheck"]["test"])
    assert f"http://127.0.0.1:{SERVER['environment']['PORT']}/health" in check
    assert SERVER["healthcheck"]["test"][0] == "CMD"


def test_nginx_passes_to_the_composed_service():
    assert f"server api-server:{SERVER['environment']['PORT']} resolve" in UPSTREAM_DNS
    assert "api-server" in SERVICES["nginx"]["depends_on"]
    assert SERVICES["nginx"]["volumes"] == [
        "./nginx/nginx.conf:/etc/nginx/nginx.conf:ro",
        "./nginx/upstream-dns.conf:/etc/nginx/upstream.conf:ro",
    ]


def test_nginx_allows_the_body_that_the_server_allows():
    allowed = int(re.search(r"client_max_body_size (\d+)m;", NGINX)[1]) * 1024 * 1024
    text_bytes, file_bytes = (Settings.model_fields[f"max_{name}_bytes"].default for name in ("body", "input_file"))
    assert text_bytes + file_bytes * 4 / 3 <= allowed < 2 * (text_bytes + file_bytes * 4 / 3)


def test_image_copies_only_what_exists_and_what_the_build_is_given():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in ignored


def test_image_installs_by_hash_and_runs_as_nobody_in_particular():
    assert "--require-hashes --requirement requirements.lock" in DOCKERFILE
    assert re.search(r"^USER thinkpool$", DOCKERFILE, re.MULTILINE)
    assert re.search(r'^CMD \["thinkpool", "serve"\]$', DOCKERFILE, re.MULTILINE)


def test_image_builds_on_a_python_that_the_packages_take():
    (version,) = set(re.findall(r"^FROM python:([\d.]+)-", DOCKERFILE, re.MULTILINE))
    for member in MEMBERS:
        project = tomllib.loads((ROOT / member).read_text())["project"]
        assert Requirement(f"python{project['requires-python']}").specifier.contains(version)


def test_lock_names_no_host_and_gives_every_package_a_hash():
    assert not re.search(r"://|^-|@ ", LOCK, re.MULTILINE)
    packages = re.split(r"\n(?=[^\s#])", LOCK.strip())[1:]
    assert packages
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


@pytest.mark.parametrize("member", MEMBERS)
def test_lock_has_every_dependency_in_a_version_that_is_asked_for(member):
    locked = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE)
    }
    asked = [Requirement(text) for text in tomllib.loads((ROOT / member).read_text())["project"]["dependencies"]]
    foreign = [requirement for requirement in asked if not requirement.name.startswith("thinkpool-")]
    assert foreign
    for requirement in foreign:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_documents_are_part_of_the_package():
    assert (ROOT / "apps/api-server/src/thinkpool_server/docs" / "architecture.md").is_file()
