"""The lab's client: presents every credential with several tools, and judges what happens."""
