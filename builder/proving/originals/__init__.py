"""What a model answered before anybody converted it: one file per `model_type` that is no transformer.

Each file offers the same two names. `load(path, config)` returns a function from inputs, name -> array
[rows, ...], to outputs, the same; `samples(config, count, seed)` draws inputs that such a model may be sent.
`config` is what the source wrote of the checkpoint.
"""
