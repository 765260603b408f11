// A participant with nothing but a NATS client; all it knows of Phasor is docs/wire.md. It has 100 units of stock, and
// one action, `hold`, with the input {"units": 3, "workMs": 0}; `workMs` stands for slow work.
//
//   NATS_URL=nats://127.0.0.1:4222 node examples/foreign/participant.js NAME JOURNAL
//
// The journal is a file of one running process. A line holds an answer together with its effect on the stock, so that
// either both survive a crash or none: nothing happens twice, and what did not answer has left nothing behind.
import { closeSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { connect, headers } from '@nats-io/transport-node';

const [name, journalPath] = process.argv.slice(2);
if (!/^[a-z][a-z0-9-]{0,31}$/.test(name ?? '') || journalPath === undefined) {
  throw new Error('usage: participant.js NAME JOURNAL');
}
const PATTERNS = {
  '2pc': { stream: 'DTX_2PC_STREAM', open: ['prepare', 'commit-one-phase'], close: ['commit', 'abort'] },
  saga: { stream: 'DTX_SAGA_STREAM', open: ['execute'], close: ['compensate'] },
};
const ACTS = Object.values(PATTERNS).flatMap(({ open }) => open);
const UNDOS = ['abort', 'compensate'];
const SLOTS = 8;
const PULL_MS = 2_000;
const HALF_OF_KEEP_MS = 3.5 * 24 * 3_600_000;
const STOCK = 100;
const nanos = (ms) => ms * 1_000_000;

/** (pattern, tx, run, step) -> { answers: { [phase]: { attempt, said } }, units }; `units` are out of the stock. */
const records = new Map();
const running = new Set();
const free = () => [...records.values()].reduce((left, { units }) => left - units, STOCK);
const saidTo = (record, phase) => record?.answers[phase]?.said.answer;

function apply({ key, phase, attempt, said, units }) {
  const record = records.get(key) ?? { answers: {}, units: 0 };
  record.answers[phase] = { attempt, said };
  record.units = units;
  records.set(key, record);
}

const journal = openSync(journalPath, 'a+');
const [torn, ...whole] = readFileSync(journalPath, 'utf8').split('\n').reverse();
for (const line of whole.reverse()) apply(JSON.parse(line));
// A crash in the middle of a write leaves half a line at the end: that answer was never sent.
if (torn !== '') truncateSync(journalPath, Buffer.byteLength(whole.map((line) => `${line}\n`).join('')));

function record(entry) {
  writeSync(journal, `${JSON.stringify(entry)}\n`);
  fsyncSync(journal);
  apply(entry);
  return entry.said;
}

/** What `hold` does in each phase: its answer, and the units out of the stock from then on. */
const refuse = (code, message) => ({ said: { answer: 'refused', code, message }, units: 0 });
function take({ input }) {
  const units = input?.units;
  if (!Number.isSafeInteger(units) || units < 1) return refuse('bad-input', 'units must be a count');
  if (free() < units) return refuse('sold-out', `${free()} units are left`);
  return { said: { answer: 'done', output: { units } }, units };
}
const keep = (_, units) => ({ said: { answer: 'done' }, units });
const giveBack = () => ({ said: { answer: 'done' }, units: 0 });
const handlers = new Map([
  ['hold prepare', take],
  ['hold commit', keep],
  ['hold abort', giveBack],
  ['hold commit-one-phase', take],
  ['hold execute', take],
  ['hold compensate', giveBack],
]);

/** "Duties" and rules 4 to 6 of "Rules of delivery", in the order in which they matter. */
async function decide(pattern, command, delivered) {
  const { phase, attempt, action, since, due, ran } = command;
  const key = [pattern, command.tx, command.run, command.step].join(' ');
  const known = records.get(key);
  const before = known?.answers[phase];
  if (before && (before.said.answer === 'done' || before.attempt >= attempt)) return before.said;
  if (delivered > 2 && command.alone) return { answer: 'unknown', code: 'crashed' };
  if (delivered > 2) return { answer: 'retry', code: 'isolate', mayHaveRun: true };
  if (running.has(key)) return { answer: 'retry', code: 'busy' };
  const isAct = ACTS.includes(phase);
  const isUndo = UNDOS.includes(phase);
  const late = isAct && ['commit', ...UNDOS].some((close) => saidTo(known, close));
  if (late) return { answer: 'refused', code: 'late' };
  const tooOld = !known && !ran && serverTime() - since > HALF_OF_KEEP_MS;
  if (tooOld && (isAct || isUndo)) return { answer: 'stale' };
  if (isUndo && !known && !ran) return record({ key, phase, attempt, said: { answer: 'done' }, units: 0 });
  if (phase === 'commit' && saidTo(known, 'abort')) return { answer: 'conflict' };
  const committed = ['commit', 'commit-one-phase'].some((done) => saidTo(known, done) === 'done');
  if (phase === 'abort' && committed) return { answer: 'conflict' };
  const handler = handlers.get(`${action} ${phase}`);
  if (!handler) return { answer: 'retry', code: 'no-handler' };
  if (isAct && due < serverTime()) return { answer: 'retry', code: 'expired' };
  running.add(key);
  try {
    console.log(`${phase} of ${command.tx}: working`);
    await delay(command.input?.workMs ?? 0);
    // Nothing is awaited from here on: the stock that was looked at is the stock that is written.
    return record({ key, phase, attempt, ...handler(command, known?.units ?? 0) });
  } finally {
    running.delete(key);
  }
}

const isId = (value) => typeof value === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(value);
const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
const isFlag = (value) => typeof value === 'boolean';
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isPosition = (value) => typeof value === 'string' && /^\d{1,15}\.\d{1,3}$/.test(value);
const CHECKS = {
  __proto__: null,
  ...{ v: (value) => value === 1, tx: isId, step: isId, action: isId, shard: isCount, since: isCount },
  run: (value) => typeof value === 'string' && /^\d{1,15}\.\d{1,3}\.\d{1,15}$/.test(value),
  phase: (value) => typeof value === 'string',
  attempt: (value) => isCount(value) && value > 0,
  cause: (value) => isObject(value) && isPosition(value.at) && isCount(value.time),
};
const OPTIONAL = {
  __proto__: null,
  ...{ due: isCount, ran: isFlag, alone: isFlag, reply: isFlag, meta: isObject },
  ...{ input: () => true, output: () => true },
};

function problemOf(command, phase) {
  if (!isObject(command)) return 'is not an object';
  const wrong = Object.keys(CHECKS).find((field) => !CHECKS[field](command[field]));
  if (wrong) return `${wrong} is missing or wrong`;
  const bad = Object.keys(command).find((key) => !CHECKS[key] && !OPTIONAL[key]?.(command[key]));
  if (bad) return `${bad} is unknown or wrong`;
  if (UNDOS.includes(phase) && command.ran === undefined) return 'ran is missing';
  return command.phase === phase ? undefined : `phase is not the subject's`;
}

const nc = await connect({ servers: process.env.NATS_URL, name, maxReconnectAttempts: -1 });
let newest = { serverMs: 0, at: 0 };
const serverTime = () => newest.serverMs + performance.now() - newest.at;
const sawServerTime = (serverMs) => {
  if (serverMs > serverTime()) newest = { serverMs, at: performance.now() };
};

/** A JetStream publish that ends with its PubAck, however often it takes. */
async function store(subject, body, messageId) {
  const options = { timeout: 2_000, ...(messageId && { headers: headers() }) };
  options.headers?.set('Nats-Msg-Id', messageId);
  for (;;) {
    const ack = await nc.request(subject, JSON.stringify(body), options).catch(() => undefined);
    if (ack?.json().seq) return;
    await delay(200);
  }
}

async function receive(pattern, message) {
  // $JS.ACK[.domain.account].stream.consumer.delivered.streamSeq.consumerSeq.nanoseconds.pending[.more]
  const tokens = message.reply.split('.');
  const [stream, , delivered, seq, , time] = tokens.slice(tokens.length > 9 ? 4 : 2);
  sawServerTime(Number(BigInt(time) / 1_000_000n));
  const phase = message.subject.split('.')[2];
  const bury = async (index, problem, bytes) => {
    const position = `${seq}.${index}`;
    const data = Buffer.from(bytes.subarray(0, 131_072)).toString('base64');
    const letter = { v: 1, position, subject: message.subject, problem, data };
    if (bytes.length > 131_072) letter.truncated = true;
    await store(`dead.${pattern}.${name}`, letter, `${stream}.${position}`);
  };
  const commands = parse(message);
  if (!commands) return bury(0, 'is no JSON array of 1 to 256 envelopes', message.data);
  // One after another, each report stored before the next begins: rule 3 asks for it, and rules 1 and 2 allow it.
  for (const [index, command] of commands.entries()) {
    const problem = problemOf(command, phase);
    if (problem) await bury(index, problem, Buffer.from(JSON.stringify(command)));
    else await answer(pattern, command, Number(delivered));
  }
}

function parse(message) {
  try {
    const body = message.json();
    return Array.isArray(body) && body.length > 0 && body.length <= 256 ? body : undefined;
  } catch {
    return undefined;
  }
}

async function answer(pattern, command, delivered) {
  const { v, tx, run, step, phase, attempt, cause, meta } = command;
  const report = { v, tx, run, step, phase, attempt, cause, ...(await decide(pattern, command, delivered)) };
  await store(`${pattern}.${name}.report.${command.shard}`, [report]);
  console.log(`${phase} of ${tx}: ${report.answer}`);
  if (!command.reply) return;
  nc.publish(`response.${tx}.${name}.${phase}`, JSON.stringify([{ ...report, pattern, meta }]));
}

/** A consumer that is there, made by whomever, is used as it is. */
async function attach(pattern, kind) {
  const { stream, [kind]: phases } = PATTERNS[pattern];
  const durable = `${pattern}-${name}-${kind}`;
  const config = {
    ...{ durable_name: durable, deliver_policy: 'all', ack_policy: 'explicit', ack_wait: nanos(30_000) },
    ...{ max_deliver: -1, max_ack_pending: 10_000, max_waiting: 2_048 },
    filter_subjects: phases.map((phase) => `${pattern}.${name}.${phase}`),
  };
  const ask = async (verb, body) =>
    (await nc.request(`$JS.API.CONSUMER.${verb}.${stream}.${durable}`, body, { timeout: 10_000 })).json();
  let info = await ask('INFO');
  if (info.error?.code === 404) {
    info = await ask('CREATE', JSON.stringify({ stream_name: stream, action: 'create', config }));
  }
  if (info.error) throw new Error(`${durable}: ${info.error.description}`);
  sawServerTime(Date.parse(info.ts));
  const next = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${durable}`;
  return { pattern, next, progressMs: info.config.ack_wait / nanos(1) / 3 };
}

async function serve({ pattern, next, progressMs }) {
  const pull = JSON.stringify({ batch: 1, expires: nanos(PULL_MS) });
  while (!stopping) {
    const options = { timeout: 2 * PULL_MS, noMux: true };
    const message = await nc.request(next, pull, options).catch(() => undefined);
    if (!message?.reply) {
      // A status: 408 is the end of a pull without messages, and anything else is no reason to hurry.
      if (message?.headers?.code !== 408) await delay(500);
      continue;
    }
    const alive = setInterval(() => message.respond('+WPI'), progressMs);
    await receive(pattern, message).finally(() => clearInterval(alive));
    message.respond('+ACK');
  }
}

let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => (stopping = true));
const consumers = [];
for (const pattern of Object.keys(PATTERNS)) {
  for (const kind of ['open', 'close']) consumers.push(await attach(pattern, kind));
}
console.log(`${name} is ready`);
await Promise.all(Array.from({ length: SLOTS }, () => consumers.map(serve)).flat());
await nc.drain();
closeSync(journal);
