// Drives the npm package `webdav` through steps that come as JSON on stdin, and prints one result for each as JSON.
// tests/support/clients.py (run_webdav_npm) says what a step is. A step that fails is a result, not an end.

import { createClient } from "webdav";

function held(tokens, name) {
    if (!tokens.has(name)) throw new Error(`no lock was granted as '${name}'`);
    return tokens.get(name);
}

const ACTIONS = {
    async lock(client, step, tokens) {
        const options = step.timeout === undefined ? {} : { timeout: step.timeout };
        const { token, serverTimeout } = await client.lock(step.path, options);
        tokens.set(step.as, token);
        return { token, serverTimeout };
    },
    async put(client, step, tokens) {
        const headers = step.with === undefined ? {} : { If: `(<${held(tokens, step.with)}>)` };
        await client.putFileContents(step.path, step.body, { headers });
        return {};
    },
    async get(client, step) {
        return { body: await client.getFileContents(step.path, { format: "text" }) };
    },
    async delete(client, step) {
        await client.deleteFile(step.path);
        return {};
    },
    async unlock(client, step, tokens) {
        await client.unlock(step.path, held(tokens, step.with));
        return {};
    },
    async exists(client, step) {
        return { exists: await client.exists(step.path) };
    },
};

async function take(client, step, tokens) {
    const action = ACTIONS[step.do];
    if (action === undefined) throw new Error(`'${step.do}' is no step; there are ${Object.keys(ACTIONS).join(", ")}`);
    try {
        return { do: step.do, ok: true, status: null, ...(await action(client, step, tokens)) };
    } catch (error) {
        return { do: step.do, ok: false, status: error.status ?? null, message: String(error.message) };
    }
}

async function readAll(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString("utf8");
}

const asked = JSON.parse(await readAll(process.stdin));
const credentials = asked.user === null ? {} : { username: asked.user, password: asked.password ?? "" };
const client = createClient(asked.url, credentials);
const tokens = new Map();
const results = [];
for (const step of asked.steps) results.push(await take(client, step, tokens));
console.log(JSON.stringify(results));
