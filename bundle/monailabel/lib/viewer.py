"""What OHIF lacks: which organ its points are of, and the reason why a request was refused."""

from pathlib import Path

from fastapi.responses import HTMLResponse, Response
from monailabel.endpoints import ohif

PAGES = ohif.get_ohif
TELL = """<script>
{
  const send = XMLHttpRequest.prototype.send;
  const reason = (request) => {
    const text = request.responseType === "arraybuffer"
      ? new TextDecoder().decode(request.response)
      : request.responseType === "json" ? JSON.stringify(request.response) : request.responseText;
    return JSON.parse(text).detail;
  };
  const show = (text) => {
    const box = document.getElementById("samparser-refused") || document.createElement("div");
    box.id = "samparser-refused";
    box.setAttribute("role", "alert");
    box.textContent = text;
    box.title = "click to close";
    box.onclick = () => box.remove();
    box.style.cssText = "position:fixed;left:1rem;bottom:1rem;max-width:40rem;padding:1rem;"
      + "z-index:9999;color:white;background:#8b1a1a;border-radius:6px;font:16px sans-serif";
    document.body.append(box);
  };
  const name = (body) => {
    const params = JSON.parse(body.get("params"));
    const tab = document.querySelector(".monaiLabelPanel .tab-switch:checked")?.closest(".tab");
    const rows = [...(tab?.querySelectorAll(".clickable-row") || [])];
    const chosen = rows.find((row) => row.style.backgroundColor === "darkblue");
    if (chosen && params.background && !params.label) {
      body.set("params", JSON.stringify({ ...params, label: chosen.textContent.trim() }));
    }
  };
  const open = XMLHttpRequest.prototype.open;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.asked = String(url);
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (...given) {
    try {
      if (this.asked.includes("/infer/") && given[0] instanceof FormData) name(given[0]);
    } catch (error) {
      console.warn("the organ is not named", error);
    }
    this.addEventListener("load", () => {
      if (this.status < 400) {
        if (this.responseURL.includes("/infer/")) {
          document.getElementById("samparser-refused")?.remove();
        }
        return;
      }
      try {
        const text = reason(this);
        if (typeof text === "string") show(text);
      } catch {
        return;  // another server's
      }
    });
    return send.apply(this, given);
  };
}
</script>"""


def mend_ohif() -> None:
    """Have OHIF's page name the organ that is chosen, and say why a request was refused."""
    ohif.get_ohif = page


def page(path: str) -> Response:
    """Return a file of OHIF; its page with the script before its own."""
    found = PAGES(path)
    if Path(found.path).name != "index.html":
        return found
    text = Path(found.path).read_text("utf-8")
    return HTMLResponse(text.replace("<head>", "<head>" + TELL, 1))
