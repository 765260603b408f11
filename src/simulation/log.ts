import type { Subject } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Appended, Log, LogMessage, LogSubscription, ReadOptions, StreamState } from '../ports/log.ts';
import { expectAnswer, MAX_PAYLOAD, refusal, type SimulatedConnection } from './connection.ts';
import { NO_MESSAGE, type Answer } from './frames.ts';
import { logMessageOf, openReader } from './reader.ts';

const APPEND_TIMEOUT_MS = 5_000;
const LOOKUP_TIMEOUT_MS = 2_000;
const DEFAULT_DEDUP_WINDOW_MS = 86_400_000;

/** As src/nats/log.ts. */
export class SimulatedLog implements Log {
  readonly #connection: SimulatedConnection;

  constructor(connection: SimulatedConnection) {
    this.#connection = connection;
  }

  append(subject: Subject, data: Uint8Array, options?: { readonly msgId?: string }): Promise<Appended> {
    if (data.length > MAX_PAYLOAD) {
      const what = `${subject}: above max_payload`;
      return Promise.reject(new PhasorError('PUBLISH_REFUSED', what, { subject }));
    }
    const msgId = options?.msgId;
    const headers = msgId === undefined ? undefined : new Map([['Nats-Msg-Id', msgId]]);
    const sent = data.slice();
    return new Promise((resolve, reject) => {
      this.#connection.ask(
        {
          what: subject,
          timeoutMs: APPEND_TIMEOUT_MS,
          frame: (token) => ({ type: 'publish', subject, data: sent, headers, token }),
        },
        { onAnswer: (answer) => this.#appended(answer, { subject, resolve, reject }), onFail: reject },
      );
    });
  }

  #appended(
    answer: Answer,
    to: {
      readonly subject: Subject;
      readonly resolve: (appended: Appended) => void;
      readonly reject: (error: unknown) => void;
    },
  ): void {
    const { subject } = to;
    if (answer.type === 'stored') to.resolve({ seq: answer.seq, duplicate: answer.duplicate });
    else if (answer.type === 'refused') to.reject(refusal(answer, `append to ${subject}`, 'PUBLISH_REFUSED'));
    else if (answer.type === 'no-responders') void this.#whyNobody(subject).then(to.reject);
    else to.reject(new PhasorError('TIMEOUT', `an answer from ${subject} that is no stream's`, { subject }));
  }

  async #whyNobody(subject: Subject): Promise<PhasorError> {
    const what = `no stream takes ${subject} now`;
    try {
      const answer = await this.#connection.call({ type: 'names', subject }, LOOKUP_TIMEOUT_MS);
      const { stored } = expectAnswer(answer, 'found', subject);
      return new PhasorError(stored ? 'CONNECTION_FAILED' : 'STREAM_MISSING', what, { subject });
    } catch (error) {
      return new PhasorError('CONNECTION_FAILED', what, { subject }, { cause: error });
    }
  }

  read(options: ReadOptions): Promise<LogSubscription> {
    return openReader(this.#connection, options);
  }

  async get(stream: string, seq: number): Promise<LogMessage | undefined> {
    const answer = await this.#connection.call({ type: 'get', stream, seq });
    if (answer.type === 'refused' && answer.errCode === NO_MESSAGE) return undefined;
    return logMessageOf(expectAnswer(answer, 'message', stream).message);
  }

  async subjects(stream: string, filter: Subject): Promise<readonly string[]> {
    return expectAnswer(await this.#connection.call({ type: 'subjects', stream, filter }), 'list', stream)
      .subjects;
  }

  async state(stream: string): Promise<StreamState> {
    const { info } = expectAnswer(await this.#connection.call({ type: 'stream', stream }), 'info', stream);
    const { metadata, ...state } = info;
    return {
      ...state,
      shards: Number(metadata['shards'] ?? 1),
      dedupWindowMs: Number(metadata['dedupWindow'] ?? DEFAULT_DEDUP_WINDOW_MS),
    };
  }
}
