// Applies TypeScript's own code fixes where there is exactly one that helps, until none is left.
// TypeScript is the project's own, else the one that `tsc` on the PATH belongs to.
// usage: ts_codefix.mjs ARGUMENTS OF TSC
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { delimiter, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { existsSync, realpathSync, writeFileSync } from "node:fs";

const ROUNDS_MAX = 200;
const CANDIDATES_MAX = 8;
const NEVER = new Set(["disableJsDiagnostics", "fixMissingFunctionDeclaration", "inferFromUsage", "fixAddMissingParam", "fixExpectedComma"]);
const root = process.env.ROOT ?? process.cwd();

function load() {
  const places = [join(process.cwd(), "package.json")];
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const tsc = join(folder, "tsc");
    if (existsSync(tsc)) places.push(realpathSync(tsc));
  }
  for (const place of places) {
    try {
      return createRequire(place)("typescript");
    } catch {
      continue;
    }
  }
  console.log("typescript is not installed here");
  process.exit(127);
}

const ts = load();

function project(line) {
  const asked = ts.parseCommandLine(line);
  if (asked.fileNames.length > 0) return { options: asked.options, fileNames: asked.fileNames };
  let config = asked.options.project ? resolve(asked.options.project) : ts.findConfigFile(process.cwd(), ts.sys.fileExists);
  if (config && !config.endsWith(".json")) config = join(config, "tsconfig.json");
  if (!config || !existsSync(config)) {
    console.log("no tsconfig.json");
    process.exit(3);
  }
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => process.exit(3) };
  return ts.getParsedCommandLineOfConfigFile(config, asked.options, host);
}

/// Projects of `tsc --build`, those that others refer to first.
function built(config, seen = []) {
  const path = config.endsWith(".json") ? resolve(config) : join(resolve(config), "tsconfig.json");
  if (seen.includes(path) || !existsSync(path)) return seen;
  const own = ts.readConfigFile(path, ts.sys.readFile).config ?? {};
  for (const reference of own.references ?? []) {
    if (typeof reference.path === "string") built(resolve(dirname(path), reference.path), seen);
  }
  if (!seen.includes(path)) seen.push(path);
  return seen;
}

/// Runs once for each project of a build; the best exit status of all counts.
function build(line) {
  const named = line.filter((word) => !word.startsWith("-") && existsSync(word));
  const projects = (named.length > 0 ? named : ["."]).flatMap((config) => built(config));
  const results = [...new Set(projects)].map((config) => {
    const done = spawnSync(process.execPath, [fileURLToPath(import.meta.url), "-p", config], { encoding: "utf8" });
    process.stdout.write(done.stdout ?? "");
    return done.status ?? 1;
  });
  process.exit([0, 4].find((status) => results.includes(status)) ?? results.find((status) => status !== 3) ?? 3);
}

const line = process.argv.slice(2);
if (line.some((word) => word === "-b" || word === "--build")) build(line);
const parsed = project(line);
const texts = new Map();
const versions = new Map();
const own = new Set(parsed.fileNames.map((f) => resolve(f)));
const fileNames = new Set([...own, ...(parsed.projectReferences ?? []).flatMap((r) => built(r.path)).flatMap(filesOf)]);

/// What a project refers to may be imported from it.
function filesOf(config) {
  const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} };
  return (ts.getParsedCommandLineOfConfigFile(config, {}, host)?.fileNames ?? []).map((f) => resolve(f));
}


function setText(file, text) {
  texts.set(file, text);
  versions.set(file, (versions.get(file) ?? 0) + 1);
}

const read = (file) => texts.get(resolve(file)) ?? ts.sys.readFile(file);
const service = ts.createLanguageService({
  getCompilationSettings: () => parsed.options,
  getScriptFileNames: () => [...fileNames],
  getScriptVersion: (file) => String(versions.get(resolve(file)) ?? 0),
  getScriptSnapshot: (file) => {
    const text = read(file);
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
  },
  getCurrentDirectory: () => process.cwd(),
  getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
  fileExists: (file) => texts.has(resolve(file)) || ts.sys.fileExists(file),
  readFile: read,
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories,
});

function ours(file) {
  const path = relative(root, resolve(file));
  return !path.startsWith("..") && !isAbsolute(path) && !path.split("/").includes("node_modules");
}

function errors() {
  const program = service.getProgram();
  return program
    .getSourceFiles()
    .filter((f) => ours(f.fileName) && !f.isDeclarationFile)
    .filter((f) => own.has(resolve(f.fileName)) || !fileNames.has(resolve(f.fileName)))
    .flatMap((f) => [...service.getSyntacticDiagnostics(f.fileName), ...service.getSemanticDiagnostics(f.fileName)])
    .filter((d) => d.category === ts.DiagnosticCategory.Error && d.start !== undefined);
}

const key = (d) => `${d.file.fileName}:${d.code}:${d.file.text.slice(d.start, d.start + d.length)}:${d.start}`;

function indentation(text) {
  const found = /^(\t| {2,8})\S/m.exec(text);
  return found && found[1] !== "\t" ? { indentSize: found[1].length, tabSize: found[1].length, convertTabsToSpaces: true }
    : { indentSize: 2, tabSize: 2, convertTabsToSpaces: !found };
}

function candidates(d) {
  const format = { ...ts.getDefaultFormatCodeSettings?.("\n"), ...indentation(d.file.text) };
  const quote = /from '/.test(d.file.text) ? "single" : /from "/.test(d.file.text) ? "double" : "auto";
  let fixes = [];
  try {
    fixes = service.getCodeFixesAtPosition(d.file.fileName, d.start, d.start + d.length, [d.code], format, {
      quotePreference: quote,
      includeCompletionsForModuleExports: true,
    });
  } catch (error) {
    console.log(`no code fix for TS${d.code}: ${error.message}`);
  }
  const distinct = new Map();
  for (const fix of fixes) {
    const adds = fix.changes.flatMap((c) => c.textChanges.map((t) => t.newText)).join("\n");
    const bad = NEVER.has(fix.fixName) || /:\s*any\b|\bas any\b|@ts-(ignore|nocheck|expect-error)/.test(adds);
    const inside = fix.changes.every((c) => ours(c.fileName) && (c.isNewFile ? false : true));
    if (!bad && inside && !fix.commands?.length) distinct.set(JSON.stringify(fix.changes), fix);
  }
  const all = [...distinct.values()];
  const removal = all.filter((f) => f.fixName === "unusedIdentifier" && !/\b_/.test(f.description));
  return removal.length === 1 ? removal : all.slice(0, CANDIDATES_MAX);
}

function apply(fix) {
  const before = new Map();
  for (const change of fix.changes) {
    const file = resolve(change.fileName);
    let text = read(file) ?? "";
    before.set(file, text);
    for (const edit of [...change.textChanges].sort((a, b) => b.span.start - a.span.start)) {
      text = text.slice(0, edit.span.start) + edit.newText + text.slice(edit.span.start + edit.span.length);
    }
    setText(file, text);
  }
  return before;
}

function restore(before) {
  for (const [file, text] of before) setText(file, text);
}

let open = errors();
let done = 0;
let refused = 0;
const skipped = new Set();
for (let round = 0; round < ROUNDS_MAX; round += 1) {
  const next = open.find((d) => !skipped.has(key(d)));
  if (!next) break;
  const results = candidates(next).map((fix) => {
    const before = apply(fix);
    const left = errors().length;
    restore(before);
    return { fix, left };
  });
  const helping = results.filter((r) => r.left < open.length);
  const fewest = Math.min(...helping.map((r) => r.left));
  let best = helping.filter((r) => r.left === fewest);
  // A name that exactly one module of the project offers is meant before one that is only spelt like it.
  const imports = best.filter((r) => r.fix.fixName === "import" && /["']\.{1,2}\//.test(r.fix.description));
  if (best.length > 1 && imports.length === 1) best = imports;
  if (best.length === 1) {
    apply(best[0].fix);
    console.log(`TS${next.code} ${relative(root, next.file.fileName)}: ${best[0].fix.description}`);
    open = errors();
    done += 1;
  } else {
    if (results.length > 0) refused += 1;
    if (best.length > 1) console.log(`TS${next.code}: ${best.length} code fixes help equally; a human must choose`);
    skipped.add(key(next));
  }
}
for (const [file, text] of texts) {
  if (text !== ts.sys.readFile(file)) writeFileSync(file, text);
}
console.log(`${done} code fixes applied, ${open.length} errors left`);
process.exit(done > 0 ? 0 : refused > 0 ? 4 : 3);
