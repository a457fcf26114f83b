"""From stored values to uint8 images: channels, colour, luma, and limits of size."""
