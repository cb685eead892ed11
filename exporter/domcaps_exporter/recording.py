"""Facts <-> a directory that a person can read: one file per answer, and a manifest of what was asked. Reads and writes files.

recording.json                      {"format": 1, "driver": "qemu", "settings": {"guest_user": "root"},
                                     "answers": [{"kind", "args", "file" | "refusal"}, …]}
0000-read-nested.txt                the answer's very bytes: .json for an object or array, .txt for text, .bin for the rest
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from domcaps_exporter.errors import RecordingError, reason
from domcaps_exporter.model import Answer, Facts, Question, Refusal

FORMAT = 1
MANIFEST = "recording.json"
_SHOWN = 48
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def save(directory: Path, driver: str, facts: Facts, settings: Mapping[str, object] | None = None) -> float | None:
    """Write a recording, whole or not at all; when the one was made that it replaces, if there was one in the same place.

    `settings` is the driver's section of the configuration, without which its facts may mean something else.

    Raises:
        RecordingError: `directory` holds something that is no recording, or cannot be written.
    """
    place = directory.resolve()
    unfinished = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
    try:
        _insist_on_replaceable(place)
        replaced = (place / MANIFEST).stat().st_mtime if (place / MANIFEST).exists() else None
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        _write(unfinished, driver, facts, settings or {})
        _exchange(unfinished, place)
    except OSError as error:
        raise RecordingError(f"{directory}: cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return replaced


def load(directory: Path) -> tuple[str, dict[Question, Answer]]:
    """The driver's name and the facts, as they were saved.

    Raises:
        RecordingError: a file is missing or is not what it should be; the message names the file and the key.
    """
    driver, _, answers = _manifest(directory)
    facts: dict[Question, Answer] = {}
    for number, entry in enumerate(answers):
        where = f"{directory / MANIFEST}: answers[{number}]"
        question, answer = _question(entry, where), _answer(entry, directory, where)
        if question in facts:
            raise RecordingError(f"{where}: {str(question)!r} is there twice")
        facts[question] = answer
    return driver, facts


def settings(directory: Path) -> tuple[str, Mapping[str, object] | None]:
    """The driver's name, and its section of the configuration at that time; None where an earlier exporter did not write it down.

    Raises:
        RecordingError: its manifest is missing or is not what it should be.
    """
    driver, section, _ = _manifest(directory)
    return driver, section


# ---- writing -----------------------------------------------------------------------------------------------------------------


def _write(directory: Path, driver: str, facts: Facts, settings: Mapping[str, object]) -> None:
    answers: list[dict[str, object]] = []
    for number, (question, answer) in enumerate(sorted(facts.items(), key=lambda fact: fact[0])):
        entry: dict[str, object] = {"kind": question.kind, "args": list(question.args)}
        if isinstance(answer, bytes):
            entry["file"] = f"{number:04}-{_slug(question)}{_suffix(answer)}"
            (directory / str(entry["file"])).write_bytes(answer)
        else:
            entry["refusal"] = {"why": answer.why, "text": answer.text}
        answers.append(entry)
    manifest = {"format": FORMAT, "driver": driver, "settings": settings, "answers": answers}
    written = json.dumps(manifest, indent=1, default=str, skipkeys=True)  # YAML has dates, also for keys; no driver of ours does
    (directory / MANIFEST).write_text(f"{written}\n", encoding="ascii")


def _slug(question: Question) -> str:
    """The kind, and as much of the arguments' end as makes a readable name."""
    kind, args = (re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") for text in (question.kind, "-".join(question.args)))
    return "-".join(part for part in (kind[:20], _end(args)) if part) or "answer"


def _end(text: str) -> str:
    """The last 48 characters or so, from the beginning of a word."""
    return text if len(text) <= _SHOWN else text[-_SHOWN - 1 :].partition("-")[2] or text[-_SHOWN:]


def _suffix(answer: bytes) -> str:
    try:
        text = answer.decode()
    except UnicodeDecodeError:
        return ".bin"
    if _is_json(text):
        return ".json"
    return ".txt" if re.fullmatch(r"[^\x00-\x08\x0e-\x1f\x7f]*", text) else ".bin"


def _is_json(text: str) -> bool:
    """An object or an array: a bare number is better called text."""
    try:
        return text.lstrip()[:1] in ("{", "[") and isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _insist_on_replaceable(place: Path) -> None:
    """Nothing, an empty directory, or a recording with nothing beside it."""
    if not place.exists():
        return
    strangers = {entry.name for entry in place.iterdir()}
    if not strangers:
        return
    if MANIFEST not in strangers:
        raise RecordingError(f"{place} is not empty and holds no recording; it is left alone")
    strangers -= {MANIFEST, *(str(entry["file"]) for entry in _manifest(place)[2] if "file" in entry)}
    if strangers:
        raise RecordingError(f"{place} holds {sorted(strangers)[0]}, which is not of the recording; it is left alone")


def _exchange(unfinished: Path, place: Path) -> None:
    """Put the new directory in the old one's place; the old one comes back if that fails."""
    if not place.exists():
        unfinished.rename(place)
        return
    former = unfinished.with_name(unfinished.name + "-former")
    place.rename(former)
    try:
        unfinished.rename(place)
    except OSError:
        former.rename(place)
        raise
    shutil.rmtree(former)


# ---- reading -----------------------------------------------------------------------------------------------------------------


def _manifest(directory: Path) -> tuple[str, dict[str, object] | None, list[dict[str, object]]]:
    """The driver, its settings and the entries, of which only the outermost form is checked."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        lacks = f"there is no {MANIFEST} in it" if directory.is_dir() else "there is no such folder"
        raise RecordingError(f"{directory}: {lacks}; expected a folder that `record` wrote") from error
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise RecordingError(f"{path}: an object was expected")
    if manifest.get("format") != FORMAT:
        raise RecordingError(f"{path}: format: {manifest.get('format')!r} found, {FORMAT} expected")
    if not isinstance(manifest.get("driver"), str):
        raise RecordingError(f"{path}: driver: a name was expected")
    if not isinstance(manifest.get("settings"), dict | None):
        raise RecordingError(f"{path}: settings: an object was expected")
    return manifest["driver"], manifest.get("settings"), list(_objects(manifest.get("answers"), f"{path}: answers"))


def _objects(found: object, where: str) -> Iterable[dict[str, object]]:
    if not isinstance(found, list):
        raise RecordingError(f"{where}: an array was expected")
    for number, entry in enumerate(found):
        if not isinstance(entry, dict):
            raise RecordingError(f"{where}[{number}]: an object was expected")
        yield entry


def _question(entry: dict[str, object], where: str) -> Question:
    kind, args = _text(entry, "kind", where), entry.get("args")
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise RecordingError(f"{where}.args: an array of strings was expected")
    return Question(kind, tuple(args))


def _answer(entry: dict[str, object], directory: Path, where: str) -> Answer:
    if ("file" in entry) == ("refusal" in entry):
        raise RecordingError(f"{where}: either file or refusal was expected")
    return _bytes(entry, directory, where) if "file" in entry else _refusal(entry["refusal"], f"{where}.refusal")


def _bytes(entry: dict[str, object], directory: Path, where: str) -> bytes:
    name = _text(entry, "file", where)
    path = directory / name
    if not _FILE.fullmatch(name) or path.is_symlink():
        raise RecordingError(f"{where}.file: {name!r} is not a plain file of this directory")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{where}.file: {path}: {error.strerror}") from error


def _refusal(found: object, where: str) -> Refusal:
    if not isinstance(found, dict):
        raise RecordingError(f"{where}: an object was expected")
    return Refusal(_why(found.get("why"), where), _text(found, "text", where))


def _why(found: object, where: str) -> Literal["absent", "denied", "error"]:
    if found == "absent":
        return "absent"
    if found == "denied":
        return "denied"
    if found == "error":
        return "error"
    raise RecordingError(f"{where}.why: {found!r} found, absent, denied or error expected")


def _text(entry: dict[str, object], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise RecordingError(f"{where}.{key}: a string was expected")
    return value
