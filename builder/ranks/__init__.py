"""TensorRT-LLM's checkpoint: config.json and a file of weights for each rank, of a Hugging Face folder.

The format is that of TensorRT-LLM up to 1.2 (tensorrt_llm/models/modeling_utils.py, PretrainedConfig and
PretrainedModel.from_checkpoint); https://nvidia.github.io/TensorRT-LLM/architecture/checkpoint.html.
"""
