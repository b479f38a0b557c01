"use strict";
// Shows the OpenAPI document. Everything is put in as text, never as markup.
const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
};

const table = (heads, rows) =>
  element("table", null,
    element("tr", null, ...heads.map((h) => element("th", h))),
    ...rows.map((row) => element("tr", null, ...row.map((cell) => element("td", cell)))));

const code = (value) => element("pre", JSON.stringify(value, null, 2));

// References are followed to a depth that stays readable.
const resolved = (spec, schema, depth) => {
  if (depth === 0 || schema === null || typeof schema !== "object") return schema;
  if (Array.isArray(schema)) return schema.map((s) => resolved(spec, s, depth));
  if (typeof schema.$ref === "string") {
    const found = schema.$ref.slice(2).split("/").reduce((at, part) => at[part], spec);
    return resolved(spec, found, depth - 1);
  }
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, resolved(spec, v, depth)]));
};

const operation = (spec, path, method, of) => {
  const role = of["x-role"] ?? "no credential";
  const head = element("summary", null,
    element("b", method.toUpperCase()), element("code", path),
    element("span", `${of.summary} (${role})`));
  const body = element("section", null);
  const made = element("details", null, head, body);
  made.dataset.words = `${method} ${path} ${of.summary} ${role}`.toLowerCase();
  made.addEventListener("toggle", () => {
    if (!made.open || body.childElementCount > 0) return;
    if (of.parameters) {
      const row = (p) => [p.name, p.in, p.description ?? "", JSON.stringify(p.schema)];
      body.append(table(["parameter", "in", "what", "schema"], of.parameters.map(row)));
    }
    if (of.requestBody) {
      const [media, content] = Object.entries(of.requestBody.content)[0];
      body.append(element("h3", `Body: ${media}`), code(resolved(spec, content.schema, 3)));
    }
    for (const [status, reply] of Object.entries(of.responses)) {
      const whole = resolved(spec, reply, 1);
      body.append(element("h3", `${status} ${whole.description}`));
      const content = Object.entries(whole.content ?? {});
      if (status < 300) {
        for (const [media, { schema }] of content) {
          body.append(element("p", media), code(resolved(spec, schema, 4)));
        }
      }
    }
  }, { passive: true });
  return made;
};

const show = (spec) => {
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, of] of Object.entries(methods)) {
      const tag = of.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(spec, path, method, of));
    }
  }
  const main = document.getElementById("routes");
  for (const [tag, list] of groups) main.append(element("h2", tag), ...list);
  document.getElementById("find").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const made of main.querySelectorAll("details")) {
      made.hidden = !words.every((word) => made.dataset.words.includes(word));
    }
  });
};

fetch("/openapi.json").then((answer) => answer.json()).then(show);
