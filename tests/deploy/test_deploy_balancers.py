"""deploy/haproxy, deploy/nginx and deploy/keepalived: taken by their own programs, and one text with the documentation.
That mail goes through them is shown by tests/balancers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from debian import MISSING, need

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGE = DEPLOY.parent / "docs" / "load-balancers.md"
SHOWN = {"haproxy": DEPLOY / "haproxy" / "haproxy.cfg", "nginx": DEPLOY / "nginx" / "mxgw-stream.conf"}
KEEPALIVED = DEPLOY / "keepalived"


@pytest.mark.parametrize("language", sorted(SHOWN))
def test_the_page_shows_the_file(language: str) -> None:
    text, file = PAGE.read_text(encoding="utf-8"), SHOWN[language].read_text(encoding="utf-8")
    current = re.sub(rf"(?ms)^(```{language}\n).*?(^```$)", lambda match: match[1] + file + match[2], text, count=1)
    if os.environ.get("MXGW_UPDATE"):
        PAGE.write_text(current, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == current


def test_haproxy_takes_it() -> None:
    done = subprocess.run([need("haproxy"), "-c", "-f", SHOWN["haproxy"]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Configuration file is valid\n", "")


def test_nginx_takes_it(tmp_path: Path) -> None:
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not module.exists():
        pytest.skip(f"{MISSING} nginx's stream module (Debian package libnginx-mod-stream)")
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"load_module {module};\npid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\ninclude {SHOWN['nginx']};\n"
    )
    done = subprocess.run([need("nginx"), "-t", "-p", tmp_path, "-c", main], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def _keepalived(file: Path, folder: Path, **words: str) -> tuple[int, str]:
    """Its check. Version 2.2 ends itself by a signal there when scripts belong to another user than its own."""
    loopback_or_noarp = 0x88
    cards = [each for each in Path("/sys/class/net").iterdir() if (each / "flags").is_file()]
    card = next((each.name for each in cards if not int((each / "flags").read_text(), 16) & loopback_or_noarp), "")
    if not card:
        pytest.skip(f"{MISSING} a network card beside lo")
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    text = file.read_text(encoding="utf-8")
    for old, new in {"interface eth0": f"interface {card}", "script_user nobody": f"script_user {me}", **words}.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "keepalived.conf").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [need("keepalived"), f"--config-test={folder / 'said'}", "-f", folder / "keepalived.conf"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    said = folder / "said"
    return done.returncode, said.read_text() if said.exists() else done.stderr


@pytest.mark.parametrize("name", ["keepalived-a.conf", "keepalived-b.conf"])
def test_keepalived_takes_it(name: str, tmp_path: Path) -> None:
    assert Path(need("curl")) == Path("/usr/bin/curl")
    assert _keepalived(KEEPALIVED / name, tmp_path) == (0, "")
    (tmp_path / "broken").mkdir()
    code, said = _keepalived(KEEPALIVED / name, tmp_path / "broken", **{"fall 2": "fal 2"})
    assert code != 0
    assert "Unknown keyword 'fal'" in said


def test_each_machine_is_the_home_of_one_address_and_goes_below_the_other_when_it_is_not_ready() -> None:
    def priorities(name: str) -> dict[str, int]:
        text = (KEEPALIVED / name).read_text(encoding="utf-8")
        found = re.findall(r"(?ms)^vrrp_instance (\w+) \{.*?priority (\d+)", text)
        return {instance: int(priority) for instance, priority in found}

    a, b = priorities("keepalived-a.conf"), priorities("keepalived-b.conf")
    assert a == {"mx1": 150, "mx2": 100}
    assert b == {"mx1": 100, "mx2": 150}
    (weight,) = set(re.findall(r"ready weight -(\d+)", (KEEPALIVED / "keepalived-a.conf").read_text()))
    assert 150 - int(weight) < 100
