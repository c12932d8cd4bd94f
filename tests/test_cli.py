"""The command line and its main job: results, files, errors, exit codes."""

import io
import json
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import sslcore
from sslcore import datasets
from sslcore.cli import main as cli
from sslcore.studies import _registry, digits

from .children import started
from .comparators import assert_close

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

# The first 300 images in place of all: the same code in a fraction of a second.
SMALL = """
import sys
from sslcore import datasets
from sslcore.cli import main as cli
images, labels = datasets.digits()
datasets.digits = lambda: (images[:300], labels[:300])
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def small(monkeypatch):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    images, labels = (part[:300] for part in datasets.digits())
    monkeypatch.setattr(datasets, "digits", lambda: (images, labels))
    with threadpoolctl.threadpool_limits(1):  # small products: threads only wait for each other on a busy machine
        yield images, labels


@pytest.fixture
def untouchable(monkeypatch):
    """Fail if anything is computed."""
    monkeypatch.setattr(digits, "study", lambda *args, **kwargs: pytest.fail("computed before refusing"))


def error_line(capsys):
    """The one line on stderr; nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("sslcore: error: ")
    return err[len("sslcore: error: ") : -1]


# ---------------------------------------------------------------- the main job


def test_the_main_job(tmp_path):
    """All 1,797 images, as a user would run it."""
    figure = tmp_path / "figure.png"
    done = subprocess.run(
        [sys.executable, "-m", "sslcore", "digits", "--json", "--output", figure], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["labels"] == [10, 20, 50, 100, 200]
    ours, kpca, raw = (dict(zip(found["labels"], found["accuracy"][m], strict=True)) for m in found["accuracy"])
    for count, floor in ((20, 0.79), (50, 0.93), (200, 0.95)):
        assert ours[count] > floor
    for count in found["labels"]:
        assert ours[count] > kpca[count] + 0.02 > raw[count]
    assert found["n_active"] == sum(mu > 0 for mu in found["eigenvalues"])
    assert 10 <= found["n_active"] <= len(found["eigenvalues"]) == found["settings"]["n_components"]
    assert_close(found["risk"], len(found["eigenvalues"]) - sum(max(mu, 0) ** 2 for mu in found["eigenvalues"]))
    assert found["certificate"]["worst"] < 1e-8
    selection = found["selection"]
    risks = dict(zip(selection["regs"], selection["risks"], strict=True))
    assert found["settings"]["reg"] == selection["reg"]
    assert risks[selection["reg"]] <= min(risks.values()) + 1e-4 * 32
    assert (selection["n_samples"], selection["n_held_out"], selection["n_folds"]) == (1797, 449, 1)
    assert 0 < selection["gap"] < 5
    assert 0 < sum(found["seconds_by_step"].values()) < found["seconds"]
    assert all(0 < e < 0.03 for method in found["standard_error"].values() for e in method)
    assert found["figure"] == str(figure)
    assert figure.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert 20_000 < figure.stat().st_size < 300_000
    assert list(tmp_path.iterdir()) == [figure]


def test_digits_as_text(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["digits"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "300 digits of 64 pixels; 4 views of each = 1,200 views" in out
    for word in (
        "Gaussian(scale=2.0)",
        "active",
        "risk",
        "certificate",
        "kernel PCA",
        "raw pixels",
        "MB planned",
        "held out",
        "gap",
    ):
        assert word in out
    assert out.isascii()
    assert [path.name for path in tmp_path.iterdir()] == ["sslcore-digits.png"]


def test_the_seed_decides(small, tmp_path, capsys):
    documents = []
    for seed in ("1", "1", "2"):
        assert cli.main(["digits", "--json", "--seed", seed, "-o", str(tmp_path / "a.png")]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    one, again, two = documents
    assert_close(one["eigenvalues"], np.array(again["eigenvalues"]))
    assert one["accuracy"] == again["accuracy"]
    assert one["accuracy"] != two["accuracy"]
    assert one["eigenvalues"] != two["eigenvalues"]


def test_an_old_figure_is_replaced(small, tmp_path, capsys):
    figure = tmp_path / "a.png"
    figure.write_text("old")
    assert cli.main(["digits", "--output", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_progress_bar(small, tmp_path, capsys):
    assert cli.main(["digits", "--json", "--progress", "-o", str(tmp_path / "a.png")]) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    for step in (*digits.STEPS, "figure", "6/6"):
        assert step in err


def test_a_bar_without_rich(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["digits", "--progress", "-o", str(tmp_path / "a.png")]) == 2
    assert "pip install '.[cli]'" in terminal.getvalue()


def test_without_matplotlib(tmp_path, monkeypatch, capsys, untouchable):
    for module in ("sslcore.plotting.panels", "sslcore.studies.figures"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        package, _, name = module.rpartition(".")
        monkeypatch.delattr(sys.modules.get(package, sslcore), name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["digits", "-o", str(tmp_path / "a.png")]) == 2
    assert "pip install '.[plot]'" in error_line(capsys)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/a.png", "cannot write .*missing/a.png: No such file or directory"),
        ("folder.png", "cannot write .*folder.png: it is a folder"),
        ("file/a.png", "cannot write .*: Not a directory"),
        ("a.jpg", r"must end in \.png, \.pdf or \.svg, found .*a\.jpg"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path, capsys, untouchable, output, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["digits", "--output", str(tmp_path / output)]) == 2
    assert re.search(message, error_line(capsys))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("step", [*digits.STEPS, "figure"])
def test_interrupted_anywhere(small, tmp_path, monkeypatch, capsys, step):
    from matplotlib.figure import Figure

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    if step == "figure":

        def half(self, file, **kwargs):
            file.write(b"\x89PNG")
            interrupt()

        monkeypatch.setattr(Figure, "savefig", half)
    else:
        names = {
            "choosing reg": "choose_reg",
            "pretraining": "pretrain",
            "kernel PCA": "kernel_pca",
            "probes": "probe_accuracy",
            "map": "planar_map",
        }
        monkeypatch.setattr(digits, names[step], interrupt)
    assert cli.main(["digits", "-o", str(tmp_path / "a.png")]) == 130
    assert capsys.readouterr() == ("", "sslcore: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c(tmp_path):
    figure = tmp_path / "a.png"
    arguments = ["-c", SMALL, "digits", "--progress", "-o", str(figure)]
    with started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        seen = ""
        while "pretraining" not in seen:
            character = process.stderr.read(1)
            assert character, seen
            seen += character
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("sslcore: interrupted\n")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- its parts


def test_kernel_pca_is_that_of_scikit_learn(small):
    from sklearn.decomposition import KernelPCA

    images, _ = small
    ours = digits.kernel_pca(images, sslcore.kernels.Gaussian(2.0), 12)
    theirs = KernelPCA(12, kernel="rbf", gamma=1 / (2 * 2.0**2), eigen_solver="dense").fit_transform(images)
    signs = np.sign((ours * theirs).sum(axis=0))
    assert_close(ours * signs, theirs, tol=1e-10)


def test_label_draws():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [5, 9, 20]))
    few, more = (digits.label_draws(labels, count, 6, seed=4) for count in (3, 12))
    for part, whole in zip(few, more, strict=True):
        assert set(part) < set(whole)
        assert np.bincount(labels[part]).tolist() == [1, 1, 1]
        assert np.bincount(labels[whole]).tolist() == [4, 4, 4]
    assert len({tuple(draw) for draw in more}) == 6
    assert [draw.tolist() for draw in digits.label_draws(labels, 3, 6, seed=5)] != [draw.tolist() for draw in few]
    for count in (0, 4, 15):
        with pytest.raises(ValueError, match="labels"):
            digits.label_draws(labels, count, 6, seed=4)


def test_all_methods_are_probed_alike(small):
    """The raw pixels' accuracies, made again by hand from the draws."""
    images, labels = small
    settings = digits.Settings(n_components=4, n_views=2, n_labels=(20,), n_draws=3, probe_regs=(0.1,))
    found = digits.study(images, labels, 7, settings)
    expected = []
    for draw in digits.label_draws(labels, 20, 3, seed=7):
        rest = [i for i in range(300) if i not in draw]
        probe = sslcore.probing.ridge_probe(images[draw], labels[draw], 0.1)
        expected.append(np.mean(probe.predict(images[rest]) == labels[rest]))
    assert_close(found.accuracy["raw"], [expected])
    assert_close(found.mean_accuracy()["raw"], [np.mean(expected)])
    assert_close(found.standard_error()["raw"], [np.std(expected, ddof=1) / np.sqrt(3)])


# ---------------------------------------------------------------- the command line itself


def test_info(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sslcore"] == sslcore.__version__
    assert dict(line.split(maxsplit=1) for line in text.splitlines()) == document


@pytest.mark.parametrize("program", [[sys.executable, "-m", "sslcore"], ["sslcore"]])
def test_programs(program):
    from shutil import which

    if not (command := which(program[0], path=f"{sys.exec_prefix}/bin")):
        pytest.skip("not installed as a program")
    done = subprocess.run([command, *program[1:], "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sslcore {sslcore.__version__}\n", "")
    done = subprocess.run([command, *program[1:], "digits", "--seed"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert max(map(len, out.splitlines())) <= 100
    assert cli.main(["--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND (see sslcore --help)"),
        (["studies"], "invalid choice: 'studies'"),
        (["study"], f"NAME is missing; there are: {', '.join(_registry.names())}"),
        (["study", "moons"], f"there is no study 'moons'; there are: {_registry.names()[0]}, "),
        (["digits", "--seed", "x"], "invalid int value: 'x' (see sslcore digits --help)"),
        (["digits", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["digits", "--seed", "-1"], "seed must be at least 0"),
    ],
)
def test_usage_errors(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    assert message in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (sslcore.MemoryBudgetError("too\n  much"), "too much"),
        (sslcore.CertificateError("residual", None), "residual"),
        (sslcore.BackendError("not there"), "not there"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (MemoryError(), "MemoryError"),
        (KeyError("x"), "KeyError: 'x' (unexpected; --debug shows where)"),
    ],
)
def test_errors_of_a_command(monkeypatch, capsys, error, message):
    def declare(parser):
        """Fail."""

        def run(args):
            raise error

        return run

    monkeypatch.setitem(cli.COMMANDS, "fail", declare)
    assert cli.main(["fail"]) == 2
    assert error_line(capsys) == message
    with pytest.raises(type(error)):
        cli.main(["fail", "--debug"])


def test_warnings_are_one_line(monkeypatch, capsys):
    def declare(parser):
        def run(args):
            warnings.simplefilter("always")
            warnings.warn("look\n  out", UserWarning, stacklevel=1)
            return cli.Report({}, "done")

        return run

    monkeypatch.setitem(cli.COMMANDS, "warn", declare)
    before = warnings.showwarning
    assert cli.main(["warn"]) == 0
    assert capsys.readouterr() == ("done\n", "sslcore: warning: look out\n")
    assert warnings.showwarning is before


def test_json_has_no_nan(monkeypatch, capsys):
    values = {"a": np.array([1.0, np.inf]), "b": (np.float64("nan"), np.int64(3), True, None, "x")}
    monkeypatch.setitem(cli.COMMANDS, "odd", lambda parser: lambda args: cli.Report(values, ""))
    assert cli.main(["odd", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": [1.0, None], "b": [None, 3, True, None, "x"]}


def test_a_reader_that_leaves():
    code = "import sys; sys.stdin.read(); from sslcore.cli.main import main; sys.exit(main(['info']))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with started("-c", code, **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        process.wait(timeout=60)
    assert process.returncode == 0


def test_importing_the_command_line_is_light():
    code = "import sys, sslcore.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "sslcore.cli" in loaded
    assert not {"numpy", "numba", "scipy", "sklearn", "matplotlib", "polars", "rich"} & set(loaded)
