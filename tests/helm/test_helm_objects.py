"""Every object of every example is what Kubernetes 1.29 to the newest takes, and what a careful operator would write."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from chart import CHART, CI, FULL, environment, merged, node_container, notes, one, pod, pods, rendered, workload
from schemas import VERSIONS, faults

OBJECTS = {name: rendered(values) for name, values in CI.items()}
HOST = {"daemonset", "hostnetwork"}
ALLOWED_VOLUMES = {"configMap", "secret", "emptyDir", "projected", "downwardAPI", "csi", "persistentVolumeClaim"}


def test_versions_from_1_29_to_the_newest_are_looked_at() -> None:
    assert VERSIONS[0] == "1.29.0"
    assert len(VERSIONS) >= 9
    # the templates ask for no version, so one rendering is good for all
    assert not [file for file in CHART.rglob("templates/**/*") if file.is_file() and ".Capabilities" in file.read_text()]


@pytest.mark.parametrize("version", VERSIONS)
def test_helm_finds_nothing_to_say(version: str) -> None:
    for name, values in CI.items():
        said = helm_python.lint(CHART, values, strict=True, kube_version=f"v{version}")
        grave = [each for each in said["messages"] if each["severity"] > 1]
        assert (grave, said["errors"]) == ([], []), name
    assert helm_python.lint(CHART, {}, kube_version=f"v{version}")["errors"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    found = {
        f"{name}: {each['kind']} {each['metadata']['name']}": said
        for name, objects in OBJECTS.items()
        for each in objects
        if (said := faults(each, version))
    }
    assert found == {}


def test_the_schemas_do_find_faults() -> None:
    broken = copy.deepcopy(workload(OBJECTS["trial"]))
    broken["spec"]["replicas"] = "three"
    broken["spec"]["template"]["spec"]["restartpolicy"] = "Always"
    assert len(faults(broken, VERSIONS[0])) == 2
    certificate = copy.deepcopy(one(OBJECTS["loadbalancer"], "Certificate"))
    assert faults(certificate, VERSIONS[0]) == []
    certificate["spec"]["privateKey"]["rotatePolicy"] = "Never"
    (said,) = faults(certificate, VERSIONS[0])
    assert "rotatePolicy" in said


def test_no_object_stands_twice_and_all_carry_the_labels() -> None:
    for objects in OBJECTS.values():
        names = [(each["kind"], each["metadata"]["name"]) for each in objects]
        assert len(names) == len(set(names))
        for each in objects:
            if not each["metadata"]["name"].endswith("-extra"):
                assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "mx"
    assert all(each["metadata"]["labels"]["team"] == "mail" for each in OBJECTS["proxy"])


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_pods_are_restricted(name: str) -> None:
    """The `restricted` standard, field by field; hosts' ports and folders are what `daemonset` and `hostnetwork` are for."""
    for spec in pods(OBJECTS[name]).values():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert name == "hostnetwork" or not spec.get("hostNetwork")
        for volume in spec["volumes"]:
            (kind,) = set(volume) - {"name"}
            assert kind in ALLOWED_VOLUMES or (name == "daemonset" and volume["name"] == "state")
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "cpu" not in container["resources"]["limits"]
            assert container["resources"]["limits"]["memory"]
            assert name in HOST or not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_probes_ask_the_node_alone(name: str) -> None:
    container = node_container(OBJECTS[name])
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {kind: each["path"] for kind, each in paths.items()} == {
        "startup": "/readyz", "liveness": "/healthz", "readiness": "/readyz",
    }  # fmt: skip
    assert {each.get("host") for each in paths.values()} == ({"127.0.0.1"} if name == "hostnetwork" else {None})


ADMIN = [
    ("trial", {}, "0.0.0.0:8025", None),
    ("trial", {"listenFamilies": ["IPv6"]}, "[::]:8025", None),
    ("trial", {"listenFamilies": ["IPv6", "IPv4"]}, "[::]:8025", None),
    ("hostnetwork", {}, "127.0.0.1:8025", "127.0.0.1"),
    ("hostnetwork", {"admin": {"address": "10.0.0.5", "port": 9025}}, "10.0.0.5:9025", "10.0.0.5"),
    ("hostnetwork", {"admin": {"address": "::1"}}, "[::1]:8025", "::1"),
    # the pod's address is the host's
    ("hostnetwork", {"admin": {"address": "host"}, "metrics": {"podMonitor": {"enabled": True}}}, "[10.0.0.7]:8025", None),
]


@pytest.mark.parametrize(("name", "change", "listens", "asked"), ADMIN)
def test_probes_ask_where_the_admin_port_is(name: str, change: dict[str, Any], listens: str, asked: str | None) -> None:
    objects = rendered(merged(CI[name], change))
    settings = yaml.safe_load(one(objects, "ConfigMap")["data"]["gateway.yaml"])
    variables = environment(objects, {("mxgw-secret", "secret"): ""}, host="10.0.0.7")
    assert settings["admin"].get("address", variables.get("MXGW_ADMIN_ADDRESS")) == listens
    container = node_container(objects)
    (port,) = [each["containerPort"] for each in container["ports"] if each["name"] == "admin"]
    assert listens.endswith(f":{port}")
    for kind in ("startup", "liveness", "readiness"):
        probe = container[f"{kind}Probe"]["httpGet"]
        assert (probe.get("host"), probe["port"], probe.get("scheme")) == (asked, "admin", None)


def test_probes_and_prometheus_speak_https_where_the_admin_port_does() -> None:
    certificate = {"certificate": "/etc/mxgw/tls/tls.crt", "key": "/etc/mxgw/tls/tls.key"}
    for name, kind in (("loadbalancer", "ServiceMonitor"), ("proxy", "PodMonitor")):
        objects = rendered(merged(CI[name], {"settings": {"admin": certificate}}))
        assert node_container(objects)["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
        monitor = one(objects, kind)
        assert faults(monitor, VERSIONS[-1]) == []
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert (endpoint["scheme"], endpoint["tlsConfig"]) == ("https", {"insecureSkipVerify": True})
        (container,) = one(objects, "Pod", f"{FULL}-test")["spec"]["containers"]
        assert "--admin-tls" in container["args"]


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_the_end_has_time(name: str) -> None:
    from chart import load

    drain = merged(load(CHART / "values.yaml"), CI[name])["drain"]
    seconds = pod(OBJECTS[name])["terminationGracePeriodSeconds"]
    assert seconds >= sum(drain.values()) + 10
    command = node_container(OBJECTS[name])["lifecycle"]["preStop"]["exec"]["command"]
    assert command[-1] == f"import time; time.sleep({drain['preStopSeconds']})"


def test_a_daemonset_takes_the_hosts_port_without_any_privilege() -> None:
    objects = OBJECTS["daemonset"]
    assert workload(objects)["kind"] == "DaemonSet"
    assert workload(objects)["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    (smtp,) = [port for port in node_container(objects)["ports"] if port["name"] == "smtp"]
    assert (smtp["hostPort"], smtp["containerPort"]) == (25, 2525)
    assert one(objects, "Service")["spec"]["type"] == "ClusterIP"
    assert one(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_a_folder_of_the_host_is_asked_for_and_not_made_for_root() -> None:
    """kubelet makes one for root with 0755, and fsGroup changes no folder of a host."""
    (state,) = [each for each in pod(OBJECTS["daemonset"])["volumes"] if each["name"] == "state"]
    assert state["hostPath"] == {"path": "/var/lib/mxgw", "type": "Directory"}
    assert "install -d -o 65532 -g 65532 -m 0750 /var/lib/mxgw\n" in notes(CI["daemonset"])
    assert "install -d" not in notes(CI["hostnetwork"])


def test_a_deployment_keeps_the_clients_address_and_is_spread() -> None:
    objects = OBJECTS["loadbalancer"]
    service = one(objects, "Service")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert service["ports"] == [{"name": "smtp", "port": 25, "targetPort": "smtp", "protocol": "TCP"}]
    assert service["ipFamilyPolicy"] == "PreferDualStack"
    spread = [each["topologyKey"] for each in pod(objects)["topologySpreadConstraints"]]
    assert spread == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert "replicas" not in workload(objects)["spec"]
    scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == FULL
    assert {each["type"] for each in scaler["metrics"]} == {"ContainerResource", "Pods"}
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("name", sorted(CI))
def test_each_pod_has_a_name_of_its_own_in_the_cluster(name: str) -> None:
    (node,) = [each for each in node_container(OBJECTS[name])["env"] if each["name"] == "MXGW_NODE"]
    expected = {"DaemonSet": "spec.nodeName", "Deployment": "metadata.name"}[workload(OBJECTS[name])["kind"]]
    assert node["valueFrom"]["fieldRef"]["fieldPath"] == expected


def test_the_key_stays_for_dane_unless_told_otherwise() -> None:
    certificate = one(OBJECTS["loadbalancer"], "Certificate")["spec"]
    assert certificate["privateKey"]["rotationPolicy"] == "Never"
    assert certificate["secretName"] == f"{FULL}-tls"
    assert certificate["dnsNames"] == ["mx.example.net"]
    by_host = merged(CI["daemonset"], {"tls": {"existingSecret": "", "certificate": {"create": True, "issuerRef": {"name": "ca"}}}})
    assert one(rendered(by_host), "Certificate")["spec"]["dnsNames"] == ["mx1.example.net", "mx2.example.net"]


def test_only_balancers_reach_a_proxy_listener_and_only_the_named_read_the_admin_port() -> None:
    policy = one(OBJECTS["proxy"], "NetworkPolicy")["spec"]
    smtp, admin = policy["ingress"]
    assert [each["ipBlock"]["cidr"] for each in smtp["from"][:3]] == CI["proxy"]["proxyProtocol"]["trusted"]
    assert smtp["from"][3]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    assert [set(each) for each in admin["from"]] == [{"podSelector"}, {"namespaceSelector"}]
    alone = one(rendered(merged(CI["proxy"], {"networkPolicy": {"metricsFrom": []}})), "NetworkPolicy")["spec"]["ingress"][1]
    assert [set(each) for each in alone["from"]] == [{"podSelector"}]
    open_to_all, admin = one(OBJECTS["loadbalancer"], "NetworkPolicy")["spec"]["ingress"]
    assert "from" not in open_to_all
    assert len(admin["from"]) == 2
    assert [port["port"] for port in policy["egress"][0]["ports"]] == [53, 53]


def test_secrets_stand_in_no_object() -> None:
    for objects in OBJECTS.values():
        assert not [each for each in objects if each["kind"] == "Secret"]
    env = {each["name"]: each for each in node_container(OBJECTS["daemonset"])["env"]}
    assert env["MXGW_STORE"]["valueFrom"]["secretKeyRef"] == {"name": "mxgw-redis", "key": "store"}
    assert env["MXGW_SECRET"]["valueFrom"]["secretKeyRef"] == {"name": "mxgw-secret", "key": "secret"}
    # a folder, not one file: what is mounted by subPath is never renewed
    (tls,) = [each for each in node_container(OBJECTS["daemonset"])["volumeMounts"] if each["name"] == "tls"]
    assert "subPath" not in tls


def test_a_change_of_the_settings_replaces_the_pods_and_a_new_label_does_not() -> None:
    def sum_of(change: dict[str, Any]) -> str:
        found = workload(rendered(merged(CI["trial"], change)))["spec"]["template"]["metadata"]["annotations"]
        return str(found["checksum/settings"])

    same = sum_of({})
    assert sum_of({"exposure": {"annotations": {"a": "b"}}}) == same
    assert sum_of({"workers": 3}) != same
    assert sum_of({"policy": {"inline": {"mode": "enforce"}}}) != same


def test_the_alerts_find_their_targets() -> None:
    """The rules look for the job by its name, whatever the objects are called; each release has one of its own."""
    for name, kind in (("loadbalancer", "ServiceMonitor"), ("proxy", "PodMonitor")):
        monitor = one(OBJECTS[name], kind)["spec"]
        for change, job in (({}, FULL), ({"nameOverride": "edge"}, "mxgw-mx-edge"), ({"fullnameOverride": "in"}, "mxgw-in")):
            (found,) = [each for each in rendered(merged(CI[name], change)) if each["kind"] == kind]
            (endpoint,) = found["spec"].get("endpoints") or found["spec"]["podMetricsEndpoints"]
            assert {"targetLabel": "job", "replacement": job} in endpoint["relabelings"]
            assert re.fullmatch(".*mxgw.*", job)
        services = [one(OBJECTS[name], "Service", f"{FULL}-admin")["metadata"]["labels"]]
        labels = services if kind == "ServiceMonitor" else [workload(OBJECTS[name])["spec"]["template"]["metadata"]["labels"]]
        for each in labels:
            assert monitor["selector"]["matchLabels"].items() <= each.items()


def test_rules_and_dashboards_of_the_folder_are_taken(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "mxgw", ignore=shutil.ignore_patterns("rules", "dashboards"))
    rules, boards = tmp_path / "mxgw" / "files" / "rules", tmp_path / "mxgw" / "files" / "dashboards"
    rules.mkdir()
    boards.mkdir()
    text = (
        "groups:\n- name: a\n  rules:\n  - alert: One\n    expr: up == 0\n    annotations: {summary: '{{ $labels.node }}'}\n"
        "  - alert: Two\n    expr: up == 1\n  - record: r\n    expr: up\n"
        "- name: b\n  rules:\n  - alert: Two\n    expr: up == 1\n"
    )
    (rules / "mxgw.yaml").write_text(text)
    (boards / "Nodes.json").write_text('{"title": "{{instance}}"}\n')
    values = merged(CI["loadbalancer"], {"metrics": {"prometheusRule": {"disabled": ["Two"]}}})
    objects = rendered(values, tmp_path / "mxgw")
    rule = one(objects, "PrometheusRule", f"{FULL}-mxgw")
    assert faults(rule, VERSIONS[-1]) == []
    (group,) = rule["spec"]["groups"]
    assert [each.get("alert", each.get("record")) for each in group["rules"]] == ["One", "r"]
    assert group["rules"][0]["annotations"]["summary"] == "{{ $labels.node }}"
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    board = one(objects, "ConfigMap", f"{FULL}-dashboard-nodes")
    assert faults(board, VERSIONS[-1]) == []
    assert board["data"] == {"Nodes.json": '{"title": "{{instance}}"}\n'}
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert board["metadata"]["annotations"] == {"grafana_folder": "Mail"}
