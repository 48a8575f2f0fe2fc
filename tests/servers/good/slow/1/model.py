import threading
import time

import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers eight parts, a quarter of a second apart."""

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request.get_response_sender(),)).start()

    def answer(self, sender):
        for index in range(8):
            time.sleep(0.25)
            text = numpy.array([f"part {index}"], dtype=object)
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("text_output", text)]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
