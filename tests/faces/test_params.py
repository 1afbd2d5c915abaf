import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.params import FaceParams, rotation_matrix


def some_params(count, camera_kind="perspective", seed=0):
    g = torch.Generator().manual_seed(seed)
    columns = 4 if camera_kind == "perspective" else 3
    sizes = {"shape": (5,), "expression": (4,), "pose": (3,), "camera": (columns,)}
    sizes |= {"albedo": (2,), "light": (9, 3)}
    tensors = {name: torch.randn(count, *size, generator=g) for name, size in sizes.items()}
    return FaceParams(**tensors, camera_kind=camera_kind)


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_rotation_is_orthonormal_and_keeps_handedness(angles):
    rotation = rotation_matrix(torch.tensor([angles], dtype=torch.float64))[0]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.det(rotation).item() == pytest.approx(1)


def test_rotation_is_the_product_of_the_three_turns():
    pose = torch.tensor([[0.3, -0.5, 0.2]], dtype=torch.float64)
    single = [rotation_matrix(pose * mask)[0] for mask in torch.eye(3, dtype=torch.float64)]
    pitch, yaw, roll = single
    torch.testing.assert_close(rotation_matrix(pose)[0], roll @ pitch @ yaw)


@pytest.mark.parametrize(
    ("pose", "start", "end"),
    [
        ([np.pi / 2, 0, 0], [0, 0, 1], [0, -1, 0]),
        ([0, np.pi / 2, 0], [0, 0, 1], [1, 0, 0]),
        ([0, 0, np.pi / 2], [1, 0, 0], [0, 1, 0]),
    ],
    ids=["pitch nods down", "yaw turns to image-right", "roll is counter-clockwise"],
)
def test_quarter_turns_go_the_documented_way(pose, start, end):
    rotation = rotation_matrix(torch.tensor([pose], dtype=torch.float32))[0]
    got = rotation @ torch.tensor(start, dtype=torch.float32)
    torch.testing.assert_close(got, torch.tensor(end, dtype=torch.float32), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["perspective", "weak_perspective"])
def test_file_round_trip_keeps_every_number(kind, tmp_path):
    params = some_params(3, kind)
    np.savez(tmp_path / "params.npz", **params.numpy(), further=np.zeros(3))
    with np.load(tmp_path / "params.npz", allow_pickle=False) as arrays:
        back = FaceParams.from_numpy(arrays)
    assert back.camera_kind == kind
    for name, values in params.numpy().items():
        np.testing.assert_array_equal(back.numpy()[name], values)


def test_slices_hold_the_rows_of_the_whole():
    params = some_params(5)
    for part, rows in ((params[:2], [0, 1]), (params[2], [2]), (params[[3, 4]], [3, 4])):
        assert len(part) == len(rows)
        for name, values in params.numpy().items():
            np.testing.assert_array_equal(part.numpy()[name], values[rows])


def test_replace_exchanges_the_named_tensor_only():
    params = some_params(2)
    changed = params.replace(expression=torch.zeros(2, 4))
    assert not changed.expression.any()
    assert changed.shape is params.shape


def test_wrong_shapes_and_kinds_are_refused():
    params = some_params(2)
    with pytest.raises(ValueError, match="expected light"):
        params.replace(light=torch.zeros(2, 9))
    with pytest.raises(ValueError, match="expected shape"):
        params.replace(shape=torch.zeros(3, 5))
    with pytest.raises(ValueError, match="expected camera "):
        params.replace(camera=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="camera_kind"):
        FaceParams(**{n: getattr(params, n) for n in vars(params) if n != "camera_kind"},
                   camera_kind="fisheye")


def test_files_that_lack_arrays_or_mix_cameras_are_refused():
    arrays = some_params(2).numpy()
    with pytest.raises(ValueError, match="light"):
        FaceParams.from_numpy({n: a for n, a in arrays.items() if n != "light"})
    mixed = arrays | {"camera_kind": np.array(["perspective", "weak_perspective"])}
    with pytest.raises(ValueError, match="one kind of camera"):
        FaceParams.from_numpy(mixed)
