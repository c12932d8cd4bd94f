"""The study of digits: risks and errors over reg belong together, learning curves, words and picture."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from dataclasses import replace

from sslcore import datasets, pretrain
from sslcore.features import Nystrom
from sslcore.probing import ridge_probe
from sslcore.studies import _digits_choice as more
from sslcore.studies import digits


@pytest.fixture(scope="module")
def found():
    images, labels = (part[:240] for part in datasets.digits())
    settings = digits.Settings(
        n_views=2, n_components=6, regs=(1e-1, 1e-2, 1e-3, 1e-4), search_features=100, n_labels=(20,), n_draws=2
    )
    study = digits.study(images, labels, 0, settings)
    draws = digits.label_draws(labels, 50, 3, 0)
    curves = more.curves(study, images, (2, 3), 0, {"workers": 0})
    return replace(study, choice=more.choice(study, images, draws), curves=curves), images, draws


def test_each_reg_has_its_own_risk_and_error(found):
    study, images, draws = found
    choice, searched = study.choice, study.selection
    by_reg = dict(zip(searched.regs.tolist(), searched.risks.tolist(), strict=True))
    assert [by_reg[reg] for reg in choice.regs.tolist()] == choice.risks.tolist()
    assert choice.regs[choice.by_risk] == searched.reg
    for row, reg in enumerate(choice.regs):
        features = Nystrom(study.settings.kernel, 100)
        rep = pretrain(study.views, features, 6, reg=reg, beta=study.settings.beta, center=True)
        z = rep(images)
        for column, labelled in enumerate(draws):
            probe = ridge_probe(z[labelled], study.labels[labelled], study.settings.probe_regs)
            others = np.setdiff1d(np.arange(240), labelled)
            wrong = np.mean(probe.predict(z[others]) != study.labels[others])
            assert choice.errors[row, column] == pytest.approx(wrong, abs=0.02)
    errors = choice.errors.mean(axis=1)
    assert choice.price()[0] == pytest.approx(errors[choice.by_risk] - errors.min())


def test_words_and_picture(found):
    panels = pytest.importorskip("sslcore.plotting.panels")
    from sslcore.studies.figures import digits as figures

    study = found[0]
    assert f"Without labels reg {study.selection.reg:g} was chosen" in study.verdict()
    assert "error of a probe with 50 labels" in study.table()
    assert study.document()["choice"]["n_labels"] == 50
    assert study.curves.pretraining_sizes[-1] == 160
    assert len(panels.png(figures.choice_figure(study))) > 20_000
