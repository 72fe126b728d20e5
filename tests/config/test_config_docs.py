"""docs/settings.md and docs/settings.schema.json say what the models say. ``MXGW_UPDATE=1`` writes them anew."""

import json
import os
from dataclasses import fields
from pathlib import Path

import jsonschema
import yaml

from gateway.config.model import LimitsSettings, settings_schema
from gateway.config.table import settings_table
from gateway.mail.limits import WireLimits

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"


def test_the_table_is_that_of_the_models() -> None:
    page = DOCS / "settings.md"
    head, _, rest = page.read_text().partition(BEGIN)
    table, _, tail = rest.partition(END)
    if os.environ.get("MXGW_UPDATE"):
        page.write_text(head + BEGIN + settings_table() + END + tail)
        return
    assert table == settings_table()


def test_the_schema_is_that_of_the_models() -> None:
    file = DOCS / "settings.schema.json"
    current = json.dumps(settings_schema(), indent=2) + "\n"
    if os.environ.get("MXGW_UPDATE"):
        file.write_text(current)
    assert file.read_text() == current


def test_the_schema_accepts_a_sound_file_and_refuses_unknown_keys() -> None:
    text = "routes: [{domains: [example.com], mailstore: 'smtp://10.1.0.5:25'}]\nworkers: auto\npolicy: p.yaml\n"
    schema = settings_schema()
    jsonschema.validate(yaml.safe_load(text), schema)
    assert list(jsonschema.Draft202012Validator(schema).iter_errors({"routes": [], "nonsense": 1}))


def test_limits_have_the_names_and_defaults_of_the_wire() -> None:
    assert [field.name for field in fields(WireLimits)] == list(LimitsSettings.model_fields)
    assert LimitsSettings().wire() == WireLimits()
