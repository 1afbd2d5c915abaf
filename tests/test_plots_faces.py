"""Figures of fitted faces: what stands where, and that they show what they were given."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fer_lib import plots
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.ict.head import ict_head
from fer_lib.faces.light import sample_light
from fer_lib.faces.operations import with_emotion
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.plots.face_fits import FIT_COLUMNS, TIER_COLOURS

SIZE = 64


def faces(model, count=2):
    generator = torch.Generator().manual_seed(0)
    return FaceParams(
        0.7 * torch.randn(count, len(model.shape_names), generator=generator),
        torch.zeros(count, len(model.expression_names)),
        torch.tensor([0.0, 0.3, 0.0]).repeat(count, 1),
        torch.tensor([0.24, 0.0, 0.0, 14.0]).repeat(count, 1),
        torch.zeros(count, len(model.albedo_names)),
        sample_light(generator, count),
    )


@pytest.fixture(scope="module")
def model():
    return embedded_head()


@pytest.fixture(scope="module")
def fitted(model):
    return pictured(model)


def pictured(model):
    params = faces(model)
    drawn = render(model, params, SIZE, background=torch.full((1, 3, 1, 1), 0.5))
    photos = (drawn.image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return params, photos, drawn.landmarks_px.numpy(), drawn.mask[:, 0].numpy() == 1


def shown(axes):
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("name", ["embedded", "ict"])
def test_a_fit_sheet_lays_the_fit_over_the_photograph(name, request):
    if name == "ict":
        request.getfixturevalue("shared")
    model = ict_head() if name == "ict" else embedded_head()
    params, photos, points, covered = pictured(model)
    figure = plots.fit_sheet(model, params, photos, points, ["Anna", "Ben"])
    assert len(figure.axes) == 2 * len(FIT_COLUMNS)
    assert figure.axes[0].get_ylabel() == "Anna"
    for row in range(2):
        photo, grid, laid, geometry, dots = figure.axes[5 * row : 5 * row + 5]
        assert np.array_equal(shown(photo), photos[row])
        # A perfect fit on its own picture is that picture, but for the mixed pixels of its edge.
        off = np.abs(shown(laid).astype(int) - photos[row])
        assert off[covered[row]].max() <= 1
        assert off.mean() < 0.5
        lines = shown(grid).astype(float) - 0.8 * photos[row]
        assert 0.02 < (lines > 20).any(axis=-1).mean() < 0.3
        assert (shown(geometry)[0, 0] == 255).all()
        assert np.ptp(shown(geometry).astype(int), axis=-1).max() <= 1
        model_dots, found = (part.get_offsets() for part in dots.collections)
        np.testing.assert_allclose(model_dots, found, atol=1e-4)
        assert dots.get_xlim() == (-0.5, SIZE - 0.5)


def test_a_worse_fit_is_seen_to_be_worse(model, fitted):
    params, photos, *_ = fitted
    moved = params.replace(camera=params.camera + torch.tensor([0.0, 0.05, 0.0, 0.0]))
    figure = plots.fit_sheet(model, moved, photos)
    assert np.abs(shown(figure.axes[2]).astype(int) - photos[0]).max() > 50
    assert len(figure.axes[4].collections) == 1


def test_a_fit_sheet_wants_one_square_photograph_per_fit(model, fitted):
    params, photos, *_ = fitted
    for wrong in (photos[:1], photos[:, :, :9]):
        with pytest.raises(ValueError, match="2 square photographs"):
            plots.fit_sheet(model, params, wrong)


def test_a_transfer_strip_crosses_sources_and_targets(model):
    sources = faces(model)
    targets = with_emotion(faces(model, 3), "surprise", model.expression_names)
    figure = plots.transfer_strip(
        model, sources, targets, 48, source_titles=["A", "B"], target_titles=["x", "y", "z"]
    )
    assert len(figure.axes) == 3 * 4 - 1 + 1
    assert figure.axes[4].get_ylabel() == "A"
    assert figure.axes[1].get_title() == "x"
    pictures = [shown(axes).astype(int) for axes in figure.axes[5:8]]
    # One source with the same expression three times, unlike the source without it.
    assert np.array_equal(pictures[0], pictures[2])
    assert np.abs(pictures[0] - shown(figure.axes[4])).max() > 30
    still = plots.transfer_strip(model, sources, targets, 48, target_neutral=targets)
    assert np.array_equal(shown(still.axes[4]), shown(still.axes[5]))


def test_photographs_take_the_place_of_renders(model):
    photo = np.full((8, 8, 3), 7, np.uint8)
    one = faces(model, 1)
    figure = plots.transfer_strip(
        model, one, one, 48, source_photos=[photo], target_photos=[photo + 1]
    )
    assert [shown(axes).max() for axes in figure.axes[1:3]] == [8, 7]


def test_transferred_faces_are_laid_on_the_photographs(model, fitted):
    params, photos, _, covered = fitted
    figure = plots.transfer_strip(model, params, params, source_photos=photos, on_photos=True)
    # No one's expression is another than that of the photographs.
    for axes, row in ((figure.axes[4], 0), (figure.axes[8], 1)):
        off = np.abs(shown(axes).astype(int) - photos[row])
        assert off[covered[row]].max() <= 1
        assert np.array_equal(shown(axes)[0], photos[row][0])
    with pytest.raises(ValueError, match="source_photos"):
        plots.transfer_strip(model, params, params, on_photos=True)


SCORES = pd.DataFrame(
    {"fit": [0.2, 0.9, -3.4, np.nan], "encoder": [0.5, 0.4, 0.1, 0.2]},
    index=["b", "a", "c", "d"],
)


def test_scores_are_sorted_and_coloured_by_tier():
    figure = plots.score_bars(SCORES, {"a": "A", "b": "B", "c": "C", "d": "C"})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches[:3]] == list(TIER_COLOURS.values())
    widths = [bar.get_width() for bar in axes.patches[:3]]
    assert widths == [0.9, 0.2, -0.5]
    assert [text.get_text() for text in axes.texts] == ["-3.4", "not scored"]
    assert axes.lines[0].get_xdata().tolist() == [0.4, 0.5, 0.1, 0.2]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["fit, tier A", "fit, tier B", "fit, tier C", "encoder"]


def test_scores_without_tiers_have_one_colour_and_a_missing_tier_is_named():
    axes = plots.score_bars(SCORES[["encoder"]]).axes[0]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 1
    assert axes.get_legend() is None
    assert axes.get_xlim() == (0, 1)
    with pytest.raises(ValueError, match="'d'"):
        plots.score_bars(SCORES, {"a": "A", "b": "B", "c": "C"})


def test_an_error_map_is_bright_where_the_error_is(model):
    error = np.zeros(len(model.template))
    left = model.template[:, 0].numpy() < 0
    error[left] = 3.0
    figure = plots.error_map(model, error, limit_mm=3.0)
    assert isinstance(figure, Figure)
    front = shown(figure.axes[0])
    middle = front.shape[0] // 2
    yellow = front[..., :2].mean(-1) - front[..., 2]
    assert yellow[middle, middle - 40] > 0.2 > yellow[middle, middle + 40]
    assert figure.axes[-1].get_ylim()[1] == pytest.approx(3.0)


def test_unmeasured_vertices_are_grey_and_some_must_be_measured():
    head = embedded_head()
    error = np.full(len(head.template), np.nan)
    with pytest.raises(ValueError, match="0 measured"):
        plots.error_map(head, error)
    with pytest.raises(ValueError, match="errors"):
        plots.error_map(head, np.zeros(3))
    error[0] = 1.0
    front = shown(plots.error_map(head, error).axes[0])
    assert np.ptp(front, axis=-1).mean() < 0.01


def test_figures_of_faces_can_be_written(tmp_path):
    head = embedded_head()
    plots.transfer_strip(head, faces(head, 1), faces(head, 1), 32).savefig(tmp_path / "a.png")
    plots.score_bars(SCORES).savefig(tmp_path / "b.png")
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 1000
