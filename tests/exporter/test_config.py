from __future__ import annotations

from pathlib import Path

import pytest

from domcaps_exporter.config import LIMIT, Config, ConfigError, Wish, claim, load, located
from domcaps_exporter.errors import SettingError
from domcaps_exporter.metrics import Options


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "domcaps.yaml"


def test_sections_come_out_as_they_were_written(file: Path) -> None:
    file.write_text("drivers:\n  qemu:\n    machines: [q35, pc]\n  xen: {}\n  bhyve:\n")
    assert load(file).drivers == {"qemu": {"machines": ["q35", "pc"]}, "xen": {}, "bhyve": {}}


def test_the_metrics_section_switches_on_what_is_shown_on_request(file: Path) -> None:
    file.write_text("metrics:\n  blockers: true\n")
    assert load(file).metrics == Options(blockers=True)


def test_the_metrics_section_leaves_out_what_it_names(file: Path) -> None:
    file.write_text("metrics:\n  without: [domcaps_cpu_model_info, domcaps_cpu_model_blockers]\n")
    assert load(file).metrics == Options(without=frozenset({"domcaps_cpu_model_info", "domcaps_cpu_model_blockers"}))


def test_targets_have_a_uri_a_time_and_their_drivers_settings(file: Path) -> None:
    file.write_text("""
targets:
  a: {uri: 'qemu:///system'}
  b.c: {uri: 'xen+ssh://b/', timeout: 500ms, machines: [xenpv]}
  d: {uri: x, timeout: 7}
""")
    assert load(file).targets == {
        "a": Wish("qemu:///system"),
        "b.c": Wish("xen+ssh://b/", 0.5, {"machines": ["xenpv"]}),
        "d": Wish("x", 7.0),
    }


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "drivers:\n", "drivers: {}\n"])
def test_a_file_that_says_nothing_sets_nothing(file: Path, text: str) -> None:
    file.write_text(text)
    assert load(file) == Config()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("target: {}\n", "target: no such key; allowed: drivers, metrics, targets", id="unknown key"),
        pytest.param("targets: {a: {}}\n", "targets.a.uri: found nothing, expected a libvirt URI", id="target without URI"),
        pytest.param("targets: {a: {url: x}}\n", "targets.a.url: no such key; did you mean uri?", id="target with a URL"),
        pytest.param(
            "targets: {a: qemu:///system}\n", "targets.a: found 'qemu:///system', expected a mapping", id="word for a target"
        ),
        pytest.param("targets: {a b: {uri: x}}\n", "targets.a b: expected a name of letters", id="target's name"),
        pytest.param(
            "targets: {a: {uri: [qemu+tcp://me:s3/cret@h]}}\n",
            "targets.a.uri: found ['qemu+tcp://me@h'], expected",
            id="URI in a list",
        ),
        pytest.param(
            "targets: {a: qemu+tcp://me:secret@h/}\n", "targets.a: found 'qemu+tcp://me@h/', expected a", id="URI as target"
        ),
        pytest.param(
            "targets: {qemu+tcp://me:secret@h/: {}}\n",
            "targets.qemu+tcp://me@h/: expected a name of letters",
            id="URI as target's name",
        ),
        pytest.param(
            "drivers: {a: {}, qemu+tcp://me:secret@h/: 1}\n", "drivers.qemu+tcp://me@h/: found 1, expected", id="URI as driver"
        ),
        pytest.param("qemu+tcp://me:secret@h/: {}\n", "qemu+tcp://me@h/: no such key; allowed: drivers", id="URI as section"),
        pytest.param("targets: {a: {uri: x, uris: [y]}}\n", "targets.a.uris: a target has one uri", id="target of two"),
        pytest.param("targets: {a: {uri: x, timeout: 0}}\n", "targets.a.timeout: found '0'; expected a time", id="no time"),
        pytest.param(
            "targets: {a: {uri: x, timeout: yes}}\n", "targets.a.timeout: found true, expected a time", id="yes for a time"
        ),
        pytest.param("drivers: [qemu]\n", "drivers: found ['qemu'], expected a mapping", id="list for a mapping"),
        pytest.param("drivers:\n  qemu: q35\n", "drivers.qemu: found 'q35', expected a mapping", id="word for a section"),
        pytest.param("drivers:\n  qemu:\n    1: x\n", "drivers.qemu: found the key 1, expected a word", id="number for a key"),
        pytest.param("drivers:\n  on: {}\n", "drivers: found the key true, expected a word", id="YAML's idea of a boolean"),
        pytest.param(
            "metrics: {loud: true}\n",
            "metrics.loud: no such key; allowed: blockers, model_details, model_versions, without",
            id="unknown switch",
        ),
        pytest.param(
            "metrics: {without: domcaps_supported}\n",
            "metrics.without: found 'domcaps_supported', expected a list of",
            id="no list",
        ),
        pytest.param(
            "metrics: {without: [domcaps_suported]}\n",
            "metrics.without: found 'domcaps_suported', expected some of: domcaps_supported",
            id="unknown metric",
        ),
        pytest.param(
            "metrics: {without: [[]]}\n", "metrics.without: found [], expected some of: domcaps_supported", id="list for a metric"
        ),
        pytest.param(
            "metrics: {without: [domcaps_lost_timestamp_seconds]}\n",
            "found 'domcaps_lost_timestamp_seconds', expected some of",
            id="indispensable",
        ),
        pytest.param("metrics: {blockers: 1}\n", "metrics.blockers: found 1, expected true or false", id="number for a switch"),
        pytest.param("just words\n", "the file: found 'just words', expected a mapping", id="no mapping at all"),
        pytest.param("drivers: {}\ndrivers: {}\n", "line 2: the key 'drivers' stands twice", id="repeated key"),
        pytest.param("drivers:\n  qemu: {a: {b: 1, b: 2}}\n", "line 2: the key 'b' stands twice", id="repeated key deep down"),
        pytest.param("drivers:\n  qemu: [\n", "line 2: expected the node content", id="not YAML"),
        pytest.param("drivers: [qemu\n", "line 1: expected ',' or ']'", id="no end"),
        pytest.param("drivers:\n\tqemu: {}\n", "line 2: found character '\\t'", id="a tab"),
        pytest.param("a: &x [1]\nb: *x\n", "line 2: aliases (*name) are not allowed", id="alias"),
        pytest.param("a: &x [*x]\n", "aliases (*name) are not allowed", id="alias of itself"),
        pytest.param("drivers: {<<: {qemu: {}}}\n", "line 1: could not determine a constructor", id="merge key"),
        pytest.param("drivers: !!python/object/apply:os.getcwd []\n", "could not determine a constructor", id="python object"),
        pytest.param("? [1, 2]\n: x\n", "a key must be a word", id="list for a key"),
        pytest.param("drivers: {}\n---\ndrivers: {}\n", "line 2: but found another document", id="two documents"),
        pytest.param("drivers: {qemu: 2026-01-02}\n", "found 2026-01-02, expected", id="a date"),
        pytest.param("drivers: 2026-99-99\n", "not YAML: month must be in 1..12", id="impossible date"),
        pytest.param("drivers: \0\n", "not YAML: unacceptable character #x0000", id="NUL"),
        pytest.param("[" * 5000, "nested too deeply", id="depth bomb"),
        pytest.param("# " + "x" * LIMIT, f"larger than {LIMIT} bytes", id="too large"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_with_its_place(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert complaint in str(caught.value)


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"drivers: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML: "):
        load(file)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"domcaps\.yaml: cannot be read: No such file or directory"):
        load(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_section_that_no_driver_reads_is_refused(file: Path) -> None:
    claim(file, ["qemu"], ["qemu", "xen"])
    with pytest.raises(ConfigError, match=r"drivers\.qmeu: no installed plugin brings this driver; there are: qemu, xen"):
        claim(file, ["qemu", "qmeu"], ["xen", "qemu"])


def test_a_drivers_own_complaint_gets_the_file_and_the_full_key(file: Path) -> None:
    error = located(file, "qemu", SettingError("machines", "found 7, expected a list of names"))
    assert str(error) == f"{file}: drivers.qemu.machines: found 7, expected a list of names"
