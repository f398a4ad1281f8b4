"""pytest and hypothesis are imported by the kits that need them, never by the package."""

import subprocess
import sys

import pytest

KITS = ("models", "drafters", "verifiers", "caches")


@pytest.mark.parametrize("module", ["foredraft", "foredraft.testing", "foredraft.testing.exact"])
def test_no_test_library_is_imported(module: str) -> None:
    code = f"import sys, {module}; print({{'pytest', 'hypothesis', 'torch'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("kit", KITS)
def test_a_kit_imports_no_model_library(kit: str) -> None:
    code = f"import sys, foredraft.testing.{kit}; print({{'torch', 'transformers'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
