// What a browser makes of a page: no request, no console error, nothing wider than the screen, no serious fault of
// accessibility; in light and dark, on a phone and on a desk, with everything folded and everything open.
import { mkdirSync, readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [shots, ...pages] = process.argv.slice(2);
mkdirSync(shots, { recursive: true });
const faults = [];
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
});

for (const file of pages) {
  const url = pathToFileURL(resolve(file)).href;
  const name = basename(file, ".html");
  for (const scheme of ["light", "dark"]) {
    for (const width of [390, 1280]) {
      const where = `${name} ${scheme} ${width}`;
      const page = await browser.newPage();
      page.on("request", (request) => {
        if (request.url() !== url) faults.push(`${where}: asks for ${request.url()}`);
      });
      page.on("console", (message) => {
        if (["error", "warn"].includes(message.type())) faults.push(`${where}: console: ${message.text()}`);
      });
      page.on("pageerror", (error) => faults.push(`${where}: script: ${error.message}`));
      await page.setOfflineMode(true);
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.setViewport({ width, height: 900 });
      await page.goto(url);
      for (const state of ["folded", "open"]) {
        if (state === "open") {
          await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
        }
        await page.screenshot({ path: `${shots}/${name}-${scheme}-${width}-${state}.png`, fullPage: true });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
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
await browser.close();
for (const fault of faults) console.error(`fault: ${fault}`);
console.log(`${pages.length} pages, ${faults.length} faults; screenshots in ${shots}`);
process.exit(faults.length > 0 ? 1 : 0);
