// Requests to the gateway. The browser adds the cookie by itself; no script sees it.

export class Problem extends Error {
  constructor(status, error) {
    super(error.message ?? `the gateway answered ${status}`);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
  }
}

let whenSignedOut = () => {};
export function onSignedOut(call) {
  whenSignedOut = call;
}

export async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem(0, { message: "the gateway does not answer", code: "away" });
  }
  if (answer.ok) return answer.json();
  const error = (await answer.json().catch(() => ({}))).error ?? {};
  if (answer.status === 401 && path !== "/page/session") whenSignedOut();
  throw new Problem(answer.status, error);
}

export const jobPath = (job) => `/jobs/${encodeURIComponent(job)}`;

export function imagePath(job, index, ending = "webp?compression=80") {
  return `/images/${encodeURIComponent(job)}/${index}.${ending}`;
}
