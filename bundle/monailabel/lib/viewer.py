"""What OHIF lacks: the reason why a request was refused, where it says only that it was."""

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
  XMLHttpRequest.prototype.send = function (...given) {
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


def tell_refusals() -> None:
    """Have OHIF's page say in a box why a request was refused."""
    ohif.get_ohif = page


def page(path: str) -> Response:
    """Return a file of OHIF; its page with the script before its own."""
    found = PAGES(path)
    if Path(found.path).name != "index.html":
        return found
    text = Path(found.path).read_text("utf-8")
    return HTMLResponse(text.replace("<head>", "<head>" + TELL, 1))
