"""The files that deploy the server agree with each other, with the settings and with the packages.

`requirements.lock` says in its first lines by which command it is made anew.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from thinkpool_server.cli.serving import KEEP_ALIVE_SECONDS
from thinkpool_server.postgres.sizes import CONNECTIONS_PER_REPLICA
from thinkpool_server.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
SERVER = SERVICES["api-server"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = (ROOT / "nginx" / "nginx.conf").read_text()
UPSTREAMS = {name: (ROOT / "nginx" / name).read_text() for name in ("upstream.conf", "upstream-dns.conf")}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
LOCKS = {name: (ROOT / name).read_text() for name in ("requirements.lock", "requirements-build.lock")}
MEMBERS = ["apps/api-server/pyproject.toml", "libs/client/pyproject.toml", "libs/pipeline/pyproject.toml"]

TOP_KEYS = {"name", "services", "networks", "volumes", "x-contained"}
SERVICE_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "deploy", "env_file", "environment", "expose", "extra_hosts"),
    *(
        "healthcheck",
        "image",
        "init",
        "logging",
        "networks",
        "ports",
        "profiles",
        "read_only",
        "restart",
        "security_opt",
        "shm_size",
    ),
    *("stop_grace_period", "sysctls", "tmpfs", "ulimits", "user", "volumes"),
}
"""The keys of the Compose Specification that the file uses. Source: https://github.com/compose-spec/compose-spec"""
HEALTHCHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period"}

POSTGRES_VARIABLES = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
"""What the image reads. Source: https://hub.docker.com/_/postgres"""
GRAFANA_SECTIONS = {"auth", "auth.anonymous", "auth.basic", "security", "dashboards", "analytics", "plugins", "log"}
"""`GF_SECTION_KEY` sets a key of grafana.ini. Source: Grafana's conf/defaults.ini"""
RESERVED_CONNECTIONS = 3
"""What PostgreSQL keeps for superusers. Source: its documentation of superuser_reserved_connections"""
NOT_ROOT_BY_ITSELF = {"prom/prometheus": "nobody", "grafana/grafana": "472"}
"""Images whose own user is not root."""

each_service = pytest.mark.parametrize("name", SERVICES)


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def test_compose_has_only_keys_that_exist():
    assert set(COMPOSE) <= TOP_KEYS
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service["healthcheck"]) <= HEALTHCHECK_KEYS, name
        assert set(service["deploy"]) == {"resources"} | ({"replicas"} if name == "api-server" else set())
        assert set(service["deploy"]["resources"]["limits"]) <= {"memory", "cpus", "pids"}, name


def test_compose_names_only_what_it_declares_and_files_that_exist():
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= set(COMPOSE["networks"]), name
        assert set(service.get("depends_on", [])) <= set(SERVICES), name
        for volume in service.get("volumes", []):
            source, *target = volume.split(":")
            if source.startswith("./"):
                assert (ROOT / source).is_file(), volume
                assert target[1:] == ["ro"], volume
            elif target:
                assert source in COMPOSE["volumes"], volume


@pytest.fixture
def compose():
    """Runs `docker compose` with arguments and variables, where there is such a client."""
    plugin, alone = (
        shutil.which("docker"),
        shutil.which("docker-compose") or Path(sys.executable).with_name("docker-compose"),
    )
    found = [[plugin, "compose"]] if plugin else []
    found += [[str(alone)]] if Path(alone).exists() else []
    clients = [client for client in found if subprocess.run([*client, "version"], capture_output=True).returncode == 0]
    if not clients:
        pytest.skip("there is no docker compose on this machine")

    def run(*arguments, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | variables
        command = [*clients[0], "--project-directory", ROOT, "--env-file", os.devnull, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


def test_compose_client_takes_the_file(compose):
    shown = compose("config", POSTGRES_PASSWORD="abc")
    assert shown.returncode == 0, shown.stderr
    taken = yaml.safe_load(shown.stdout)
    assert set(taken["services"]) == {"postgres", "api-server", "nginx"}
    assert ":abc@" in taken["services"]["api-server"]["environment"]["DATABASE_URL"]
    monitored = compose("--profile", "monitoring", "config", "--services", POSTGRES_PASSWORD="abc")
    assert set(monitored.stdout.split()) == set(SERVICES)


def test_compose_client_asks_for_the_password(compose):
    refused = compose("config")
    assert refused.returncode != 0
    assert "POSTGRES_PASSWORD is missing a value: should be set in .env" in refused.stderr


def test_variables_that_compose_wants_are_wanted_loudly_and_told_of():
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = re.findall(r"\$\{(\w+)([^}]*)\}", text)
    assert {name for name, _ in wanted} == {"POSTGRES_PASSWORD", "REPLICAS"}
    for name, rest in wanted:
        assert rest.startswith(":?should be set in .env") or (name, rest) == ("REPLICAS", ":-3")
        assert name in OPERATIONS


def test_alert_for_missing_replicas_counts_as_many_as_compose_starts():
    (rule,) = re.findall(r"- alert: FewerReplicas\n +expr: (.+)\n", (ROOT / "monitoring" / "alerts.yml").read_text())
    assert SERVER["deploy"]["replicas"] == "${REPLICAS:-" + rule.rpartition(" < ")[2] + "}"


def test_postgres_has_connections_for_the_replicas_that_the_page_promises():
    (allowed,) = re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))
    room = (int(allowed) - RESERVED_CONNECTIONS) // CONNECTIONS_PER_REPLICA // 2
    assert (
        f"takes {allowed} connections, which is enough for {room} replicas, and for as many again while" in OPERATIONS
    )
    assert int(SERVER["deploy"]["replicas"].strip("${}").partition(":-")[2]) <= room
    assert f"opens up to {CONNECTIONS_PER_REPLICA} connections" in (ROOT / "docs" / "replicas.md").read_text()


def test_postgres_has_memory_for_its_connections():
    command = " ".join(SERVICES["postgres"]["command"])
    (allowed,) = re.findall(r"max_connections=(\d+)", command)
    (shared,) = re.findall(r"shared_buffers=(\d+)MB", command)
    (each,) = re.findall(r"PostgreSQL takes about (\d+) MiB for each connection", OPERATIONS)
    limit = SERVICES["postgres"]["deploy"]["resources"]["limits"]["memory"]
    shm_mib = int(re.fullmatch(r"(\d+)m", SERVICES["postgres"]["shm_size"])[1])
    gib = int(re.fullmatch(r"(\d+)g", limit)[1])
    assert int(allowed) * int(each) + int(shared) + shm_mib <= gib * 1024
    assert f"{gib} GB and one processor for PostgreSQL" in OPERATIONS


def test_postgres_is_healthy_only_when_replicas_can_reach_it():
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert check[check.index("-h") + 1] == "127.0.0.1"


def test_compose_sets_only_settings_that_exist():
    assert {name.lower() for name in SERVER["environment"]} <= set(Settings.model_fields)


def test_every_other_variable_is_one_that_its_image_reads():
    assert set(SERVICES["postgres"]["environment"]) == POSTGRES_VARIABLES
    for name in SERVICES["grafana"]["environment"]:
        sections = [f"GF_{section.upper().replace('.', '_')}_" for section in GRAFANA_SECTIONS]
        assert any(name.startswith(section) for section in sections), name
    with_variables = {name for name, service in SERVICES.items() if "environment" in service}
    assert with_variables == {"api-server", "postgres", "grafana"}


def test_composed_server_starts_with_these_settings():
    text = re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "abc", yaml.safe_dump(SERVER["environment"]))
    settings = Settings.model_validate({name.lower(): value for name, value in yaml.safe_load(text).items()})
    postgres = SERVICES["postgres"]["environment"]
    url = f"postgresql://{postgres['POSTGRES_USER']}:abc@postgres/{postgres['POSTGRES_DB']}"
    assert settings.port == 8000
    assert settings.database_url.get_secret_value() == url


def test_compose_gives_the_server_longer_to_stop_than_it_takes():
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    assert seconds(SERVER["stop_grace_period"]) >= 2 * grace + 5


@pytest.mark.parametrize("key", ["container_name", "ports"])
def test_nothing_of_the_server_is_one_replicas_alone(key):
    assert key not in SERVER


def test_each_replica_has_a_data_directory_of_its_own():
    assert SERVER["volumes"] == [SERVER["environment"]["DATA_DIR"]]
    assert f"VOLUME {SERVER['environment']['DATA_DIR']}" in DOCKERFILE


def test_compose_publishes_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@each_service
def test_container_is_restarted_watched_and_bounded(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"memory", "cpus", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert "max-size" in service["logging"]["options"]


@each_service
def test_container_may_do_little(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_nothing_runs_as_root(name):
    service = SERVICES[name]
    if "build" in service:
        assert re.search(r"^USER \d{4,}$", DOCKERFILE, re.MULTILINE)
    else:
        assert service.get("user") in ("postgres", "nginx") or service["image"].partition(":")[0] in NOT_ROOT_BY_ITSELF


@each_service
def test_images_have_versions(name):
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d", image) or "build" in SERVICES[name]


def test_postgres_is_reached_by_the_replicas_alone():
    assert [name for name, service in SERVICES.items() if "data" in service["networks"]] == ["postgres", "api-server"]
    assert COMPOSE["networks"]["data"] == {"internal": True}


def test_health_check_asks_a_route_the_server_has_on_its_own_port():
    check = " ".join(SERVER["healthcheck"]["test"])
    assert f"http://127.0.0.1:{SERVER['environment']['PORT']}/ready" in check


def test_monitoring_is_there_on_demand():
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]} == {
        "prometheus",
        "grafana",
    }


def test_monitoring_finds_its_files_where_they_are_mounted():
    mounted = {
        volume.split(":")[1] for name in ("prometheus", "grafana") for volume in SERVICES[name].get("volumes", [])
    }
    flags = dict(flag.removeprefix("--").split("=") for flag in SERVICES["prometheus"]["command"])
    assert {flags["config.file"], flags["storage.tsdb.path"]} <= mounted
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounted
    rules = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())["rule_files"]
    assert {str(Path(flags["config.file"]).with_name(rule)) for rule in rules} <= mounted
    provider = yaml.safe_load((ROOT / "monitoring" / "grafana" / "dashboards.yml").read_text())["providers"][0]
    assert any(target.startswith(f"{provider['options']['path']}/") for target in mounted)


def test_monitoring_asks_the_composed_services():
    (scrape,) = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = scrape["dns_sd_configs"]
    assert found["names"] == ["api-server"]
    assert (found["type"], str(found["port"])) == ("A", SERVER["environment"]["PORT"])
    (source,) = yaml.safe_load((ROOT / "monitoring" / "grafana" / "datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_nginx_passes_to_the_composed_service():
    assert f"server api-server:{SERVER['environment']['PORT']} resolve " in UPSTREAMS["upstream-dns.conf"]
    assert SERVICES["nginx"]["volumes"] == [
        "./nginx/nginx.conf:/etc/nginx/nginx.conf:ro",
        "./nginx/upstream-dns.conf:/etc/nginx/upstream.conf:ro",
        "./nginx/listen-everywhere.conf:/etc/nginx/listen.conf:ro",
    ]
    (port,) = SERVICES["nginx"]["ports"]
    assert f"\nlisten {port.rpartition(':')[2]};\n" in (ROOT / "nginx" / "listen-everywhere.conf").read_text()
    command = SERVICES["nginx"]["command"]
    assert command[command.index("-c") + 1] == "/etc/nginx/nginx.conf"
    assert command[command.index("-p") + 1] in SERVICES["nginx"]["tmpfs"]
    assert tuple(map(int, re.findall(r"\d+", SERVICES["nginx"]["image"])[:2])) >= (1, 28)


def test_nginx_outside_a_container_listens_on_this_machine_only():
    assert re.findall(r"(?m)^ *(listen .*|include .*);", NGINX) == ["include upstream.conf", "include listen.conf"]
    listening = re.findall(r"(?m)^(\w.*)", (ROOT / "nginx" / "listen.conf").read_text())
    assert listening == ["listen 127.0.0.1:8080;"]


def test_both_lists_of_replicas_treat_them_alike():
    known, resolved = (
        re.sub(r"(?m)^ *server \S+( resolve)?|^(#|resolver).*\n", "", text[text.index("upstream ") :])
        for text in UPSTREAMS.values()
    )
    assert set(known.splitlines()) == set(resolved.splitlines())
    assert re.search(r"least_conn;", known)


def test_idle_connections_are_closed_by_nginx_and_not_by_the_server():
    """nginx's own time is a minute; a connection that the server closes first may carry a request just then."""
    assert "keepalive_timeout" not in "".join(UPSTREAMS.values())
    assert KEEP_ALIVE_SECONDS > 60


def test_nginx_allows_the_body_that_the_server_allows():
    allowed = int(re.search(r"client_max_body_size (\d+)m;", NGINX)[1]) * 1024 * 1024
    text_bytes, file_bytes = (Settings.model_fields[f"max_{name}_bytes"].default for name in ("body", "input_file"))
    assert text_bytes + file_bytes * 4 / 3 <= allowed < 2 * (text_bytes + file_bytes * 4 / 3)


def test_image_copies_only_what_exists_and_what_the_build_is_given():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    sources = [source for line in copied if not line[0].startswith("--from") for source in line]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.split('/')[0]}" in ignored


def test_image_installs_by_hash():
    for lock in LOCKS:
        assert f"--require-hashes --requirement {lock}" in DOCKERFILE
    lines = DOCKERFILE.replace("\\\n", "")
    installed = [options.strip() for options in re.findall(r"(?m)pip (?:install|wheel) ([^&\n]*)", lines)]
    assert len(installed) == len(LOCKS) + 2
    for options in installed:
        assert "--require-hashes" in options or "--no-deps" in options
    (built,) = [options for options in installed if "./apps/api-server" in options]
    assert "--no-build-isolation" in built


@pytest.mark.parametrize("member", MEMBERS)
def test_what_builds_the_packages_is_locked(member):
    system = tomllib.loads((ROOT / member).read_text())["build-system"]
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCKS["requirements-build.lock"], re.MULTILINE))
    for requirement in map(Requirement, system["requires"]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)])


def test_image_builds_on_a_python_that_the_packages_take():
    (version,) = set(re.findall(r"^FROM python:([\d.]+)-", DOCKERFILE, re.MULTILINE))
    for member in MEMBERS:
        project = tomllib.loads((ROOT / member).read_text())["project"]
        assert Requirement(f"python{project['requires-python']}").specifier.contains(version)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-build.lock"])
def test_lock_names_no_host_and_gives_every_package_a_hash(lock):
    text = LOCKS[lock]
    assert not re.search(r"://|^-|@ ", text, re.MULTILINE)
    packages = re.split(r"\n(?=[^\s#])", text.strip())[1:]
    assert packages
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


@pytest.mark.parametrize("member", MEMBERS)
def test_lock_has_every_dependency_in_a_version_that_is_asked_for(member):
    locked = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCKS["requirements.lock"], re.MULTILINE)
    }
    asked = [Requirement(text) for text in tomllib.loads((ROOT / member).read_text())["project"]["dependencies"]]
    foreign = [requirement for requirement in asked if not requirement.name.startswith("thinkpool-")]
    assert foreign
    for requirement in foreign:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_documents_are_part_of_the_package():
    assert (ROOT / "apps/api-server/src/thinkpool_server/docs" / "architecture.md").is_file()


UNITS = {path.name: path.read_text() for path in sorted((ROOT / "systemd").iterdir())}
REPLICA_UNIT = "thinkpool@.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_takes_the_units(tmp_path):
    """Their programs, which are not on this machine, are others here."""
    for name, text in UNITS.items():
        here = re.sub(r"(?m)^(Exec\w+=)\S+", rf"\g<1>{sys.executable}", text)
        (tmp_path / name.replace("@", "@8001")).write_text(here)
    command = ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, re.findall(r"(?m)^.*thinkpool.*$", result.stderr)) == (0, "", [])


def test_systemd_sets_only_settings_that_exist_and_gives_each_replica_its_own():
    given = dict(setting.split("=", 1) for setting in own_settings())
    assert {name.lower() for name in given} <= set(Settings.model_fields)
    assert all("%i" in value for value in given.values())
    here = {name.lower(): value.replace("%i", "8001") for name, value in given.items()}
    assert Settings.model_validate(here).port == 8001


def own_settings():
    """What the unit gives to a replica itself, as `NAME=value`."""
    (start,) = re.findall(r"(?m)^ExecStart=/usr/bin/env (.+) /opt/thinkpool/bin/thinkpool serve$", UNITS[REPLICA_UNIT])
    return start.split()


def test_settings_file_cannot_give_all_replicas_the_same_port_or_data_directory():
    """systemd sets what the file says after what Environment= says. Source: systemd.exec(5), EnvironmentFile="""
    assert not re.search("(?m)^Environment=", UNITS[REPLICA_UNIT])
    own = [setting.replace("%i", "8001") for setting in own_settings()]
    program = "import os; print(os.environ['PORT'], os.environ['DATA_DIR'])"
    result = subprocess.run(
        ["/usr/bin/env", *own, sys.executable, "-c", program],
        env={"PORT": "9000", "DATA_DIR": "/srv"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["8001", "/var/lib/thinkpool/8001"]


def test_systemd_gives_the_server_longer_to_stop_than_it_takes():
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    assert int(re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNITS[REPLICA_UNIT])[1]) >= 2 * grace + 5


def test_steps_without_containers_put_files_where_the_units_look_for_them():
    looked_for = set(re.findall(r"/etc/thinkpool/[\w.]+|/opt/\w+(?=/bin)", "".join(UNITS.values())))
    assert looked_for == {"/etc/thinkpool/settings.env", "/etc/thinkpool/nginx", "/opt/thinkpool"}
    assert "sudo python3 -m venv /opt/thinkpool\n" in OPERATIONS
    assert "sudo cp --recursive nginx /etc/thinkpool/\n" in OPERATIONS
    assert "| sudo tee /etc/thinkpool/settings.env\n" in OPERATIONS
    started = re.search(r"systemctl enable --now (.+)", OPERATIONS)[1].split()
    ports = re.findall(r"127\.0\.0\.1:(\d+) max_fails", UPSTREAMS["upstream.conf"])
    assert started == [*(f"thinkpool@{port}" for port in ports), "thinkpool-nginx"]
