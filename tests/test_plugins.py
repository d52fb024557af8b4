"""Entry points to plugin objects: real installed metadata and real modules, good ones and every kind of bad one."""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisor import Host
from supervisor.errors import PluginRefused
from supervisor.plugins import LoadedPackage, Package, decode, installed, load, load_objects, make

GOOD = """
import msgspec
from supervisor import CONTRACT_VERSION, hookimpl

class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int = 1

class Widgets:
    name, udev_subsystems = "widgets", ()
    def __init__(self, config, host):
        self.config, self.host = config, host
    def discover(self):
        return {"acme.example/widget": []}

@hookimpl
def config_type():
    return Config

@hookimpl
def device_plugins(config, host):
    yield Widgets(config, host)
"""
SERIAL = itertools.count()


class Site:
    """A folder on the path into which distributions are put, as an installer does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def add(self, name: str, source: str = GOOD, *, distribution: str = "", attribute: str = "") -> None:
        module = f"sample_{os.getpid()}_{next(SERIAL)}"
        self.modules.append(module)
        (self.folder / f"{module}.py").write_text(source)
        text = f"[device_plugin_supervisor.plugins]\n{name} = {module}{attribute}\n"
        self.add_metadata(distribution or f"acme-{name}", text.encode())

    def add_metadata(self, distribution: str, entry_points: bytes, metadata: str = "") -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata or f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_bytes(entry_points)

    def package(self, name: str) -> Package:
        (found,) = [package for package in installed() if package.name == name]
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder, first on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Site(tmp_path)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


def loaded(site: Site, source: str = GOOD) -> LoadedPackage:
    """A package of this source, installed and loaded."""
    site.add("widget", source)
    return load(site.package("widget"))


def refusal(site: Site, source: str) -> str:
    """The sentence with which a package of this source is refused, at whichever step."""
    with pytest.raises(PluginRefused) as caught:
        make(loaded(site, source), None, Host())
    return str(caught.value)


def test_a_package_is_found_without_importing_it(site: Site) -> None:
    """Listing says what is installed; its code has not run."""
    site.add("widget", "raise SystemExit('imported')")
    (module,) = site.modules
    assert site.package("widget") == Package("widget", "acme-widget", "1.2", module)
    assert module not in sys.modules


def test_the_first_distribution_of_a_name_on_the_path_counts(
    site: Site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for imports, so that a package installed twice is no rival of itself."""
    site.add("widget")
    newer = Site(tmp_path_factory.mktemp("newer"))
    newer.add("widget")
    monkeypatch.syspath_prepend(str(newer.folder))
    assert site.package("widget").value == newer.modules[0]


def test_two_packages_of_one_name_are_both_refused_and_named(site: Site) -> None:
    """Neither may win by chance: the name is the key of one configuration section."""
    site.add("widget", distribution="acme-one")
    site.add("widget", distribution="acme-two")
    one, two = (package for package in installed() if package.name == "widget")
    for package, other in ((one, two), (two, one)):
        with pytest.raises(PluginRefused, match="uninstall one of them") as caught:
            load(package)
        assert package.distribution in str(caught.value)
        assert other.distribution in str(caught.value)


@pytest.mark.parametrize(
    "entry_points",
    [b"[device_plugin_supervisor.plugins]\nno equals sign\n", b"\xff\xfe[device_plugin_supervisor.plugins]\n"],
    ids=["malformed", "not text"],
)
def test_damaged_metadata_hides_no_other_package(site: Site, entry_points: bytes) -> None:
    """A distribution whose metadata cannot be read is refused by name; its neighbour loads."""
    site.add_metadata("acme-damaged", entry_points)
    site.add("widget")
    assert load(site.package("widget")).package.name == "widget"
    with pytest.raises(PluginRefused, match=r"acme-damaged.*install it again"):
        load(site.package("acme-damaged"))


def test_a_good_package_is_loaded_configured_and_made(site: Site) -> None:
    """From the entry point to the object, with its section decoded on the way."""
    package = loaded(site)
    config = decode(package, {"count": 3})
    made = make(package, config, Host(dev="/fake"))
    (plugin,) = made.plugins
    assert (plugin.name, made.refused) == ("widgets", ())
    assert vars(plugin) == {"config": config, "host": Host(dev="/fake")}
    assert msgspec.to_builtins(config) == {"count": 3}


def test_a_class_instance_can_hold_the_hooks(site: Site) -> None:
    """An entry point may name any object that holds hooks, not only a module."""
    source = f"{GOOD}\nclass Hooks:\n    @hookimpl\n    def device_plugins(self):\n        return [Widgets(None, None)]\nhooks = Hooks()\n"
    site.add("widget", source, attribute=":hooks")
    assert len(make(load(site.package("widget")), None, Host()).plugins) == 1


IMPORT = "from supervisor import hookimpl\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import no_such_module", "importing it failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def f():\n    raise OSError('no driver')\nf()", "line 2: raise OSError('no driver')"),
        ("raise SystemExit(3)", "importing it failed: SystemExit: 3"),
        ("def broken(:", ".py, line 1"),
        (IMPORT + "@hookimpl\ndef device_plugin(config): ...", "did you mean device_plugins?"),
        (IMPORT + "@hookimpl\ndef shutdown(): ...", "the hooks are config_type and device_plugins"),
        ("def device_plugins(config): return []", "device_plugins is no hook yet: put @hookimpl"),
        (IMPORT + "@hookimpl\ndef config_type(): ...", "it has no @hookimpl def device_plugins(config, host)"),
        ("", "it has no @hookimpl def device_plugins(config, host)"),
        (IMPORT + "@hookimpl\nasync def device_plugins(config): return []", "is async, but nothing awaits a hook"),
        (IMPORT + "@hookimpl\ndef device_plugins(settings): return []", "{'settings'}"),
        ("CONTRACT_VERSION = 99", "contract version 99, and this supervisor has 1"),
        (IMPORT + "@hookimpl\ndef device_plugins(): return None", "must return a list of plugins, not NoneType"),
        (IMPORT + "@hookimpl\ndef device_plugins(): return 'widgets'", "must return a list of plugins, not str"),
        (IMPORT + "@hookimpl\ndef device_plugins(): return 1 / 0", "device_plugins() raised ZeroDivisionError"),
        (IMPORT + "@hookimpl\ndef device_plugins(): yield 1 / 0", "device_plugins() raised ZeroDivisionError"),
        (IMPORT + "@hookimpl\ndef device_plugins():\n    while True: yield 1", "more than 1000 plugins"),
        ("def __getattr__(name): raise OSError(name)\ndef __dir__(): return ['x']", "looking for its hooks raised OSError"),
        (
            IMPORT + "@hookimpl\ndef device_plugins(): ...\n@hookimpl(specname='device_plugins')\ndef other(): ...",
            "more than once",
        ),
    ],
)
def test_a_bad_package_is_refused_with_a_sentence(site: Site, source: str, sentence: str) -> None:
    """Each names the distribution, the entry point and what to do."""
    text = refusal(site, source)
    assert text.startswith(f"acme-widget 1.2, entry point widget = {site.modules[0]}: ")
    assert sentence in text


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("dict", "must return a class derived from msgspec.Struct"),
        ("Struct", "must return a frozen struct that forbids unknown fields"),
        ("defstruct('S', [], frozen=True)", "must return a frozen struct that forbids unknown fields"),
        ("defstruct('S', [], forbid_unknown_fields=True)", "must return a frozen struct that forbids unknown fields"),
        ("defstruct('S', [('a', list | tuple)], frozen=True, forbid_unknown_fields=True)", "a field that no YAML value fits"),
        (
            "defstruct('S', [('enabled', bool), ('own', int)], frozen=True, forbid_unknown_fields=True)",
            "whose keys ['enabled'] belong to the supervisor",
        ),
        ("1 / 0", "config_type() raised ZeroDivisionError"),
    ],
)
def test_a_bad_config_type_is_refused(site: Site, answer: str, sentence: str) -> None:
    """A section is decoded strictly into something that cannot change, or the package is not used."""
    source = (
        f"from msgspec import Struct, defstruct\n{IMPORT}@hookimpl\ndef config_type(): return {answer}\n"
        "@hookimpl\ndef device_plugins(): return []"
    )
    assert sentence in refusal(site, source)


def test_an_entry_point_that_names_a_function_is_refused(site: Site) -> None:
    """The commonest slip in an entry point gets its own advice."""
    site.add("widget", attribute=":device_plugins")
    with pytest.raises(PluginRefused, match="names a function; name the module"):
        load(site.package("widget"))


def test_an_entry_point_that_names_nothing_is_refused(site: Site) -> None:
    """The missing attribute is named, and no line of the loader."""
    site.add("widget", attribute=":hooks")
    with pytest.raises(PluginRefused, match=r"has no attribute 'hooks'$"):
        load(site.package("widget"))


def test_a_section_that_does_not_fit_is_refused(site: Site) -> None:
    """Unknown keys and wrong types are told with their path."""
    package = loaded(site)
    with pytest.raises(PluginRefused, match="unknown field `counts`"):
        decode(package, {"counts": 1})
    with pytest.raises(PluginRefused, match=r"Expected `int`, got `str` - at `\$\.count`"):
        decode(package, {"count": "many"})


def test_a_package_without_config_type_has_no_keys(site: Site) -> None:
    """An empty section is fine; a key in it would be silently ignored otherwise."""
    package = loaded(site, IMPORT + "@hookimpl\ndef device_plugins(): return []")
    assert decode(package, None) is None
    assert decode(package, {}) is None
    with pytest.raises(PluginRefused, match=r"it has no configuration.*\['count'\]"):
        decode(package, {"count": 1})


def test_a_broken_object_is_left_out_alone(site: Site) -> None:
    """The other plugins of its package stay."""
    made = make(loaded(site, f"{GOOD}    yield Widgets\n    yield 7\n"), None, Host())
    assert [plugin.name for plugin in made.plugins] == ["widgets"]
    first, second = made.refused
    assert "return an instance, Widgets()" in first.reason
    assert second.plugin == "builtins.int"
    assert "discover is missing" in second.reason


def test_two_objects_of_one_name_are_both_named(site: Site) -> None:
    """The first stays, the second is left out, and the sentence names both classes."""
    source = f"{GOOD}    yield type('Others', (Widgets,), {{}})(config, host)\n"
    made = make(loaded(site, source), None, Host())
    (refused,) = made.refused
    assert type(made.plugins[0]).__name__ == "Widgets"
    assert "Others and" in refused.reason
    assert "Widgets are both named 'widgets'; rename one of them" in refused.reason


def test_a_child_makes_the_objects_of_one_entry_point_by_name(site: Site) -> None:
    """All steps at once, without loading any other package."""
    site.add("widget")
    site.add("other", "raise SystemExit")
    (plugin,) = load_objects("widget", {"count": 2}, Host()).plugins
    assert plugin.name == "widgets"
    with pytest.raises(PluginRefused, match="no installed distribution has an entry point missing"):
        load_objects("missing", None, Host())
