// Runs a JavaScript handler of AWS Lambda: takes events from the Runtime API, calls the
// handler, sends back what it returns or how it failed. One event at a time.

import { existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';

const env = process.env;
const api = new URL(`http://${env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/`);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

let requestId = 'undefined';

function print(level, values) {
  process.stdout.write(`${new Date().toISOString()}\t${requestId}\t${level}\t${format(...values)}\n`);
}
for (const [method, level] of Object.entries({ log: 'INFO', info: 'INFO', debug: 'DEBUG', trace: 'TRACE', warn: 'WARN', error: 'ERROR' })) {
  console[method] = (...values) => print(level, values);
}

function call(method, where, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(new URL(where, api), { method, agent, headers }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

function post(where, value, errorType) {
  const body = typeof value === 'string' ? value : JSON.stringify(value);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
  if (errorType) headers['Lambda-Runtime-Function-Error-Type'] = errorType;
  return call('POST', where, body, headers);
}

class RuntimeFailure extends Error {
  constructor(type, message, stack) {
    super(message);
    this.name = type;
    if (stack) this.stack = stack;
  }
}

function describe(error) {
  if (error instanceof Error || (error && typeof error === 'object' && 'message' in error && 'stack' in error)) {
    return { errorType: error.name ?? 'Error', errorMessage: String(error.message), trace: String(error.stack ?? '').split('\n') };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

async function load() {
  const root = env.LAMBDA_TASK_ROOT;
  const given = env._HANDLER;
  const base = path.basename(given);
  const dot = base.indexOf('.');
  if (dot < 1 || dot === base.length - 1) throw new RuntimeFailure('Runtime.MalformedHandlerName', 'Bad handler');
  const name = path.join(path.dirname(given), base.slice(0, dot));
  const file = ['', '.js', '.mjs', '.cjs'].map((ext) => path.resolve(root, name + ext)).find((f, i) => (i > 0 || path.extname(f) !== '') && existsSync(f));
  if (!file) throw new RuntimeFailure('Runtime.ImportModuleError', `Error: Cannot find module '${name}'`);
  let module;
  try {
    module = await import(pathToFileURL(file));
  } catch (error) {
    if (error instanceof SyntaxError) throw new RuntimeFailure('Runtime.UserCodeSyntaxError', `SyntaxError: ${error.message}`, error.stack);
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
      throw new RuntimeFailure('Runtime.ImportModuleError', `Error: ${error.message}`, error.stack);
    }
    throw error;
  }
  const names = base.slice(dot + 1).split('.');
  // A CommonJS module is the default export of its import.
  for (const start of [module, module.default]) {
    const found = names.reduce((at, n) => at?.[n], start);
    if (typeof found === 'function') return found;
  }
  throw new RuntimeFailure('Runtime.HandlerNotFound', `${given} is undefined or not exported`);
}

// running is the invocation in flight: how to finish it, once.
let running = null;

function invoke(handler, event, headers) {
  return new Promise((resolve) => {
    let settled = false;
    let waiting = null; // a callback's result that waits for the event loop to run empty
    const settle = (outcome) => {
      if (settled) return;
      settled = true;
      running = null;
      resolve(outcome);
    };
    running = { fail: (error) => settle({ error }), empty: () => settle(waiting ?? { result: null }) };
    const deadline = Number(headers['lambda-runtime-deadline-ms']);
    const context = {
      callbackWaitsForEmptyEventLoop: true,
      functionName: env.AWS_LAMBDA_FUNCTION_NAME,
      functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
      memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
      awsRequestId: headers['lambda-runtime-aws-request-id'],
      invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
      identity: undefined,
      clientContext: headers['lambda-runtime-client-context'] ? JSON.parse(headers['lambda-runtime-client-context']) : undefined,
      getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
    };
    const callback = (error, result) => {
      if (waiting || settled) return;
      waiting = error !== undefined && error !== null ? { error } : { result };
      if (!context.callbackWaitsForEmptyEventLoop) setImmediate(() => settle(waiting));
    };
    context.done = (error, result) => { context.callbackWaitsForEmptyEventLoop = false; callback(error, result); };
    context.succeed = (result) => context.done(null, result);
    context.fail = (error) => context.done(error ?? 'handled');
    let returned;
    try {
      returned = handler(event, context, callback);
    } catch (error) {
      settle({ error });
      return;
    }
    if (returned && typeof returned.then === 'function') {
      returned.then((result) => settle({ result }), (error) => settle({ error }));
    }
  });
}

process.on('beforeExit', () => running?.empty());

async function die(error, code) {
  const body = describe(error);
  print('ERROR', ['Uncaught Exception', JSON.stringify(body)]);
  const where = running ? `invocation/${requestId}/error` : 'init/error';
  running = null;
  try {
    await post(where, body, body.errorType);
  } finally {
    process.exit(code);
  }
}
process.on('uncaughtException', (error) => die(error, 129));
process.on('unhandledRejection', (reason) => {
  const text = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
  die(new RuntimeFailure('Runtime.UnhandledPromiseRejection', text, reason?.stack), 128);
});

async function serve(handler) {
  for (;;) {
    const next = await call('GET', 'invocation/next');
    if (next.status !== 200) process.exit(1);
    requestId = next.headers['lambda-runtime-aws-request-id'];
    env._X_AMZN_TRACE_ID = next.headers['lambda-runtime-trace-id'] ?? '';
    let outcome;
    try {
      const event = JSON.parse(next.body.toString('utf8'));
      outcome = await invoke(handler, event, next.headers);
    } catch (error) {
      outcome = { error };
    }
    let text;
    if (!('error' in outcome)) {
      try {
        text = JSON.stringify(outcome.result) ?? 'null';
      } catch (error) {
        outcome = { error: new RuntimeFailure('Runtime.MarshalError', `Unable to stringify response body: ${error.message}`) };
      }
    }
    if ('error' in outcome) {
      const body = describe(outcome.error);
      print('ERROR', ['Invoke Error', JSON.stringify(body)]);
      await post(`invocation/${requestId}/error`, body, body.errorType);
    } else {
      await post(`invocation/${requestId}/response`, text);
    }
  }
}

let handler;
try {
  handler = await load();
} catch (error) {
  const body = describe(error);
  print('ERROR', ['Uncaught Exception', JSON.stringify(body)]);
  await post('init/error', body, body.errorType);
  process.exit(1);
}
await serve(handler);
