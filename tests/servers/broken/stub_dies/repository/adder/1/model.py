import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        print("the weights and I are leaving", flush=True)
        os._exit(3)

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x + 1)]))
        return responses
