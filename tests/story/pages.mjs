// Makes pages for check.mjs with a built odibi: the stories of examples/flights, of a run that failed after some attempts
// and of its retry, and one story over and over with the payloads of host/story in every place that takes a text.
// Arguments: odibi, the root of the checkout, the component of the example, and a directory for all of it.
import { execFile } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { basename, join, resolve } from "node:path";
import { promisify } from "node:util";

const [odibi, root, geo, out] = process.argv.slice(2).map((path) => resolve(path));
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
// What is compiled is kept from one time to the next.
const env = { PATH: process.env.PATH, ODIBI_CACHE_DIR: join(out, "../cache") };

// Its exit code; anything that was not expected ends this.
const run = async (cwd, expect, ...args) => {
  const ended = await promisify(execFile)(odibi, args, { cwd, env, maxBuffer: 64 << 20 }).then(
    (said) => ({ ...said, code: 0 }),
    (error) => error,
  );
  if (expect !== null && ended.code !== expect) {
    throw new Error(`odibi ${args.join(" ")} ended with ${ended.code} instead of ${expect}:\n${ended.stdout}${ended.stderr}`);
  }
  return ended.code;
};

// Files of stories, the oldest first: their names begin with the time, and run ids go up with it.
const stories = (dir, ending) =>
  readdirSync(dir, { recursive: true })
    .map(String)
    .filter((path) => basename(path).startsWith("run_") && path.endsWith(ending))
    .sort()
    .map((path) => join(dir, path));

const taken = [];
const take = (file, name) => {
  const to = join(out, `${name}.html`);
  copyFileSync(file, to);
  taken.push(to);
};

// --- The example -----------------------------------------------------------------------------------------------------
const flights = join(out, "flights");
const left = ["out", ".odibi", "target", "geo"].map((name) => join(root, "examples/flights", name === "geo" ? "plugins/geo" : name));
cpSync(join(root, "examples/flights"), flights, { recursive: true, filter: (path) => !left.includes(path) });
copyFileSync(geo, join(flights, "plugins/geo.wasm"));
await run(flights, 0, "run", "odibi.yaml");
for (const page of stories(join(flights, "out/stories"), ".html")) {
  take(page, `flights-${basename(resolve(page, "../.."))}`);
}

// --- A run that fails, and its retry ---------------------------------------------------------------------------------
// A server that is busy: `orders` for as long as one attempt lasts, `prices` until it is healed. Each attempt asks a few
// times by itself.
let healed = false;
let asked = 0;
const server = createServer((request, response) => {
  const orders = request.url.includes("orders");
  const busy = !healed && (!orders || ++asked <= 6);
  if (busy) return response.writeHead(503, { "Content-Length": 0 }).end();
  const body = Buffer.from("id,name\n1,Zürich\n2,\n3,\"a, b\"\n");
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const [first, last] = range ? [+range[1], Math.min(+(range[2] || body.length - 1), body.length - 1)] : [0, body.length - 1];
  const part = body.subarray(first, last + 1);
  const headers = { "Content-Length": part.length, ETag: '"1"', "Accept-Ranges": "bytes" };
  if (range) headers["Content-Range"] = `bytes ${first}-${last}/${body.length}`;
  response.writeHead(range ? 206 : 200, headers).end(request.method === "HEAD" ? undefined : part);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const failing = join(out, "failing");
mkdirSync(failing);
writeFileSync(join(failing, "stock.csv"), "id,count\n1,7\n2,many\n3,9\n");
writeFileSync(
  join(failing, "odibi.yaml"),
  `project: shop
connections:
  here: {type: local, base_path: .}
  web: {type: http, base_url: "http://127.0.0.1:${server.address().port}"}
story: {connection: here}
retry: {max_attempts: 3, delay: 50ms, jitter: false}
pipelines:
  - pipeline: orders
    description: What is sold, and what it costs.
    nodes:
      - name: orders
        description: The shop is slow to answer.
        read: {connection: web, format: csv, path: orders.csv}
        write: {connection: here, format: parquet, path: orders.parquet}
      - name: prices
        tags: [daily]
        read: {connection: web, format: csv, path: prices.csv}
      - name: stock
        read: {connection: here, format: csv, path: stock.csv, options: {schema: {count: int64}, on_bad_row: quarantine}}
        on_row_error: quarantine
        quarantine: {connection: here, path: rejects}
        write: {connection: here, format: parquet, path: stock.parquet}
      - name: list
        inputs: {df: orders, prices: prices}
        transform:
          steps:
            - {operation: union, params: {datasets: [prices]}}
            - {operation: rename_columns, params: {mapping: {name: city}}}
        write: {connection: here, format: csv, path: list.csv}
`,
);
await run(failing, 1, "run");
healed = true;
await run(failing, 0, "retry");
server.close();
server.closeAllConnections();
const [failed, retried] = stories(join(failing, "stories"), ".html");
take(failed, "failed");
take(retried, "retried");

// --- Hostile texts ---------------------------------------------------------------------------------------------------
// The story of the failed run, read from a file whose texts are others.
const story = JSON.parse(readFileSync(stories(join(failing, "stories"), ".json")[0], "utf8"));
const places = new Map();
const visit = (holder, key, pattern) => {
  const value = holder[key];
  if (typeof value === "string") {
    places.set(pattern, [...(places.get(pattern) ?? []), { holder, key }]);
  } else if (value && typeof value === "object") {
    for (const inner of Object.keys(value)) visit(value, inner, `${pattern}/${Array.isArray(value) ? "*" : inner}`);
  }
};
visit({ story }, "story", "");
const told = join(out, "told.json");
const render = async (to, expect) => {
  writeFileSync(told, JSON.stringify(story));
  return run(out, expect, "story", "export", told, to);
};
await render("told.html", 0);
// Elsewhere only certain words, times and digests are read back.
const free = [];
for (const group of places.values()) {
  const before = group.map(({ holder, key }) => holder[key]);
  group.forEach(({ holder, key }) => (holder[key] = "any"));
  if ((await render("told.html", null)) === 0) free.push(...group);
  group.forEach(({ holder, key }, at) => (holder[key] = before[at]));
}
const { whole, ends, vectors } = JSON.parse(readFileSync(join(root, "host/story/src/render/testdata/payloads.json"), "utf8"));
const payloads = [...whole, ...ends.flatMap((end) => vectors.map((vector) => end + vector))];
if (free.length < 80 || payloads.length < 500) throw new Error(`${free.length} places, ${payloads.length} payloads`);
const fill = async (name, text) => {
  // Numbered, because equal names would be one column or node.
  free.forEach(({ holder, key }, at) => (holder[key] = `${text(at)}${at}`));
  await render(`${name}.html`, 0);
  return join(out, `${name}.html`);
};
const benign = await fill("benign", () => "benign");
const hostile = [];
for (let from = 0; from < payloads.length; from += free.length) {
  hostile.push(await fill(`hostile-${hostile.length}`, (at) => payloads[(from + at) % payloads.length]));
}
taken.push(hostile[0]);
writeFileSync(join(out, "list.json"), JSON.stringify({ pages: taken, like: [{ benign, hostile }] }));
console.log(`${taken.length} pages; ${payloads.length} payloads in ${free.length} places of ${hostile.length} stories`);
