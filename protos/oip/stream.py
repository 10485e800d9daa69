"""``ModelStreamInfer``: many requests and answers over one call.

Rules (Triton ``grpc_service.proto``; its stream handler for models that answer each request once):

- Answers come in the order of the requests. Requests are computed at the same time, but no more than a few:
  a client that sends faster than it reads is held up by HTTP/2's own flow control.
- A request that fails is answered in the stream, and the stream goes on: ``error_message`` for people, the
  parameters ``accord_reason`` and ``accord_code`` (a gRPC status by number) for programs, beside its id.
- To a client that sends the header ``triton_grpc_error: true`` the first error is the call's status instead.
- Each answer is the only one to its request, so each says ``triton_final_response: true``, and no empty final
  response follows one even where ``triton_enable_empty_final_response`` asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, internal_error, to_status
from protos.oip.parameters import Parameter, write_parameters
from protos.oip.wire import messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from protos.service import CallContext, Received, Serve

__all__ = ["stream_infer"]

_log = logging.getLogger(__name__)

#: Requests of one stream under way at once.
AT_ONCE = 16
#: How much of a refused request's id and model is echoed, in characters.
MAX_ID, MAX_NAME = 1024, 128

_FINAL: dict[str, Parameter] = {"triton_final_response": True}


async def stream_infer(
    received: AsyncIterator[Received], context: CallContext, infer: Serve
) -> AsyncGenerator[Any, None]:
    """Answer the requests of a stream.

    Args:
        received: The requests, in order.
        context: The call that brings them.
        infer: Answers one of them, or raises an AccordError.

    Yields:
        ``ModelStreamInferResponse`` messages, in the order of the requests.

    Raises:
        AccordError: The first error, where the client asked for statuses.
    """
    strict = (context.metadata or {}).get("triton_grpc_error") == "true"
    slots = asyncio.Semaphore(AT_ONCE)
    # in the order of the requests; None marks their end
    line: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()
    # until they are answered: the error of one that nobody awaits would be complained of in the log
    under_way: set[asyncio.Task[Any]] = set()

    async def read() -> None:
        try:
            async for message in received:
                await slots.acquire()
                task = asyncio.create_task(_answer(message, infer, strict=strict))
                under_way.add(task)
                line.put_nowait(task)
        finally:
            line.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await line.get()) is not None:
            yield await task
            under_way.discard(task)
            slots.release()
        await reader
    finally:
        ending = (reader, *under_way)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def _answer(message: Received, infer: Serve, *, strict: bool) -> Any:
    error = message.error
    if error is None:
        try:
            response: Any = await infer(message.request, message.context)
        except AccordError as refusal:
            error = refusal
        except Exception:  # noqa: BLE001 - one request's bug must not end the others
            _log.exception("a request of a stream failed")
            error = internal_error()
        else:
            write_parameters(response.parameters, _FINAL)
            return messages.ModelStreamInferResponse(infer_response=response)
    if strict:
        raise error
    return _refused(message.request, error)


def _refused(request: Any, error: AccordError) -> Any:
    answer = messages.ModelStreamInferResponse(error_message=to_status(error).message)
    response = answer.infer_response
    if request is not None:
        response.id, response.model_name = request.id[:MAX_ID], request.model_name[:MAX_NAME]
    facts: dict[str, Parameter] = {"accord_reason": error.reason.name, "accord_code": int(error.reason.code)}
    write_parameters(response.parameters, facts | _FINAL)
    return answer
