// Runs a Node.js handler by the Lambda Runtime API: loads module.function from
// the function's code, and hands it one event after the other.

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const env = process.env;
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const [host, port] = env.AWS_LAMBDA_RUNTIME_API.split(":");

function call(method, route, body = "", headers = {}) {
  return new Promise((resolve, reject) => {
    const options = { host, port, agent, method, path: "/2018-06-01/runtime/" + route, headers: { ...headers, "Content-Length": Buffer.byteLength(body) } };
    const request = http.request(options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(parts).toString() }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function failure(name, message) {
  const e = new Error(message);
  e.name = name;
  return e;
}

async function load(handler) {
  const base = path.basename(handler);
  const dot = base.indexOf(".");
  if (dot < 0) throw failure("Runtime.MalformedHandlerName", "Bad handler");
  const module = path.join(path.dirname(handler), base.slice(0, dot));
  const file = [".js", ".mjs", ".cjs"].map((end) => path.join(env.LAMBDA_TASK_ROOT, module + end)).find(fs.existsSync);
  if (!file) throw failure("Runtime.ImportModuleError", `Error: Cannot find module '${module}'`);
  const loaded = await evaluate(file);
  let found = loaded;
  for (const name of base.slice(dot + 1).split(".")) found = found?.[name] ?? (found === loaded ? loaded.default?.[name] : undefined);
  if (found === undefined) throw failure("Runtime.HandlerNotFound", `${handler} is undefined or not exported`);
  if (typeof found !== "function") throw failure("Runtime.HandlerNotFound", `${handler} is not a function`);
  return found;
}

async function evaluate(file) {
  try {
    return await import(pathToFileURL(file).href);
  } catch (e) {
    if (e instanceof SyntaxError) throw failure("Runtime.UserCodeSyntaxError", String(e));
    if (e?.code === "MODULE_NOT_FOUND" || e?.code === "ERR_MODULE_NOT_FOUND") throw failure("Runtime.ImportModuleError", String(e));
    throw e;
  }
}

function describe(e) {
  const told = e instanceof Error
    ? { errorType: e.name, errorMessage: e.message, trace: (e.stack ?? "").split("\n") }
    : { errorType: typeof e, errorMessage: String(e), trace: [] };
  console.error("ERROR", JSON.stringify(told));
  return [JSON.stringify(told), { "Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": told.errorType }];
}

function context(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
  };
}

// open is how to end the invocation under way; null: there is none.
let open = null;

// handle waits for a promise, or for the callback of a handler that takes one. Like
// Lambda's own client it takes a callback that nobody calls for called with null.
function handle(handler, event, about) {
  return new Promise((resolve, reject) => {
    open = { reject, over: () => reject(failure("Runtime.NodeJsExit", neverSettled)) };
    if (handler.length < 3) return Promise.resolve(handler(event, about)).then(resolve, reject);
    const returned = handler(event, about, (e, value) => (e ? reject(e) : resolve(value)));
    if (typeof returned?.then === "function") returned.then(resolve, reject);
    else open.over = () => resolve(null);
  }).finally(() => (open = null));
}

const neverSettled = "The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled.";

// What nobody caught ends the process: as soon as the invocation is answered with it.
let doomed = false;
function die(e) {
  doomed = true;
  if (open) return open.reject(e);
  console.error(e);
  process.exit(1);
}
process.on("uncaughtException", die);
process.on("unhandledRejection", (reason) => die(failure("Runtime.UnhandledPromiseRejection", String(reason))));
process.on("beforeExit", () => open?.over());

async function serveOne(handler) {
  const { headers, body } = await call("GET", "invocation/next");
  const about = context(headers);
  const route = `invocation/${about.awsRequestId}/`;
  let answer;
  try {
    answer = JSON.stringify((await handle(handler, JSON.parse(body), about)) ?? null);
  } catch (e) {
    await call("POST", route + "error", ...describe(e));
    if (doomed) process.exit(1);
    return;
  }
  await call("POST", route + "response", answer, { "Content-Type": "application/json" });
}

let handler;
try {
  handler = await load(env._HANDLER);
} catch (e) {
  await call("POST", "init/error", ...describe(e));
  process.exit(1);
}
for (;;) await serveOne(handler);
