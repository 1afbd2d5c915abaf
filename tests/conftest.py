"""What many tests start from: shared real material, and folders of their own."""

import pytest
import torch

from fer_lib import paths


@pytest.fixture(scope="session")
def shared():
    """The folder of real test material named by FER_SHARED."""
    folder = paths.shared_dir()
    if folder is None:
        pytest.skip("FER_SHARED names no folder of shared test material")
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Data and results folders of this test alone."""
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FER_RESULTS", str(tmp_path / "results"))
    return tmp_path


@pytest.fixture
def generator():
    """A seeded random generator."""
    return torch.Generator().manual_seed(0)
