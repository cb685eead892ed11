"""What can go wrong, by whose fault it is. Messages are fragments that read on after "qemu: ".

DomcapsError
├── SettingError            the user's: a setting that means nothing; fatal at start (exit code 2)
├── FileTrouble             a file that a command was told to use, and cannot (exit code 1)
├── DocumentError           a domainCapabilities XML that cannot be read: which, where, what
├── RecordingError          a recorded directory that cannot be read or written
├── PluginError             the plugin's: fix or remove it
│   ├── PluginLoadError         its entry point does not import or register
│   └── ContractError           it handed over something it did not promise
└── ProbeError              the host's, reported per driver; `reason` is the metric's label
    ├── HypervisorAbsent        nothing to ask here: expected, logged at debug
    ├── ProbeTimeout            no answer before the deadline
    ├── UnreadableAnswer        an answer came, and it makes no sense
    └── ProbeRefused            the hypervisor would not be asked (permission, cannot execute)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from domcaps_exporter.addresses import without_password, without_passwords

_LONGEST = 200
"""Characters of a value that stand in a message."""


class DomcapsError(Exception):
    """Anything that this project raises on purpose."""


class SettingError(DomcapsError):
    """`key` was given a value that is not allowed; the message says what was found and what was expected, but no password."""

    def __init__(self, key: str, message: str) -> None:
        self.key, self.message = without_passwords(key), without_passwords(message)
        super().__init__(f"{self.key}: {self.message}")

    @classmethod
    def of(cls, key: str, found: object, expected: str) -> SettingError:
        """With what was found as it may stand in the file; `expected` is the rest of the sentence."""
        return cls(key, f"found {spelt(found)}, {expected}")


def spelt(found: object) -> str:
    """A value of a YAML file in YAML's words (`true`, not Python's `True`), cut off where it is long, without a URI's password."""
    text = _spelt(found)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _spelt(found: object) -> str:
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, list):
        return f"[{', '.join(map(_spelt, found))}]"
    if isinstance(found, Mapping):
        return f"{{{', '.join(f'{_spelt(key)}: {_spelt(value)}' for key, value in found.items())}}}"
    if isinstance(found, date):
        return found.isoformat()
    return "nothing" if found is None else repr(without_password(found) if isinstance(found, str) else found)


class FileTrouble(DomcapsError):
    """A file that cannot be used for what it is named for; the message says by what flag or command, why, and what was expected."""

    def __init__(self, where: str, error: OSError, expected: str) -> None:
        super().__init__(f"{where}: {reason(error)}; expected {expected}")


def reason(error: OSError) -> str:
    """What happened, as a person would say it of a file that is named before."""
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return (error.strerror or str(error)).lower()


_REASONS: Mapping[type[OSError], str] = MappingProxyType(
    {
        FileNotFoundError: "it, or a folder on the way, is not there",
        NotADirectoryError: "a file stands where a folder should be",
        FileExistsError: "a file stands where a folder should be",
        IsADirectoryError: "it is a folder",
        PermissionError: "this user may not do that",
        BlockingIOError: "an exporter is writing it, and does not come to an end",
    }
)


class DocumentError(DomcapsError):
    """A document that cannot be read."""


class RecordingError(DomcapsError):
    """A recording that cannot be read or written."""


class PluginError(DomcapsError):
    """A plugin's own fault."""

    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(f"{plugin}: {message}")
        self.plugin, self.message = plugin, message


class PluginLoadError(PluginError):
    """Its entry point does not import or register."""


class ContractError(PluginError):
    """It handed over something it did not promise."""


class ProbeError(DomcapsError):
    """A host that did not answer; drivers raise the leaves."""

    reason = "crashed"


class HypervisorAbsent(ProbeError):
    """There is nothing to ask on this host."""

    reason = "absent"


class ProbeTimeout(ProbeError):
    """No answer before the deadline."""

    reason = "timeout"


class UnreadableAnswer(ProbeError):
    """An answer that makes no sense; the message names the question, and `asked` is it, where it is one."""

    asked: object = None

    reason = "unreadable"


class ProbeRefused(ProbeError):
    """The hypervisor would not be asked."""

    reason = "refused"
