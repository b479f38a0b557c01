"""Drives the web pages with a real browser, as a person would.

Arguments: the address, an API key, the browser, axe-core's script, a folder for screenshots.
Ends with an error at the first thing that is not as it should be.
"""

import json
import sys
import urllib.request
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

URL, KEY, BROWSER, AXE, SHOTS = sys.argv[1:6]
SHOTS = Path(SHOTS)
SHOTS.mkdir(parents=True, exist_ok=True)
LIMIT_MS = 60_000
SETTINGS = "/settings/builder/auto-fix"

FILES = {
    "metabuilder.toml": """
[[step]]
name = "slow"
run = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done"
[[step]]
name = "format"
run = "sh ci/check.sh"
fix = "sh ci/fix.sh"
approval = "on-fix"
needs = ["slow"]
[[step]]
name = "publish"
run = "echo published"
needs = ["format"]
""",
    "src/rates.py": "def total(amount, fee = 0):\n    return amount+fee\n",
    "ci/check.sh": 'if grep -q "fee = 0" src/rates.py; then\n'
    'echo "src/rates.py:1:22: E251 unexpected spaces around keyword / parameter equals"\n'
    'echo "Found 1 error."; exit 1; fi\n',
    "ci/fix.sh": 'sed -i "s/fee = 0/fee=0/; s/amount+fee/amount + fee/" src/rates.py\n',
}
HOSTILE = (
    "printf '\\033]52;c;aGk=\\007<script>alert(1)</script> \\033[31mred\\033[0m\\n';"
    " echo 'tests/a.py:3: AssertionError: assert 1 == 2'; echo '1 failed'; exit 1"
)


def call(method, path, body=None):
    request = urllib.request.Request(
        f"{URL}/api/meta/v2{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def start(title, files):
    source = {"kind": "inline", "files": files}
    spec = call("POST", "/specs", {"title": title, "mode": "guided", "source": source})["id"]
    call("POST", f"/specs/{spec}/plan", {})
    return call("POST", f"/specs/{spec}/runs", {})["id"]


def watched(context):
    """A page whose every complaint, also of the content security policy, ends the test."""
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda m: complaints.append(m.text)
        if m.type == "error" and "status of 404" not in m.text
        else None,
    )
    return page, complaints


def sign_in(page, to="/runs"):
    page.goto(URL + to)
    assert "/sign-in" in page.url, page.url
    page.fill("#key", "mb_wrong")
    page.click("button.primary")
    expect(page.locator("[role=alert]")).to_contain_text("does not sign in")
    page.fill("#key", KEY)
    page.click("button.primary")
    page.wait_for_url("**" + to)


def quiet(complaints):
    # The refused sign-in is answered with 422, which the browser reports.
    serious = [c for c in complaints if "status of 422" not in c]
    assert not serious, serious


def live(page, run):
    page.goto(f"{URL}/runs/{run}")
    expect(page.locator(".lines")).to_contain_text("line 2", timeout=LIMIT_MS)
    gate = page.locator(".gate.waiting")
    expect(gate).to_be_visible(timeout=LIMIT_MS)
    expect(page.locator("#timeline")).to_contain_text("Ask", ignore_case=True)
    expect(page.locator("#timeline")).to_contain_text("escalated")
    expect(gate.locator(".diff ins").first).to_be_visible()
    page.screenshot(path=SHOTS / "gate-live.png", full_page=True)
    gate.locator("textarea").fill("looks right")
    gate.get_by_role("button", name="Approve").click()
    expect(page.locator("#head .badge").first).to_contain_text("succeeded", timeout=LIMIT_MS)
    expect(page.locator("#decisions")).to_contain_text("looks right")


def edit(page):
    page.goto(URL + SETTINGS)
    field = page.locator("#max_total_attempts-value")
    field.fill("99")
    page.locator("#max_total_attempts").get_by_role("button", name="Save").click()
    expect(page.locator("#max_total_attempts-problem")).to_contain_text("1 to 20")
    field.fill("7")
    page.locator("#max_total_attempts-reason").fill("patience")
    page.locator("#max_total_attempts").get_by_role("button", name="Save").click()
    expect(page.locator("#max_total_attempts .value")).to_have_text("7")
    expect(page.locator(".history")).to_contain_text("patience")
    page.locator("#max_total_attempts").get_by_role("button", name="Reset").click()
    expect(page.locator("#max_total_attempts .layer").first).to_have_text("platform")


def without_script(browser, run):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{URL}/runs/{run}")
    page.fill("#key", KEY)
    page.click("button.primary")
    expect(page.locator("#timeline")).to_contain_text("format")
    page.goto(URL + "/approvals")
    card = page.locator(".gate.waiting").first
    card.locator("textarea").fill("no script")
    card.get_by_role("button", name="Reject").click()
    expect(page.locator(".note.done")).to_contain_text("Rejected")
    context.close()


def every_page(browser, paths):
    """Screenshots, no sideways scrolling, and what axe-core finds, in both themes and on a phone."""
    axe = Path(AXE).read_text()
    for name, scheme, width in [
        ("light", "light", 1280),
        ("dark", "dark", 1280),
        ("phone", "light", 390),
    ]:
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 844}
        )
        page, complaints = watched(context)
        sign_in(page)
        for label, path in paths.items():
            page.goto(URL + path)
            page.screenshot(path=SHOTS / f"{label}-{name}.png", full_page=True)
            over = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert over <= 0, f"{label} {name}: the page scrolls sideways by {over}"
            page.evaluate(axe)
            found = page.evaluate("axe.run().then(r => r.violations)")
            grave = [
                (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"][:300])
                for v in found
                if v["impact"] in ("serious", "critical")
            ]
            assert not grave, f"{label} {name}: {grave}"
        quiet(complaints)
        context.close()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
    healed = start("docs-site", FILES)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, complaints = watched(context)
    sign_in(page)
    live(page, healed)
    failing = {"metabuilder.toml": f'[[step]]\nname = "test"\nrun = """{HOSTILE}"""\n'.replace("\\", "\\\\")}
    failed = start("payments-api", failing)
    page.goto(f"{URL}/runs/{failed}")
    expect(page.locator("#head .badge").first).to_contain_text("failed", timeout=LIMIT_MS)
    expect(page.locator("#why")).to_contain_text("Why it failed")
    expect(page.locator(".lines")).to_contain_text("<script>alert(1)</script>")
    edit(page)
    waiting = start("docs-site", FILES)
    page.goto(f"{URL}/runs/{waiting}")
    expect(page.locator(".gate.waiting")).to_be_visible(timeout=LIMIT_MS)
    every_page(
        browser,
        {
            "runs": "/runs",
            "healed": f"/runs/{healed}",
            "failed": f"/runs/{failed}",
            "waiting": f"/runs/{waiting}",
            "approvals": "/approvals",
            "settings": SETTINGS,
            "missing": "/runs/nothing",
        },
    )
    without_script(browser, waiting)
    page.goto(URL + "/runs")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("[role=status].note")).to_contain_text("signed out")
    page.goto(URL + "/runs")
    assert "/sign-in" in page.url
    quiet(complaints)
    browser.close()
print("the pages are as they should be")
