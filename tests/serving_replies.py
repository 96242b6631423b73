"""Replies of TensorFlow Serving 2.15, for tests/serving_stub.py.

Their form is that of its documentation of REST and of its protocol buffers; the
texts of errors are those of its source.
"""

PREDICT = """{
    "predictions": [
        {
            "logits": [3.5, 1.25, -2.0],
            "scores": [0.902, 0.095],
            "classes": ["Bär", "kettle"],
            "probabilities": [0.902, 0.095, 0.003]
        }
    ]
}"""
FEATURES = '{\n    "predictions": [[0.5, -1.5, 2.0]\n    ]\n}'
CLASSIFY = """{
    "results": [[["Bär", 0.902], ["kettle", 0.095]]
    ]
}"""
STATUS = """{
 "model_version_status": [
  {
   "version": "3",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  },
  {
   "version": "2",
   "state": "END",
   "status": {
    "error_code": "NOT_FOUND",
    "error_message": "no such folder"
   }
  }
 ]
}
"""
METADATA = """{
"model_spec":{
 "name": "coatnet",
 "signature_name": "",
 "version": "3"
}
,
"metadata": {"signature_def": {
 "signature_def": {
  "__saved_model_init_op": {
   "inputs": {},
   "outputs": {
    "__saved_model_init_op": {
     "dtype": "DT_INVALID",
     "tensor_shape": {
      "dim": [],
      "unknown_rank": true
     },
     "name": "NoOp"
    }
   },
   "method_name": ""
  },
  "classify": {
   "inputs": {
    "inputs": {
     "dtype": "DT_STRING",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "classify_inputs:0"
    }
   },
   "outputs": {
    "scores": {
     "dtype": "DT_FLOAT",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       },
       {
        "size": "5",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "StatefulPartitionedCall:1"
    },
    "classes": {
     "dtype": "DT_STRING",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       },
       {
        "size": "5",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "StatefulPartitionedCall:0"
    }
   },
   "method_name": "tensorflow/serving/predict"
  }
 }
}
}
}
"""
# Texts of errors, and what HTTP and gRPC call them.
NO_MODEL = 'Servable not found for request: Latest(other)'
NO_SIGNATURE_REST = (
  'Serving signature name: "features" not found in signature def'
)
NO_SIGNATURE_GRPC = 'Serving signature key "features" not found.'
NO_LABEL = 'Unrecognized servable version label: canary'
BAD_IMAGE = (
  '{{function_node __inference_serving_default_1}} Unknown image file format. '
  'One of JPEG, PNG, GIF, BMP required.\n\t [[{{node map/while/DecodeImage}}]]'
)
LARGE_IMAGE = (
  '{{function_node __inference_serving_default_1}} assertion failed: [Image 0 '
  'of the batch has 60000000 pixels, more than the limit of 50000000.]\n\t '
  '[[{{node map/while/Assert}}]]'
)
