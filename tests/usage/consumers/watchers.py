"""The real consumers, exporting to memory: which runs they saw, with which usage.

A watcher takes a function that completes prompts, calls it with its callbacks, and returns a `Seen` for each
record that carries usage.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from tests.usage.consumers.paths import marker_of

Seen = tuple[str, int | None, int | None, int | None]
"""The prompt of a run (`all` if the consumer keeps only sums), and its tokens: prompt, completion, total."""

Go = Callable[..., None]
Watcher = Callable[[Go], list[Seen]]

NOWHERE = "http://127.0.0.1:9"


# LangChain


def openai_callback(go: Go) -> list[Seen]:
    from langchain_community.callbacks import get_openai_callback

    with get_openai_callback() as counter:
        go()
    return [("all", counter.prompt_tokens, counter.completion_tokens, counter.total_tokens)]


def usage_metadata_callback(go: Go) -> list[Seen]:
    from langchain_core.callbacks import get_usage_metadata_callback

    with get_usage_metadata_callback() as counter:
        go()
    return [
        ("all", usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])
        for usage in counter.usage_metadata.values()
    ]


def langsmith(go: Go) -> list[Seen]:
    from langchain_core.tracers import LangChainTracer
    from langsmith import Client

    class Memory(Client):
        def create_run(self, *args: Any, **kwargs: Any) -> None:
            inputs[str(kwargs["id"])] = kwargs["inputs"]

        def update_run(self, run_id: Any, **kwargs: Any) -> None:
            ended.append({"id": str(run_id), **kwargs})

    inputs: dict[str, Any] = {}
    ended: list[dict[str, Any]] = []
    client = Memory(api_url=NOWHERE, api_key="k", auto_batch_tracing=False)
    go([LangChainTracer(client=client)])
    found = [(run, (run["extra"].get("metadata") or {}).get("usage_metadata")) for run in ended]
    return [
        (
            marker_of([inputs[run["id"]], run["outputs"]]),
            each["input_tokens"],
            each["output_tokens"],
            each["total_tokens"],
        )
        for run, each in found
        if each
    ]


def langfuse(go: Go) -> list[Seen]:
    from langfuse.langchain import CallbackHandler

    client, exporter = _langfuse()
    go([CallbackHandler()])
    client.flush()
    seen = []
    for span in exporter.get_finished_spans():
        details = json.loads(span.attributes.get("langfuse.observation.usage_details") or "{}")
        if details:
            seen.append((_about(span), details.get("input"), details.get("output"), details.get("total")))
    return seen


def openinference(go: Go) -> list[Seen]:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    provider, exporter = _tracing()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    go()
    return _llm_counts(exporter.get_finished_spans())


def traceloop(go: Go) -> list[Seen]:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    provider, exporter = _tracing()
    LangchainInstrumentor().instrument(tracer_provider=provider)
    go()
    return _gen_ai_counts(exporter.get_finished_spans())


def mlflow(go: Go) -> list[Seen]:
    return _mlflow("langchain", go)


def sentry(go: Go) -> list[Seen]:
    import sentry_sdk
    from sentry_sdk.integrations.langchain import LangchainIntegration
    from sentry_sdk.transport import Transport

    sent: list[Any] = []

    class Memory(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            sent.extend(item.payload.json for item in envelope.items)

    sentry_sdk.init(
        dsn="http://k@127.0.0.1:9/1",
        transport=Memory,
        traces_sample_rate=1.0,
        send_default_pii=True,
        default_integrations=False,
        auto_enabling_integrations=False,
        release="tests",
        integrations=[LangchainIntegration(include_prompts=True)],
    )
    with sentry_sdk.start_transaction(name="a request"):
        go()
    sentry_sdk.flush()
    spans = [span for each in sent for span in (each.get("items") or [])]  # spans of models are sent separately
    data = [{name: each["value"] for name, each in span["attributes"].items()} for span in spans]
    return _attributes_counts([*data, *(span["data"] for each in sent for span in each.get("spans", []))])


def weave(go: Go) -> list[Seen]:
    from weave.integrations.langchain.langchain import WeaveTracer
    from weave.trace.call import Call
    from weave.trace.context import weave_client_context

    ended: list[Any] = []

    def create_call(op: str, inputs: Any, **_: Any) -> Call:
        return Call(_op_name=op, trace_id="t", project_id="p", parent_id=None, inputs=inputs)

    def finish_call(call: Call, output: Any = None, **_: Any) -> None:
        call.output = output
        ended.append(call)

    weave_client_context.set_weave_client_global(SimpleNamespace(create_call=create_call, finish_call=finish_call))
    go([WeaveTracer()])
    return [
        (marker_of(call.inputs), usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
        for call in ended
        for usage in ((call.summary or {}).get("usage") or {}).values()
    ]


def paradigm_usage(go: Go) -> list[Seen]:
    from paradigm_transport import get_paradigm_usage

    with get_paradigm_usage() as usage:
        go()
    return [("all", usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)]


# LlamaIndex


def token_counting_handler(go: Go) -> list[Seen]:
    from llama_index.core.callbacks import CallbackManager, TokenCountingHandler

    counter = TokenCountingHandler(tokenizer=str.split)
    go(callback_manager=CallbackManager([counter]))
    return [
        (marker_of(event.prompt), event.prompt_token_count, event.completion_token_count, event.total_token_count)
        for event in counter.llm_token_counts
    ]


def callback_payloads(go: Go) -> list[Seen]:
    from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler

    debug = LlamaDebugHandler(print_trace_on_end=False)
    go(callback_manager=CallbackManager([debug]))
    ends = [end.payload for _, end in debug.get_llm_inputs_outputs()]
    return [_raw_counts(payload.get("response") or payload["completion"]) for payload in ends]


def instrumentation_events(go: Go) -> list[Seen]:
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler

    seen: list[Seen] = []

    class Ends(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            if event.class_name() in ("LLMCompletionEndEvent", "LLMChatEndEvent"):
                seen.append(_raw_counts(event.response))

    get_dispatcher().add_event_handler(Ends())
    go()
    return seen


def openinference_llama_index(go: Go) -> list[Seen]:
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    provider, exporter = _tracing()
    LlamaIndexInstrumentor().instrument(tracer_provider=provider)
    go()
    return _llm_counts(exporter.get_finished_spans())


def langfuse_llama_index(go: Go) -> list[Seen]:
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    client, exporter = _langfuse()
    LlamaIndexInstrumentor().instrument()
    go()
    client.flush()
    return _llm_counts(exporter.get_finished_spans())


def traceloop_llama_index(go: Go) -> list[Seen]:
    from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor

    provider, exporter = _tracing()
    LlamaIndexInstrumentor().instrument(tracer_provider=provider)
    go()
    return _gen_ai_counts(exporter.get_finished_spans())


def mlflow_llama_index(go: Go) -> list[Seen]:
    return _mlflow("llama_index", go)


# Shared by several consumers


def _tracing() -> tuple[Any, Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def _langfuse() -> tuple[Any, Any]:
    from langfuse import Langfuse
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    return Langfuse(public_key="pk", secret_key="sk", base_url=NOWHERE, span_exporter=exporter), exporter


def _mlflow(flavor: str, go: Go) -> list[Seen]:
    os.environ.update(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false")
    import importlib

    import mlflow
    from mlflow.tracing.export.mlflow_v3 import MlflowV3SpanExporter

    traces: list[Any] = []
    MlflowV3SpanExporter._log_trace = lambda _, trace, *args, **kwargs: traces.append(trace)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as store:
        mlflow.set_tracking_uri(f"file://{store}")
        mlflow.set_experiment("usage")
        importlib.import_module(f"mlflow.{flavor}").autolog()
        go()
    spans = [span for trace in traces for span in trace.data.spans]
    found = [(span, span.get_attribute("mlflow.chat.tokenUsage")) for span in spans]
    return [
        (marker_of([span.inputs, span.outputs]), each["input_tokens"], each["output_tokens"], each["total_tokens"])
        for span, each in found
        if each
    ]


def _about(span: Any) -> str:
    return marker_of(dict(span.attributes))


def _llm_counts(spans: Iterable[Any]) -> list[Seen]:
    names = ("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total")
    return _counts([span.attributes for span in spans], names)


def _gen_ai_counts(spans: Iterable[Any]) -> list[Seen]:
    return _attributes_counts([span.attributes for span in spans])


def _attributes_counts(attributes: Iterable[Any]) -> list[Seen]:
    total = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
    renamed = [{**each, total[0]: each.get(total[0], each.get(total[1]))} for each in attributes]
    return _counts(renamed, ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", total[0]))


def _counts(attributes: Iterable[Any], names: tuple[str, str, str]) -> list[Seen]:
    prompt, completion, total = names
    return [
        (marker_of(dict(each)), each.get(prompt), each.get(completion), each.get(total))
        for each in attributes
        if any(each.get(name) is not None for name in names)
    ]


def _raw_counts(response: Any) -> Seen:
    usage = (response.raw or {}).get("usage") or {}
    about = marker_of(response)
    return about, usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")


LANGCHAIN: dict[str, Watcher] = {
    "get_openai_callback": openai_callback,
    "get_usage_metadata_callback": usage_metadata_callback,
    "LangSmith": langsmith,
    "Langfuse": langfuse,
    "OpenInference": openinference,
    "Traceloop": traceloop,
    "MLflow": mlflow,
    "Sentry": sentry,
    "Weave": weave,
    "get_paradigm_usage": paradigm_usage,
}

LLAMA_INDEX: dict[str, Watcher] = {
    "TokenCountingHandler": token_counting_handler,
    "callback payloads": callback_payloads,
    "instrumentation events": instrumentation_events,
    "OpenInference": openinference_llama_index,
    "Langfuse": langfuse_llama_index,
    "Traceloop": traceloop_llama_index,
    "MLflow": mlflow_llama_index,
    "get_paradigm_usage": paradigm_usage,
}
