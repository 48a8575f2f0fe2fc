"""What benchmarks/encoder_cpu.py measures a text encoder with: texts, doors, a closed loop, the peers."""
