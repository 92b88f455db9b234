"""Our engine beside vLLM, llama.cpp and transformers: the same requests, the same weights, in turn on one machine."""
