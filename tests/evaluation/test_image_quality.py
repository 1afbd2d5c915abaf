import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.image_quality import measure_quality, ssim_map, summarise_quality

SIDE = 40


@pytest.fixture(scope="module")
def pictures():
    """Four smooth pictures, as bytes, and noisy ones."""
    random = np.random.default_rng(0)
    smooth = gaussian_filter(random.random((4, SIDE, SIDE, 3)), (0, 3, 3, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    noisy = np.clip(smooth + random.normal(0, 0.1, smooth.shape), 0, 1)
    return tuple((255 * part).round().astype(np.uint8) for part in (smooth, noisy))


def whole(quality):
    return quality.values[quality.values["region"] == "full"]


def row(summary, metric, region="full"):
    return summary[(summary["metric"] == metric) & (summary["region"] == region)].iloc[0]


def wang(x, y):
    """SSIM of two channels by scipy's Gaussian, which is cut at 3.5 sigma: 11 pixels."""

    def smooth(values):
        return gaussian_filter(values, 1.5, truncate=3.5)[5:-5, 5:-5]

    a, b = smooth(x), smooth(y)
    va, vb, cov = smooth(x * x) - a * a, smooth(y * y) - b * b, smooth(x * y) - a * b
    return (2 * a * b + 1e-4) * (2 * cov + 9e-4) / ((a * a + b * b + 1e-4) * (va + vb + 9e-4))


def test_a_constant_offset_has_its_psnr_and_ssim_in_closed_form():
    flat = torch.full((1, 3, SIDE, SIDE), 0.5)
    values = whole(measure_quality(flat + 0.1, flat))
    assert values["psnr_db"].item() == pytest.approx(20.0, abs=1e-5)
    luminance = (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4)
    assert values["ssim"].item() == pytest.approx(luminance, abs=1e-6)


def test_identical_images_are_infinite_and_named_so(pictures):
    quality = measure_quality(pictures[0], pictures[0])
    assert np.isposinf(whole(quality)["psnr_db"]).all()
    assert whole(quality)["ssim"].to_numpy() == pytest.approx(1.0, abs=1e-12)
    found = row(summarise_quality(quality), "psnr_mean_db")
    assert np.isposinf([found.value, found.low, found.high]).all() and found.identical == 4
    assert np.isposinf(row(summarise_quality(quality), "psnr_pooled_db").value)


def test_one_identical_pair_is_counted_and_not_averaged(pictures):
    smooth, noisy = pictures
    mixed = np.concatenate([smooth[:1], noisy[1:]])
    quality = measure_quality(mixed, smooth)
    found = row(summarise_quality(quality), "psnr_mean_db")
    assert found.identical == 1 and found.n == 3
    assert found.value == pytest.approx(whole(quality)["psnr_db"][1:].mean())


def test_mean_and_pooled_db_are_two_things():
    """Four noise levels: the loudest rules the pooled dB, the quietest lifts the mean."""
    levels = np.array([0.01, 0.03, 0.1, 0.3])
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (4, 3, SIDE, SIDE), generator=random).double() * 2 - 1
    grey = torch.full_like(signs, 0.5)
    noisy = grey + signs * torch.from_numpy(levels)[:, None, None, None]
    summary = summarise_quality(measure_quality(noisy, grey))
    mean, pooled = (row(summary, name) for name in ("psnr_mean_db", "psnr_pooled_db"))
    assert mean.value == pytest.approx(np.mean(-20 * np.log10(levels)), abs=1e-9)
    assert pooled.value == pytest.approx(-10 * np.log10(np.mean(levels**2)), abs=1e-9)
    assert mean.value - pooled.value > 9 and pooled.low <= pooled.value <= pooled.high


def test_ssim_is_that_of_wang(pictures):
    smooth, noisy = (part / 255 for part in pictures)
    expected = [
        np.mean([wang(x[..., c], y[..., c]) for c in range(3)])
        for x, y in zip(smooth, noisy, strict=True)
    ]
    values = whole(measure_quality(pictures[1], pictures[0]))["ssim"].to_numpy()
    assert values == pytest.approx(expected, abs=1e-9) and values.max() < 0.99


def test_regions_see_only_their_own_pixels(pictures):
    smooth, noisy = pictures
    half = torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    half[:, :, :20] = True
    mixed = smooth.copy()
    mixed[:, :, 20:] = noisy[:, :, 20:]
    quality = measure_quality(mixed, smooth, {"left": half, "right": ~half})
    left = quality.values[quality.values["region"] == "left"]
    # No window of the eroded half looks across the border.
    assert (left["mse"] == 0).all() and left["ssim"].to_numpy() == pytest.approx(1.0, abs=1e-12)
    alone = whole(measure_quality(noisy[:, :, 20:], smooth[:, :, 20:]))
    right = quality.values[quality.values["region"] == "right"]
    for metric in ("psnr_db", "ssim"):
        assert right[metric].to_numpy() == pytest.approx(alone[metric].to_numpy(), abs=1e-9)


def test_an_empty_region_is_missing_and_a_thin_one_has_no_ssim(pictures):
    masks = {"none": torch.zeros(4, SIDE, SIDE), "thin": torch.zeros(4, SIDE, SIDE)}
    masks["thin"][:, 20:26] = 1
    summary = summarise_quality(measure_quality(pictures[1], pictures[0], masks))
    none, thin = (row(summary, "ssim", region) for region in ("none", "thin"))
    assert none.missing == thin.missing == 4 and none.n == 0 and np.isnan(thin.value)
    assert row(summary, "psnr_mean_db", "thin").n == 4
    assert row(summary, "psnr_pooled_db", "none").missing == 4


def test_values_do_not_depend_on_the_batch(pictures):
    columns = ["psnr_db", "ssim"]
    together = measure_quality(pictures[1], pictures[0]).values[columns].to_numpy()
    alone = measure_quality(pictures[1], pictures[0], batch_size=1).values[columns].to_numpy()
    assert together == pytest.approx(alone, abs=1e-10)


def test_an_absent_metric_says_why_and_has_no_value(pictures):
    absent = Absent("lpips_alex", "expected the trunk of LPIPS (alex), it is not here")
    quality = measure_quality(pictures[1], pictures[0], perceptual=(absent,))
    assert quality.values["lpips_alex"].isna().all()
    found = row(summarise_quality(quality), "lpips_alex")
    assert np.isnan(found.value) and found.n == 0 and found.note == absent.reason


def test_intervals_resample_whole_subjects(pictures):
    repeated = [np.repeat(part, 5, axis=0) for part in pictures]
    people = np.repeat(["a", "b", "c", "d"], 5)
    single = measure_quality(*repeated[::-1])
    known = measure_quality(*repeated[::-1], subjects=people)
    widths = [r.high - r.low for r in (row(summarise_quality(q), "ssim") for q in (single, known))]
    assert widths[1] > 1.5 * widths[0]
    part = dataclasses.replace(known, values=known.values.query("subject != 'a'"))
    assert row(summarise_quality(part), "ssim").n == 15


def test_worse_pictures_have_smaller_numbers(pictures):
    smooth, noisy = pictures
    slightly = ((smooth.astype(int) * 3 + noisy) // 4).astype(np.uint8)
    close, far = (whole(measure_quality(part, smooth)) for part in (slightly, noisy))
    assert (close["psnr_db"] > far["psnr_db"]).all() and (close["ssim"] > far["ssim"]).all()


BYTES = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
FLOATS = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, SIDE, SIDE)
MALFORMED_IMAGES = {
    "a list": (BYTES.tolist(), "got list"),
    "whole numbers": (BYTES.astype(np.int64), "got int64"),
    "objects": (BYTES.astype(object), "got object"),
    "one picture": (BYTES[0], "RGB images uint8"),
    "grey bytes": (BYTES[..., :1], "RGB images uint8"),
    "bytes, channels first": (BYTES.transpose(0, 3, 1, 2), "RGB images uint8"),
    "none": (BYTES[:0], "none empty"),
    "an empty crop": (BYTES[:, :0], "none empty"),
    "floats, channels last": (FLOATS.permute(0, 2, 3, 1), "RGB images float"),
    "four channels": (FLOATS[:, [0, 1, 2, 2]], "RGB images float"),
    "0 to 255": (FLOATS * 255, r"in \[0, 1\], got 0.\d+ to 25.*rescale"),
    "-1 to 1": (FLOATS * 2 - 1, r"in \[0, 1\], got -"),
    "NaN": (FLOATS.where(FLOATS > 0.01, torch.nan), "number 0 holds NaN"),
    "infinity": (FLOATS.where(FLOATS > 0.01, torch.inf), "number 0 holds NaN or infinity"),
    "below the window": (FLOATS[:, :, :10], "11 px or more"),
}
MALFORMED_CALLS = {
    "bytes and floats": (BYTES, FLOATS, {}, "of one type and shape"),
    "unequal numbers": (BYTES, BYTES[:1], {}, "of one type and shape"),
    "unequal sizes": (BYTES, BYTES[:, :39], {}, "of one type and shape"),
    "two precisions": (FLOATS, FLOATS.double(), {}, "of one type and shape"),
    "a mask of another size": (BYTES, BYTES, {"masks": {"face": MASK[:, :, 1:]}}, "masks"),
    "a mask too few": (BYTES, BYTES, {"masks": {"face": MASK[:1]}}, "one per pair"),
    "an array as mask": (BYTES, BYTES, {"masks": {"face": MASK.numpy()}}, "as tensors"),
    "a mask of NaN": (BYTES, BYTES, {"masks": {"face": MASK * torch.nan}}, r"masks in \[0, 1\]"),
    "a mask up to 255": (BYTES, BYTES, {"masks": {"face": MASK * 255}}, "divide by its maximum"),
    "a mask below 0": (BYTES, BYTES, {"masks": {"face": -MASK}}, r"masks in \[0, 1\]"),
    "a mask of bytes": (BYTES, BYTES, {"masks": {"face": MASK.byte()}}, "bool or float"),
    "a mask called full": (BYTES, BYTES, {"masks": {"full": MASK}}, "none called 'full'"),
    "too few people": (BYTES, BYTES, {"subjects": ["a"]}, "2 subject names"),
    "too many pairs": (BYTES, BYTES, {"pairs": ["a"] * 3}, "2 pair names"),
}
MALFORMED = {
    **{what: (bad, bad, {}, told) for what, (bad, told) in MALFORMED_IMAGES.items()},
    **MALFORMED_CALLS,
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_cannot_be_compared_is_refused_in_one_sentence(what):
    images, references, more, told = MALFORMED[what]
    with pytest.raises(ValueError, match=rf"^expected [^\n]*{told}[^\n]*$"):
        measure_quality(images, references, **more)


def test_the_map_is_symmetric_and_at_most_one(pictures):
    x, y = (torch.from_numpy(p).permute(0, 3, 1, 2).double() / 255 for p in pictures)
    found = ssim_map(x, y)
    assert found.shape == (4, SIDE - 10, SIDE - 10) and found.max() <= 1
    assert torch.allclose(found, ssim_map(y, x), atol=1e-12)
