"use strict";
// Reads the page again and puts the new <main> in the place of the old one. Without this script the page is reloaded
// more slowly (noscript), and everything else is the same.
(() => {
  const main = document.querySelector("main");
  const fresh = document.querySelector("#fresh");
  const seconds = Number(main.dataset.refresh);
  if (!seconds) return;
  const again = async () => {
    try {
      const selected = String(document.getSelection());
      if (!document.hidden && !selected) {
        // the address bar may hold a password, which fetch refuses
        const answer = await fetch(location.pathname + location.search, { cache: "no-store", credentials: "same-origin" });
        const text = await answer.text();
        const found = new DOMParser().parseFromString(text, "text/html").querySelector("main");
        if (!found) throw new Error(String(answer.status));
        main.replaceChildren(...found.childNodes);
        fresh.textContent = "live " + new Date().toLocaleTimeString();
      }
    } catch (error) {
      fresh.textContent = "no answer since " + new Date().toLocaleTimeString();
    }
    setTimeout(again, seconds * 1000);
  };
  setTimeout(again, seconds * 1000);
})();
