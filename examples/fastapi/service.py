"""A service that makes images: jobs, progress as server-sent events, pictures, a webhook that is verified."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from imagefleet import AsyncClient, ImageFleetError
from imagefleet.webhooks import verify

HTTP = {"invalid_job": 422, "invalid_signature": 400, "job_not_found": 404, "id_taken": 409}
HTTP |= {"queue_full": 429, "queue_unavailable": 503}
SECRET, HOOK = os.environ["IMAGEFLEET_WEBHOOK_SECRETS"], os.environ["SERVICE_WEBHOOK_URL"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests; its connections are closed at the end."""
    async with AsyncClient.from_env() as app.state.fleet:
        app.state.announced = {}  # a database, in a service with more than one process
        yield


async def as_http(_request: Request, error: ImageFleetError) -> JSONResponse:
    """An error of imagefleet as a status of HTTP, with its code and sentence."""
    return JSONResponse({"error": error.code, "message": error.message}, HTTP.get(error.code, 500))


app = FastAPI(lifespan=lifespan, exception_handlers={ImageFleetError: as_http})


@app.post("/images", status_code=202)
async def submit(job: dict[str, Any], idempotency_key: Annotated[str | None, Header()] = None) -> dict[str, str]:
    """Queue a job. The same Idempotency-Key twice is one job."""
    return {"id": await app.state.fleet.submit({**job, "webhook": {"url": HOOK}}, job_id=idempotency_key)}


@app.get("/images/{job_id}")
async def look(job_id: str) -> dict[str, Any]:
    """Where a job is; its pictures have lasting addresses here."""
    seen = await app.state.fleet.get(job_id)
    pictures = [f"/images/{job_id}/{n}" for n in range(len(seen.result.artifacts) if seen.result else 0)]
    return {"status": seen.status, "pictures": pictures, "announced": app.state.announced.get(job_id)}


@app.get("/images/{job_id}/events")
async def watch(job_id: str) -> StreamingResponse:
    """The job's progress and end as server-sent events."""
    await app.state.fleet.get(job_id)  # an unknown job is a 404, and no broken stream

    async def lines() -> AsyncIterator[str]:
        async for event in app.state.fleet.events(job_id):
            yield f"event: {event.status}\ndata: {'/'.join(map(str, event.progress or ()))}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.get("/images/{job_id}/{number}")
async def picture(job_id: str, number: int) -> RedirectResponse:
    """To a link that was made now: one that is stored would expire."""
    result = (await app.state.fleet.get(job_id)).result
    if result is None or not 0 <= number < len(result.artifacts):
        raise HTTPException(404, "no such picture")
    return RedirectResponse(await app.state.fleet.url(result.artifacts[number], expires_s=300))


@app.post("/webhook", status_code=204)
async def hear(request: Request) -> None:
    """Note the end of a job, once, though the webhook may come twice."""
    event = verify(await request.body(), request.headers, secret=SECRET)
    app.state.announced[event.data.id] = event.type
