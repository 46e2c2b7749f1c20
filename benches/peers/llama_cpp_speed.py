"""Prefill and decode speed of llama.cpp in this process, through llama-cpp-python's C bindings.

    llama_cpp_speed.py MODEL.gguf --threads N [--prompt 512] [--gen 64] [--reps 1]

Prints one JSON line for compare.py. As `garrison bench engine` does: one batch for the prompt, greedy
decoding with the argmax taken from the logits, the best of the repetitions.
"""

import argparse
import ctypes
import json
import resource
import time

import llama_cpp
import numpy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=64)
    parser.add_argument("--reps", type=int, default=1)
    options = parser.parse_args()

    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    started = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), llama_cpp.llama_model_default_params())
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = options.prompt + options.gen + 16
    params.n_batch = params.n_ubatch = options.prompt
    params.n_threads = params.n_threads_batch = options.threads
    context = llama_cpp.llama_init_from_model(model, params)
    load_s = time.perf_counter() - started
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    prompt = [i * 7919 % vocab for i in range(options.prompt)]
    memory = llama_cpp.llama_get_memory(context)

    def step(tokens: list[int]) -> int:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) != 0:
            raise RuntimeError("llama_decode failed")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(vocab,))
        return int(logits.argmax())

    step(prompt[:32])  # warm up
    prefill = decode = 0.0
    for _ in range(options.reps):
        llama_cpp.llama_memory_clear(memory, True)
        started = time.perf_counter()
        token = step(prompt)
        prefill = max(prefill, options.prompt / (time.perf_counter() - started))
        started = time.perf_counter()
        for _ in range(options.gen):
            token = step([token])
        decode = max(decode, options.gen / (time.perf_counter() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"load_s": load_s, "prefill_tps": prefill, "decode_tps": decode, "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main()
