"""Arrays move to a device and back; a fake CuPy built on the stand-in device array takes the place of the real one."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from numvae.devices import available, to_device, to_host
from numvae.errors import InputError
from tests.device_array import DeviceArray, counting, fake_cupy


def install(monkeypatch: pytest.MonkeyPatch, cupy: ModuleType | None) -> None:
    """Put a module where `import cupy` finds it; None makes that import fail."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_importing_devices_does_not_import_cupy() -> None:
    code = "import sys, numvae.devices; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_there_and_back_gives_the_same_numbers_shape_and_dtype(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    install(monkeypatch, fake_cupy())
    array = np.arange(6).reshape(2, 3).astype(dtype)
    there = to_device(array, "cuda")
    assert isinstance(there, DeviceArray)
    back = to_host(there)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


def test_each_move_is_one_transfer_and_none_where_the_array_is_already(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, fake_cupy())
    with counting() as counts:
        there = to_device(np.ones(3), "cuda")
        assert to_device(there, "cuda") is there
        to_device(there, "cpu")
    assert (counts.to_device, counts.to_host) == (1, 1)


def test_host_arrays_pass_unchanged() -> None:
    array = np.ones(3)
    assert to_host(array) is array
    assert to_device(array, "cpu") is array


def test_whatever_can_be_fetched_is_fetched() -> None:
    class Elsewhere:
        def get(self) -> np.ndarray:
            return np.full(2, 7.0)

    np.testing.assert_array_equal(to_host(Elsewhere()), [7, 7])


def test_the_same_noise_reaches_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, fake_cupy())
    here, there = (to_device(np.random.default_rng(3).standard_normal(5), device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(here, to_host(there))


def test_available_devices_are_those_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for cupy, expected in ((None, ("cpu",)), (fake_cupy(gpus=0), ("cpu",)), (fake_cupy(), ("cpu", "cuda"))):
        install(monkeypatch, cupy)
        assert available() == expected


def test_without_cupy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    with pytest.raises(InputError, match=r"pip install numvae\[gpu-cuda13\] or pip install numvae\[gpu-cuda12\]"):
        to_device(np.ones(2), "cuda")


def test_without_a_gpu_the_error_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, fake_cupy(gpus=0))
    with pytest.raises(InputError, match="CuPy sees none; look at nvidia-smi") as caught:
        to_device(np.ones(2), "cuda")
    assert "\n" not in str(caught.value)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(InputError, match="device must be one of cpu, cuda, got 'tpu'"):
        to_device(np.ones(2), "tpu")  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_real_gpu_returns_what_it_was_given() -> None:
    if "cuda" not in available():
        pytest.skip("needs CuPy and a GPU")
    array = np.arange(6, dtype=np.float32)
    there = to_device(array, "cuda")
    np.testing.assert_allclose(to_host(2 * np.exp(there)), 2 * np.exp(array), rtol=1e-6, strict=True)
