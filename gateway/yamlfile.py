"""YAML files that operators write: plain data with the line of every key, and faults a person can act on.

Read by the node settings and by policies. Stricter and calmer than YAML 1.1: a key that stands twice is a fault,
``off``, ``no`` and ``on`` are words (greylist ``mode: off``), dates and ``12:30`` stay text. All faults of a file are
reported at once, each with its line and what to do about it.

Known gaps: anchors and aliases are read, merge keys (``<<``) are not; columns are not reported.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic
import yaml

Key = str | int
Data = typing.Any
"""dict with text keys, list, str, int, float, bool or None, nested."""

_UNKNOWN_KEY = "extra_forbidden"
_DEPTH = 40
_NODES = 200_000
"""An alias that holds itself, or aliases of aliases, end here."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: where (line from 1, 0 for the file as a whole), which key, what, and what to do."""

    file: str
    line: int
    key: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        what = ": ".join(part for part in (self.key, self.problem) if part)
        return f"{self.file}:{self.line}: {what}" + (f"; {self.remedy}" if self.remedy else "")


class FaultsError(Exception):
    """A file cannot be used; ``faults`` holds everything that is wrong with it, in the order of its lines."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(sorted(faults, key=lambda fault: (fault.file, fault.line)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. data: plain values; an empty file is an empty dict. lines: path of keys and indexes -> line."""

    file: str
    data: Data
    lines: Mapping[tuple[Key, ...], int]

    def line(self, path: Sequence[Key] = ()) -> int:
        """The line (from 1) of the key at that path, or of its nearest ancestor that stands in the file."""
        return self.lines[self.known(path)]

    def known(self, path: Sequence[Key]) -> tuple[Key, ...]:
        """The longest leading part of the path that stands in the file."""
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self.lines:
                return tuple(path[:length])
        return ()

    def fault(self, path: Sequence[Key], problem: str, remedy: str = "") -> Fault:
        """A fault at that path of this file."""
        return Fault(self.file, self.line(path), dotted(path), problem, remedy)


def dotted(path: Sequence[Key]) -> str:
    """``("rules", 2, "when")`` as ``rules[2].when``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A remedy that names the nearest of the known words, or all of them; '' where there are none."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known here: {', '.join(known)}" if known else ""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: ``off`` and ``yes`` are words, not truth values."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))
_Loader.yaml_implicit_resolvers.setdefault("", []).extend(_Loader.yaml_implicit_resolvers.get("\0", []))


def read(path: Path) -> Document:
    """Read and parse a file. Raises FaultsError: unreadable (line 0), not UTF-8, not YAML, a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
        raise FaultsError([Fault(str(path), 0, "", problem, "check the path and its rights")]) from error
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(str(path), 0, "", "is not UTF-8 text", "save it as UTF-8")]) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Parse YAML text; ``name`` stands in the faults. Raises FaultsError."""
    try:
        walk = _Walk(_Loader(text), name)
        node = walk.loader.get_single_node()
        data = {} if node is None else walk.plain(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be parsed"
        fault = Fault(name, mark.line + 1 if mark else 0, "", f"not YAML: {problem}", "check indentation and quotes")
        raise FaultsError([fault]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FaultsError([Fault(name, line, "", "a character that YAML forbids", "remove it")]) from error
    if walk.faults:
        raise FaultsError(walk.faults)
    return Document(name, data, walk.lines)


class _Walk:
    """One pass over the nodes of a file: plain data out, lines and faults on the way."""

    def __init__(self, loader: _Loader, name: str) -> None:
        self.loader = loader
        self.name = name
        self.nodes = 0
        self.faults: list[Fault] = []
        self.lines: dict[tuple[Key, ...], int] = {(): 1}

    def plain(self, node: yaml.Node, path: tuple[Key, ...]) -> Data:
        """The node as plain data."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self.nodes += 1
        if len(path) > _DEPTH or self.nodes > _NODES:
            raise yaml.composer.ComposerError(None, None, "nested too deeply, or too much", node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, n)) for n, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            return self.loader.construct_object(node)
        data: dict[str, Data] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be one word", "quote it if it holds [ or {")
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key in data:
                self._fault(key_node, inner, f"stands twice (first in line {self.lines[inner]})", "keep one")
                continue
            self.lines[inner] = key_node.start_mark.line + 1
            data[key] = self.plain(value_node, inner)
        return data

    def _fault(self, node: yaml.Node, path: Sequence[Key], problem: str, remedy: str) -> None:
        self.faults.append(Fault(self.name, node.start_mark.line + 1, dotted(path), problem, remedy))


def faults_from(
    error: pydantic.ValidationError,
    document: Document,
    remedies: Mapping[str, str] | None = None,
    *,
    model: type[pydantic.BaseModel] | None = None,
    under: Sequence[Key] = (),
) -> list[Fault]:
    """The faults of a model's validation, in plain words.

    remedies: key (its last word, such as ``mailstore``) -> what to do. model: the class that was validated, from
    which spelling suggestions come. under: the path in the file at which the validated data stand.
    """
    faults: list[Fault] = []
    seen: set[tuple[str, str]] = set()
    for item in error.errors(include_url=False):
        location = tuple(item["loc"])
        path = (*under, *location)
        if item["type"] not in (_UNKNOWN_KEY, "missing"):
            # unions put names of their members behind the key; what stands in the file is enough
            path = document.known(path) or path
        problem = _problem(item)
        remedy = (remedies or {}).get(str(path[-1]) if path else "", "")
        if item["type"] == _UNKNOWN_KEY and not remedy:
            remedy = did_you_mean(str(location[-1]), sorted(_keys_at(model, location[:-1])) if model else ())
        if (dotted(path), problem) not in seen:
            seen.add((dotted(path), problem))
            faults.append(document.fault(path, problem, remedy))
    return faults


_WORDS = {
    _UNKNOWN_KEY: "unknown key",
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "model_attributes_type": "must hold keys and values",
}


_MAYBE_KEY = re.compile(r"(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}")
"""What may be an access key or a token that was put in the wrong place."""


def _problem(item: Mapping[str, typing.Any]) -> str:
    """pydantic's error in the operator's words; what we do not know keeps pydantic's own text."""
    kind = str(item["type"])
    text = _WORDS.get(kind) or re.sub(r"^(?:Value error, |Input )", "", str(item["msg"]))
    value = item.get("input")
    if kind in (_UNKNOWN_KEY, "missing") or not isinstance(value, str | int | float):
        return text
    shown = str(value).lower() if isinstance(value, bool) else _MAYBE_KEY.sub("***", repr(value))
    return f"{text}, not {shown}" if len(shown) <= 60 else text


def _keys_at(model: type[pydantic.BaseModel], location: Sequence[Key]) -> set[str]:
    """Names of the keys that the model knows at that place."""
    candidates: list[object] = list(_expanded(model))
    for part in location:
        candidates = [inner for kind in candidates for outer in _step(kind, part) for inner in _expanded(outer)]
    models = [kind for kind in candidates if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)]
    return {field.alias or name for kind in models for name, field in kind.model_fields.items()}


def _expanded(kind: object) -> Iterator[object]:
    """The members of a union (and of Annotated), or the type itself."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from _expanded(member)
    elif origin is typing.Annotated:
        yield from _expanded(typing.get_args(kind)[0])
    else:
        yield kind


def _step(kind: object, part: Key) -> Iterator[object]:
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        for name, field in kind.model_fields.items():
            if part in (name, field.alias):
                yield field.annotation
        return
    arguments = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
    if arguments and (isinstance(part, int) or typing.get_origin(kind) in (dict, Mapping)):
        yield arguments[-1]
    elif arguments:
        yield kind  # the name of a union's member stands in the location, not in the type
