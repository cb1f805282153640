"""Which model answers: ``GET /tuned/`` tells, ``POST /tuned/NAME`` switches, back or forth."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User

from lib.model import LATEST, Versions

SEES = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
MAY = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def add_switch(app: FastAPI, versions: Versions) -> None:
    """Add the two calls to MONAI Label's server."""
    router = APIRouter(prefix=f"{settings.MONAI_LABEL_API_STR}/tuned", tags=["Tuned parts"])

    @router.get("/", summary="What trainings learned from, how they compare, and what answers now")
    def told(user: SEES) -> dict[str, Any]:
        answers, history = versions.resolve(LATEST), versions.history()
        return {"answers": answers, "names": versions.names(), "history": history}

    @router.post("/{name}", summary="Let this tuned part answer from now on")
    def switched(name: str, user: MAY) -> dict[str, str]:
        return {"answers": versions.switch(name, user.username)}

    app.include_router(router)
    app.router.routes.insert(0, app.router.routes.pop())
