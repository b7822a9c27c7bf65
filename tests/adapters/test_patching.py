"""``wsframe.patch``, on hosts that are made up here."""

from __future__ import annotations

import importlib
import importlib.metadata
import pathlib
import re
import runpy
import sys
import warnings
from types import ModuleType, SimpleNamespace

import host_versions
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import wsframe
from wsframe.adapters import patching
from wsframe.adapters.patching import HOSTS, Host


class Base:
    def inherited(self):
        return "base"


class Machine(Base):
    @staticmethod
    def static():
        return "host"


@pytest.fixture
def hosts(monkeypatch):
    """The modules of two hosts, ``alpha`` and ``beta``, which are installed in version 1.2.3."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"alpha": "1.2.3", "beta": "1.2.3"}[name])
    modules = SimpleNamespace()
    for name in ("alpha", "beta"):
        module = ModuleType(f"host_{name}")
        module.__spec__ = SimpleNamespace()
        module.function = "host"
        adapter = ModuleType(f"adapter_{name}")
        adapter.replacements = lambda module=module: [(module, "function", "wsframe")]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, adapter.__name__, adapter)
        host = Host(name, module=module.__name__, adapter=adapter.__name__, hook="function", tested=["1.1", "1.2"])
        monkeypatch.setitem(HOSTS, name, host)
        setattr(modules, name, module)
        setattr(modules, f"adapter_{name}", adapter)
    yield modules
    assert not HOSTS["alpha"].is_active
    assert not HOSTS["beta"].is_active


def test_context_manager_patches_within_its_block(hosts):
    with wsframe.patch("alpha") as handle:
        assert handle.names == ("alpha",)
        assert hosts.alpha.function == "wsframe"
        assert hosts.beta.function == "host"
        assert HOSTS["alpha"].is_active
    assert hosts.alpha.function == "host"


def test_handle_undoes_the_patch_once(hosts):
    outer = wsframe.patch("alpha", "beta")
    inner = wsframe.patch("beta")
    inner.undo()
    inner.undo()
    assert (hosts.alpha.function, hosts.beta.function) == ("wsframe", "wsframe")
    outer.undo()
    assert (hosts.alpha.function, hosts.beta.function) == ("host", "host")


def test_second_call_is_harmless(hosts):
    first, second = wsframe.patch("alpha", "alpha"), wsframe.patch("alpha")
    first.undo()
    assert hosts.alpha.function == "wsframe"
    second.undo()
    assert hosts.alpha.function == "host"


def test_attributes_of_classes_are_restored(hosts):
    hosts.adapter_alpha.replacements = lambda: [
        (Machine, "static", staticmethod(lambda: "wsframe")),
        (Machine, "inherited", lambda self: "wsframe"),
    ]
    with wsframe.patch("alpha"):
        assert Machine().static() == Machine().inherited() == "wsframe"
    assert Machine().static() == "host"
    assert Machine().inherited() == "base"
    assert "inherited" not in vars(Machine)


def test_later_changes_by_others_are_kept(hosts):
    with wsframe.patch("alpha"):
        hosts.alpha.function = "theirs"
    assert hosts.alpha.function == "theirs"


def test_unknown_name_is_an_error_that_lists_known_names(hosts):
    with pytest.raises(ValueError, match="cannot patch 'tornade': known are .*alpha, beta"):
        wsframe.patch("alpha", "tornade")


def test_absent_host_is_an_error_and_nothing_is_patched(hosts, monkeypatch):
    monkeypatch.setitem(HOSTS, "gamma", Host("gamma", "no_such_module", "adapter_gamma", "function", ["1"]))
    with pytest.raises(wsframe.PatchError, match="cannot patch gamma: it is not installed"):
        wsframe.patch("alpha", "gamma")
    assert hosts.alpha.function == "host"


def test_module_without_a_distribution_is_absent(hosts, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert HOSTS["alpha"].version() is None


@pytest.mark.parametrize("error", [ImportError("no hook"), AttributeError("no hook")])
def test_host_without_the_hook_is_an_error(hosts, error):
    def replacements():
        raise error

    hosts.adapter_alpha.replacements = replacements
    with pytest.raises(wsframe.PatchError, match=r"cannot patch alpha 1\.2\.3: no hook"):
        wsframe.patch("alpha")


@pytest.mark.parametrize("tested", [["1.1"], ["1.2.4"], ["1.2.31"]])
def test_untested_version_is_a_warning(hosts, monkeypatch, tested):
    host = HOSTS["alpha"]
    monkeypatch.setitem(HOSTS, "alpha", Host("alpha", host.module, host.adapter, host.hook, tested))
    with pytest.warns(
        wsframe.UntestedVersionWarning, match=f"1.2.3 is patched, but tested are only {tested[0]}"
    ) as told:
        wsframe.patch("alpha").undo()
    assert told[0].filename == __file__


@pytest.mark.parametrize("tested", [["1.2.3"], ["1.1", "1.2"], ["1"]])
def test_tested_series_has_no_warning(hosts, monkeypatch, tested):
    host = HOSTS["alpha"]
    monkeypatch.setitem(HOSTS, "alpha", Host("alpha", host.module, host.adapter, host.hook, tested))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wsframe.patch("alpha").undo()


@pytest.mark.parametrize("name", [None, 5, ["alpha"], b"alpha"])
def test_name_of_a_wrong_type_is_an_error(hosts, name):
    with pytest.raises(TypeError, match="each name must be a str, not "):
        wsframe.patch("alpha", name)
    assert hosts.alpha.function == "host"


def test_failing_patch_is_undone(hosts):
    class Missing:
        pass

    hosts.adapter_beta.replacements = lambda: [
        (hosts.beta, "function", "wsframe"),
        (Missing, "attribute", "wsframe"),
        (int, "function", "wsframe"),
    ]
    with pytest.raises(TypeError):
        wsframe.patch("alpha", "beta")
    assert (hosts.alpha.function, hosts.beta.function) == ("host", "host")
    assert not hasattr(Missing, "attribute")
    assert not HOSTS["alpha"].is_active


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_each_host_has_an_adapter(name):
    host = HOSTS[name]
    assert host.name == name
    assert host.tested
    assert callable(importlib.import_module(host.adapter).replacements)


# As in the source, also where somebody plays the day after a release.
TESTED = {name: list(host.tested) for name, host in runpy.run_path(patching.__file__)["HOSTS"].items()}
PYPROJECT = pathlib.Path(__file__).parents[2] / "pyproject.toml"


def test_each_tested_series_is_checked_and_nothing_else():
    assert sorted(host_versions.VERSIONS) == sorted(HOSTS)
    assert {*host_versions.TESTS, *host_versions.CHECKS} == set(HOSTS)
    for name, versions in host_versions.VERSIONS.items():
        host = Host(name, "", "", "", TESTED[name])
        assert all(map(host.is_tested, versions))
        for series in TESTED[name]:
            # "17" would be every release to come; only what has been seen is tested.
            assert series.count(".") == 1
            assert any(f"{version}.".startswith(f"{series}.") for version in versions)


def required(name):
    """Return what the extra ``test`` demands of a host, or None."""
    extra = re.search(r"^test = \[(.*?)^\]", PYPROJECT.read_text("utf-8"), re.MULTILINE | re.DOTALL)[1]
    for requirement in map(Requirement, re.findall(r'^    "(.*)",$', extra, re.MULTILINE)):
        if requirement.name == name:
            return requirement.specifier
    return None


@pytest.mark.parametrize("name", [name for name in HOSTS if required(name)])
def test_the_test_extra_installs_no_host_of_a_later_series(name):
    major, minor = map(int, max(TESTED[name], key=Version).split("."))
    assert f"{major}.{minor}.99" in required(name)
    assert f"{major}.{minor + 1}" not in required(name)
    assert f"{major + 1}.0" not in required(name)


def test_the_test_extra_installs_hosts():
    assert [name for name in HOSTS if required(name) is None] == ["autobahn", "gevent-websocket", "websockify"]
