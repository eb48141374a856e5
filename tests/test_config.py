"""Planning a sweep, and what a cell's key depends on."""

from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf

from tda.cache import digest
from tda.config import Sweep, address, complete, composer, identity, separate, setting, usage_errors
from tda.errors import UsageError
from tda.resources import folder


def key(*overrides: str) -> str:
    cells = Sweep(["task=O-P", *overrides]).cells
    assert len(cells) == 1
    return cells[0].address[-1]


@pytest.mark.parametrize("trainer", ["tllib", "deepda", "cdan", "shot"])
def test_a_way_of_training_on_images_takes_features_too(trainer: str) -> None:
    assert Sweep(["dataset=office_caltech10_surf", "method=dann", f"trainer={trainer}", "task=C-A"]).cells


def test_the_sweep_has_every_task_outermost() -> None:
    cells = Sweep(["method=one_nn,tca", "method.name=x"]).cells
    assert [cell.config.task for cell in cells] == [
        task for task in ("O-P", "O-S", "P-O", "P-S", "S-O", "S-P") for _ in range(2)
    ]


def test_the_plan_is_what_hydra_composes() -> None:
    cells = Sweep(["method=tca,dann", "method.label=a,b", "seed=range(2)", "task=O-P"]).cells
    assert len(cells) == 8
    with composer():
        for cell in cells:
            assert complete(compose("config", list(cell.overrides))) == cell.config


def test_the_plan_knows_where_each_record_will_be() -> None:
    plan = Sweep(["method=tca,dann,target_only", "seed=range(2)", "task=O-P,P-S"])
    assert [cell.address for cell in plan.cells] == [address(cell.config) for cell in plan.cells]


def test_a_parameter_may_depend_on_the_task() -> None:
    """Then the tasks of a method cannot be planned from one of them."""
    OmegaConf.register_new_resolver("index", lambda task: ["O-P", "P-S"].index(task) + 5, replace=True)
    plan = Sweep(["method=pca", "method.dim='${index:${task}}'", "task=O-P,P-S"])
    assert [cell.config.method.dim for cell in plan.cells] == [5, 6]
    assert [cell.address for cell in plan.cells] == [address(cell.config) for cell in plan.cells]


def test_key_ignores_runtime_results_and_labels() -> None:
    same = ["runtime.device=cpu", "runtime.threads=1", "runtime.compile=true", "runtime.cache=elsewhere",
            "results=elsewhere", "method.label=X", "method.run.baseline=null", "name=x", "trainer.steps=7", "seed=5"]  # fmt: skip
    assert {key(override) for override in same} == {key()}


@pytest.mark.parametrize(
    "override", ["method=tca", "method.standardise=source", "backbone.size=28", "+dataset.extra=1"]
)
def test_key_depends_on_what_the_result_depends_on(override: str, composed: None) -> None:
    plain = compose("config", ["task=O-P", "backbone=pixels"])
    other = compose("config", ["task=O-P", "backbone=pixels", override])
    assert digest(identity(plain)) != digest(identity(other))


def test_key_of_a_deep_method_depends_on_seed_and_trainer() -> None:
    assert len({key("method=dann", o) for o in ("seed=0", "seed=1", "trainer.steps=3", "trainer.lr=0.1")}) == 4


def test_whole_floats_are_integers() -> None:
    assert key("method=tca", "method.lam=1") == key("method=tca", "method.lam=1.0") == key("method=tca")


def test_key_is_the_same_in_every_process() -> None:
    """A changed key would silently compute every stored cell again."""
    assert key("method=one_nn") == digest(
        {
            "dataset": {"name": "digits", "_target_": "tda.data.digits.Digits", "recipe": 3, "cache": ""},
            "backbone": {"name": "pixels", "_target_": "tda.backbones.pixels.Pixels", "size": 32,
                         "bottleneck": 256, "hidden": [], "discriminator": [100]},
            "method": {"name": "one_nn", "_target_": "tda.methods.shallow.one_nn.OneNN", "standardise": "no"},
            "task": "O-P", "trainer": None, "trained_on": "source",
        }
    )  # fmt: skip


def test_an_oracle_depends_on_the_target_alone() -> None:
    keys = {cell.config.task: cell.address[-1] for cell in Sweep(["method=target_only"]).cells}
    assert keys["O-P"] == keys["S-P"]
    assert len(set(keys.values())) == 3


def test_setting_leaves_out_task_and_seed(composed: None) -> None:
    one = complete(compose("config", ["method=dann", "task=O-P", "seed=1"]))
    two = complete(compose("config", ["method=dann", "task=S-P", "seed=2"]))
    assert setting(one, identity(one)) == setting(two, identity(two))
    assert setting(one, identity(one))[1]
    shallow = complete(compose("config", ["method=tca", "task=O-P"]))
    assert not setting(shallow, identity(shallow))[1]


@pytest.mark.parametrize(
    ("method", "random"), [("bda", False), ("bda_average", False), ("bda_weighted", False), ("dda", False),
                           ("bda_random", True)],
)  # fmt: skip
def test_the_seed_matters_to_bda_only_where_it_draws_balances(composed: None, method: str, random: bool) -> None:
    one = complete(compose("config", [f"method={method}", "task=O-P"]))
    assert setting(one, identity(one))[1] == random


def test_auto_takes_the_datasets_choice_for_the_methods_half(composed: None) -> None:
    assert complete(compose("config", ["method=tca", "task=O-P"])).backbone.name == "pixels"
    assert complete(compose("config", ["method=dann", "task=O-P"])).backbone.name == "lenet"
    assert complete(compose("config", ["method=dann", "task=O-P", "backbone=pixels"])).backbone.name == "pixels"


@pytest.mark.parametrize("path", sorted((folder("conf") / "tuned" / "trainer").glob("*/*.yaml")), ids=lambda p: p.stem)
def test_what_a_protocol_needs_of_a_method_is_of_both(path: Path) -> None:
    (cell,) = Sweep([f"trainer={path.parent.name}", f"method={path.stem}", "task=O-P", "backbone=lenet"]).cells
    node = cell.config if "@package _global_" in path.read_text() else cell.config.method
    assert OmegaConf.merge(node, OmegaConf.load(path)) == node


@pytest.mark.parametrize(
    ("trainer", "method", "rate", "decay"),  # of the learning rate after half of the steps
    [
        ("deepda", "dann", 0.01 * (1 + 0.001 * 5000) ** -0.75, 0.001),
        ("deepda", "dan", 0.003 * (1 + 0.0003 * 5000) ** -0.75, 0.0005),
        ("deepda", "bnm", 0.001 * (1 + 0.0003 * 3000) ** -0.75, 0.0005),
        ("tllib", "dann", 0.01 * (1 + 0.001 * 10000) ** -0.75, 0.001),
        ("tllib", "jan", 0.003 * (1 + 0.0003 * 5000) ** -0.75, 0.0005),
        ("tllib", "mdd", 0.004 * (1 + 0.0002 * 10000) ** -0.75, 0.0005),
        ("tllib", "mcc", 0.005 * (1 + 0.001 * 5000) ** -0.75, 0.001),
        ("cdan", "cdan_e", 0.01 * (1 + 0.001 * 50000) ** -0.75, 0.001),
    ],
)
def test_protocols_anneal_as_their_code_does(trainer: str, method: str, rate: float, decay: float) -> None:
    (cell,) = Sweep(
        [f"trainer={trainer}", f"method={method}", "task=O-P", "backbone=resnet18", "backbone.weights=none"]
    ).cells
    settings = cell.config.trainer
    assert settings.lr * (1 + settings.alpha * 0.5) ** -settings.beta == pytest.approx(rate)
    assert settings.weight_decay == decay


def test_datasets_are_swept_one_by_one() -> None:
    assert separate(["method=tca", "dataset=digits"]) == [["dataset=digits", "method=tca"]]
    assert separate(["method=tca"]) == [["method=tca"]]


def test_experiments_are_swept_one_by_one_each_with_its_own_methods() -> None:
    apart = separate(["task=O-P", "experiment=demo,digits_mat", "seed=0"])
    assert [one[0] for one in apart] == ["experiment=demo", "experiment=digits_mat"]
    demo = {cell.address[1] for cell in Sweep(apart[0]).cells}
    assert demo == {cell.address[1] for cell in Sweep(["experiment=demo", "task=O-P", "seed=0"]).cells}
    assert len(demo) > 1
    assert separate(["experiment=quick", "experiment=demo"]) == [["experiment=demo"]]


def test_a_method_that_is_no_python_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("class Mine(\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"'half_written\.Mine' cannot be imported: .*\(half_written\.py, line 1\)"):
        Sweep(["method._target_=half_written.Mine", "allow_external=true", "task=O-P"])
    with pytest.raises(
        UsageError, match="No module named 'elsewhere'; the folder of an own module has to be on PYTHON"
    ):
        Sweep(["method._target_=elsewhere.Mine", "allow_external=true", "task=O-P"])


def test_an_external_class_needs_permission() -> None:
    external = ["task=O-P", "method._target_=tests.test_run.Spy"]
    with pytest.raises(UsageError, match="allow_external=true"):
        Sweep(external)
    with pytest.raises(UsageError, match="'standardise' is not a parameter of Spy"):
        Sweep([*external, "allow_external=true"])
    assert Sweep([*external, "allow_external=true", "~method.standardise"]).cells


class TestValuesOfWhatIsSwept:
    """A value of a method, given beside several methods, is each one's; the sweep's default method need not have it."""

    def test_every_method_takes_it(self) -> None:
        plan = Sweep(["method=tca,sa", "method.dim=5", "task=O-P"])
        assert [cell.config.method.dim for cell in plan.cells] == [5, 5]

    def test_so_does_an_experiment_whose_method_is_named(self) -> None:
        plan = Sweep(["experiment=demo_deep", "method=afn,hafn", "method.weight=0.5", "task=O-P", "seed=0"])
        assert [cell.config.method.weight for cell in plan.cells] == [0.5, 0.5]

    @pytest.mark.parametrize("methods", ["one_nn", "tca,one_nn"])
    def test_a_method_without_it_is_named(self, methods: str) -> None:
        with pytest.raises(UsageError, match="'dim' is not a key of method one_nn"):
            Sweep([f"method={methods}", "method.dim=5"])

    def test_that_of_the_one_dataset_is_the_sweeps(self) -> None:
        assert {cell.address[2] for cell in Sweep(["dataset.tasks='O-P,P-S'"]).cells} == {"O-P", "P-S"}


@pytest.mark.parametrize("trainer", ["tllib", "deepda", "cdan", "shot", "mcd", "listing"])
@pytest.mark.parametrize("backbone", ["lenet", "resnet50"])
def test_a_protocols_augmentation_takes_the_place_of_the_backbones(trainer: str, backbone: str) -> None:
    (cell,) = Sweep(["method=dann", f"backbone={backbone}", f"trainer={trainer}", "task=O-P"]).cells
    augment = cell.config.trainer.augment
    assert augment is None or "rotation" not in augment


def test_a_mistake_that_a_launcher_hands_on_keeps_its_words() -> None:
    """As joblib's does: the innermost frame is then Hydra's, as it is where Hydra cannot read an override."""
    with pytest.raises(UsageError, match=r"^pacs: no folder$"), usage_errors(["dataset=pacs"]):
        exec("raise error", {"__name__": "hydra.core", "error": UsageError("pacs: no folder")})
