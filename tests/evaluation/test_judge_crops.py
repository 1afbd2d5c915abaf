import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from fer_lib.evaluation.judge_crops import as_images, exact_crops, resize_crops


def pictures(*sizes):
    generator = np.random.default_rng(0)
    coarse = [generator.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in sizes]
    return [
        np.asarray(Image.fromarray(field).resize(size, Image.Resampling.BICUBIC))
        for field, size in zip(coarse, sizes, strict=True)
    ]


def test_faces_are_resized_as_torchvision_resizes_photographs():
    resize = transforms.Resize((224, 224))
    faces = [*pictures((90, 120), (400, 251), (224, 224)), np.zeros((1, 3, 3), np.uint8)]
    faces.append(faces[0][::-1, ::2])
    expected = [np.asarray(resize(Image.fromarray(np.ascontiguousarray(face)))) for face in faces]
    assert np.array_equal(resize_crops(faces, 224), expected)


def test_exact_crops_become_floats_of_their_grey_levels():
    (face,) = pictures((24, 24))
    images = exact_crops([face, face[:, ::-1]], 24)
    assert images.shape == (2, 3, 24, 24)
    assert torch.equal(images[1].flip(2), images[0])
    np.testing.assert_array_equal((images[0] * 255).round().permute(1, 2, 0).numpy(), face)
    assert torch.equal(as_images(face[None]), images[:1])
    with pytest.raises(ValueError, match=r"expected crops of \(32, 32, 3\), got \(24, 24, 3\)"):
        exact_crops([face], 32)
