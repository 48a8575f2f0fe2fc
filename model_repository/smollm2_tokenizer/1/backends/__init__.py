"""Code that runs inside Triton: light, importable without Triton, copied into every repository."""
