"""The command line as a user meets it: exit codes, one clear line for each mistake, resuming, tables."""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tda.__main__ import STOPS, main, parsed
from tda.config import Sweep, separate
from tda.devices import require_compiler
from tda.errors import Terminated, UsageError
from tests.conftest import names

QUICK = ["method=one_nn,coral", "task=O-P,P-O"]


def records(results: Path) -> dict[str, dict[str, object]]:
    return {path.stem: json.loads(path.read_text()) for path in results.glob("records/*/*/*.json")}


class TestRun:
    def test_sweeps_prints_and_writes_the_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", *QUICK, f"results={tmp_path}"]) == 0
        shown = capsys.readouterr()
        assert re.search(r"1-NN +pixels +\d\d\.\d", shown.out)
        assert "4 cells: 0 done already, 4 to run" in shown.err
        assert re.search(r"\[4/4\] P-O +CORAL +\d+\.\d\d % .* ETA 0 s", shown.err)
        assert {path.name for path in (tmp_path / "tables").iterdir()} == {
            "digits.csv", "digits.md", "digits.tex", "digits.records.csv"
        }  # fmt: skip
        written = records(tmp_path).values()
        assert len(written) == 4
        for record in written:
            assert record["status"] == "ok"
            assert record["protocol"] == "last"
            assert record["seed"] is None
            assert 10 < float(str(record["accuracy"])) < 100

    def test_a_record_says_what_runs_it_alone_again(self, tmp_path: Path) -> None:
        own = tmp_path / "own conf"
        (own / "experiment").mkdir(parents=True)
        params = "method: 'tca,one_nn', task: 'O-P,P-O', seed: range(2)"
        (own / "experiment" / "mine.yaml").write_text(
            f"# @package _global_\nhydra: {{sweeper: {{params: {{{params}}}}}}}\n"
        )
        sweep = ["experiment=mine", "method=tca,dann", "method.label=two words", "task=O-P", "trainer.steps=3"]
        elsewhere = ["name=other", f"runtime.cache={tmp_path}", f"results={tmp_path}"]
        assert main(["run", "--config-dir", str(own), *sweep, *elsewhere]) == 0
        made = records(tmp_path)
        assert len(made) == 3
        for number, (stem, record) in enumerate(made.items()):
            program, *words = shlex.split(str(record["command"]))
            assert program == "tda"
            assert main([*words, f"results={tmp_path / str(number)}"]) == 0
            ((again, alone),) = records(tmp_path / str(number)).items()
            assert again == stem
            for key in ("accuracy", "label", "seed", "config", "command"):
                assert alone[key] == record[key]

    def test_running_again_computes_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["run", *QUICK, f"results={tmp_path}"])
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("records/*/*/*.json")}
        first = capsys.readouterr().out
        assert main(["run", *QUICK, f"results={tmp_path}"]) == 0
        again = capsys.readouterr()
        assert "4 done already, 0 to run" in again.err
        assert again.out == first
        assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("records/*/*/*.json")} == before

    def test_a_wider_sweep_computes_only_what_is_new(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["run", "method=one_nn", "task=O-P", f"results={tmp_path}"])
        capsys.readouterr()
        main(["run", "method=one_nn", "task=O-P,P-O,S-O", f"results={tmp_path}"])
        shown = capsys.readouterr().err
        assert "3 cells: 1 done already, 2 to run" in shown
        assert "[2/2]" in shown

    def test_seeds_of_a_deterministic_method_are_one_cell(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", "method=one_nn", "task=O-P", "seed=range(3)", f"results={tmp_path}"]) == 0
        assert "1 cells: 0 done already" in capsys.readouterr().err
        assert len(records(tmp_path)) == 1

    def test_seeds_of_a_deep_method_are_cells_and_make_a_deviation(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sweep = [
            "run",
            "method=source_only",
            "task=P-O",
            "seed=0,1",
            "trainer.steps=5",
            f"results={tmp_path}",
        ]
        assert main(sweep) == 0
        assert "±" in capsys.readouterr().out
        assert {record["seed"] for record in records(tmp_path).values()} == {0, 1}

    def test_a_failed_cell_is_recorded_stops_nothing_and_is_tried_again(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sweep = ["run", "method=tca", "method.dim=5000,5", "task=O-P", f"results={tmp_path}"]
        assert main(sweep) == 1
        shown = capsys.readouterr()
        assert "failed: O-P TCA: ValueError" in shown.err
        assert "failed" in shown.out
        assert "TCA (dim=5)" in shown.out
        assert {record["status"] for record in records(tmp_path).values()} == {"ok", "failed"}
        assert main(sweep) == 1
        assert "2 cells: 1 done already, 1 to run" in capsys.readouterr().err

    def test_an_oracle_is_labelled_and_never_best(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        sweep = [
            "run",
            "method=source_only,target_only,dann",
            "task=P-O",
            "trainer.steps=8",
            f"results={tmp_path}",
        ]
        assert main(sweep) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if "oracle)" in line)
        assert "*" not in line
        assert {record["protocol"] for record in records(tmp_path).values()} == {"last", "oracle"}

    @pytest.mark.parametrize("flags", [["--cfg", "job"], ["--cfg", "job", "--resolve"]])
    def test_hydra_flags_show_and_run_nothing(
        self,
        flags: list[str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["run", "method=tca", "task=O-P", *flags]) == 0
        assert "tca" in capsys.readouterr().out
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("typed", "unread"),
        [
            (
                ["method=one_nn", "trainer.steps=5", "classifier=linear_svm"],
                ["trainer.steps=5", "classifier=linear_svm"],
            ),
            (["method=kliep_lr", "classifier=linear_svm"], ["classifier=linear_svm"]),
            (["method=one_nn,coral,dann", "trainer=frozen", "trainer.steps=5", "classifier=linear_svm"], []),
            (["method=one_nn", "backbone=lenet", "extractor=finetuned", "trainer.steps=5"], []),
            (["method=one_nn,knn", "selection=dev"], ["selection=dev"]),
            (["method=one_nn", "selection=scores"], ["selection=scores"]),
            (["method=one_nn,coral", "selection=scores"], []),
            (["method=one_nn,dann", "selection=dev"], []),
            (["method=dann", "selection=last"], []),
        ],
    )
    def test_what_no_method_reads_is_said(self, typed: list[str], unread: list[str]) -> None:
        assert Sweep([*typed, "task=P-O"]).unread == unread

    def test_run_flag_runs_one_cell(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "--run", "task=P-O", f"results={tmp_path}"]) == 0
        assert "1 cells" in capsys.readouterr().err
        assert len(records(tmp_path)) == 1

    def test_a_mistyped_key_of_a_method_of_ones_own_is_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own = tmp_path / "own, (mine)"
        (own / "method").mkdir(parents=True)
        (own / "method" / "mine.yaml").write_text("# Mine\ndefaults: [tca, _self_]\nname: mine\n")
        typed = ["method=mine", "method.dmi=3", "task=P-O", "--config-dir", str(own), f"results={tmp_path}"]
        assert main(["run", *typed]) == 2
        assert "'dmi' is not a key of method mine; did you mean 'dim'?" in capsys.readouterr().err

    def test_a_method_without_a_label_is_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "method").mkdir()
        (tmp_path / "method" / "mine.yaml").write_text(
            "# Mine\ndefaults: [/kind/shallow@_here_, _self_]\nname: mine\nstandardise: 'no'\n"
            "_target_: tda.methods.shallow.one_nn.OneNN\n"
        )
        assert main(["run", "method=mine", "task=P-O", "--config-dir", str(tmp_path), f"results={tmp_path}"]) == 2
        assert "tda: method mine: its config has no label, which tables print; add one\n" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("config", "told"),
        [
            (
                "_target_: tda.methods.shallow.one_nn.OneNN\n",
                r"say of which kind it is; begin it with defaults: \[/kind/shallow@",
            ),
            ("", r"say of which kind it is"),
            (
                "defaults: [/kind/shallow@_here_, _self_]\nlabel: Mine\n",
                r"this method's config has no name; add name: NAME$",
            ),
            (
                "defaults: [/kind/shalow@_here_, _self_]\nname: mine\n",
                r"'shalow' is not a kind; did you mean 'shallow'\?",
            ),
        ],
    )
    def test_what_a_method_of_ones_own_lacks_is_told(
        self, config: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "method").mkdir()
        (tmp_path / "method" / "mine.yaml").write_text(config)
        assert main(["run", "method=mine", "task=P-O", "--config-dir", str(tmp_path), f"results={tmp_path}"]) == 2
        assert re.search(told, capsys.readouterr().err.strip())

    def test_a_folder_that_is_not_there_is_told_alike_everywhere(self, capsys: pytest.CaptureFixture[str]) -> None:
        for command in (["run", "method=coral", "dataset=image_folder"], ["data", "stats", "image_folder"]):
            assert main([*command, "dataset.root=/nope"]) == 2
            said = capsys.readouterr().err
            assert said == "tda: dataset.root=/nope: no such folder; give the one that holds the domains\n"

    def test_a_config_with_the_name_of_tdas_is_not_passed_over(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "method").mkdir()
        (tmp_path / "method" / "tca.yaml").write_text("defaults: [/kind/shallow@_here_, _self_]\nname: tca\n")
        assert main(["run", "method=tca", "task=P-O", "--config-dir", str(tmp_path), f"results={tmp_path}"]) == 2
        assert "method/tca.yaml has the name of tda's own, which Hydra takes; rename it" in capsys.readouterr().err

    def test_folders_may_have_any_name(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        own = tmp_path / "o'wn (é), x"
        (own / "method").mkdir(parents=True)
        (own / "method" / "mine.yaml").write_text("defaults: [one_nn, _self_]\nname: mine\nlabel: Mine\n")
        where = ["--config-dir", str(own), "--results", str(own / "results"), "--baselines", str(own)]
        assert main(["check", "quick", "method=mine", "task=P-O", *where, "--update"]) == 0
        assert f"written: {own / 'quick.csv'}" in capsys.readouterr().out

    def test_config_dir_adds_methods(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "own" / "method").mkdir(parents=True)
        (tmp_path / "own" / "method" / "mine.yaml").write_text(
            "# Mine\ndefaults: [tca, _self_]\nname: mine\nlabel: Mine\ndim: 7\n"
        )
        sweep = [
            "run",
            "method=mine",
            "task=P-O",
            "--config-dir",
            str(tmp_path / "own"),
            f"results={tmp_path}",
        ]
        assert main(sweep) == 0
        assert "Mine" in capsys.readouterr().out

    @pytest.mark.slow
    def test_info_flag_shows_and_runs_nothing(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "tda", "run", "--info", "defaults-tree", "method=tca", "task=O-P"]
        shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
        assert "tca" in shown
        assert not list(tmp_path.iterdir())


MISTAKES = {
    "folder without a place": (["dataset=image_folder", "method=one_nn"], r"tda: dataset\.root is missing; give dataset\.root=\.\.\.$"),
    "folder that is not there": (
        ["dataset=image_folder", "dataset.root=/no/such", "method=one_nn"],
        r"tda: dataset\.root=/no/such: no such folder; give the one that holds the domains$",
    ),
    "no folder of configs": (["method=one_nn", "--config-dir", "/no/such"], r"--config-dir /no/such: no such folder"),
    "a sweep to show": (["method=one_nn,tca", "--cfg", "job"], "of one cell is shown; give method one value"),
    "parameter of one of two": (
        ["method=tca,one_nn", "method.dim=3"],
        r"'dim' is not a key of method one_nn\..* Of those named only tca can take method\.dim: run it apart$",
    ),
    "workers of one of two": (
        ["hydra/launcher=basic,joblib", "hydra.launcher.n_jobs=2"],
        r"n_jobs: name the launcher .* hydra/launcher=joblib$",
    ),
    "one width": (["method=dann", "backbone.hidden=20", "backbone=lenet"], r"hidden=20: expected a list, \[20\] for one$"),
    "no widths": (["method=dann", "backbone.hidden=null", "backbone=lenet"], r"hidden=None: expected a list, \[\] for one$"),
    "features for images": (["method=one_nn", "backbone=given"], r"digits holds images; leave .*take backbone=pixels$"),
    "no features for networks": (["method=dann", "backbone=given"], r"digits holds images; leave .*take backbone=lenet$"),
    "trained on": (["method.run.trained_on=targte"], r"did you mean 'target'\?"),
    "trainer of a method": (["method=dann", "method.run.trainer=foo"], r"trainer=foo: expected the name of a config"),
    "unknown variable in a picture": (["keep_features=${oc.env:NOPE_}"], r"'NOPE_' not found"),
    "no workers": (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], r"n_jobs=0: expected a number of workers"),
    "foreign launcher": (["hydra.launcher._target_=os.system"], r"hydra\.launcher\._target_ = 'os\.system' lies outside tda"),
    "unknown launcher": (["hydra.launcher._target_=tda.Nope"], r"Invalid plugin 'tda\.Nope'.*hydra/launcher=NAME"),
    "call by Hydra": (["+hydra.callbacks.mine._target_=hydra.utils.get_object"], r"'hydra\.utils\.get_object' lies outside tda"),
    "foreign callback": (["+hydra.callbacks.mine._target_=os.getcwd"], r"mine\._target_ = 'os\.getcwd' lies outside tda"),
    "foreign log": (["+hydra.job_logging.handlers={a: {class: os.getcwd}}"], r"handlers\.a\.class = 'os\.getcwd' lies outside"),
    "batch of cells in words": (["hydra/launcher=joblib", "hydra.launcher.batch_size=foo"], r"batch_size=foo: expected auto"),
    "finetuned features of a network": (
        ["method=dann", "extractor=finetuned", "backbone=lenet"], r"backbone=lenet \+backbone\.frozen=true$",
    ),
    "workers of no launcher": (["hydra.launcher.n_jobs=2"], r"n_jobs: name the launcher .* hydra/launcher=joblib"),
    "another folder for each cell": (["hydra.job.chdir=true"], r"chdir=true would let every cell write elsewhere"),
    "negative batch of cells": (["hydra.sweeper.max_batch_size=-3"], r"max_batch_size=-3: expected at least 1"),
    "no method": (["~method"], r"~method: expected a name, method=NAME\. Choose from: a_distance"),
    "null method": (["method=null"], r"method=null: expected a name"),
    "list of methods": (["method=[one_nn]"], r"method=\[one_nn\]: expected a name"),
    "list of tasks": (["task=[O-P,P-O]"], r"tda: task=\[O-P,P-O\]: expected one value, given a list; .* task=O-P,P-O, each has its cells$"),
    "list of a dataset's tasks": (["dataset.tasks=[O-P]"], r"tasks=\[O-P\]: expected one value, given a list; without brackets, task=O-P,"),
    "list of seeds": (["seed=[0,1]"], r"given a list; without brackets, seed=0,1, each"),
    "list of folders": (["results=[a,b]"], r"results=\[a,b\]: expected one value, given a list$"),
    "module of one's own within tda": (
        ["method._target_=tda.methods.shallow.mine.Mine"],
        r"No module named .*; name a module of one's own without tda\., _target_: mine\.Mine say, .* be on PYTHONPATH$",
    ),
    "completion": (["-sc", "install=bash"], r"--shell-completion knows no program with commands"),
    "letters that want quotes": (["name=ünï"], r"'name=ünï' is not understood; .* quotes of its own"),
    "threads": (["runtime.threads=0"], r"runtime\.threads=0: expected at least 1"),
    "infinite": (["method=dann", "trainer.lr=inf"], r"trainer\.lr=inf: input should be a finite number"),
    "cache": (["runtime.cache=/dev/null/x"], r"cannot read or cache digits: .*; see runtime\.cache"),
    "swept name": (["name=a,b"], r"name cannot be swept"),
    "half a sample": (["method=dann", "trainer.batch=65"], r"trainer\.batch=65: input should be a multiple of 2$"),
    "momentum of nothing": (["method=dann", "trainer=frozen", "trainer.momentum=0"], r"nesterov needs a trainer\.momentum above 0"),
    "layers of nowhere": (["method=dan", "method.layers=[]"], r"method\.layers=\[\]: .* at least 1 item"),
    "all dropped": (["method=dann_listing", "method.dropout=1"], r"method\.dropout=1: input should be less than 1$"),
    "half a batch of one": (["method=dann", "trainer.batch=2"], r"trainer\.batch=2: input should be greater than or equal to 4"),
    "lists of nothing": (["dataset=image_lists", "method=coral"], r"two domains, given none; .*'dataset\.lists=\{A: a\.txt, B: b\.txt\}'$"),
    "one list": (["dataset=image_lists", "dataset.lists=/a/list.txt", "method=coral"], r"two domains, given /a/list\.txt; name them"),
    "no seed": (["seed=0,-1"], r"seed=-1: expected 0 or more, and less than 2\*\*32$"),
    "too great a seed": (["method=dann", "seed=0,5000000000"], r"seed=5000000000: expected 0 or more, and less than 2"),
    "tasks by the dataset's list": (["dataset.tasks=O-P,O-S"], r"dataset\.tasks is one list for the whole sweep; to sweep, task=O-P,O-S$"),
    "validators without a list": (["method=dann", "selection=scores", "selection.scores=dev"], r"selection\.scores: expected a list, selection\.scores=\[\.\.\.\]$"),
    "nothing to sweep": (["seed=range(0)"], r"seed=range\(0\) sweeps nothing; expected at least one value$"),
    "words for a number": (["seed=1.5"], r"tda: seed=1\.5: Value '1\.5' of type 'float' could not be converted to Integer$"),
    "small letters": (["task=o-p"], r"'o-p' is not a task of digits; did you mean 'O-P'\?"),
    "one table of two experiments": (
        ["experiment=demo,quick", "name=mine", "task=O-P"],
        r"tda: 2 sweeps would write one table, mine: leave out name=mine, or run them apart$",
    ),
    "an experiment that cannot be planned": (["experiment=demo,digits_mat", "task=O-P"], r"'O-P' is not a task of mnist_usps_mat"),
    "experiment among several": (["experiment=demo,quik"], r"'quik' is not an experiment; did you mean 'quick'\?"),
    "trainer seed": (["method=dann", "trainer.seed=0,1"], r"sweep seed instead"),
    "folder in a name": (["name=../x"], r"part of file names"),
    "the folder above for a name": (["dataset.name=.."], r"'\.\.' is a part of file names; .* not \. or - first$"),
    "null label": (["method.label=null"], r"its config has no label"),
    "blank label": (["method.label=' '"], r"its config has no label"),
    "dataset": (["dataset=digit"], r"'digit' is not a dataset; did you mean 'digits'\?"),
    "method": (["method=tac"], r"'tac' is not a method; did you mean 'tca'\?"),
    "method in a sweep": (["method=one_nn,corral"], r"'corral' is not a method; did you mean 'coral'\?"),
    "task": (["task=O-X"], r"'O-X' is not a task of digits; did you mean"),
    "backbone": (["backbone=resnet"], r"'resnet' is not a backbone"),
    "option": (["sede=1"], r"'sede' is not a key of the configuration; did you mean 'seed'\?"),
    "group": (["metod=tca"], r"'metod' is not a key of the configuration; did you mean 'method'\?"),
    "parameter": (["method=tca", "method.dmi=3"], r"'dmi' is not a key of method tca; did you mean 'dim'\?"),
    "parameter in a sweep": (["method=tca", "method.dmi=3,4"], r"'dmi' is not a key of method tca; did you mean 'dim'\?"),
    "added key": (["+sede=1"], r"'sede' is not a key of the configuration; did you mean 'seed'\?"),
    "key of Hydra's": (["hydra.sweeper.parms={}"], r"'parms' is not a key of hydra.sweeper; did you mean 'params'\?"),
    "momentum of another": (["method=dann", "trainer=shot", "trainer.optimiser=adam"], "add trainer.nesterov=false"),
    "added parameter": (["method=tca", "+method.dimm=3"], r"'dimm' is not a parameter of TCA; did you mean 'dim'\?"),
    "wrong type": (["method=tca", "method.dim=many"], r"method\.dim=many: input should be a valid integer"),
    "wrong type at the root": (["seed=one"], r"'one' of type 'str' could not be converted to Integer"),
    "negative dim": (["method=tca", "method.dim=-3"], r"method\.dim=-3: input should be greater than 0"),
    "negative dim in a sweep": (["method=tca", "method.dim=3,-3"], r"method\.dim=-3: input should be greater than 0"),
    "no such choice": (["method=tca", "method.kernel=rfb"], r"method\.kernel=rfb: input should be 'primal'"),
    "a class": (["method=dann", "trainer.augment=foo"], r"trainer\.augment=foo: expected a mapping .*, Affine for one"),
    "classifier": (["method=tca", "method.classifier=linear_svm"], r"one; did you mean classifier=linear_svm\?"),
    "no list": (["distances=mmd2"], r"distances: expected a list, distances=\[...\]"),
    "twice": (["distances=[mmd2,mmd2]"], r"distances names 'mmd2' twice; leave one of them out"),
    "trainer": (["method=dann", "trainer.steps=0"], r"trainer\.steps=0: input should be greater than 0"),
    "target outside tda": (["method._target_=os.system"], r"'os\.system' lies outside tda"),
    "import through tda": (["method._target_=tda.config.objects.import_module"], r"is not a class of tda"),
    "untrained features": (["method=tca", "backbone=lenet"], r"needs features, and backbone lenet has none"),
    "weights for 1-NN": (["method=kmm", "method.classifier._target_=tda.methods.shallow.one_nn.OneNN"], r"'C' is not a parameter of OneNN"),
    "device": (["runtime.device=cuda:99"], r"runtime\.device=cuda:99 is not a device of this machine"),
    "bottleneck": (["method=dann", "backbone=pixels", "backbone.bottleneck=[9,tanh]"], r"backbone\.bottleneck=\[9, 'tanh'\]: expected null, a width of at least 1"),
    "domain classifier": (["method=dann", "method.hidden=[norm,9]"], r"method\.hidden=\['norm', 9\]: expected a list of widths of at least 1, with norm after"),
    "no layers to normalise": (["method=dann", "method.hidden=[norm]"], r"method\.hidden=\['norm'\]: expected a list of widths"),
    "no list of layers": (["method=dann", "method.hidden=9"], r"method\.hidden=9: expected a list of widths"),
    "no bottleneck": (["method=dann", "backbone=pixels", "backbone.bottleneck=[]"], r"backbone\.bottleneck=\[\]: expected null, a width"),
    "malformed": (["method=tca,"], r"'method=tca,' is not understood; expected KEY=VALUE"),
    "pickles": (["--experimental-rerun", "x.pickle"], r"unpickles"),
    "replaced configuration": (["--config-name", "x"], r"--config-dir"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_line_and_exit_code_2(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    task = [] if any(argument.startswith("task=") for argument in arguments) else ["task=O-P"]
    assert main(["run", *arguments, *task, f"results={tmp_path}"]) == 2
    shown = capsys.readouterr()
    said = [line for line in shown.err.splitlines() if line.startswith("tda: ")]
    assert len(said) == 1
    assert re.search(message, said[0])
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert not records(tmp_path)


def test_compiling_without_a_compiler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_(function: object) -> object:
        raise RuntimeError("no working C++ compiler\nsearched in vain")

    monkeypatch.setattr("torch.compile", compile_)
    require_compiler.cache_clear()
    assert main(["run", "task=O-P", "method=dann", "runtime.compile=true", f"results={tmp_path}"]) == 2
    said = r"torch\.compile does not work here for cpu \(RuntimeError: no working C\+\+ compiler\); install a C\+\+ compiler"
    assert re.search(said, capsys.readouterr().err)
    assert not records(tmp_path)


@pytest.mark.parametrize(("given", "message"), [("", "results is empty"), ("${results}", "Recursive interpolation")])
def test_a_results_folder_that_is_none(
    given: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "task=O-P", f"results={given}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back afterwards what answers to the signals."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "told to stop")], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_that_comes_out_as_a_mistake(
    number: signal.Signals, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signal can find OmegaConf in the middle of something, and be lost in the error that follows."""

    def interrupted(_: list[str]) -> int:
        with contextlib.suppress(KeyboardInterrupt, Terminated):
            os.kill(os.getpid(), number)
        raise UsageError("'NoneType' object has no attribute")

    monkeypatch.setattr("tda.__main__.command", interrupted)
    assert main(["run"]) == 128 + number
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("handlers")
def test_a_signal_while_nothing_but_tda_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tda.__main__.command", lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert main([]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "\ntda: interrupted\n"


def test_a_terminal_that_lacks_a_sign_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["compare", "--audit"]) == 0
    assert b"?" in terminal.buffer.getvalue()


@pytest.mark.usefixtures("handlers")
def test_an_interrupt_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of what a shell runs in the background."""
    monkeypatch.setattr("tda.__main__.command", lambda _: os.kill(os.getpid(), signal.SIGINT) or 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert main(["run"]) == 0


def test_an_unwritable_results_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", "task=O-P", f"results={tmp_path / 'file'}"]) == 2
    assert "cannot write to the results folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    assert main(["run", *QUICK, f"results={path}"]) == 0
    return path


class TestReport:
    @pytest.mark.parametrize("form", ["text", "csv", "markdown", "latex"])
    def test_every_format_prints_and_writes_the_same(
        self, form: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["report", "--results", str(results), "--format", form]
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert "CORAL" in shown
        assert main([*arguments, "--output", str(tmp_path / "sub" / "table")]) == 0
        assert (tmp_path / "sub" / "table").read_text(encoding="utf-8") == shown

    def test_filters(self, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["report", "--results", str(results), "--dataset", "digits", "--backbone", "pixels"]
        assert main([*arguments, "--method", "coral"]) == 0
        shown = capsys.readouterr().out
        assert "CORAL" in shown
        assert "1-NN" not in shown
        assert main([*arguments, "--method", "corall"]) == 2
        assert "did you mean 'coral'?" in capsys.readouterr().err

    def test_no_results(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["report", "--results", str(tmp_path)]) == 2
        assert "--results PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "group"), [("methods", "method"), ("datasets", "dataset"), ("backbones", "backbone"), ("selections", "selection"),
                        ("experiments", "experiment"), ("trainers", "trainer"), ("classifiers", "classifier"), ("extractors", "extractor")]
)  # fmt: skip
def test_list_names_and_describes_everything(kind: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names(group)
    assert all(re.fullmatch(r"\S+ +\S.{10,}", line) for line in lines)


COMMANDS = ("run", "report", "compare", "selection", "check", "data", "list")


def examples(text: str) -> list[list[str]]:
    """The commands that a text shows, at the start of a line, without the remarks behind them."""
    lines = re.findall(rf"^ *tda ((?:{'|'.join(COMMANDS)})\b.*)$", text, re.MULTILINE)
    return [shlex.split(re.split(r"  +|#", line)[0]) for line in lines]


def assert_can_run(arguments: list[str]) -> None:
    """Plan a `run` without running it, parse anything else."""
    if arguments[0] != "run":
        options = parsed(arguments)
        assert arguments[0] != "check" or options.config_dir or options.experiment in names("experiment")
        return
    engines = ("hydra/launcher", "hydra.launcher")  # of extras; tests/test_launchers.py runs them
    overrides = [word for word in arguments[1:] if "=" in word and not word.startswith(engines)]
    assert all(Sweep(one).cells for one in separate(overrides))


@pytest.mark.parametrize("level", [[], *([name] for name in COMMANDS)])
def test_help_shows_examples_that_run(level: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*level, "--help"])
    assert ended.value.code == 0
    shown = examples(capsys.readouterr().out)
    assert len(shown) >= 2
    for arguments in shown:
        assert_can_run(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_commands_of_the_readme_can_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").touch()
    for domain in ("a", "b"):
        Path("PATH", domain).mkdir(parents=True)
        Path("PATH", f"{domain}.npz").touch()
    shown = examples((Path(__file__).parent.parent / page).read_text(encoding="utf-8"))
    assert len(shown) >= 5
    for arguments in shown:
        assert_can_run(arguments)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "the following arguments are required: COMMAND; see tda --help"),
        ("sweep", "argument COMMAND: invalid choice: 'sweep' (choose from *); see tda --help"),
        ("check", "the following arguments are required: EXPERIMENT; see tda check --help"),
        ("check quick --resultz x", "unrecognized arguments: --resultz; see tda check --help"),
        ("check quick method=tca --bar task=O-P", "unrecognized arguments: --bar; see tda check --help"),
        ("data", "the following arguments are required: ACTION; see tda data --help"),
        ("list method", "argument KIND: invalid choice: 'method' (choose from *); see tda list --help"),
        ("report --format docx", "argument --format: invalid choice: 'docx' (choose from *); see tda report --help"),
        ("run --mulitrun method=tca", "unrecognized arguments: --mulitrun; see tda run --help"),
        ("run --cfg everything", "argument --cfg/-c: invalid choice: 'everything' (choose from *); see tda run --help"),
        ("data list runtime.data=x", "unrecognized arguments: runtime.data=x; see tda data list --help"),
        ("report method=tca", "unrecognized arguments: method=tca; see tda report --help"),
    ],
)
def test_usage_errors_of_the_parser_are_one_line(typed: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed.split()) == 2
    assert fnmatch(capsys.readouterr().err, f"tda: {said}\n")


@pytest.mark.parametrize("options", [["--results", "x"], ["--baselines", "x", "--update"]])
def test_overrides_stand_before_between_and_after_the_options_of_check(options: list[str]) -> None:
    first, last = "method=tca", "task=O-P"
    plain = parsed(["check", "quick", first, last, *options])
    assert plain.overrides == [first, last]
    for words in (["quick", *options, first, last], [*options, "quick", first, last], ["quick", first, *options, last]):
        assert parsed(["check", *words]) == plain


def test_a_folder_that_may_not_be_read_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "records").mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    for command in (["data", "list", "--data", str(tmp_path)], ["report", "--results", str(tmp_path)]):
        assert main(command) == 2
        assert "permission denied" in capsys.readouterr().err
