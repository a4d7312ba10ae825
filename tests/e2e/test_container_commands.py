"""What containers run, run outside one: the image's command, and the health checks of image and compose file."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSED = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["api-server"]
STAGE = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
COMMAND = json.loads(re.search(r"^CMD (\[.*\])$", STAGE, re.MULTILINE)[1])
IMAGE_CHECK = json.loads(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", STAGE, re.MULTILINE)[1])
COMPOSE_CHECK = COMPOSED["healthcheck"]["test"][1:]
VARIABLES = dict(re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.*)$", STAGE, re.MULTILINE)[1]))
STOP_SIGNAL = re.search(r"^STOPSIGNAL SIG(\w+)$", STAGE, re.MULTILINE)[1]
HOME = re.search(r"^WORKDIR (\S+)$", STAGE, re.MULTILINE)[1]


async def returncode_of(check, url):
    """Runs a health check on a server that is not at the container's own port."""
    here = [argument.replace("http://127.0.0.1:8000", url) for argument in check[1:]]
    assert here != check[1:]
    assert check[0] == "python"
    process = await asyncio.create_subprocess_exec(sys.executable, *here, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.mark.parametrize("check", [IMAGE_CHECK, COMPOSE_CHECK], ids=["image", "compose"])
async def test_health_check_finds_a_server_healthy_and_a_dead_one_not(open_server, check):
    """Defect 1: the check was refused, so the container was never healthy."""
    async with open_server() as server, asyncio.timeout(30):
        while await ready_status(server) != 200:
            pass
        assert await returncode_of(check, server.url) == 0
        await server.kill()
        assert await returncode_of(check, server.url) != 0


async def ready_status(server):
    async with server.session.get("/ready") as response:
        return response.status


def test_image_starts_answers_its_checks_and_stops_with_nothing_writable_but_its_data(tmp_path):
    """As written: in a network of its own, at the container's port, with the root read-only, and not as root."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None or subprocess.run([bubblewrap, "--ro-bind", "/", "/", "--unshare-net", "true"]).returncode:
        pytest.skip("there is no working bubblewrap on this machine")
    consent = {"ALLOW_OPEN": COMPOSED["environment"]["ALLOW_OPEN"]}
    programs = Path(sys.executable).parent
    paths = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": HOME, "PYTHONPATH": ":".join(sys.path)}
    root = f"--ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --tmpfs /var/lib --bind {tmp_path} {HOME}/data"
    visible = "".join(f" --ro-bind {folder} {folder}" for folder in (ROOT, programs.parent))
    apart = f" --unshare-all --die-with-parent --uid 10001 --gid 10001 --chdir {HOME} --clearenv"
    options = shlex.split(root + visible + apart)
    for name, value in (VARIABLES | consent | paths).items():
        options += ["--setenv", name, value]
    life = f"""
        {shlex.join(COMMAND)} & server=$!
        until {shlex.join(COMPOSE_CHECK)} 2>/dev/null; do kill -0 $server || exit 3; done
        {shlex.join(IMAGE_CHECK)} || exit 4
        kill -{STOP_SIGNAL} $server
        wait $server
    """
    result = subprocess.run([bubblewrap, *options, "sh", "-c", life], capture_output=True, text=True, timeout=50)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "listening on http://127.0.0.1:8000" in result.stdout
    assert (tmp_path / "server.lock").exists()
