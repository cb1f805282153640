"""Users and their roles, by tokens of an OpenID Connect provider; how much one address may ask."""

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from conftest import ROOT, ct, save_volume

jwt = pytest.importorskip("jwt", reason="see make test-label")
pytest.importorskip("monailabel", reason="see make test-label")
import requests  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: E402
from label_server import Server, make_bundle  # noqa: E402

sys.path.insert(0, str(ROOT / "bundle" / "monailabel"))

pytestmark = pytest.mark.server
ROLES = {
    "ann": ["monailabel-user", "monailabel-annotator"],
    "bob": ["monailabel-user", "monailabel-annotator"],
    "eve": ["monailabel-user"],
    "root": ["monailabel-admin", "monailabel-user"],
    "out": [],
}
CLICK = {"label": "liver", "foreground": [[14, 22, 3]]}


class Realm:
    """An OpenID Connect provider: users whose password is their name, and their signed tokens."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        realm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = f"http://{self.headers['Host']}/realm"
                if self.path.endswith("openid-configuration"):
                    self.answer(200, {"issuer": url, "token_endpoint": f"{url}/token"})
                else:
                    self.answer(200, {"public_key": realm.public_key()})

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                name, password = (parse_qs(sent)[key][0] for key in ("username", "password"))
                right = name == password and name in ROLES
                token = {"access_token": realm.token(name), "token_type": "bearer"} if right else {}
                self.answer(200 if right else 401, token)

            def answer(self, status: int, content: dict) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/realm"

    def public_key(self) -> str:
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def token(
        self, name: str, key: Any = None, lives: float = 600, algorithm: str = "RS256"
    ) -> str:
        about = {"preferred_username": name, "exp": time.time() + lives}
        about |= {"realm_access": {"roles": ROLES[name]}}
        return jwt.encode(about, key or self.key, algorithm)


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    realm = Realm()
    yield realm
    realm.http.shutdown()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, realm: Realm) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("roles")
    save_volume(folder / "studies" / "case.nii.gz", ct(0)[0])
    running = Server(
        *(folder, make_bundle(folder, "tiny"), str(folder / "studies")),
        *("--conf", "open_requests", "3"),
        MONAI_LABEL_AUTH_ENABLE="true",
        MONAI_LABEL_AUTH_REALM_URI=realm.url,
    )
    running.wait()
    yield running
    running.stop()


def ask(server: Server, method: str, path: str, token: str = "", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, server.url + path, headers=headers, timeout=60, **options)


def click(server: Server, token: str, **more: Any) -> Any:
    params = {"data": {"params": json.dumps({**CLICK, **more})}}
    return ask(server, "post", "/infer/samparser_slice?image=case&output=json", token, **params)


def test_a_token_is_fetched_by_a_password(server: Server) -> None:
    def fetched(password: str) -> Any:
        given = {"username": "ann", "password": password}
        return requests.post(f"{server.url}/auth/token", data=given, timeout=30)

    token = fetched("ann").json()["access_token"]
    assert ask(server, "get", "/auth/token/valid", token).json()["username"] == "ann"
    assert fetched("wrong").status_code >= 400


def test_each_role_may_do_its_own_and_no_more(server: Server, realm: Realm, tmp_path: Path) -> None:
    label = save_volume(tmp_path / "label.nii.gz", ct(0)[1]).read_bytes()
    saved = {"files": {"label": ("label.nii.gz", label)}}
    may = {  # call -> who may
        ("get", "/info/"): "ann bob eve root",
        ("get", "/tuned/"): "ann bob eve root",
        ("put", "/datastore/label?image=case&tag=final"): "ann",
        ("post", "/tuned/start"): "root",
        ("delete", "/train/"): "root",
        ("delete", "/datastore/label?id=case&tag=none"): "root",
    }
    for (method, path), who in may.items():
        for name in ("ann", "eve", "root", "out"):
            options = saved if "/label?image" in path else {}
            status = ask(server, method, path, realm.token(name), **options).status_code
            assert (status not in (401, 403)) == (name in who.split()), (path, name, status)
        assert ask(server, method, path).status_code == 401
    for name, status in (("eve", 403), ("ann", 200)):
        assert click(server, realm.token(name), save=True).status_code == status
    info = ask(server, "get", "/datastore/label/info?label=case&tag=final", realm.token("eve"))
    assert info.json()["by"] == "ann"


def test_tokens_of_others_are_refused(server: Server, realm: Realm) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = realm.public_key() * 2
    for token in (
        realm.token("root", key=other),
        realm.token("root", lives=-60),
        realm.token("root", key=secret, algorithm="HS256"),
        jwt.encode({"preferred_username": "root"}, None, "none"),
        "junk",
    ):
        assert ask(server, "get", "/info/", token).status_code == 401
    assert ask(server, "get", "/info/", realm.token("root")).ok


def test_nobody_goes_on_from_another_users_answer(server: Server, realm: Realm) -> None:
    assert click(server, realm.token("ann"), client_id="shared").ok
    own, others = (
        click(server, realm.token(n), client_id="shared", undo=True) for n in ("ann", "bob")
    )
    assert own.ok
    assert others.status_code == 422
    assert "nothing to undo" in others.json()["detail"]
    assert "'ann': POST '/infer/samparser_slice' of 'case': 200" in server.log.read_text()


def test_an_address_may_have_so_many_requests_open(server: Server, realm: Realm) -> None:
    token = realm.token("eve")
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: click(server, token), range(24)))
    assert {one.status_code for one in found} == {200, 429}
    refused = next(one for one in found if one.status_code == 429)
    assert "open_requests" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "5"
    assert click(server, token).ok
