"""Adds a requirement for a missing module, only for modules whose distribution is beyond doubt. A
name that is not in the list is never guessed: whoever owns it on the index could run code here.
usage: py_requirement.py LOG"""
import os
import re
import sys

TRUSTED = {
    "attr": "attrs", "bs4": "beautifulsoup4", "click": "click", "cv2": "opencv-python", "dateutil": "python-dateutil",
    "django": "Django", "dotenv": "python-dotenv", "fastapi": "fastapi", "flask": "Flask", "httpx": "httpx",
    "jinja2": "Jinja2", "jwt": "PyJWT", "matplotlib": "matplotlib", "numpy": "numpy", "pandas": "pandas",
    "PIL": "Pillow", "psycopg2": "psycopg2-binary", "pydantic": "pydantic", "pytest": "pytest", "redis": "redis",
    "requests": "requests", "rich": "rich", "scipy": "scipy", "sklearn": "scikit-learn", "sqlalchemy": "SQLAlchemy",
    "typer": "typer", "yaml": "PyYAML",
}


def main(log):
    with open(log, errors="replace") as lines:
        names = [m for line in lines for m in re.findall(r"No module named '?([\w.]+)", line[:2000])]
    names = list(dict.fromkeys(n.split(".")[0] for n in names))
    if not names:
        return 3
    strangers = [n for n in names if n not in TRUSTED]
    if strangers:
        print(f"nobody here knows which distribution offers {', '.join(strangers)}: a human must name it")
        return 4
    if not os.path.isfile("requirements.txt"):
        return 3
    with open("requirements.txt") as text:
        lines = text.read().splitlines()
    present = {re.split(r"[^\w.-]", line.strip())[0].lower().replace("_", "-") for line in lines}
    missing = [TRUSTED[n] for n in names if TRUSTED[n].lower() not in present]
    if not missing:
        print("the distribution is already required; it is not installed where the step runs")
        return 4
    with open("requirements.txt", "w") as text:
        text.write("\n".join(lines + missing) + "\n")
    return 0


sys.exit(main(sys.argv[1]))
