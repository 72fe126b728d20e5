"""Every settings block of every recipe is one that mxgw takes, and no page lacks what an operator looks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe import DOCS, PAGES, blocks, gateway_blocks

from gateway.cli.main import main
from tests.real.certificates import Authority

CASES = [(page, title) for page in PAGES for title in gateway_blocks(page)]


def test_there_is_a_page_for_each_mailstore_and_the_index_names_them_all() -> None:
    wanted = {"postfix", "dovecot", "exchange", "zimbra", "microsoft-365", "google-workspace"}
    assert {page.removesuffix(".md") for page in PAGES} == wanted
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert all(f"({page})" in index for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_both_sides_and_closes_the_bypass(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for heading in ("## The gateway's side\n", "'s side\n", "## Close the bypass\n", "mxgw doctor bypass"):
        assert heading in text, heading
    assert "gateway.yaml" in blocks(page)


@pytest.mark.parametrize(("page", "title"), CASES, ids=str)
def test_check_config_takes_the_gateways_block(
    page: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("MXGW_CONFIG", "MXGW_STORE", "MXGW_SECRET", "MXGW_POLICY", "MXGW_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, text in blocks(page).items():
        if name == "recipients.txt":
            (tmp_path / name).write_text(text)
    # check-config reads the PEM files that a block names
    pair = Authority().write(tmp_path, "gateway", "ecdsa", "gateway.example.com")
    files = {"/etc/mxgw/mailstore-ca.pem": pair["certificate"], "/etc/mxgw/gateway.crt": pair["certificate"],
             "/etc/mxgw/gateway.key": pair["key"]}  # fmt: skip
    block = gateway_blocks(page)[title]
    for written, real in files.items():
        block = block.replace(written, real)
    config = tmp_path / "gateway.yaml"
    config.write_text(block + "state_dir: state\n")
    assert main(["check-config", str(config)]) == 0, capsys.readouterr()
