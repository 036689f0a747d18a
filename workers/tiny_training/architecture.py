"""The shapes of the tiny model's parts: SD3's architecture, a hundredth of its width.

3.6 million parameters in all: 2.9 in the transformer, 0.23 in the autoencoder, 0.5 in the two text encoders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.tiny_training import tokenizer
from workers.tiny_training.vocabulary import MAX_TOKENS

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

IMAGE_PX = 64
LARGE_PX = 96
"""The second size of the training pictures; the model is meant for these two only."""

LATENT_CHANNELS = 4  # SD3 has 16; flat colours come back at 34.5 dB through four (docs/model.md)
SCALE = 4
"""Image pixels per latent pixel, each way."""

TEXT_WIDTH = 64  # of each text encoder; SD3's have 768 and 1,280
WIDTH = 128  # of the transformer; SD3 medium's is 1,536
MIDDLE_BLOCK = 2
"""The block after which the training's second task reads the image tokens."""


def autoencoder() -> AutoencoderKL:
    """Build the autoencoder: 64 x 64 x 3 to 16 x 16 x 4."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=IMAGE_PX,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def text_encoder() -> CLIPTextModelWithProjection:
    """Build one of the two text encoders, token embeddings at the scale of the layers that read them.

    CLIP's own 0.02 makes the words nearly alike for the first thousand training steps; 0.4 was better in a trial.
    """
    import torch
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    vocabulary, _ = tokenizer.merge_table()
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="gelu",
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=vocabulary[tokenizer.START],
        eos_token_id=vocabulary[tokenizer.END],
        pad_token_id=vocabulary[tokenizer.END],
    )
    # bfloat16 scaled_dot_product_attention is slow backwards on a CPU; the weights are the same either way.
    model = CLIPTextModelWithProjection._from_config(config, attn_implementation="eager")
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.4)
    return model


def transformer() -> SD3Transformer2DModel:
    """Build the MMDiT; every block starts as the identity (zero modulation) and the output as zero."""
    import torch
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=IMAGE_PX // SCALE,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=5,
        attention_head_dim=32,
        num_attention_heads=WIDTH // 32,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    modulations = [module for block in model.transformer_blocks for module in (block.norm1, block.norm1_context)]
    for linear in [*(module.linear for module in modulations), model.norm_out.linear, model.proj_out]:
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    return model


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build the sampler's schedule, with SD3's shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=3.0)
