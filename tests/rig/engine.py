"""The container engine: reached, given an image of Kafka, and rid of what killed test runs left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from docker.errors import APIError, DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient

from rig.broker import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from testcontainers.core.docker_client import DockerClient as Engine

KAFKA_IMAGE = "apache/kafka:4.3.1"
OFFLINE_IMAGE = "auditwire-test-kafka:4.3.1"
BUILD = Path(__file__).parent / "image" / "build.sh"
CACHE = Path(__file__).parents[2] / ".cache" / "rig"
OWNER_LABEL = "auditwire.test.owner"

# Its image may not be available, and the fixtures remove what they start; what a killed run left behind is
# removed by the next one (remove_leftovers).
testcontainers_config.ryuk_disabled = True


def engine() -> Engine:
    """A client of the container engine.

    Raises:
        BrokerError: None answers.
    """
    with warnings.catch_warnings():
        # docker-py leaves the socket open on which nobody answered
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return DockerClient(timeout=60)
        except DockerException as e:
            reason = first_line(e)
        gc.collect()
    raise BrokerError(f"no container engine: {reason}")


def find_image(client: Engine, wanted: str, say: Callable[[str], None]) -> str:
    """The wanted image, or the offline stand-in: whichever is here, else can be pulled, else can be built.

    Raises:
        BrokerError: None of it; the message says why.
    """
    if present(client, wanted):
        return wanted
    if run_build("current", "kafka", OFFLINE_IMAGE).returncode == 0:
        return OFFLINE_IMAGE
    say(f"pulling {wanted}")
    try:
        pull(client, wanted)
    except (DockerException, requests.RequestException, BrokerError) as e:
        say(f"{wanted} cannot be pulled ({first_line(e)}): building {OFFLINE_IMAGE}, about a minute")
    else:
        return wanted
    missing = [program for program in ("docker", "jlink", "mvn") if shutil.which(program) is None]
    if missing:
        raise BrokerError(f"{wanted} cannot be pulled, nor a stand-in be built without {', '.join(missing)}")
    build = run_build("kafka", OFFLINE_IMAGE, str(CACHE))
    if build.returncode:
        raise BrokerError(f"{OFFLINE_IMAGE} cannot be built:\n{build.stderr[-2000:]}")
    return OFFLINE_IMAGE


def run_build(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BUILD), *args], check=False, capture_output=True, text=True, timeout=900)


def present(client: Engine, image: str) -> bool:
    try:
        client.client.images.get(image)
    except ImageNotFound:
        return False
    return True


def pull(client: Engine, image: str, silence: float = 15) -> None:
    """Pulls; gives up after `silence` seconds without progress, where docker-py waits without bound.

    Raises:
        BrokerError: The registry refused.
        requests.RequestException: No progress.
    """
    api = client.client.api
    name, _, tag = image.partition(":")
    address = f"{api.base_url}/v{api.api_version}/images/create"
    with api.post(
        address, params={"fromImage": name, "tag": tag or "latest"}, stream=True, timeout=silence
    ) as answer:
        if not answer.ok:
            raise BrokerError(answer.json()["message"])
        for line in answer.iter_lines():
            if b'"error"' in line:
                raise BrokerError(line.decode(errors="replace"))


def owner() -> str:
    """This process, as a label: its id, and the namespace in which the id means something."""
    return f"{Path('/proc/self/ns/pid').readlink()}:{os.getpid()}"


def remove_leftovers(client: Engine) -> None:
    """Removes containers and networks of test runs that were killed before they could do so themselves."""
    for container in client.client.containers.list(all=True, filters={"label": OWNER_LABEL}):
        if is_left_over(container.labels[OWNER_LABEL]):
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)
    for network in client.client.networks.list(filters={"label": OWNER_LABEL}):
        if is_left_over(network.attrs["Labels"][OWNER_LABEL]):
            with contextlib.suppress(APIError):
                network.remove()


def is_left_over(label: str) -> bool:
    namespace, _, pid = label.rpartition(":")
    return namespace == owner().rpartition(":")[0] and not Path(f"/proc/{pid}").exists()


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
