"""Folders of real architectures, a few kilobytes each, with random weights: they draw noise, always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from workers.tiny_training import tokenizer

HIDDEN = 16  # of every text encoder


def clip_config(**changes):
    from transformers import CLIPTextConfig

    vocabulary, _ = tokenizer.merge_table()
    fields = {
        "vocab_size": len(vocabulary),
        "hidden_size": HIDDEN,
        "projection_dim": HIDDEN,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 20,
        "eos_token_id": vocabulary[tokenizer.END],
        "bos_token_id": vocabulary[tokenizer.START],
    }
    return CLIPTextConfig(**{**fields, **changes})


def autoencoder(**changes):
    from diffusers import AutoencoderKL

    fields = {
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    return AutoencoderKL(**{**fields, **changes})


def t5():
    """A T5 encoder with a tokenizer of letters."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    letters = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"),
    ]
    config = T5Config(
        vocab_size=len(letters) + 100,
        d_model=2 * HIDDEN,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config), T5Tokenizer(vocab=letters, model_max_length=64)


def sd15(folder: Path) -> None:
    """Stable Diffusion 1.5."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_config()),
        tokenizer=tokenizer.build(),
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            cross_attention_dim=HIDDEN,
            layers_per_block=1,
            attention_head_dim=8,
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def sdxl(folder: Path) -> None:
    """Stable Diffusion XL: two text encoders, and sizes and crops as further conditions."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    of_a_size = 8
    StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()),
        tokenizer=tokenizer.build(),
        tokenizer_2=tokenizer.build(),
        unet=UNet2DConditionModel(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            cross_attention_dim=2 * HIDDEN,
            layers_per_block=1,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=of_a_size,
            projection_class_embeddings_input_dim=6 * of_a_size + HIDDEN,
            sample_size=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=EulerDiscreteScheduler(steps_offset=1, timestep_spacing="leading"),
    ).save_pretrained(folder)


def sd3(folder: Path) -> None:
    """Stable Diffusion 3, with its T5 encoder."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    encoder, words = t5()
    StableDiffusion3Pipeline(
        vae=autoencoder(latent_channels=4, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(clip_config()),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()),
        text_encoder_3=encoder,
        tokenizer=tokenizer.build(),
        tokenizer_2=tokenizer.build(),
        tokenizer_3=words,
        transformer=SD3Transformer2DModel(
            sample_size=32,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * HIDDEN,
            caption_projection_dim=32,
            pooled_projection_dim=2 * HIDDEN,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(folder)


def flux(folder: Path) -> None:
    """FLUX: double and single blocks over packed latents, CLIP and T5."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    encoder, words = t5()
    FluxPipeline(
        vae=autoencoder(
            latent_channels=1, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False
        ),
        text_encoder=CLIPTextModel(clip_config()),
        text_encoder_2=encoder,
        tokenizer=tokenizer.build(),
        tokenizer_2=words,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=2 * HIDDEN,
            pooled_projection_dim=HIDDEN,
            axes_dims_rope=(4, 4, 8),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    ).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {"sd15": sd15, "sdxl": sdxl, "sd3": sd3, "flux": flux}


def make(kind: str, folder: Path) -> str:
    """Write the folder of one of `MAKERS`, always with the same weights, and return its name as a model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        MAKERS[kind](folder)
    return str(folder)
