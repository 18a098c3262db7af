"""The lab's certificate authority: it issues both PKIs and every credential of the catalogue."""
