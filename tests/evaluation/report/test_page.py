import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.evaluation.report import page as report
from facenet_core.evaluation.report import pictures
from facenet_core.evaluation.report.pictures import Skipped, Thumbnail, ThumbnailPair
from facenet_core.evaluation.stage import plan_validate, validate

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr", "path", "use"}
REFERRING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"}


class Document(HTMLParser):
    """What a page refers to, the figures in it, and whether its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.figures: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.open: list[str] = []
        self._figure: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in REFERRING]
        self.references += re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")
        if tag == "data":
            self._figure = attributes["id"]
            self.values[self._figure] = attributes["value"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag
        self._figure = None

    def handle_data(self, data):
        if self._figure is not None:
            self.figures[self._figure] = data
        if self.open and self.open[-1] == "style":
            self.references += re.findall(r"url\(([^)]*)\)|@import (.*);", data)


@pytest.fixture(scope="module")
def made(tmp_path_factory, crops_uri, model_uri):
    """A report on generated pairs: what its page shows, the page, and its metrics."""
    config = ValidateConfig(lfw_nrof_folds=3, pairs_per_fold=20)
    plan = plan_validate(str(tmp_path_factory.mktemp("reports")), crops_uri, model_uri, config)
    pages, render = [], report.render
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "render", lambda page: pages.append(page) or render(page))
        validate(plan, config)
    html = storage.read_bytes(storage.join(plan.uri, "report.html")).decode()
    metrics = json.loads(storage.read_bytes(storage.join(plan.uri, "metrics.json")))
    return pages[0], html, metrics


@pytest.fixture
def page(made):
    return made[0]


@pytest.fixture
def html(made):
    return made[1]


@pytest.fixture
def metrics(made):
    return made[2]


def test_the_page_needs_nothing_outside_itself(html):
    document = Document(html)
    assert document.open == []
    assert not {"link", "iframe", "object", "base"} & set(document.tags)
    assert document.tags.count("script") == 1
    assert "default-src 'none'" in html
    assert len(document.references) > 20
    assert all(reference.startswith(("data:image/", "#")) for reference in document.references)
    outside = set(re.findall(r"\w+://[\w./]+", html))
    assert outside == {"http://www.w3.org/2000/svg"}  # the name of a vocabulary, not an address


def test_local_references_exist(html):
    local = {reference[1:] for reference in Document(html).references if reference.startswith("#")}
    assert local <= set(re.findall(r' id="([^"]+)"', html))


def test_the_figures_are_those_of_the_metrics(html, metrics):
    document = Document(html)
    assert {"accuracy", "accuracy_std", "val_rate", "auc", "eer", "far"} <= document.figures.keys()
    for name, value in document.values.items():
        assert value == str(metrics[name])
    assert document.figures["accuracy"] == f"{100 * metrics['accuracy']:.2f} %"
    assert document.figures["auc"] == f"{metrics['auc']:.4f}"
    assert document.figures["threshold"] == f"{metrics['threshold']:.3f}"


def test_every_fold_has_its_row(html, metrics):
    for fold in metrics["folds"]:
        assert f"<tr><td>{fold['fold'] + 1}</td><td>{fold['pairs']}</td>" in html


def test_training_curves_are_those_that_the_history_has(html):
    assert re.findall(r"<h3>(Loss|Center loss|Learning rate|Accuracy)</h3><svg", html) == [
        "Loss",
        "Learning rate",
    ]


def test_plots_take_their_colours_from_the_page(html):
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(svgs) == 5
    for svg in svgs:
        assert "var(--same)" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#\w+', "", svg))


def test_plots_carry_the_places_that_can_be_pointed_at(html, metrics):
    charts = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', html)
    plots = [
        json.loads(text.replace("&quot;", '"'))
        for text in re.findall(r'data-points="([^"]*)"', html)
    ]
    assert len(plots) == len(charts) == 5
    for points, (width, height) in zip(plots, charts, strict=True):
        assert len(points) > 1
        assert all(0 <= x <= float(width) and 0 <= y <= float(height) for x, y, _ in points)
        assert all(label for *_, label in points)
    roc, *_ = plots
    assert roc[-1][2].startswith("FAR 1.0000   TAR 100.00%")
    heights = [y for _, y, _ in roc]
    assert heights == sorted(heights, reverse=True)  # the curve never falls


def test_every_rate_has_its_row(html, metrics):
    assert [rate["far_target"] for rate in metrics["rates"]] == [0.1]
    assert f"<tr><td>0.1</td><td>{report.percent(metrics['rates'][0]['val_rate'])}</td>" in html


def test_intervals_are_shown(html, metrics):
    assert report.interval(metrics["accuracy_interval"]) in html
    assert "that draw people" in html


def test_centre_crops_are_said(page):
    some = {**page.metrics, "pairs_centre_cropped": 4, "images_centre_cropped": 3}
    html = report.render(dataclasses.replace(page, metrics=some))
    assert "middle of a photograph in which no face was found (3 images)" in html
    assert "middle of a photograph" not in report.render(page)


def test_names_are_escaped(page):
    nasty = '"><script>alert(1)</script>'
    face = Thumbnail(nasty, nasty, "data:image/png;base64,AA==")
    hostile = dataclasses.replace(
        page,
        metrics={**page.metrics, "pairs_skipped": 1},
        pictures=dataclasses.replace(
            page.pictures, samples=[face], closest=[ThumbnailPair(face, face, 0.1, True)]
        ),
        skipped=[Skipped(((nasty, True), (nasty, False)), nasty)],
        skipped_reasons=[(nasty, 1)],
        command=nasty,
        plan=dataclasses.replace(page.plan, name=nasty),
    )
    html = report.render(hostile)
    assert html.count("<script") == 1
    assert html.count("&lt;script&gt;") > 10
    assert Document(html).tags.count("script") == 1


def test_what_was_skipped_is_said(page):
    skipped = dataclasses.replace(
        page,
        metrics={**page.metrics, "pairs_skipped": 21},
        skipped=[Skipped((("Ada/Ada_0001.jpg", True), ("Bo/Bo_0001.jpg", False)), "no_face")],
        skipped_reasons=[("no_face", 1)],
    )
    html = report.render(skipped)
    assert "<td><b>Ada/Ada_0001.jpg</b></td><td>Bo/Bo_0001.jpg</td><td>no_face</td>" in html
    assert "… and 20 more" in html
    assert "left out" not in report.render(page)


def test_too_few_pairs_for_the_false_accept_rate_are_said(page):
    assert "60 pairs of two people are too few to see a false accept rate of 0.001" in (
        report.render(page)
    )
    enough = dataclasses.replace(page, two_people=1000)
    assert "too few" not in report.render(enough)


def test_people_that_training_saw_are_said(page):
    seen = dataclasses.replace(page, metrics={**page.metrics, "people_in_training": 3})
    assert "of these people were also in training" in report.render(seen)
    assert "also in training" not in report.render(page)


def test_hardest_pairs_are_sorted_and_marked(page):
    closest = [pair.distance for pair in page.pictures.closest]
    farthest = [pair.distance for pair in page.pictures.farthest]
    assert closest == sorted(closest)
    assert farthest == sorted(farthest, reverse=True)
    assert all(pair.a.identity != pair.b.identity for pair in page.pictures.closest)
    assert all(pair.a.identity == pair.b.identity for pair in page.pictures.farthest)
    wrong = sum(pair.wrong for pair in page.pictures.closest)
    assert wrong == min(page.pictures.false_matches, pictures.HARDEST)


def test_wrong_pairs_and_accuracy_agree(page):
    wrong = page.pictures.false_matches + page.pictures.false_non_matches
    assert page.metrics["accuracy"] == pytest.approx(1 - wrong / page.metrics["pairs"])


def test_captions_leave_out_a_folder_that_the_name_repeats():
    assert Thumbnail("lfw/Ada_L/Ada_L_0001.jpg", "Ada_L", "").caption == "Ada_L_0001"
    assert Thumbnail("17/000123.jpg", "17", "").caption == "17/000123.jpg"


def test_the_command_makes_the_report_again_in_the_storage_root(crops_uri, model_uri):
    root = crops_uri.rsplit("/", 3)[0]
    config = ValidateConfig(subtract_mean=True, far_target=0.01, pairs="/home/ann/my pairs.txt")
    plan = plan_validate(root, crops_uri, model_uri, ValidateConfig())
    crops, model = (uri.removeprefix(f"{root}/") for uri in (crops_uri, model_uri))
    assert crops.startswith("crops/")
    assert report.command(plan, config) == (
        f"facenet validate {crops} {model} --pairs 'my pairs.txt' --subtract-mean "
        "--far-target 0.01 --storage ."
    )


def test_a_page_tells_no_paths_of_the_machine(page, html):
    assert page.plan.uri.rsplit("/", 3)[0] not in html
    assert not re.search(r"[ >]/[a-z]+/", html)
    assert page.plan.fingerprint in html


def test_a_page_begins_with_a_sentence_and_shows_the_hardest_pairs_before_the_folds(page, html):
    said = f"rightly in {report.percent(page.metrics['accuracy'], 1)} of cases whether"
    heads = ["guessing would reach 50 %", "by the LFW protocol", "Two people, closest", "Folds"]
    places = [html.index(text) for text in (said, *heads)]
    assert places == sorted(places)


def test_one_pair_is_not_called_pairs(page):
    metrics = {**page.metrics, "pairs": 1, "people": 1}
    one = dataclasses.replace(page, metrics=metrics, one_person=1, two_people=0, images=1)
    text = report.render(one)
    assert "protocol: 1 pair\n" in text
    assert "from 1 image of 1 person" in text
    assert not re.search(r"\b1 (pairs|images|people|folds)\b", text)


@pytest.mark.parametrize(
    "history",
    [{}, {"epoch": []}, {"epoch": [1]}, {"epoch": [1], "loss": [None]}, {"loss": [1.0]}],
)
def test_a_history_without_curves_draws_none(history):
    assert report.training_curves(history) == []


def test_a_history_with_gaps_is_drawn():
    history = {"epoch": [1, 2], "accuracy": [None, 0.5], "center_loss": [0.0, 0.0]}
    assert [title for title, _ in report.training_curves(history)] == ["Accuracy"]
