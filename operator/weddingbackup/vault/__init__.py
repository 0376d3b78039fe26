"""The data engine: cuts, seals and packs what sources yield, and brings it back."""
