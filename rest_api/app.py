"""The application factory: puts the routes together and gives every answer its security headers.

It must never read settings or open a port: both are the caller's. Called by `commands`, served by uvicorn next to the
WebSocket server, in one process.
"""

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from rest_api.playground import PlaygroundConfig, playground_router
from rest_api.problems import install_problems
from rest_api.security_headers import SecurityHeaders
from rest_api.sign_in import SignIn, sign_in_router


def create_app(page: PlaygroundConfig, sign_in: SignIn | None) -> FastAPI:
    """The facade for `page`. Without `sign_in`, signing in by name does not exist."""
    app = FastAPI(title="collab-server", version=page.version, docs_url=None, redoc_url=None, openapi_url=None)
    install_problems(app)
    app.add_middleware(SecurityHeaders)
    app.include_router(playground_router(page))
    if sign_in is not None:
        app.include_router(sign_in_router(sign_in))

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})

    return app
