"""The memory of a server over HTTP: `GET /memory` and `POST /memory/cleanup`, as a watchdog asks for them.

Covers: one way in for each kind of server, the same rule and the same answers for all of them.
Leaves to others: what holds memory (the components), cleaning (`MemoryManager`).

    FastAPI                     app.include_router(web.fastapi.memory_router(manager))
    Starlette                   Starlette(routes=[*web.starlette.memory_routes(manager), …])
    MCP server over HTTP        web.starlette.add_to_mcp(server, manager)
    any other ASGI server       web.app.MemoryApp(manager), mounted or served by itself
    a server on stdio only      web.listener.MemoryListener(manager, "/run/my-server/memory.sock").start()

Each takes `token_file` (a bearer token is then needed for a cleanup) and `allow_loopback_changes`; `web.access` says
who may do what. Import the module that is needed; this package itself imports none of them.

A health check of the server's own can tell the same without touching a model:

    @app.get("/health")
    def health():
        memory = manager.health()
        return {"status": "ok" if memory["status"] in ("ok", "high") else memory["status"], "memory": memory}

It is a plain function, which FastAPI runs in a thread; in an `async` handler `await asyncio.to_thread(manager.health)`.
"""
