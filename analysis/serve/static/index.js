// The index renews itself: the server renders it, and what the reader opened or closed stays so.

import { poll } from "/static/poll.js";

poll("/", (text) => {
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  const main = document.querySelector("main");
  if (!fresh || fresh.innerHTML === main.innerHTML) return;
  for (const before of main.querySelectorAll("details")) {
    const after = [...fresh.querySelectorAll("details")].find((each) => each.id === before.id);
    if (after) after.open = before.open;
  }
  const focused = document.activeElement?.getAttribute("href");
  main.replaceWith(fresh);
  [...fresh.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
});
