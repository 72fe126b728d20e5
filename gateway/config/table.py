"""The table of docs/settings.md: every key, its default, what it means; made from the models.

Known gaps: none.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.config.load import SCALARS, variable
from gateway.config.model import Settings


def settings_table() -> str:
    """The table in Markdown, with a newline at its end."""
    rows = "".join(f"| `{key}` | {default} | {variable} | {text} |\n" for key, default, variable, text in _rows())
    return f"| key | default | variable | meaning |\n|---|---|---|---|\n{rows}"


def _rows() -> Iterator[tuple[str, str, str, str]]:
    yield from _rows_of(Settings, "")


def _rows_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        inner = next(_models(field.annotation), None)
        many = "[]" if inner and "tuple" in str(field.annotation) else ""
        named = f"`{variable(key)}`" if (key := f"{prefix}{name}") in SCALARS else ""
        yield f"{key}{many}", _default(field, inner), named, (field.description or "").replace("|", "\\|")
        if inner:
            yield from _rows_of(inner, f"{prefix}{name}{many}.")


def _models(kind: object) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for argument in typing.get_args(kind):
        yield from _models(argument)


def _default(field: FieldInfo, inner: type[BaseModel] | None) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, tuple) and value and inner:
        return "one on `0.0.0.0:2525`"
    if value is PydanticUndefined or value in (None, "", ()) or isinstance(value, BaseModel):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
