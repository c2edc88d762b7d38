"""What is searched: Hydra's syntax for sweeps, read as the values that a key may take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from kdcli.commands.hydra_app import prepare
from kdcli.commands.search_space import Space, split
from kdcli.errors import UsageError
from kdcli.schema.search import Choice, Numbers

pytestmark = pytest.mark.xdist_group("search")

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def loader() -> Iterator[ConfigLoader]:
    prepare()
    yield Hydra.create_main_hydra2("kd", create_config_search_path(str(CONF))).config_loader
    GlobalHydra.instance().clear()


def space(*words: str) -> Space:
    return split(OverridesParser.create().parse_overrides(list(words)))[2]


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("temperature=interval(1,20)", Numbers(1.0, 20.0)),
        ("temperature=int(interval(1,20))", Numbers(1, 20, 1, whole=True)),
        ("optimizer.lr=tag(log,interval(1e-4,1e-2))", Numbers(1e-4, 1e-2, log=True)),
        ("epochs=range(2,9,3)", Numbers(2, 8, 3, whole=True)),
        ("epochs=range(9,2,-3)", Numbers(3, 9, 3, whole=True)),
        ("epochs=tag(log,range(1,9))", Numbers(1, 8, 1, log=True, whole=True)),
        ("alpha=range(0.1,0.5,0.1)", Numbers(0.1, 0.4, 0.1)),
        ("alpha=0.3,0.5,0.3", Choice(("0.3", "0.5"))),
        ("alpha=choice(0.3,linear)", Choice(("0.3", "linear"))),
        ("baseline=true,false", Choice(("true", "false"))),
        ("model.hidden=[20],[30,30]", Choice(("[20]", "[30,30]"))),
    ],
)
def test_values_are_read_as_hydra_writes_them(word: str, dimension: Choice | Numbers) -> None:
    assert list(space(word).dimensions.values()) == [dimension]


def test_a_glob_is_the_choice_of_all_options_that_match(loader: ConfigLoader) -> None:
    _, _, found = split(OverridesParser.create(loader).parse_overrides(["model=glob(mlp_*0)"]))
    names = {path.stem for path in (CONF / "model").glob("mlp_*0.yaml")}
    assert len(names) > 3
    assert set(found.dimensions["model"].ends()) == names


def test_fixed_and_searched_words_stay_as_they_were_typed() -> None:
    words = ["+epochs=3", "temperature=interval(1,20)", "~recipe", "model=a,b", "output_dir='x, y'"]
    fixed, searched, found = split(OverridesParser.create().parse_overrides(words))
    assert fixed == ["+epochs=3", "~recipe", "output_dir='x, y'"]
    assert searched == ["temperature=interval(1,20)", "model=a,b"]
    assert list(found.dimensions) == ["temperature", "model"]


MIXED = ("alpha=0.3,linear", "epochs=range(1,4)", "temperature=range(0.1,0.7,0.2)")


def test_what_is_typed_for_a_point_is_read_as_that_point() -> None:
    found = space(*MIXED, "optimizer.lr=tag(log,interval(1e-5,1))")
    point = {"alpha": "linear", "epochs": 3, "temperature": 0.30000000000000004, "optimizer.lr": 1.234567890123457e-05}
    words = found.words(point)
    assert words[3] == "optimizer.lr=1.234567890123457e-05"
    assert found.read(["model=mlp_30", *words]) == point


@pytest.mark.parametrize(
    "word", ["alpha=0.4", "epochs=0", "epochs=2.5", "temperature=0.71", "temperature=nan", "gone=1"]
)
def test_a_point_of_another_space_is_refused(word: str) -> None:
    found = space(*MIXED)
    words = {text.partition("=")[0]: text for text in found.words({"alpha": "0.3", "epochs": 1, "temperature": 0.1})}
    key = word.partition("=")[0]
    words = words | {key: word} if key in words else {key: text for key, text in words.items() if key != "alpha"}
    with pytest.raises(ValueError, match=r"."):
        found.read(list(words.values()))


def test_the_grid_is_that_of_a_sweep() -> None:
    found = space(*MIXED)
    expected = itertools.product(["0.3", "linear"], [1, 2, 3], [0.1, 0.3, 0.5])
    for point, (alpha, epochs, temperature) in zip(found.grid(), expected, strict=True):
        assert (point["alpha"], point["epochs"]) == (alpha, epochs)
        assert point["temperature"] == pytest.approx(temperature)
    assert found.size == 18
    assert space("alpha=interval(0,1)", "epochs=1,2").size is None


def test_probes_hold_every_choice_and_both_ends_of_every_interval() -> None:
    probes = space("alpha=a,b,c", "temperature=interval(1,20)", "epochs=range(0,1000000000)").probes()
    assert {probe["alpha"] for probe in probes} == {"a", "b", "c"}
    assert {probe["temperature"] for probe in probes} == {1.0, 20.0}
    assert {probe["epochs"] for probe in probes} == {0, 999_999_999}
    assert len(probes) == 3


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("epochs=3",), "nothing to search"),
        (("epochs=1,2", "epochs=3"), "epochs is given twice"),
        (("seed=0,1",), "the best seed is luck"),
        (("dataset=mnist,letter",), "different examples"),
        (("dataset.val_seed=0,1",), "different examples"),
        (("output_dir=a,b",), "one directory"),
        (("alpha=interval(1,0)",), "up to a greater one, got 1.0 and 0.0"),
        (("alpha=interval(0,inf)",), "up to a greater one"),
        (("alpha=interval(nan,1)",), "up to a greater one"),
        (("alpha=tag(log,interval(0,1))",), "a logarithm needs numbers above 0"),
        (("alpha=tag(log,range(1,9,2))",), "a logarithm needs numbers above 0"),
        (("alpha=tag(lgo,interval(1,2))",), "unknown tag lgo"),
        (("epochs=range(3,3)",), "the range is empty"),
        (("epochs=range(3,1)",), "the range is empty"),
        (("epochs=range(1,3,0)",), "the range is empty"),
    ],
)
def test_refusals(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        space(*words)


def test_views_can_be_searched_though_other_keys_of_the_data_cannot() -> None:
    assert list(space("dataset.views=none,shift").dimensions) == ["dataset.views"]
