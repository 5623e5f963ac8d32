"""Methods that read which neurons an output depends on."""
