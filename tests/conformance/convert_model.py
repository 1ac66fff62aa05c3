"""Write the small model's GGUF file as a folder that vLLM loads; run by the Python of vLLM's environment.

Transformers refuses to save a model that was loaded from GGUF, but saves one with the same weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def convert(gguf: Path, folder: Path) -> None:
    """Write a model's weights and its tokenizer into a folder.

    Args:
        gguf: the file with the model.
        folder: where to write.
    """
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source)
    del loaded.config.quantization_config  # the weights are whole numbers no more
    model = LlamaForCausalLM(loaded.config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
