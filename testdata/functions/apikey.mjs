// Rotates the key of an HTTP service, which is no database at all. It signs its
// requests to Secrets Manager itself, so it needs nothing but Node.js.

import crypto from "node:crypto";

const env = process.env;
const hash = (text) => crypto.createHash("sha256").update(text).digest("hex");
const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();

// Signature Version 4 of a POST of JSON.
async function call(action, input) {
  const url = new URL(env.SECRETS_MANAGER_ENDPOINT);
  const body = JSON.stringify(input);
  const time = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = `${time.slice(0, 8)}/${env.AWS_REGION}/secretsmanager/aws4_request`;
  const headers = { host: url.host, "x-amz-date": time, "x-amz-security-token": env.AWS_SESSION_TOKEN, "x-amz-target": `secretsmanager.${action}` };
  const names = Object.keys(headers).join(";");
  const request = ["POST", "/", "", ...Object.entries(headers).map(([k, v]) => `${k}:${v}`), "", names, hash(body)].join("\n");
  const key = scope.split("/").reduce(hmac, "AWS4" + env.AWS_SECRET_ACCESS_KEY);
  const signature = hmac(key, ["AWS4-HMAC-SHA256", time, scope, hash(request)].join("\n")).toString("hex");
  const response = await fetch(url, { method: "POST", body, headers: { ...headers, "content-type": "application/x-amz-json-1.1",
    authorization: `AWS4-HMAC-SHA256 Credential=${env.AWS_ACCESS_KEY_ID}/${scope}, SignedHeaders=${names}, Signature=${signature}` } });
  const answer = await response.json();
  if (response.ok) return answer;
  const e = new Error(answer.Message ?? answer.message);
  e.name = answer.__type;
  throw e;
}

async function read(SecretId, VersionStage, VersionId) {
  return JSON.parse((await call("GetSecretValue", { SecretId, VersionStage, VersionId })).SecretString);
}

const steps = {
  async createSecret({ SecretId, ClientRequestToken }) {
    const value = await read(SecretId, "AWSCURRENT");
    try {
      await read(SecretId, "AWSPENDING", ClientRequestToken);
    } catch (e) {
      if (e.name !== "ResourceNotFoundException") throw e;
      value.key = (await call("GetRandomPassword", { ExcludePunctuation: true })).RandomPassword;
      await call("PutSecretValue", { SecretId, ClientRequestToken, SecretString: JSON.stringify(value), VersionStages: ["AWSPENDING"] });
    }
  },
  async setSecret({ SecretId, ClientRequestToken }) {
    const current = await read(SecretId, "AWSCURRENT");
    const pending = await read(SecretId, "AWSPENDING", ClientRequestToken);
    if ((await fetch(pending.url, { headers: { "x-api-key": pending.key } })).ok) return;
    const response = await fetch(current.url, { method: "PUT", body: pending.key, headers: { "x-api-key": current.key } });
    if (!response.ok) throw new Error(`the service answers ${response.status}`);
  },
  async testSecret({ SecretId, ClientRequestToken }) {
    const pending = await read(SecretId, "AWSPENDING", ClientRequestToken);
    if (!(await fetch(pending.url, { headers: { "x-api-key": pending.key } })).ok) throw new Error("the pending key does not work");
  },
  async finishSecret({ SecretId, ClientRequestToken }) {
    const versions = (await call("DescribeSecret", { SecretId })).VersionIdsToStages;
    const [current] = Object.entries(versions).find(([, stages]) => stages.includes("AWSCURRENT"));
    if (current === ClientRequestToken) return;
    await call("UpdateSecretVersionStage", { SecretId, VersionStage: "AWSCURRENT", MoveToVersionId: ClientRequestToken, RemoveFromVersionId: current });
  },
};

export const handler = (event) => steps[event.Step](event);
