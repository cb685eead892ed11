"""Good and bad plugins behind real entry points."""

import gc
import sys
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

from domcaps_exporter import SettingError, Settings
from domcaps_exporter.drivers import Mustered, Plugin, installed, judges, muster

GOOD = """
from domcaps_exporter import Driver, hookimpl
def probe(host): return {}
def describe(facts): return []
@hookimpl
def domcaps_drivers(settings):
    return [Driver("acme", probe, describe)]
"""
HOOK = "from domcaps_exporter import Driver, hookimpl, SettingError\nok = Driver('ok', dict, list)\n@hookimpl\n"
BODY = HOOK + "def domcaps_drivers(settings):\n    "


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of throw-away modules; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def plugin(shelf: Path, name: str, code: str, attribute: str = "") -> EntryPoint:
    (shelf / f"throwaway_{name}.py").write_text(code)
    return EntryPoint(name, f"throwaway_{name}{attribute}", "domcaps")


def names(mustered: Mustered) -> list[str]:
    return [driver.name for driver in mustered.drivers]


def test_a_good_plugin_brings_its_drivers(shelf: Path) -> None:
    mustered = muster(Settings(), [plugin(shelf, "good", GOOD)])
    assert names(mustered) == ["acme"]
    assert mustered.plugins == (Plugin("good", "", None, ("acme",)),)


def test_a_hook_may_be_a_generator_and_may_bring_nothing(shelf: Path) -> None:
    generator, nothing = plugin(shelf, "generator", BODY + "yield ok\n"), plugin(shelf, "nothing", BODY + "return []\n")
    mustered = muster(Settings(), [generator, nothing])
    assert names(mustered) == ["ok"]
    assert [found.error for found in mustered.plugins] == [None, None]


def test_a_hook_may_ignore_the_settings_or_be_an_objects_method(shelf: Path) -> None:
    code = HOOK + "def domcaps_drivers(): return [ok]\n"
    other = (
        "from domcaps_exporter import Driver, hookimpl\nclass Acme:\n    @hookimpl\n"
        "    def domcaps_drivers(self, settings): return [Driver('acme', dict, list)]\nacme = Acme()\n"
    )
    mustered = muster(Settings(), [plugin(shelf, "ignorant", code), plugin(shelf, "object", other, ":acme")])
    assert names(mustered) == ["ok", "acme"]


def test_settings_of_a_plugin_that_asks_for_none_are_refused(shelf: Path) -> None:
    ignorant = plugin(shelf, "ignorant", HOOK + "def domcaps_drivers(): return [ok]\n")
    with pytest.raises(SettingError, match="foo: no such key; the driver ok takes no settings"):
        muster(Settings({"ok": {"foo": 1}}), [ignorant])
    assert names(muster(Settings({"ok": {}, "acme": {"foo": 1}}), [ignorant])) == ["ok"]


def test_a_plugin_is_told_the_settings(shelf: Path) -> None:
    code = BODY + "return [Driver(settings.section('acme')['name'], dict, list)]\n"
    assert names(muster(Settings({"acme": {"name": "told"}}), [plugin(shelf, "told", code)])) == ["told"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_module_anywhere\n", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("this is no Python\n", "SyntaxError"),
        ("raise SystemExit(1)\n", "SystemExit: 1"),
        ("raise GeneratorExit\n", "GeneratorExit"),
        ("class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute\n", "Mute: (its text cannot be had)"),
        ("", "has no hook domcaps_drivers"),
        ("def domcaps_drivers(settings): return []\n", "has no hook domcaps_drivers (is it marked with @hookimpl?)"),
        (HOOK + "def domcaps_driver(settings): return [ok]\n", "unknown hook 'domcaps_driver'"),
        (HOOK + "def domcaps_drivers(setings): return [ok]\n", "PluginValidationError"),
        (BODY + "return 1 // 0\n", "ZeroDivisionError"),
        (BODY + "raise SystemExit('bye')\n", "SystemExit: bye"),
        (BODY + "yield ok\n    raise ValueError('late')\n", "ValueError: late"),
        (BODY + "return None\n", "gave None"),
        (BODY + "return ok\n", "gave a Driver, not an iterable"),
        (BODY + "return 'ok'\n", "gave a str"),
        (BODY + "return {'ok': ok}\n", "gave a dict"),
        (BODY + "return [ok, None]\n", "gave None where a Driver belongs"),
        (BODY + "return [dict]\n", "gave a type where a Driver belongs"),
        (BODY + "return [ok, ok]\n", "the driver 'ok' is there twice"),
        (BODY + "return [Driver('Not-Ok', dict, list)]\n", "not 'Not-Ok'"),
        (BODY + "return [Driver('ok\\n', dict, list)]\n", "not 'ok\\n'"),
        (BODY + "return [Driver(None, dict, list)]\n", "not None"),
        (BODY + "return [Driver('ok', None, list)]\n", "ok's probe is None, not a function"),
        (BODY + "async def probe(host): return {}\n    return [Driver('ok', probe, list)]\n", "ok's probe is async"),
        (BODY + "async def describe(facts): yield 1\n    return [Driver('ok', dict, describe)]\n", "ok's describe is async"),
        (HOOK + "async def domcaps_drivers(settings): return [ok]\n", "gave a coroutine"),
        (HOOK + "async def domcaps_drivers(settings): yield ok\n", "gave a async_generator"),
    ],
)
def test_a_bad_plugin_costs_only_itself(shelf: Path, code: str, error: str) -> None:
    bad, good = plugin(shelf, "bad", code), plugin(shelf, "good", GOOD)
    for points in ([bad, good], [good, bad]):
        mustered = muster(Settings(), points)
        assert names(mustered) == ["acme"]
        found = {each.name: each for each in mustered.plugins}
        assert found["good"].error is None
        assert error in str(found["bad"].error)
        assert found["bad"].drivers == ()
    gc.collect()  # a coroutine left open would complain here


def test_a_name_belongs_to_the_plugin_that_came_first_and_the_error_names_both(shelf: Path) -> None:
    second = BODY + "return [ok, Driver('acme', dict, list)]\n"
    mustered = muster(Settings(), [plugin(shelf, "first", GOOD), plugin(shelf, "second", second)])
    assert names(mustered) == ["acme"]
    assert mustered.plugins[1].error == "second brings the driver 'acme', which first has brought already"


def test_a_plugin_that_lost_a_name_leaves_its_other_names_free(shelf: Path) -> None:
    second, third = BODY + "return [ok, Driver('acme', dict, list)]\n", BODY + "return [ok]\n"
    points = [plugin(shelf, "first", GOOD), plugin(shelf, "second", second), plugin(shelf, "third", third)]
    assert names(muster(Settings(), points)) == ["acme", "ok"]


@pytest.mark.parametrize(
    "how", ["raise SettingError('drivers.acme.x', 'no')", "yield ok\n    raise SettingError('drivers.acme.x', 'no')"]
)
def test_a_setting_that_means_nothing_is_the_callers_business(shelf: Path, how: str) -> None:
    with pytest.raises(SettingError, match=r"drivers\.acme\.x: no"):
        muster(Settings(), [plugin(shelf, "strict", BODY + how + "\n")])


def test_ctrl_c_while_plugins_load_is_the_users_wish(shelf: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        muster(Settings(), [plugin(shelf, "slow", "raise KeyboardInterrupt\n")])


def distribution(shelf: Path, folder: str, name: str, version: str, entry_points: str) -> None:
    info = shelf / folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[domcaps]\n{entry_points}\n")


def test_installed_plugins_are_found_once_each_and_our_own_come_first(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(shelf, "a", "aaa-domcaps", "2.5", "aaa = throwaway_aaa")
    distribution(shelf, "b", "zzz-domcaps", "1.0", "aaa = throwaway_aaa\nqemu = throwaway_qemu")
    distribution(shelf, "c", "domcaps-exporter", "0.9", "qemu = domcaps_qemu")
    monkeypatch.setattr(sys, "path", [str(shelf / folder) for folder in "abc"])
    assert [(point.name, point.value) for point in installed()] == [
        ("qemu", "domcaps_qemu"),
        ("aaa", "throwaway_aaa"),
        ("qemu", "throwaway_qemu"),
    ]


def test_a_plugins_version_is_its_distributions(shelf: Path) -> None:
    distribution(shelf, "a", "acme-domcaps", "2.5", "acme = throwaway_acme")
    (point,) = PathDistribution(shelf / "a" / "acme_domcaps-2.5.dist-info").entry_points
    assert muster(Settings(), [point]).plugins[0].version == "2.5"


def test_a_judge_is_another_one_with_each_line_of_the_plugin(shelf: Path) -> None:
    codes = []
    for code in (GOOD, GOOD, f"{GOOD}# more"):
        point = plugin(shelf, "acme", code)
        codes += [judge.code for judge in judges(muster(Settings(), [point]), [point]).values()]
    first, again, other = codes
    assert first == again
    assert first != other
