/** Planted bugs of barrier, worker, publishers and readers: what must be durable, guarded or verified before what. */
import type { Mutant } from './mutant.ts';

const BARRIER: readonly Mutant[] = [
  {
    name: 'late-act-after-its-undo-accepted',
    file: 'reliability/barrier-table.ts',
    find: "if (holds(record, isUndoPhase)) return late(own, command, 'its undo was commanded before');",
    replace: '',
    specs: ['protocol/barrier-table'],
  },
  {
    name: 'barrier-age-ignored',
    file: 'reliability/barrier-table.ts',
    find: 'now.serverMs - command.since > now.keepMs / 2;',
    replace: 'now.serverMs - command.since > now.keepMs * 1e6;',
    specs: ['protocol/barrier-table'],
  },
  {
    name: 'answered-command-runs-again',
    file: 'reliability/barrier-table.ts',
    find: 'if (leftNothing(own.reply) && own.attempt < command.attempt) return undefined;',
    replace: 'if (own.attempt < command.attempt) return undefined;',
    specs: ['protocol/barrier-table'],
  },
  {
    name: 'dead-claim-forgotten',
    file: 'reliability/barrier-table.ts',
    find: "phases[phase] = entry.status === 'started' ? { status: 'idle', dirty: true } : entry;",
    replace: "if (entry.status !== 'started') phases[phase] = entry;",
    specs: ['protocol/barrier-table'],
  },
  {
    name: 'redelivered-command-vouches-for-its-first-delivery',
    file: 'reliability/barrier-table.ts',
    find: 'mayHaveRun: dirty || command.redelivered,',
    replace: 'mayHaveRun: dirty,',
    specs: ['protocol/barrier-table', 'protocol/barrier-kv'],
  },
  {
    name: 'empty-undo-leaves-no-tombstone',
    file: 'reliability/barrier-table.ts',
    find: 'return bury(record, command, now);',
    replace: "return answer({ answer: 'done', code: 'empty' });",
    specs: ['protocol/barrier-table'],
  },
  {
    name: '3pc-precommitted-participant-aborts-by-itself',
    file: 'reliability/barrier-table.ts',
    find: "=> (phase === 'prepare' ? 'abort' : 'commit');",
    replace: "=> (phase === 'prepare' ? 'abort' : 'abort');",
    specs: ['protocol/barrier-table-end'],
  },
  {
    name: '3pc-participant-does-not-wait-before-its-own-end',
    file: 'reliability/barrier-table.ts',
    find: 'now.serverMs - now.writtenMs < standing.waitMs)',
    replace: 'now.serverMs < standing.waitMs)',
    specs: ['protocol/barrier-table-end'],
  },
];

const RUNTIME: readonly Mutant[] = [
  {
    name: 'timer-acts-instead-of-the-deadline-read-back',
    file: 'runtime/shard-actions.ts',
    find: 'const { dueMs: _, ...named } = timer;',
    replace: [
      'const { dueMs: _, ...named } = timer;',
      'const mark = { at: timer.armed, time: timer.dueMs };',
      "const acted = run.machine.step(run.facts, run.state, { type: 'deadline_passed', mark, ...named });",
      'run.state = acted.state;',
      "for (const effect of acted.effects) if (effect.type === 'command') this.command(run, effect);",
    ].join('\n'),
    specs: ['unit/shard-runner'],
  },
  {
    name: 'timer-fired-again-before-its-input-is-read-back',
    file: 'reliability/phase-monitor.ts',
    find: 'if (fired?.has(key) === true) return;',
    replace: '',
    specs: ['protocol/phase-monitor'],
  },
  {
    name: 'commands-sent-during-replay',
    file: 'runtime/shard-actions.ts',
    find: 'this.#moved.add(run);\n      return;\n    }\n    if (run.contradicted !== undefined) return;',
    replace: 'this.#moved.add(run);\n    }\n    if (run.contradicted !== undefined) return;',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'contradicted-run-commands',
    file: 'runtime/shard-actions.ts',
    find: 'if (run.contradicted !== undefined) return;\n    const { world, commands',
    replace: 'const { world, commands',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'log-not-verified-after-a-loss',
    file: 'runtime/shard-runner.ts',
    find: 'await this.#verify();',
    replace: '',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'messages-of-a-lost-subscription-folded',
    file: 'runtime/shard-runner.ts',
    find: '(generation === this.#generation ? this.#onMessage(message) : undefined)',
    replace: '(generation > 0 ? this.#onMessage(message) : undefined)',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'outcome-note-before-the-key',
    file: 'runtime/shard-actions.ts',
    find: 'await this.#graves.get(run);\n    const until =',
    replace:
      'this.#append(this.#decidedSubject, outcomeNote(run, undefined));\n    await this.#graves.get(run);\n    const until =',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'outcome-note-before-the-dead-letters',
    file: 'runtime/shard-actions.ts',
    find: 'await this.#graves.get(run);',
    replace: '',
    specs: ['unit/shard-runner'],
  },
  {
    name: 'mismatch-told-as-duplicate',
    file: 'runtime/outcome-keys.ts',
    find: "value: record.digest === digest ? 'duplicate' : 'mismatch',",
    replace: "value: record.digest === digest ? 'duplicate' : 'duplicate',",
    specs: ['unit/outcome-keys'],
  },
  {
    name: 'mixed-child-told-as-never-ran',
    file: 'runtime/children.ts',
    find: "mixed: { answer: 'refused', mayHaveRun: true },",
    replace: "mixed: { answer: 'refused' },",
    specs: ['protocol/children'],
  },
  {
    name: 'ack-before-the-report-is-stored',
    file: 'runtime/worker-consumer.ts',
    find: "passing('p3');",
    replace: "passing('p3'); job.delivery.ack();",
    specs: ['unit/worker-edges'],
  },
  {
    name: 'ack-although-the-report-was-given-up',
    file: 'runtime/worker-consumer.ts',
    find: 'if (job.failed) job.delivery.nak(GIVE_BACK_MS);\n    else {',
    replace: '{',
    specs: ['unit/worker-edges'],
  },
  {
    name: 'batcher-retries-under-a-new-id',
    file: 'runtime/batcher.ts',
    find: 'message.msgId ??= this.#options',
    replace: 'message.msgId = this.#options',
    specs: ['protocol/batcher'],
  },
  {
    name: 'batcher-sends-two-messages-of-a-subject-at-once',
    file: 'runtime/batcher.ts',
    find: 'lane.onWire = true;',
    replace: 'lane.current = undefined;',
    specs: ['protocol/batcher'],
  },
  {
    name: 'batcher-forgets-an-ambiguous-try',
    file: 'runtime/batcher.ts',
    find: 'const certain = !message.ambiguous ||',
    replace: 'const certain = message.failures > 0 ||',
    specs: ['protocol/batcher', 'protocol/batcher.property'],
  },
];

/** Only the real server shows these: nothing else speaks its protocol. */
const NATS: readonly Mutant[] = [
  {
    name: 'gap-in-the-log-read-over',
    file: 'ports/ordered-reading.ts',
    find: 'if (deliverySeq !== this.#lastDelivery + 1 || message.seq <= this.#lastSeq) {',
    replace: 'if (message.seq <= this.#lastSeq) {',
    specs: ['integration/nats-trouble'],
  },
  {
    name: 'own-ambiguous-write-taken-for-a-defeat',
    file: 'ports/guarded-bucket.ts',
    find: 'if (unanswered !== undefined && live !== undefined && live.revision > guard) {',
    replace: 'if (unanswered !== undefined && live !== undefined && live.revision < guard) {',
    specs: ['simulation/faults', 'integration/nats-trouble'],
  },
];

export const PORT_MUTANTS: readonly Mutant[] = [...BARRIER, ...RUNTIME, ...NATS];
