"""Apache Kafka in KRaft mode: one node, broker and controller, from the jars on Maven Central."""

import base64
import hashlib
import logging
import secrets
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.java import find_java
from deploy.local.kafka_probe import leads
from deploy.local.options import CHECKOUT
from deploy.local.ports import Ports
from deploy.local.process import ProcessSpec

log = logging.getLogger("headrace.local")

VERSION = "4.3.1"
COORDINATES = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
JARS = CHECKOUT / ".cache" / f"kafka-{VERSION}"
CHECKSUMS = Path(__file__).with_name("kafka-jars.sha256")
HEAP = "512m"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dir={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
"""


def fetch_jars() -> Path:
    """The directory with Kafka's jars; if missing, downloaded and checked against the checksums."""
    if JARS.is_dir():
        return JARS
    log.info("fetching Kafka %s", VERSION)
    JARS.parent.mkdir(exist_ok=True)
    environment = import_module("jgo").build(COORDINATES, cache_dir=JARS.parent / "jgo")
    partial = JARS.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for jar in environment.all_jars:
        shutil.copyfile(jar, partial / jar.name)
    verify_jars(partial)
    partial.rename(JARS)
    return JARS


def verify_jars(directory: Path) -> None:
    """Raise unless the directory holds exactly the jars of the checksum file."""
    lines = [line.split() for line in CHECKSUMS.read_text().splitlines()]
    expected = {name: checksum for checksum, name in lines}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in directory.iterdir()}
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        raise StackError(f"Kafka's jars differ from {CHECKSUMS.name}: {', '.join(wrong)}")


def new_cluster_id() -> str:
    """A random cluster id that does not begin with "-": the formatter takes that for an option."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def kafka_spec(*, directory: Path, ports: Ports, env: dict[str, str]) -> ProcessSpec:
    """The broker process; its data directory is formatted before the first start."""
    java, classpath = find_java(), f"{fetch_jars()}/*"
    home = directory / "kafka"
    home.mkdir(exist_ok=True)
    properties = home / "server.properties"

    def prepare() -> None:
        properties.write_text(
            PROPERTIES.format(
                broker=ports["kafka"], controller=ports["kafka-controller"], data=home / "data"
            )
        )
        if not (home / "data" / "meta.properties").exists():
            _format(java, classpath, properties)

    return ProcessSpec(
        name="kafka",
        argv=(java, *_flags(home), "-cp", classpath, "kafka.Kafka", str(properties)),
        env=env,
        cwd=home,
        ready=lambda: leads(ports["kafka"]),
        prepare=prepare,
    )


def _flags(home: Path) -> tuple[str, ...]:
    return (
        f"-Xms{HEAP}",
        f"-Xmx{HEAP}",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        f"-XX:ErrorFile={home}/hs_err.log",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    )


def _format(java: str, classpath: str, properties: Path) -> None:
    command = [
        java,
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classpath,
        "kafka.tools.StorageTool",
        "format",
    ]
    done = subprocess.run(
        [*command, "-t", new_cluster_id(), "-c", str(properties)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"Kafka could not format {properties.parent}: {done.stderr[-2000:]}")
