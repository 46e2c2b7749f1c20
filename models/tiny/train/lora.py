"""Low-rank adapters (LoRA) over the frozen model, and their files.

An adapted matrix computes W x + scale * B (A x) with A [rank, in] and B [out, rank] (Hu et al.
2021, section 4.1). The files are those of Hugging Face's PEFT for its LlamaForCausalLM, since that
is what people bring along. Its Llama turns the halves of a head against each other where GGUF
turns neighbouring pairs, so the rows of q and k stand in another order there: `to_hugging_face`.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model import Llama

# The names of the matrices in the GGUF file and in Hugging Face's model.
HUGGING_FACE = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
                "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


@dataclass(frozen=True)
class LoraConfig:
    """The shape of an adapter; `rank_stable` divides alpha by the root of the rank (rsLoRA) instead of the rank."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    rank_stable: bool
    dtype: torch.dtype

    @property
    def scale(self) -> float:
        """What B A x is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stable else self.rank)


class LoraLinear(nn.Module):
    """A frozen matrix with a trainable low-rank addition, which is nothing at the start."""

    def __init__(self, base: nn.Linear, c: LoraConfig):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), c.scale
        self.a = nn.Parameter(torch.randn(c.rank, base.in_features) * base.in_features ** -0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, c.rank))

    def forward(self, x: Tensor) -> Tensor:
        """W x + scale * B (A x)."""
        return self.base(x) + self.scale * (x @ self.a.T @ self.b.T)


def attach(model: Llama, c: LoraConfig) -> dict[tuple[int, str], LoraLinear]:
    """Freezes the model and wraps its target matrices; returns the wrapped ones by layer and name."""
    model.requires_grad_(False)
    wrapped = {}
    for i, block in enumerate(model.blk):
        for name in c.targets:
            wrapped[i, name] = LoraLinear(getattr(block, name), c)
            setattr(block, name, wrapped[i, name])
    return wrapped


def to_hugging_face(rows: Tensor, heads: int) -> Tensor:
    """Reorders the rows of q or k (or of their lora_B) [heads * head_dim, n] from GGUF's order to Hugging Face's.

    Within a head GGUF has the two rows of a rotated pair side by side: row 2 i + j is half j of pair i. Hugging Face has
    all first halves and then all second halves: row j * head_dim / 2 + i.
    """
    reordered = rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
    assert torch.equal(from_hugging_face(reordered, heads), rows)
    return reordered


def from_hugging_face(rows: Tensor, heads: int) -> Tensor:
    """The inverse of `to_hugging_face`; what llama.cpp's converters do to q and k."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _heads(model: Llama, name: str) -> int | None:
    """The heads of a matrix whose rows are rotated, None for all others."""
    return {"attn_q": model.c.heads, "attn_k": model.c.kv_heads}.get(name)


def _key(layer: int, name: str, side: str) -> str:
    return f"base_model.model.model.layers.{layer}.{HUGGING_FACE[name]}.lora_{side}.weight"


def save(folder: Path, model: Llama, wrapped: dict[tuple[int, str], LoraLinear], c: LoraConfig) -> None:
    """Writes the adapter as PEFT does."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "garrison-tiny", "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layer_replication": None,
        "layers_pattern": None, "layers_to_transform": None, "lora_alpha": c.alpha, "lora_dropout": 0.0,
        "modules_to_save": None, "peft_type": "LORA", "r": c.rank, "rank_pattern": {}, "revision": None,
        "target_modules": [HUGGING_FACE[name].split(".")[1] for name in c.targets], "task_type": "CAUSAL_LM",
        "use_dora": False, "use_rslora": c.rank_stable,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {}
    for (layer, name), linear in wrapped.items():
        a, b, heads = linear.a.detach(), linear.b.detach(), _heads(model, name)
        tensors[_key(layer, name, "A")] = a.to(c.dtype).contiguous()
        tensors[_key(layer, name, "B")] = (to_hugging_face(b, heads) if heads else b).to(c.dtype).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def load(folder: Path, model: Llama) -> tuple[dict[tuple[int, str], LoraLinear], LoraConfig]:
    """Attaches a stored adapter to the model, in f32."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    targets = tuple(n for n, h in HUGGING_FACE.items() if h.split(".")[1] in config["target_modules"])
    c = LoraConfig(config["r"], config["lora_alpha"], targets, config["use_rslora"], next(iter(tensors.values())).dtype)
    wrapped = attach(model, c)
    for (layer, name), linear in wrapped.items():
        b, heads = tensors[_key(layer, name, "B")].float(), _heads(model, name)
        linear.a.data = tensors[_key(layer, name, "A")].float()
        linear.b.data = from_hugging_face(b, heads) if heads else b
    return wrapped, c


def save_gguf(path: Path, wrapped: dict[tuple[int, str], LoraLinear], c: LoraConfig) -> None:
    """Writes the adapter as llama.cpp reads it: rows in GGUF's order, and an alpha that is always divided by the rank."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_type("adapter")
    w.add_name(path.stem)
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", c.scale * c.rank)
    kind = np.float16 if c.dtype == torch.float16 else np.float32
    for (layer, name), linear in wrapped.items():
        w.add_tensor(f"blk.{layer}.{name}.weight.lora_a", linear.a.detach().numpy().astype(kind))
        w.add_tensor(f"blk.{layer}.{name}.weight.lora_b", linear.b.detach().contiguous().numpy().astype(kind))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
