"use strict";
// The page is whole without this: it opens the node that a link points to, and searches the list of nodes.
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
const search = document.getElementById("search");
if (search) {
  search.closest("p").hidden = false;
  const rows = document.querySelectorAll(".overview tbody tr");
  const nodes = document.querySelectorAll("details.node[id]");
  const found = document.getElementById("found");
  const texts = Array.from(nodes, (node) => node.querySelector("summary").textContent.toLowerCase());
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(" ").filter(Boolean);
    let shown = 0;
    nodes.forEach((node, at) => {
      const fits = words.every((word) => texts[at].includes(word));
      node.hidden = !fits;
      if (rows[at]) rows[at].hidden = !fits;
      shown += fits;
    });
    found.textContent = words.length ? shown + " of " + nodes.length : "";
  });
}
