"""Runs the MQTT 5.0 tests that clients of others bring along against a broker that runs already.

Usage: mqtt_suites.py HOST PORT. The tests are in the source packages of the clients, which pip fetches:
those of paho-mqtt are Eclipse Paho's interoperability tests. Prints a line for each test that doesn't
pass, then one JSON object; fails when a test fails that is not in EXPECTED.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

# Tests that say nothing of a broker like this one, each with the reason.
EXPECTED = {
    "test_subscribe_failure": "wants 0x80; this broker says 0x87, not authorized, and only where there is no grant",
    "test_qos0_client_reconnects_after_broker_reboots": "restarts a broker inside the test's own process",
    "test_qos1_client_reconnects_after_broker_reboots": "restarts a broker inside the test's own process",
    "test_qos1_drop_messages_client_reconnects_after_broker_reboots": "restarts a broker inside the test's own process",
    "test_assigned_clientid": "gmqtt sends a client id of its own for an empty one: nothing is assigned",
    "test_basic_ssl": "wants TLS on port 8883 with a certificate of a public authority",
}

SUITES = [
    ("paho-mqtt", "2.2.0", "paho_mqtt-2.2.0", "tests/test_mqttv5.py"),
    ("gmqtt", "0.8.0", "gmqtt-0.8.0", "tests/test_mqtt5.py"),
]

# Stands where Paho's own broker would be started.
STAND_IN = """
import os, threading

_stop = threading.Event()

class _Socket:
    def getsockname(self):
        return (os.environ["HOST"], int(os.environ["PORT"]))

class _Server:
    socket = _Socket()

    def shutdown(self):
        _stop.set()

    def server_close(self):
        pass

class listeners:
    class TCPListeners:
        server = _Server()

def run(config):
    _stop.clear()
    _stop.wait()
"""


def source(folder, name, version, unpacked):
    """The folder of a source package; None where it can't be had."""
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    fetch += ["--no-deps", "--no-binary", name, "--dest", str(folder), f"{name}=={version}"]
    if subprocess.run(fetch).returncode != 0:
        return None
    with tarfile.open(folder / f"{unpacked}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / unpacked


def run(folder, file, host, port):
    """Passed, failed with their messages, and left out."""
    report = folder / "report.xml"
    environment = dict(os.environ, HOST=host, PORT=port, PYTHONPATH=str(folder.parent / "stand_in"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", file]
    command += ["-k", " and ".join(f"not {name}" for name in EXPECTED)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if not report.exists():
        raise SystemExit(f"pytest did not run:\n{done.stdout}\n{done.stderr}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [(case.get("name"), case.find(kind)) for case in cases for kind in ("failure", "error", "skipped")]
    bad = [(name, what.get("message")) for name, what in bad if what is not None]
    return len(cases) - len(bad), bad


def main():
    host, port = sys.argv[1:3]
    summary, good = {}, True
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "stand_in" / "mqtt" / "brokers").mkdir(parents=True)
        (scratch / "stand_in" / "mqtt" / "__init__.py").touch()
        (scratch / "stand_in" / "mqtt" / "brokers" / "__init__.py").write_text(STAND_IN)
        # One after the other: each removes every retained message when it begins.
        for name, version, unpacked, file in SUITES:
            folder = source(scratch, name, version, unpacked)
            if folder is None:
                summary[name] = "left out: its source package can't be had"
                continue
            passed, bad = run(folder, file, host, port)
            for test, message in bad:
                print(f"{name} {test}: {message}")
            summary[name] = {"passed": passed, "failed": len(bad)}
            good = good and not bad and passed > 10
    print(json.dumps(summary))
    sys.exit(0 if good else 1)


main()
