"""The segmenter: an encoder and a head, from images to logits."""

from torch import Tensor, nn

from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.heads import HeadConfig, build_head


class Segmenter(nn.Module):
    """Images (B, T, C, H, W), normalised, to logits (B, K, H, W).

    H and W are multiples of the patch, T the encoder's dates. A sample's logits
    depend on nothing else in its batch.
    """

    def __init__(self, encoder: Encoder, head: HeadConfig) -> None:
        super().__init__()
        self.head_config = head
        self.encoder = encoder
        self.head = build_head(head, encoder.config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) to (B, K, H, W)."""
        if x.shape[1] != self.encoder.config.dates:
            raise ModelError(
                f"a model input has {x.shape[1]} dates; this model needs "
                f"{self.encoder.config.dates}"
            )
        features = self.encoder.feature_maps(x, self.head_config.depths)
        logits: Tensor = self.head(features, x)
        return logits


def build_segmenter(encoder: EncoderConfig, head: HeadConfig) -> Segmenter:
    """A segmenter with fresh weights, drawn from torch's random state."""
    return Segmenter(Encoder(encoder), head)
