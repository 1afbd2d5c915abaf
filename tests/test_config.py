import pytest
import torch

from fer_lib import config

TRAIN = dict(rgb_epochs=1, fusion_epochs=1, batch_size=8, rgb_learning_rate=1e-3,
             fusion_learning_rate=1e-3, balance="none", landmark_noise_pct_iod=0.0,
             precision="fp32", seed=0, device="cpu")
PREPROCESS = dict(source="synthetic", root="", store="synthetic", model="embedded",
                  size=64, subjects=2, groups=1, landmarks="auto", check_faces=0,
                  val_fraction=0.2, test_fraction=0.2, workers=1, seed=0, device="cpu")


@pytest.mark.parametrize(("name", "value"), [
    ("seed", "0"), ("seed", True), ("seed", 1.0), ("rgb_learning_rate", "1e-3"),
    ("precision", 32), ("balance", None), ("batch_size", False),
])
def test_a_value_of_another_type_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=name.upper()):
        config.TrainConfig(**{**TRAIN, name: value})


@pytest.mark.parametrize(("name", "value"), [
    ("rgb_epochs", 0), ("batch_size", -1), ("rgb_learning_rate", 0.0), ("precision", "int8"),
    ("balance", "magic"), ("fusion_learning_rate", float("nan")),
])
def test_an_impossible_training_is_refused(name, value):
    with pytest.raises(ValueError, match=name.upper()):
        config.TrainConfig(**{**TRAIN, name: value})


def test_a_whole_number_is_a_float():
    assert config.TrainConfig(**{**TRAIN, "rgb_learning_rate": 1}).rgb_learning_rate == 1


def test_a_real_source_needs_its_folder():
    with pytest.raises(ValueError, match="ROOT"):
        config.PreprocessConfig(**{**PREPROCESS, "source": "facial_expressions"})


@pytest.mark.parametrize("fractions", [(0, 0.2), (0.5, 0.5), (0.2, float("nan"))])
def test_splits_leave_something_to_train_on(fractions):
    with pytest.raises(ValueError, match="VAL_FRACTION"):
        config.PreprocessConfig(
            **{**PREPROCESS, "val_fraction": fractions[0], "test_fraction": fractions[1]}
        )


def test_device_names():
    assert config.resolve_device("cpu") == torch.device("cpu")
    assert config.resolve_device("auto").type in {"cpu", "cuda"}
    with pytest.raises(ValueError, match="DEVICE"):
        config.resolve_device("toaster")


def test_a_study_names_rivals_that_exist_and_noise_that_is_some():
    study = config.StudyConfig(rivals=("out of fold",), noise_pct_iod=(3.0, 4.5))
    assert study.as_dict() == {"rivals": ("out of fold",), "noise_pct_iod": (3.0, 4.5)}
    with pytest.raises(ValueError, match="RIVALS"):
        config.StudyConfig(rivals=("magic",), noise_pct_iod=())
    with pytest.raises(ValueError, match="NOISE_PCT_IOD"):
        config.StudyConfig(rivals=(), noise_pct_iod=(0.0,))
    with pytest.raises(TypeError, match=r"RIVALS.*tuple"):
        config.StudyConfig(rivals=["out of fold"], noise_pct_iod=())
    with pytest.raises(TypeError, match="NOISE_PCT_IOD"):
        config.StudyConfig(rivals=(), noise_pct_iod=("3",))


ENCODER = dict(store="s", other_store="", photographs="", pairs="", pairs_root="", depth=18,
               width=8, image_size=64, hidden=32, mesh_modes=0, epochs=1, photo_epochs=0,
               batch_size=4, learning_rate=1e-3, pixel_steps=0, fitted_photographs=1,
               precision="fp32", seed=0, device="cpu")


@pytest.mark.parametrize(("name", "value"), [
    ("depth", 34), ("width", 0), ("image_size", 16), ("learning_rate", -1.0), ("epochs", 0),
    ("pixel_steps", -1), ("precision", "fp16"),
])
def test_an_impossible_face_encoder_is_refused(name, value):
    assert config.FaceEncoderConfig(**ENCODER).depth == 18
    with pytest.raises(ValueError, match=name.upper()):
        config.FaceEncoderConfig(**{**ENCODER, name: value})


def test_pairs_need_the_folder_of_their_points():
    with pytest.raises(ValueError, match="PAIRS_ROOT"):
        config.FaceEncoderConfig(**{**ENCODER, "pairs": "london"})


def test_faces_are_called_after_their_source_or_their_head():
    assert config.PreprocessConfig(**PREPROCESS).data_name == "synthetic"
    assert config.PreprocessConfig(**{**PREPROCESS, "model": "ict"}).data_name == "ict"
    with pytest.raises(ValueError, match="MODEL"):
        config.PreprocessConfig(**{**PREPROCESS, "model": "flame"})


EDITOR = dict(store="s", second_store="", pairs="", photographs="", image_size=16, widths=(8, 8),
              depth=18, code_width=4, code_length=8, prior_steps=1, shape_steps=1,
              checkpoint_steps=1, batch_size=2, prior_learning_rate=1e-3, shape_learning_rate=1e-3,
              ema=0.99, train_faces=8, read_faces=0, keeping_weight=0.1,
              sampling_steps=2, edit_steps=2, test_pairs=2, noise_seeds=1, encoder_epochs=1,
              judges=(),
              embedders=(), lpips=(), precision="fp32", seed=0, device="cpu")


@pytest.mark.parametrize(("name", "value"), [
    ("depth", 34), ("image_size", 8), ("prior_steps", 0), ("shape_steps", 0), ("ema", 1.0),
    ("read_faces", -1), ("keeping_weight", -1.0), ("widths", ()), ("batch_size", 0),
    ("widths", (8, 8, 8, 8, 8, 8)), ("shape_learning_rate", 0.0), ("precision", "fp16"),
])
def test_an_impossible_rig_editor_is_refused(name, value):
    assert config.RigEditorConfig(**EDITOR).widths == (8, 8)
    with pytest.raises(ValueError, match=name.upper()):
        config.RigEditorConfig(**{**EDITOR, name: value})
