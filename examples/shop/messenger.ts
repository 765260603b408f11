import { done, type Action, type KeyValue } from '../../src/index.ts';
import { changeRecord, recordOf } from './records.ts';

interface Message {
  readonly about: string;
}

/** Mailer and analytics: what they are told they keep, once. Nothing waits for them and nothing is undone. */
export function messengerActions(records: KeyValue): Readonly<Record<string, Action>> {
  return {
    tell: {
      execute: async (call) => {
        const { about } = call.input as unknown as Message;
        await changeRecord<Message>(records, recordOf(call), (now) =>
          now === undefined ? { about } : undefined,
        );
        return done();
      },
    },
  };
}
