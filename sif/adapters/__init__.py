"""sif inside other libraries; nothing here is loaded by `import sif`.

- `implicit`: a searched function as a model of implicit.
- `lenskit`: a scorer for the pipelines of LensKit (extra `lenskit`).
- `cornac`: a recommender for the experiments of Cornac (extra `cornac`).
- `mlflow_model`, `questions`: a recommender that MLflow logs and serves over HTTP.
- `torch_module`: a searched function as a plain torch module.
- `export`: files that other programs read (extra `onnx` for ONNX); `history_scores`,
  `state_scores`: models of histories as graphs.
- `recbole`, `rectools`, `tables`, `convert`: interactions in formats of other libraries.
"""
