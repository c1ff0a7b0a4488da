// What a browser makes of a page: no request, no console error, no element that a story does not have, nothing wider than
// the screen, no serious fault of accessibility; in light and dark, on a phone and on a desk, with everything folded and
// everything open. Arguments: a directory for screenshots, and pages, or `@` with a list of pages.mjs.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [shots, ...names] = process.argv.slice(2);
rmSync(shots, { recursive: true, force: true });
mkdirSync(shots, { recursive: true });
const lists = names.filter((name) => name.startsWith("@")).map((name) => JSON.parse(readFileSync(name.slice(1), "utf8")));
const pages = names.filter((name) => !name.startsWith("@")).concat(lists.flatMap((list) => list.pages));
const faults = [];
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
  ],
});

// A page of its own, without a network, that reports whatever a story does not do.
const open = async (file, where, scheme, width) => {
  const url = pathToFileURL(resolve(file)).href;
  const page = await browser.newPage();
  page.on("request", (request) => {
    if (request.url() !== url) faults.push(`${where}: asks for ${request.url()}`);
  });
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) faults.push(`${where}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`${where}: script: ${error.message}`));
  page.on("dialog", async (dialog) => {
    faults.push(`${where}: a dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  await page.setOfflineMode(true);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport({ width, height: 900 });
  await page.goto(url);
  return page;
};

// Elements, attributes and comments of the document, one after the other; its texts left out, and what they are shown as.
const skeleton = (page) =>
  page.evaluate(() => {
    const walker = document.createNodeIterator(document, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT);
    const found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.nodeType === Node.COMMENT_NODE) {
        found.push("a comment");
        continue;
      }
      const attributes = [...node.attributes].map(({ name, value }) => (name === "aria-label" ? name : `${name}=${value}`));
      const shown = ["code", "br"].includes(node.localName) && attributes.length === 0;
      if (!shown) found.push([node.localName, ...attributes.sort()].join(" "));
    }
    return found;
  });

// What no page of a story holds, whatever it tells.
const foreign = (page) =>
  page.evaluate(() => {
    const found = [];
    const bad = "iframe,frame,object,embed,link,base,form,img,video,audio,source,template,foreignObject,script[src],animate,set";
    for (const element of document.querySelectorAll(bad)) found.push(element.outerHTML.slice(0, 100));
    for (const only of ["head", "body", "head title", "style", "script"]) {
      const count = document.querySelectorAll(only).length;
      if (count !== 1) found.push(`${count} times \`${only}\``);
    }
    for (const element of document.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        const links = ["href", "src", "xlink:href", "action", "formaction", "srcdoc"];
        const link = links.includes(name) && !value.startsWith("#");
        const policy = name === "http-equiv" && value !== "Content-Security-Policy";
        if (name.startsWith("on") || link || policy) found.push(`${element.localName} ${name}=${value}`);
      }
    }
    return found;
  });

const widthOf = (page) => page.evaluate(() => document.documentElement.scrollWidth);
const unfold = (page) => page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));

for (const file of pages) {
  const name = basename(file, ".html");
  for (const scheme of ["light", "dark"]) {
    for (const width of [390, 1280]) {
      const where = `${name} ${scheme} ${width}`;
      const page = await open(file, where, scheme, width);
      for (const what of await foreign(page)) faults.push(`${where}: not of a story: ${what}`);
      for (const state of ["folded", "open"]) {
        if (state === "open") await unfold(page);
        await page.screenshot({ path: `${shots}/${name}-${scheme}-${width}-${state}.png`, fullPage: true });
        const wide = await widthOf(page);
        if (wide > width) faults.push(`${where} ${state}: ${wide} pixels wide`);
        await page.evaluate(axe);
        const found = await page.evaluate(async () => (await axe.run()).violations);
        for (const { impact, id, help, nodes } of found) {
          const text = `${where} ${state}: axe: ${impact} ${id}: ${help}: ${nodes[0].html.slice(0, 200)}`;
          if (["serious", "critical"].includes(impact)) faults.push(text);
          else console.log(`note: ${text}`);
        }
      }
      const found = await page.evaluate(() => {
        const search = document.getElementById("search");
        if (!search) return true;
        search.value = "no node is called like this";
        search.dispatchEvent(new Event("input"));
        return [...document.querySelectorAll("details.node[id]")].every((node) => node.hidden);
      });
      if (!found) faults.push(`${where}: the search hides nothing`);
      await page.close();
    }
  }
}

// The same story with harmless and with hostile texts is the same document.
let compared = 0;
for (const { benign, hostile } of lists.flatMap((list) => list.like)) {
  const page = await open(benign, basename(benign), "light", 1280);
  const expect = await skeleton(page);
  await page.close();
  if (expect.length < 500) faults.push(`${basename(benign)}: only ${expect.length} elements`);
  for (const file of hostile) {
    const name = basename(file, ".html");
    const page = await open(file, name, "light", 390);
    const found = await skeleton(page);
    const at = expect.findIndex((piece, index) => piece !== found[index]);
    if (at >= 0 || found.length !== expect.length) {
      const other = `the first other one: ${found[at] ?? found[expect.length]} instead of ${expect[at]}`;
      faults.push(`${name}: ${found.length} elements instead of ${expect.length}; ${other}`);
    }
    for (const what of await foreign(page)) faults.push(`${name}: not of a story: ${what}`);
    await unfold(page);
    const wide = await widthOf(page);
    if (wide > 390) faults.push(`${name}: ${wide} pixels wide`);
    compared += 1;
    await page.close();
  }
}
await browser.close();
for (const fault of faults) console.error(`fault: ${fault}`);
console.log(`${pages.length} pages, ${compared} hostile ones, ${faults.length} faults; screenshots in ${shots}`);
process.exit(faults.length > 0 || pages.length === 0 ? 1 : 0);
