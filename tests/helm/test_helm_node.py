"""Nodes from the chart: settings as kubelet mounts them, looked at by `mxgw check-config`, run, and asked by the script of
`helm test`; the resolver's file by unbound-checkconf."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rrset
import pytest
import yaml
from certificates import Authority, key_pem, new_key
from chart import CHART, CI, FULL, environment, merged, mounted, node_container, one, pod, rendered
from debian import need
from node_process import NodeProcess


@pytest.fixture(scope="module")
def secrets() -> dict[tuple[str, str], bytes]:
    """The Secrets and ConfigMaps that the examples refer to."""
    key = new_key("ecdsa")
    certificate = Authority().leaf(key, "mx.example.net", "mx1.example.net")
    pairs = {
        (name, file): octets
        for name in ("mxgw-tls", f"{FULL}-tls")
        for file, octets in (("tls.crt", certificate), ("tls.key", key_pem(key)))
    }
    return {
        **pairs,
        ("mxgw-arc", "arc.pem"): key_pem(new_key("rsa")),
        ("mxgw-redis", "store"): b"redis://:a-password@127.0.0.1:9/0",
        ("mxgw-secret", "secret"): b"sixteen characters and more",
        ("mail-policy", "default.yaml"): b"version: 1\nmode: observe\nrules: []\n",
    }


def _words(secrets: dict[tuple[str, str], bytes]) -> dict[tuple[str, str], str]:
    return {key: octets.decode() for key, octets in secrets.items()}


@pytest.mark.parametrize("name", sorted(CI))
def test_the_settings_of_each_example_are_right(
    name: str, tmp_path: Path, secrets: dict[tuple[str, str], bytes]
) -> None:
    objects = rendered(CI[name])
    settings = mounted(objects, tmp_path, secrets)
    assert node_container(objects)["args"] == ["run", "--config", "/etc/mxgw/gateway.yaml"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MXGW_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check-config", "--config", str(settings)],
        env={**clean, **environment(objects, _words(secrets))}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {"daemonset": "mx1.example.net", "hostnetwork": "edge-a.example.net"}.get(name, "mx.example.net")
    assert f"; {expected} on " in done.stdout


def _asked(node: NodeProcess, *more: str) -> subprocess.CompletedProcess[str]:
    """The script of `helm test`."""
    places = {"smtp": node.smtp_port, "pods": node.smtp_port, "admin": node.admin_port}
    words = [*(f"--{key}=127.0.0.1:{port}" for key, port in places.items()), *more]
    return subprocess.run(
        [sys.executable, str(CHART / "files" / "smtp_test.py"), *words], capture_output=True, text=True, check=False
    )


def _node(
    start: Callable[..., NodeProcess], folder: Path, values: dict[str, Any], secrets: dict[tuple[str, str], bytes]
) -> NodeProcess:
    """A node with the settings that the values give; only ports and networks are this machine's."""
    objects = rendered(values)
    settings = yaml.safe_load(mounted(objects, folder, secrets).read_text())
    for listener in settings["listeners"]:
        listener["address"] = re.sub(r"^0\.0\.0\.0:\d+$", "127.0.0.1:0", re.sub(r"^\[::\]:\d+$", "[::1]:0", listener["address"]))
    settings["admin"]["address"] = re.sub(r"^.*:\d+$", "127.0.0.1:0", settings["admin"]["address"])
    return start(settings={**settings, "workers": 1}, env=environment(objects, _words(secrets)))


def test_a_node_of_the_daemonset_is_ready_without_redis_and_mailstore(
    start_node: Callable[..., NodeProcess], tmp_path: Path, secrets: dict[tuple[str, str], bytes]
) -> None:
    values = merged(CI["daemonset"], {"routes": [{"domains": ["example.com"], "mailstore": "smtp://127.0.0.1:9"}]})
    node = _node(start_node, tmp_path / "root", values, secrets)
    container = node_container(rendered(values))
    for kind in ("startup", "liveness", "readiness"):
        assert node.get(container[f"{kind}Probe"]["httpGet"]["path"])[0] == 200
    done = _asked(node, "--name=mx1.example.net", "--name=mx2.example.net", "--certificate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    the certificate names mx1.example.net" in done.stdout
    assert done.stdout.count("ok    mail for others is not taken (5") == 2
    assert "the pod 127.0.0.1, port" in done.stdout
    assert "not tested" not in done.stdout
    # one whose name is not ours, and one without a certificate for its name
    wrong = _asked(node, "--name=mx3.example.net")
    assert wrong.returncode == 1
    assert "WRONG its name is one of ours (mx1.example.net)" in wrong.stdout


def test_on_the_hosts_network_prometheus_reaches_the_address_of_the_host_by_https(
    start_node: Callable[..., NodeProcess], tmp_path: Path, secrets: dict[tuple[str, str], bytes]
) -> None:
    pair = {"certificate": "/etc/mxgw/tls/tls.crt", "key": "/etc/mxgw/tls/tls.key"}
    values = merged(CI["hostnetwork"], {
        "admin": {"address": "host"}, "settings": {"admin": pair}, "tls": {"existingSecret": "mxgw-tls"},
        "redis": {"mode": "none"},
    })  # fmt: skip
    objects = rendered(values)
    settings = yaml.safe_load(mounted(objects, tmp_path / "root", secrets).read_text())
    settings["listeners"] = [{"address": "127.0.0.1:0"}]
    # only the port is this machine's
    variables = {**environment(objects, _words(secrets), host="127.0.0.2"), "MXGW_ADMIN_ADDRESS": "[127.0.0.2]:0"}
    node = start_node(settings={**settings, "workers": 1}, env=variables)
    words = [f"--smtp=127.0.0.1:{node.smtp_port}", f"--admin=127.0.0.2:{node.admin_port}", "--admin-tls"]
    done = subprocess.run(
        [sys.executable, str(CHART / "files" / "smtp_test.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    127.0.0.2 is ready (1 workers ready)" in done.stdout


def test_a_node_behind_a_balancer_is_asked_as_one_would(
    start_node: Callable[..., NodeProcess], tmp_path: Path, secrets: dict[tuple[str, str], bytes]
) -> None:
    values = merged(CI["proxy"], {"proxyProtocol": {"trusted": ["127.0.0.0/8"]}, "redis": {"mode": "none"}})
    node = _node(start_node, tmp_path / "root", values, secrets)
    done = _asked(node, "--name=mx.example.net", "--proxy", "--certificate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    mail for others is not taken (5" in done.stdout
    assert "not tested" not in done.stdout


@pytest.mark.parametrize("direct", [False, True])
def test_what_a_stranger_to_the_balancers_cannot_ask_is_named(
    start_node: Callable[..., NodeProcess], tmp_path: Path, secrets: dict[tuple[str, str], bytes], direct: bool
) -> None:
    proxy = {"trusted": ["10.0.0.5/32"], "direct": direct}
    values = merged(CI["proxy"], {"proxyProtocol": proxy, "redis": {"mode": "none"}})
    done = _asked(_node(start_node, tmp_path / "root", values, secrets), "--name=mx.example.net", "--proxy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("-     not tested: greeting, EHLO, TLS, relaying") == (0 if direct else 2)
    assert done.stdout.count("ok    mail for others is not taken (5") == (2 if direct else 0)
    assert "ok    all have one policy" in done.stdout


def test_the_test_pod_has_what_it_is_called_with() -> None:
    (container,) = one(rendered(CI["proxy"]), "Pod", f"{FULL}-test")["spec"]["containers"]
    assert container["args"] == [
        f"--smtp={FULL}:25", f"--pods={FULL}-admin:2525", f"--admin={FULL}-admin:8025", "--name=mx.example.net",
        "--proxy", "--certificate",
    ]  # fmt: skip
    (container,) = one(rendered(merged(CI["hostnetwork"], {"test": {"enabled": True}})), "Pod", f"{FULL}-test")["spec"][
        "containers"
    ]
    assert container["args"] == [f"--smtp={FULL}:25", f"--pods={FULL}-admin:25"]
    script = one(rendered(CI["proxy"]), "ConfigMap", f"{FULL}-test")["data"]["smtp_test.py"]
    assert script.rstrip("\n") == (CHART / "files" / "smtp_test.py").read_text().rstrip("\n")


def test_the_resolver_beside_the_node_starts_and_asks_the_cluster_for_its_names(tmp_path: Path) -> None:
    """The sidecar's command with its file; a Service's name goes to the cluster's DNS, here a socket of the test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as cluster:
        cluster.bind(("127.0.0.1", 0))
        cluster.settimeout(30)
        place = f"127.0.0.1@{cluster.getsockname()[1]}"
        port = free_port()
        values = merged(CI["loadbalancer"], {"dns": {"unbound": {"clusterResolver": place, "port": port}}})
        objects = rendered(values)
        (sidecar,) = pod(objects)["initContainers"]
        assert sidecar["restartPolicy"] == "Always"
        file = tmp_path / "unbound.conf"
        text = one(objects, "ConfigMap", f"{FULL}-unbound")["data"]["unbound.conf"]
        file.write_text(text.replace('"/tmp', f'"{tmp_path}'), encoding="utf-8")
        done = subprocess.run([need("unbound-checkconf"), str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        program, *words = [str(file) if word.endswith(".conf") else word for word in sidecar["command"]]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([need(program), *words], stdout=log, stderr=log)
        try:
            asked = dns.message.make_query("mailstore.mail.svc.cluster.local", "A")
            for _ in range(100):
                with contextlib.suppress(dns.exception.Timeout, OSError):
                    dns.query.udp(dns.message.make_query("localhost", "A"), "127.0.0.1", timeout=0.2, port=port)
                    break
            assert process.poll() is None, (tmp_path / "log").read_text()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(30)
                client.sendto(asked.to_wire(), ("127.0.0.1", port))
                octets, unbound = cluster.recvfrom(65535)
                question = dns.message.from_wire(octets)
                answer = dns.message.make_response(question, recursion_available=True)
                answer.answer.append(dns.rrset.from_text(question.question[0].name, 30, "IN", "A", "10.1.0.5"))
                cluster.sendto(answer.to_wire(), unbound)
                found = dns.message.from_wire(client.recv(65535))
            assert [str(each) for each in found.answer[0]] == ["10.1.0.5"]
            assert _probed(sidecar, file) == 0
            # one that hangs is started again
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                _probed(sidecar, file)
            process.send_signal(signal.SIGCONT)
        finally:
            process.terminate()
            process.wait(10)
        assert _probed(sidecar, file) != 0


def _probed(sidecar: dict[str, Any], file: Path) -> int:
    """The exit code of the sidecar's probe; raises TimeoutExpired as kubelet counts it."""
    assert sidecar["startupProbe"]["exec"] == sidecar["livenessProbe"]["exec"]
    program, *words = sidecar["livenessProbe"]["exec"]["command"]
    command = [need(program), *(str(file) if word.endswith(".conf") else word for word in words)]
    return subprocess.run(command, capture_output=True, check=False, timeout=3).returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
