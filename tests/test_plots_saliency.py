"""Overlays, the panel of right and wrong faces, and one face explained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fer_lib import plots

GREY = np.array([0.299, 0.587, 0.114])
images = arrays(np.uint8, (4, 5, 3))
maps = arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32))


def explained(emotion="happiness", **changes):
    names = ["neutral", "happiness", "fear"]
    probabilities = pd.DataFrame(
        {"rgb": [0.1, 0.7, 0.2], "landmarks": [0.6, 0.3, 0.1], "fusion": [0.2, 0.5, 0.3]}, names
    )
    generator = np.random.default_rng(0)
    face = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return replace(
        plots.FaceExplanation(
            "a face", emotion, face, (generator.random((40, 40)) < 0.1).astype(np.float32),
            probabilities, generator.random((32, 32)), generator.random((40, 40)), 0.36, 0.6, True,
        ), **changes,
    )  # fmt: skip


def words(figure):
    texts = [*figure.texts]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
    return {text.get_text(): text.get_color() for text in texts}


@given(images)
def test_an_empty_map_leaves_the_grey_image(image):
    grey = np.rint(image @ GREY).astype(np.uint8)
    overlay = plots.saliency_overlay(image, np.zeros((4, 5)))
    assert np.array_equal(overlay, np.repeat(grey[..., None], 3, axis=2))


@given(images, maps)
@settings(max_examples=50)
def test_an_overlay_is_made_pixel_by_pixel_and_never_darkens_black(image, saliency):
    overlay = plots.saliency_overlay(image, saliency)
    assert overlay.dtype == np.uint8
    turned = plots.saliency_overlay(image[::-1, ::-1], saliency[::-1, ::-1])
    assert np.array_equal(turned, overlay[::-1, ::-1])
    light = plots.saliency_overlay(np.zeros_like(image), saliency) @ GREY
    order = np.argsort(saliency, axis=None)
    # Rounding to bytes may take one step back.
    assert (np.diff(light.ravel()[order]) >= -1.01).all()


def test_the_brightest_cell_lets_the_face_through():
    black, white = (np.full((1, 1, 3), value, np.uint8) for value in (0, 255))
    low, high = (plots.saliency_overlay(image, np.ones((1, 1))) for image in (black, white))
    assert (high.astype(int) - low > 50).all()


def test_overlays_refuse_what_does_not_fit():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="one size"):
        plots.saliency_overlay(image, np.zeros((4, 5)))
    with pytest.raises(ValueError, match="uint8"):
        plots.saliency_overlay(image / 255, np.zeros((4, 4)))
    for value in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match="0 to 1"):
            plots.saliency_overlay(image, np.full((4, 4), value))


def test_the_panel_says_who_is_right_in_words_and_colours():
    figure = plots.saliency_panel({"right": [explained()], "wrong": [explained("fear")] * 2})
    assert len(figure.axes) == 12
    assert {"right", "wrong", "true: happiness", "true: fear", "a face"} <= set(words(figure))
    first = [text for axes in figure.axes[:4] for text in axes.texts]
    colours = {text.get_text(): text.get_color() for text in first}
    right, wrong = colours["RGB: happiness 0.70 ✓"], colours["landmarks: neutral 0.60 ✗"]
    assert colours["fusion: happiness 0.50 ✓"] == right != wrong
    assert words(figure)["fusion: happiness 0.50 ✗"] == wrong
    heights = [axes.get_position().y0 for axes in figure.axes[::4]]
    assert heights == sorted(heights, reverse=True)
    assert min(heights) > 0


def test_the_panel_leaves_out_groups_without_faces_but_wants_one():
    figure = plots.saliency_panel({"right": [explained()], "wrong": []})
    assert "wrong" not in words(figure)
    with pytest.raises(ValueError, match="at least one face"):
        plots.saliency_panel({"right": [], "wrong": []})


def test_the_pictures_are_face_dots_and_both_overlays():
    face = explained()
    shown = [np.asarray(axes.images[0].get_array()) for axes in
             plots.saliency_panel({"": [face]}).axes]
    assert np.array_equal(shown[0], face.face)
    assert np.array_equal(shown[1][..., 0], 255 * face.heatmap)
    assert np.array_equal(shown[2], plots.saliency_overlay(face.face, face.rgb_map))
    dots = np.repeat(255 * face.heatmap[..., None], 3, axis=2).astype(np.uint8)
    assert np.array_equal(shown[3], plots.saliency_overlay(dots, face.landmark_map))


@pytest.mark.parametrize("draw", [
    lambda face: plots.saliency_panel({"": [face]}), plots.explanation_figure,
])  # fmt: skip
def test_a_map_that_was_not_found_is_the_plain_image_and_says_so(draw):
    face = explained(landmark_map=None, landmarks_known=False, landmark_weight=0.0)
    figure = draw(face)
    assert "no map" in words(figure)
    shown = np.asarray(figure.axes[3].images[0].get_array())
    assert np.array_equal(shown[..., 1], 255 * face.heatmap)
    assert not any("no map" in text.get_text() for axes in figure.axes[:3] for text in axes.texts)
    assert any("o landmarks" in word for word in words(figure))


def test_an_explanation_has_a_bar_per_emotion_and_recogniser():
    face = explained()
    figure = plots.explanation_figure(face)
    bars = figure.axes[-1].patches
    widths = np.array([bar.get_width() for bar in bars]).reshape(3, 3)
    assert np.array_equal(widths, face.probabilities.to_numpy().T)
    labels = figure.axes[-1].get_yticklabels()
    assert [label.get_text() for label in labels] == list(face.probabilities.index)
    assert [label.get_weight() for label in labels] == ["normal", "bold", "normal"]
    assert "landmarks: neutral 0.60 ✗" in words(figure)
    assert "a face – true: happiness" in words(figure)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({}, "The branches disagree, w = 0.60: the landmark feature is weighted by 0.36."),
    ({"disagreement_weight": None}, "this network has no w"),
    ({"landmarks_known": False}, "No landmarks"),
])  # fmt: skip
def test_the_weight_is_explained(changes, sentence):
    assert any(sentence in word for word in words(plots.explanation_figure(explained(**changes))))


def test_branches_that_agree_leave_w_without_a_part():
    face = explained()
    face.probabilities["landmarks"] = face.probabilities["rgb"]
    assert face.agree
    assert any("w does not act" in word for word in words(plots.explanation_figure(face)))


@pytest.mark.parametrize("name", ["$\\frac{$.jpg", "a\nb\x00.png", "x" * 5000, "", "émotion Ω"])
def test_hostile_names_are_drawn_as_they_are(name, tmp_path):
    face = explained(None, name=name)
    plots.explanation_figure(face).savefig(tmp_path / "one.png")
    plots.saliency_panel({"$": [face]}).savefig(tmp_path / "panel.png")
    assert "\n" not in "".join(words(plots.explanation_figure(face)))
    assert "true emotion unknown" in words(plots.saliency_panel({"$": [face]}))
