"""QEMU's replies, read strictly: what makes no sense is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from domcaps_exporter import qmp
from domcaps_qemu import replies
from domcaps_qemu.machines import machines
from domcaps_qemu.replies import Schema

ERROR = b'{"error": {"class": "CommandNotFound", "desc": ""}}'


def returned(value: object) -> bytes:
    return json.dumps({"return": value}).encode()


@pytest.mark.parametrize(
    ("read", "value", "form"),
    [
        (replies.names, [{"name": "a", "parent": "b"}, {"name": "c"}], {"a", "c"}),
        (replies.strings, ["tpm-tis", "tpm-crb"], {"tpm-tis", "tpm-crb"}),
        (replies.options, [{"option": "spice", "parameters": [{"name": "port", "type": "number"}]}], {"spice": {"port"}}),
        (replies.gics, [{"version": 3, "kernel": True, "emulated": False}], [(3, True, False)]),
        (replies.target, {"arch": "x86_64"}, "x86_64"),
        (replies.version, {"qemu": {"major": 9, "minor": 1, "micro": 0}, "package": ""}, (9, 1, 0)),
        (replies.kvm, {"present": True, "enabled": False}, (True, False)),
        (replies.accelerators, {"present": ["kvm", "tcg"], "enabled": "tcg"}, (True, False)),
        (replies.definitions, [{"name": "max", "unavailable-features": []}], [{"name": "max", "unavailable-features": []}]),
        (replies.expansion, {"model": {"name": "base", "props": {"sse2": True}}}, {"name": "base", "props": {"sse2": True}}),
    ],
)
def test_what_qemu_says_is_read(read: Callable[[bytes], object], value: object, form: object) -> None:
    assert read(returned(value)) == form


@pytest.mark.parametrize(
    "read", [replies.names, replies.strings, replies.options, replies.gics, replies.target, replies.kvm, replies.expansion]
)
def test_an_error_is_nothing(read: Callable[[bytes], object]) -> None:
    assert not read(ERROR)


@pytest.mark.parametrize(
    "read",
    [*(replies.names, replies.strings, replies.options, replies.gics, replies.target, replies.kvm, replies.definitions), Schema],
)
def test_an_error_that_may_pass_is_no_answer(read: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="GenericError"):
        read(b'{"error": {"class": "GenericError", "desc": "out of memory"}}')


@pytest.mark.parametrize("read", [replies.expansion, replies.definitions_if_any])
def test_what_not_every_processor_has_is_nothing_whatever_the_error(read: Callable[[bytes], object]) -> None:
    assert not read(b'{"error": {"class": "GenericError", "desc": "not supported"}}')


@pytest.mark.parametrize("read", [replies.qom_types, replies.options, Schema, machines])
def test_what_every_qemu_has_is_never_nothing(read: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="an empty list"):
        read(returned([]))


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"5", b"{}", b'{"error": 1}', b'{"error": {"class": 1}}', b'{"error": {}}'])
def test_neither_a_return_nor_an_error_is_no_reply(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        qmp.reply(line)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (replies.names, None),
        (replies.names, {}),
        (replies.names, ["a"]),
        (replies.names, [{"name": 1}]),
        (replies.names, [{}]),
        (replies.strings, [1]),
        (replies.strings, "tpm-tis"),
        (replies.options, [{"option": "x"}]),
        (replies.options, [{"option": "x", "parameters": {"name": "y"}}]),
        (replies.gics, [{"version": True, "kernel": True, "emulated": True}]),
        (replies.gics, [{"version": 3, "kernel": 1, "emulated": True}]),
        (replies.gics, [{"version": -3, "kernel": True, "emulated": True}]),
        (replies.target, []),
        (replies.target, {"arch": 5}),
        (replies.target, {}),
        (replies.version, {"qemu": []}),
        (replies.version, {"qemu": {"major": "9", "minor": 1, "micro": 0}}),
        (replies.version, {"qemu": {"major": 9}}),
        (replies.kvm, {"present": True}),
        (replies.kvm, {"present": "yes", "enabled": True}),
        (replies.accelerators, {"present": "kvm", "enabled": "kvm"}),
        (replies.definitions, [{"name": "x", "unavailable-features": "y"}]),
        (replies.definitions, [{"name": "x", "unavailable-features": [1]}]),
        (replies.definitions, [{"name": "x", "deprecated": 0}]),
        (replies.definitions, [{"name": "x", "alias-of": None}]),
        (replies.expansion, {"model": {"name": "base"}}),
        (replies.expansion, {"model": {"name": "base", "props": []}}),
        (replies.expansion, {"model": {"name": "base", "props": {"family": "6"}}}),
        (replies.expansion, {"model": {"name": "base", "props": {"vendor": 6}}}),
        (replies.expansion, {"model": "base"}),
    ],
)
def test_what_makes_no_sense_is_no_answer(read: Callable[[bytes], object], value: object) -> None:
    with pytest.raises((TypeError, LookupError)):
        read(returned(value))


# ---- the schema --------------------------------------------------------------------------------------------------------------

ENTITIES: list[dict[str, object]] = [
    {"name": "add", "meta-type": "command", "arg-type": "1", "ret-type": "2", "features": ["deprecated"]},
    {"name": "1", "meta-type": "object", "members": [{"name": "many", "type": "[[3]]"}]},
    {"name": "2", "meta-type": "object", "members": [], "tag": "type", "variants": [{"case": "user", "type": "3"}]},
    {"name": "3", "meta-type": "object", "members": [{"name": "leaf", "type": "str", "default": None}]},
    {"name": "[3]", "meta-type": "array", "element-type": "3"},
    {"name": "[[3]]", "meta-type": "array", "element-type": "[3]"},
    {"name": "loop", "meta-type": "array", "element-type": "loop"},
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
    {"name": "colour", "meta-type": "enum", "values": ["red"], "members": [{"name": "red"}]},
    {"name": "either", "meta-type": "alternate", "members": [{"type": "str"}]},
    {"name": "RESET", "meta-type": "event", "arg-type": "1"},
    {"name": "new", "meta-type": "tomorrow", "members": 7},
]


def test_a_path_leads_through_commands_members_cases_and_arrays() -> None:
    schema = Schema(returned(ENTITIES))
    assert schema.has("add")
    assert schema.has("add/arg-type/many/leaf")
    assert schema.has("add/ret-type/+user/leaf")


@pytest.mark.parametrize(
    "path", ["sub", "add/many", "add/arg-type/few", "add/ret-type/+tap", "add/ret-type/user", "loop/x", "new/x", ""]
)
def test_a_path_that_is_not_there_leads_nowhere(path: str) -> None:
    assert not Schema(returned(ENTITIES)).has(path)


@pytest.mark.parametrize(
    "entity",
    [
        {"name": "x"},
        {"meta-type": "object", "members": []},
        {"name": "x", "meta-type": "object"},
        {"name": "x", "meta-type": "object", "members": [{"name": "y"}]},
        {"name": "x", "meta-type": "object", "members": [{"name": "y", "type": 5}]},
        {"name": "x", "meta-type": "object", "members": [], "variants": [{"case": "y"}]},
        {"name": "x", "meta-type": "array"},
        {"name": "x", "meta-type": "command", "arg-type": "1"},
    ],
)
def test_an_entity_that_makes_no_sense_makes_no_schema(entity: dict[str, object]) -> None:
    with pytest.raises((TypeError, LookupError)):
        Schema(returned([*ENTITIES, entity]))
