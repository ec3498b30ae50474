"""``@audit.tool``: a function whose every call is a tool call in the trail.

In comes a def, async def, generator or async generator; out comes one that behaves the same. The arguments
are rendered by their parameters' names, ``self`` and ``cls`` aside; of a generator the number of items is
kept, for its items belong to whoever iterates.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from auditwire.context import enter, leave

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from auditwire.calls import ToolCall
    from auditwire.emitter import AuditEmitter

__all__ = ["tool"]

F = TypeVar("F", bound="Callable[..., Any]")


def tool(audit: AuditEmitter, function: F, name: str | None, *, arguments: bool, result: bool) -> F:
    """The function, audited. See :meth:`auditwire.AuditEmitter.tool`."""
    signature = _signature(function)
    tool_name: str = name or getattr(function, "__name__", None) or type(function).__name__

    def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ToolCall:
        return audit.tool_call(tool_name, _arguments(signature, args, kwargs) if arguments else "")

    def keep(call: ToolCall, value: object) -> None:
        if result:
            call.result = value

    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(function, begin, keep)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, begin, keep)
    elif inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with begin(args, kwargs) as call:
                value = await function(*args, **kwargs)
                keep(call, value)
                return value

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with begin(args, kwargs) as call:
                value = function(*args, **kwargs)
                keep(call, value)
                return value

    return cast("F", functools.wraps(function)(wrapper))


def _generator(function: Callable[..., Any], begin: Any, keep: Any) -> Callable[..., Any]:
    """The context is the call's while the generator runs, and the caller's between its items."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call: ToolCall = begin(args, kwargs).start()
        items, sent, thrown = 0, None, None
        inner = function(*args, **kwargs)
        try:
            while True:
                token = enter(call.scope)
                try:
                    item = inner.send(sent) if thrown is None else inner.throw(thrown)
                except StopIteration as stop:
                    keep(call, _counted(items, stop.value))
                    call.finish()
                    return stop.value
                finally:
                    leave(token)
                items += 1
                sent = thrown = None
                try:
                    sent = yield item
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - the caller's, for the generator to handle
                    thrown = error
        except BaseException as error:
            keep(call, _counted(items, None))
            call.finish(error)
            raise

    return wrapper


def _async_generator(function: Callable[..., Any], begin: Any, keep: Any) -> Callable[..., Any]:
    """As ``_generator``, awaited."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call: ToolCall = begin(args, kwargs).start()
        items, sent, thrown = 0, None, None
        inner = function(*args, **kwargs)
        try:
            while True:
                token = enter(call.scope)
                try:
                    item = await (inner.asend(sent) if thrown is None else inner.athrow(thrown))
                except StopAsyncIteration:
                    keep(call, _counted(items, None))
                    call.finish()
                    return
                finally:
                    leave(token)
                items += 1
                sent = thrown = None
                try:
                    sent = yield item
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - the caller's, for the generator to handle
                    thrown = error
        except BaseException as error:
            keep(call, _counted(items, None))
            call.finish(error)
            raise

    return wrapper


def _counted(items: int, value: object) -> object:
    return f"<{items} items>" if value is None else {"items": items, "returned": value}


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a callable without a readable signature
        return None


def _arguments(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> object:
    """Parameter -> argument. What does not fit the signature is the function's to complain about."""
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError:
            bound = None
        if bound is not None:
            first = next(iter(signature.parameters), "")
            return {k: v for k, v in bound.items() if not (k == first and k in {"self", "cls"})}
    return {"args": list(args), **kwargs} if args else dict(kwargs)
