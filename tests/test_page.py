"""The page of a run: well-formed, self-contained, complete, and the same bytes for the same run."""

import base64
import json
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from numvae import figures, page
from numvae.errors import InputError

VOID = {"meta", "link", "img", "br"}
NUMBERS = {
    "train_elbo": -101.234, "test_elbo": -104.567, "test_reconstruction": -79.467, "test_kl": 25.1,
    "epochs": 10, "seconds": 31.04, "samples_per_second": 19330.4, "parameters": 1149824,
}  # fmt: skip
CHECK = {
    "ok": True,
    "verdict": "passed",
    "problems": [],
    "worst_relative_error": 6e-10,
    "groups": [
        {
            "name": "encoder.W<0>",
            "analytic": -12.3456789,
            "numeric": -12.3456789004,
            "relative_error": 3e-11,
            "inconclusive": False,
        },
        {"name": "decoder.b", "analytic": 0.25, "numeric": 0.25, "relative_error": 0.0, "inconclusive": False},
    ],
}
HISTORY = [
    {"epoch": k, "step": 10 * k, "samples": 60000 * k, "seconds": 3.0 * k, "train_elbo": -110.0 - k,
     "test_elbo": -107.0 + k, "test_reconstruction": -85.0, "test_kl": 22.0 + k}
    for k in (1, 2, 3)
]  # fmt: skip


class Document(HTMLParser):
    """The elements and the text of a page; refuses tags that are not closed in order."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(SimpleNamespace(tag=tag, attributes=dict(attrs), inside=tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag):
        return [element for element in self.elements if element.tag == tag]


@pytest.fixture
def pictures(tmp_path):
    figures.save(figures.image_grid(np.zeros((4, 784)), (28, 28), columns=2), tmp_path / "grid.png")
    images = np.zeros((20, 784))
    figures.save(figures.reconstructions(images, images, (28, 28)), tmp_path / "wide.png")
    return [
        (*page.CAPTIONS["prior_samples"], tmp_path / "grid.png"),
        ("Wide <one>", 'Look for "this" & that.', tmp_path / "wide.png"),
    ]


@pytest.fixture
def write(tmp_path, pictures):
    def write(**changes):
        arguments = {
            "title": "A VAE with 2 latents, on MNIST", "numbers": NUMBERS, "configuration": {"latent": 2, "lr": 1e-3},
            "figures": pictures, "gradient_check": CHECK, "history": HISTORY, "notes": ["Trained with Adam."],
        }  # fmt: skip
        path = tmp_path / "index.html"
        page.write_page(path, **(arguments | changes))
        return path.read_text(encoding="utf-8")

    return write


def test_the_parser_of_these_tests_refuses_an_unclosed_tag():
    with pytest.raises(AssertionError):
        Document("<p><em>text</p>")


def test_the_page_is_well_formed_html_with_a_title_and_one_headline(write):
    source = write()
    document = Document(source)
    assert source.startswith("<!DOCTYPE html>")
    assert document.all("html")[0].attributes["lang"] == "en"
    assert len(document.all("title")) == len(document.all("h1")) == 1
    assert document.text.count("A VAE with 2 latents, on MNIST") == 2


def test_the_page_holds_everything_and_asks_the_network_for_nothing(write):
    source = write()
    document = Document(source)
    assert document.all("script") == []
    for element in document.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert element.attributes.get(name, "data:").startswith("data:")
    assert "url(" not in source
    assert "@import" not in source
    assert "http://" not in source
    assert "https://" not in source


def test_the_pictures_are_embedded_byte_for_byte_with_alt_text_and_their_size(write, pictures):
    images = Document(write()).all("img")
    for (title, _, path), image in zip(pictures, images, strict=True):
        kind, content = image.attributes["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == path.read_bytes()
        assert image.attributes["alt"] == title
        assert int(image.attributes["width"]) > 0
        assert "figure" in image.inside


def test_only_the_wide_picture_takes_the_whole_width(write):
    assert [figure.attributes.get("class") for figure in Document(write()).all("figure")] == [None, "wide"]


def test_every_caption_is_shown(write, pictures):
    text = Document(write()).text
    assert all(title in text and caption in text for title, caption, _ in pictures)


def test_there_are_words_for_every_figure():
    drawing = set(figures.__all__) - {"Picture", "save", "image_grid"}
    assert set(page.CAPTIONS) == drawing


@pytest.mark.parametrize(
    "shown", ["−104.57", "−101.23", "−79.47", "25.10", "31.0", "19,330", "1,149,824", "nats", "samples/s"]
)
def test_the_numbers_are_shown_for_a_person_to_read(write, shown):
    assert shown in Document(write()).text


def test_quantities_not_known_are_shown_under_their_key(write):
    text = Document(write(numbers=NUMBERS | {"active_latents": 17, "importance_bound": None})).text
    assert "active_latents17" in text
    assert "importance_bound–" in text


def test_a_quantity_that_is_not_finite_is_shown_as_it_is(write):
    text = Document(write(numbers={"test_elbo": float("nan"), "train_elbo": float("-inf")})).text
    assert "Test boundnannats" in text
    assert "Training bound−infnats" in text


def test_the_gradient_check_shows_each_group_and_the_verdict(write):
    text = Document(write()).text
    assert "✓ Passed: the worst relative error is 6.0e−10." in text
    assert "encoder.W<0>−1.2345678900e+01−1.2345678900e+013.0e−11" in text
    assert "decoder.b" in text


def test_a_failed_gradient_check_says_so(write):
    failed = CHECK | {"ok": False, "verdict": "failed", "problems": ["dtheta.decoder.b: off by a factor <2>"]}
    text = Document(write(gradient_check=failed)).text
    assert "✗ Failed; do not trust this run.dtheta.decoder.b: off by a factor <2>" in text
    assert "Passed" not in text


def test_a_check_that_could_not_judge_is_amber_and_no_reason_for_distrust(write):
    unknown = {"analytic": None, "numeric": None, "relative_error": None, "inconclusive": True}
    first, second = CHECK["groups"]
    inconclusive = CHECK | {"verdict": "inconclusive", "groups": [first, second | unknown]}
    source = write(gradient_check=inconclusive)
    text = Document(source).text
    assert "? Inconclusive for 1 of 2 groups of weights" in text
    assert "In the others the worst relative error is 6.0e−10." in text
    assert "decoder.b–––" in text
    assert '<p class="verdict unsure">' in source
    assert "trust" not in text
    nothing = inconclusive | {"ok": False, "worst_relative_error": None, "groups": [first | unknown, second | unknown]}
    assert "could judge none of the weights" in Document(write(gradient_check=nothing)).text


def test_what_else_the_check_found_is_shown(write):
    assert '"variance_ratio": 312.5' in Document(write(gradient_check=CHECK | {"variance_ratio": 312.5})).text


def test_parts_that_a_run_does_not_have_are_left_out(write):
    document = Document(write(gradient_check=None, figures=[], history=[], notes=[]))
    assert document.all("img") == []
    assert "gradient of this model" not in document.text
    assert "behind the curves" not in document.text


def test_the_configuration_can_be_read_back_from_the_page(write):
    configuration = {"latent": 2, "hidden": [500], "title": "<script>é & 'x'", "out": None}
    text = Document(write(configuration=configuration)).text
    start = text.index("{", text.index("The whole configuration"))
    assert json.JSONDecoder().raw_decode(text[start:])[0] == configuration


def test_the_history_is_in_a_table_with_a_row_for_each_epoch(write):
    text = Document(write()).text
    assert "3180,0009.0−113.00−104.00−85.0025.00" in text


def test_the_command_to_repeat_the_run_is_shown(write):
    assert "numvae train config.json --out again" in Document(write()).text
    assert "numvae train <mine>" in Document(write(command="numvae train <mine>")).text


def test_text_from_outside_is_escaped(write):
    attack = '"><script>alert(1)</script>'
    source = write(
        title=attack, notes=[attack], numbers={attack: attack}, configuration={attack: attack}, command=attack,
        gradient_check={"ok": True, "verdict": "failed", "problems": [attack], "worst_relative_error": attack,
            attack: attack, "groups": [
            {"name": attack, "analytic": attack, "numeric": attack, "relative_error": attack, "inconclusive": False}]},
        history=[{"epoch": attack}],
    )  # fmt: skip
    assert "<script" not in source
    assert Document(source).all("script") == []


def test_a_title_with_quotes_stays_inside_the_alt_text(write, pictures):
    title = 'a "quoted" <title>'
    (image,) = Document(write(figures=[(title, "caption", pictures[0][2])])).all("img")
    assert image.attributes["alt"] == title


def test_the_same_run_gives_the_same_bytes_and_no_other_file(write, tmp_path):
    before = {path.name for path in tmp_path.iterdir()}
    assert write() == write()
    assert {path.name for path in tmp_path.iterdir()} == before | {"index.html"}


def test_a_picture_that_is_not_a_png_is_refused_and_the_old_page_stays(write, tmp_path):
    old = write()
    (tmp_path / "fake.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"fake\.png is not a PNG file"):
        write(figures=[("t", "c", tmp_path / "fake.png")])
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == old
