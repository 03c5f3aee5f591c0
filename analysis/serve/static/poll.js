// Asks one address again and again, and hands an answer on only if it changed.

const PAUSE = 3000; // milliseconds between two questions

export function poll(address, onChange) {
  const connection = document.getElementById("connection");
  let etag = null;
  let isAsking = false;
  const ask = async () => {
    if ((document.hidden && etag) || isAsking) return;
    isAsking = true;
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await fetch(address, { headers, cache: "no-store" });
      if (answer.status === 200) {
        onChange(await answer.text());
        etag = answer.headers.get("ETag");
      }
      const gone = answer.status === 404 ? "It is gone from the folder. " : "";
      connection.textContent = `${gone}Last look at ${new Date().toLocaleTimeString()}.`;
    } catch (error) {
      connection.textContent = `No answer (${error.message}): start the command again to go on.`;
    } finally {
      isAsking = false;
    }
  };
  ask();
  setInterval(ask, PAUSE);
  document.addEventListener("visibilitychange", ask);
}
