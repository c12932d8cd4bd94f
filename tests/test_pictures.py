"""Pictures of representations: what they show, in colours that everybody tells apart, and the files they go to."""

import itertools

import numpy as np
import pytest

import sslcore
from sslcore import pretrain
from sslcore.augmentations import GaussianNoise
from sslcore.features import Identity
from sslcore.kernels import Exponential

pytest.importorskip("matplotlib")
from sslcore.plotting import maps, panels
from sslcore.studies.figures import fit_figure

X = sslcore.datasets.half_moons(60, seed=0)
VIEWS = GaussianNoise(0.1).views(X, 2, seed=0)
REP = pretrain(VIEWS, Exponential(0.5), 5, reg=1e-3, center=True)

# Machado, Oliveira, Fernandes 2009: linear RGB as seen without one kind of cones
SEEN = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(color, seen):
    """CIELAB (D65) of a colour #rrggbb."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(seen) @ linear, 0.0, 1.0)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    xyz /= [0.9505, 1.0, 1.089]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
def test_colours_differ_for_everybody(seen):
    """A difference of 2 is just seen; that of red and green in a usual palette is below 1 without green cones."""
    looks = [lab(color, SEEN[seen]) for color in (*panels.CLASSES, "#ffffff")]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(looks, 2)) > 20
    assert len(panels.CLASSES) == len(panels.MARKERS) == len(set(panels.MARKERS))


def spectrum(eigenvalues, gamma=None):
    figure = panels.Figure()
    panels.FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    panels.spectrum_panel(axes, np.asarray(eigenvalues), gamma=gamma)
    figure.canvas.draw()
    return axes


def test_the_spectrum():
    usual = spectrum(1 - np.array([0.2, 0.5, 1.3]), np.array([0.2, 0.5, 1.3]))
    assert usual.get_yscale() == "linear"
    assert [tick % 1 for tick in usual.get_xticks()] == [0.0] * len(usual.get_xticks())
    assert [text.get_text() for text in usual.get_legend().get_texts()] == ["2 active", "1 inactive"]
    gamma = np.array([1e-12, 3e-7, 0.05, 1.5, np.inf])
    crowded = spectrum(1 - gamma, gamma)
    assert crowded.get_yscale() == "log"
    low, high = crowded.get_ylim()
    assert low > 1.5  # 1 is at the bottom, what is best at the top
    assert high < 1e-12
    drawn = np.concatenate([line.get_ydata() for line in crowded.lines[:2]])
    assert sorted(drawn) == sorted(gamma[:4])
    assert spectrum(1 - gamma).get_yscale() == "linear"  # without digits of its own
    assert spectrum([0.99, 0.98], np.array([0.01, 0.02])).get_yscale() == "log"
    assert spectrum([1.0, -1.0], np.array([0.0, 2.0])).get_yscale() == "linear"


@pytest.mark.parametrize("kind", panels.KINDS)
def test_files(kind, tmp_path):
    path = tmp_path / f"moons.{kind.upper()}"
    assert REP.plot(path, x=X, color=X[:, 0] > 0) is None
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert path.read_bytes().startswith(begins[kind])
    for wrong in ("moons", "moons.jpg"):
        with pytest.raises(ValueError, match=r"a \.png, \.pdf or \.svg file"):
            REP.plot(tmp_path / wrong)
        assert not (tmp_path / wrong).exists()


def test_the_map():
    figure = REP.plot()
    left, right = figure.axes
    assert left.get_title() == "spectrum: 5 of 5 active"
    assert len(right.collections[0].get_offsets()) == 60  # the first view of each sample
    assert np.allclose(right.collections[0].get_offsets(), REP(VIEWS[:, 0])[:, :2])
    words = np.array(["up", "down", "left"])[np.arange(60) % 3]
    axes = panels.Figure().add_subplot()
    assert REP.plot(axes, x=X, color=words.tolist()) is axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["down", "left", "up"]
    assert [len(drawn.get_offsets()) for drawn in axes.collections] == [20, 20, 20]
    assert np.allclose(axes.collections[2].get_offsets(), REP(X)[::3, :2])
    one = pretrain(VIEWS, Identity(), 1, reg=1e-3).plot(x=X)
    assert one.axes[1].get_ylabel() == "sample"


def test_values_and_what_is_missing():
    values = X[:, 0].copy()
    values[::4] = np.nan
    figure = REP.plot(x=X, color=values)
    assert len(figure.axes) == 3  # a bar of colours
    assert [len(drawn.get_offsets()) for drawn in figure.axes[1].collections] == [15, 45]
    figure = REP.plot(x=X, color=[None, 1, 2] * 20)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["no value", "1", "2"]


def test_every_class_is_in_the_legend():
    """matplotlib leaves out labels that are empty, or begin with _."""
    axes = REP.plot(panels.Figure().add_subplot(), x=X, color=np.array(["", "_x", "a_b"])[np.arange(60) % 3])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['""', '"_x"', "a_b"]


def test_what_has_no_room_and_what_is_not_there():
    """A long label keeps its ends, values of which none is there have no bar, and one component has one tick."""
    rep = pretrain(VIEWS, Exponential(0.5), 1, reg=1e-3)
    n = len(rep.embedding)
    names = np.array(["a label " * 9 + "of one kind", "a label " * 9 + "of another"])[np.arange(n) % 2]
    figure = rep.plot(color=names)
    figure.canvas.draw()
    spectrum, shown = figure.axes
    found = [text.get_text() for text in shown.get_legend().get_texts()]
    assert max(map(len, found)) <= maps.LONGEST_LABEL
    assert [text[-8:] for text in found] == [" another", "one kind"]
    low, high = spectrum.get_xlim()
    assert [tick for tick in spectrum.get_xticks() if low <= tick <= high] == [1.0]
    empty = rep.plot(color=[None] * n)
    assert len(empty.axes) == 2
    assert [text.get_text() for text in empty.axes[1].get_legend().get_texts()] == ["no value"]


def test_many_classes():
    for count in (10, 11, 25):
        names = np.array([f"c{i:02d}" for i in range(count)])
        drawn = np.concatenate([names, names[:3], names[:2]])
        shown, codes = maps.classes_of(drawn)
        assert len(shown) == 10
        if count == 10:
            assert shown == names.tolist()
        else:
            assert shown == [*names[:9], f"{count - 9} others"]
        assert [shown[code] if code < 9 else "" for code in codes] == [n if n in shown[:9] else "" for n in drawn] or (
            count == 10
        )
    assert maps.classes_of(np.arange(11)) is None
    assert maps.classes_of(np.array([0.5, 1.5])) is None
    assert maps.classes_of(np.array([True, False, True]))[0] == ["False", "True"]


@pytest.mark.parametrize("shape", [(60, 4, 5), (60, 4, 5, 3)])
def test_images_in_the_map(shape, tmp_path):
    from matplotlib.offsetbox import AnnotationBbox

    images = np.random.default_rng(0).uniform(size=shape)
    figure = REP.plot(x=X, color=np.arange(60) % 2, images=images)
    boxes = [child for child in figure.axes[1].get_children() if isinstance(child, AnnotationBbox)]
    assert 10 < len(boxes) <= 60
    places = {tuple(np.round(box.xy, 12)) for box in boxes}
    assert places <= {tuple(np.round(z, 12)) for z in REP(X)[:, :2]}
    edges = {box.patch.get_edgecolor() for box in boxes}
    assert len(edges) == 2  # framed in the colours of their classes
    panels.save(figure, tmp_path / "images.png")


def test_bad_arguments():
    for options, message in (
        ({"color": [1, 2]}, "color must be one label or value for each of the 60 points"),
        ({"images": np.ones((3, 4, 4))}, "images must be one for each of the 60 points"),
        ({"images": np.ones((60, 16))}, "images must have 3 or 4 dimensions"),
        ({"images": np.ones((60, 4, 4, 2))}, "3 or 4 channels last"),
    ):
        with pytest.raises(ValueError, match=message):
            REP.plot(x=X, **options)
    with pytest.raises(ValueError, match="training views are not known"):
        sslcore.Moments(Identity()).update(VIEWS).solve(2, reg=1e-3).plot()


def test_names_stand_inside_their_bands():
    figure = panels.Figure(figsize=(5, 4))
    panels.FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    regs = np.geomspace(1e-6, 1.0, 40)
    bands = ["augmentation"] * 30 + ["interplay"] * 6 + ["architecture"] * 4
    panels.spectrum_over_reg(axes, regs, np.linspace(1, -0.4, 40)[:, None], bands)
    figure.canvas.draw()
    edges = np.sqrt(np.array([regs[0] ** 2, regs[29] * regs[30], regs[35] * regs[36], regs[-1] ** 2]))
    for text, low, high in zip(axes.texts, edges[:-1], edges[1:], strict=True):
        box = text.get_window_extent().transformed(axes.transData.inverted())
        assert low <= box.x0 < box.x1 <= high, text.get_text()
    assert [text.get_rotation() for text in axes.texts] == [0.0, 90.0, 90.0]


def test_the_figure_of_a_fit_says_what_its_components_are_measured_in():
    x = np.random.default_rng(0).normal(size=(40, 3))
    rep = pretrain(GaussianNoise(0.1).views(x, 2, seed=0), Identity(), 2, reg=1e-3)
    panel = fit_figure(rep, x, rep.transform(x, "probe"), None, "probe").axes[2]
    assert panel.get_title() == 'values at the data, scale "probe"'
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("component 1", "component 2")
