/** One run of a machine, fed event by event; after every step it checks M1-M4 of `src/protocol/machine.ts`. */
import { expect } from 'vitest';
import { isUndoPhase } from '../../src/kernel/vocabulary.ts';
import type {
  AttentionItem,
  CommandEffect,
  Effect,
  Machine,
  MachineEvent,
  Mark,
  RunFacts,
  Step,
  Timer,
} from '../../src/protocol/machine.ts';

type WithoutMark<E> = E extends unknown ? Omit<E, 'mark'> : never;
/** An event whose position and time the kit fills in. */
export type Body = WithoutMark<MachineEvent>;

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

const identityOf = (command: CommandEffect): unknown => {
  const { input: _input, output: _output, ran: _ran, ...identity } = command;
  return identity;
};
const timerKey = (t: Timer): string =>
  [t.kind, t.step ?? '', t.phase ?? '', t.attempt ?? '', t.armed].join('|');
const itemKey = (item: AttentionItem): string => [item.raised, item.step, item.phase, item.code].join('|');

/** A plain check: matchers would be most of the cost of a property test. */
function must(condition: boolean, what: string): void {
  if (!condition) expect.fail(what);
}

export class CheckedRun<S> {
  readonly machine: Machine<S>;
  readonly facts: RunFacts;
  mark: Mark;
  state: S;
  effects: readonly Effect[] = [];
  ended = false;
  readonly #sent = new Map<string, CommandEffect>();
  #timers: readonly Timer[] = [];
  #items: readonly AttentionItem[] = [];
  #seq: number;

  constructor(machine: Machine<S>, facts: RunFacts, begun: Mark) {
    this.machine = machine;
    this.facts = facts;
    this.mark = begun;
    this.#seq = Number(begun.at.split('.')[0]);
    const started = machine.start(facts, begun);
    this.state = deepFreeze(started.state);
    this.#judge(started);
  }

  /** Feeds one event, `timeMs` (default: one millisecond later) on the run's clock, at the next position. */
  feed(body: Body, timeMs = this.mark.time + 1): readonly Effect[] {
    expect(timeMs, 'Rule 2: the clock of a run never goes back').toBeGreaterThanOrEqual(this.mark.time);
    this.#seq += 1;
    this.mark = { at: `${this.#seq}.0`, time: timeMs };
    const event = deepFreeze({ ...body, mark: this.mark }) as MachineEvent;
    const before = this.state;
    const stepped = this.machine.step(this.facts, before, event);
    this.state = deepFreeze(stepped.state);
    must(stepped.state !== before || stepped.effects.length === 0, 'M1: no effects without change');
    this.#fedAgain(event);
    this.#survivesJson(event, before, stepped);
    this.#judge(stepped);
    return stepped.effects;
  }

  /**
   * M1: what is in the state changes nothing, at its own position or redelivered at a later one. A late effect told again
   * may be another one: then at most the undo of its step is commanded again.
   */
  #fedAgain(event: MachineEvent): void {
    const redelivered = { ...event, mark: { at: `${this.#seq}.1`, time: this.mark.time } };
    if (event.type === 'reported' && event.lateEffect === true) {
      for (const effect of this.machine.step(this.facts, this.state, redelivered).effects) {
        const isUndo = effect.type === 'command' && effect.step === event.step && isUndoPhase(effect.phase);
        must(isUndo || effect.type === 'arm', `M1: a late effect told again has the effect ${effect.type}`);
      }
      return;
    }
    for (const repeated of [event, redelivered]) {
      const again = this.machine.step(this.facts, this.state, repeated);
      must(
        again.state === this.state,
        `M1: ${event.type} at ${repeated.mark.at} fed twice changed the state`,
      );
      must(again.effects.length === 0, `M1: ${event.type} at ${repeated.mark.at} fed twice has effects`);
    }
  }

  /** M2: a state read back from a snapshot steps alike. */
  #survivesJson(event: MachineEvent, before: S, stepped: Step<S>): void {
    const restored = deepFreeze(JSON.parse(JSON.stringify(before)) as S);
    const replayed = this.machine.step(this.facts, restored, event);
    must(
      JSON.stringify(replayed) === JSON.stringify(stepped),
      `M2: ${event.type} steps a snapshot otherwise`,
    );
    const text = JSON.stringify(this.state);
    must(JSON.stringify(JSON.parse(text)) === text, 'M2: plain JSON');
  }

  #judge({ effects }: Step<S>): void {
    this.effects = effects;
    expect(this.ended && effects.length > 0, 'nothing follows the end').toBe(false);
    for (const effect of effects) {
      if (effect.type === 'command') this.#sent.set(effect.step, effect);
      if (effect.type === 'end') this.ended = true;
    }
    this.#judgeOutstanding(effects);
    this.#judgeTimers(effects);
    this.#judgeItems(effects);
  }

  /** M3: what is outstanding was sent, is the last that was sent to its step, and what was just sent is outstanding. */
  #judgeOutstanding(effects: readonly Effect[]): void {
    const outstanding = this.machine.outstanding(this.facts, this.state);
    if (this.ended) expect(outstanding, 'M3: nothing is outstanding after the end').toStrictEqual([]);
    for (const command of outstanding) {
      const sent = this.#sent.get(command.step);
      expect(sent && identityOf(sent), 'M3: as last commanded').toStrictEqual(identityOf(command));
    }
    const sentNow = effects.filter((effect) => effect.type === 'command');
    const missing = sentNow.filter((sent) => !outstanding.some((command) => command.step === sent.step));
    expect(missing, 'M3: a command just sent has no report').toStrictEqual([]);
  }

  /** M4: early, foreign and repeated deadlines are ignored; a due one always changes the state; `arm` tells all. */
  #judgeTimers(effects: readonly Effect[]): void {
    const timers = this.machine.timers(this.facts, this.state);
    const keys = timers.map(timerKey);
    must(new Set(keys).size === keys.length, `one timer a key: ${keys.join(' ')}`);
    const known = new Set(this.#timers.map(timerKey));
    const fresh = timers.filter((timer) => !known.has(timerKey(timer)));
    const arms = effects.filter((effect) => effect.type === 'arm').map(({ dueMs }) => dueMs);
    const earliest = Math.min(...fresh.map(({ dueMs }) => dueMs));
    expect(arms, 'one `arm` with the earliest timer newly armed').toStrictEqual(
      fresh.length === 0 ? [] : [earliest],
    );
    if (this.ended) expect(timers, 'no timer outlives the run').toStrictEqual([]);
    for (const timer of timers) this.#probeTimer(timer);
    this.#timers = timers;
  }

  #probeTimer(timer: Timer): void {
    const { dueMs, ...rest } = timer;
    const fire = (time: number, armed: string): S =>
      this.machine.step(this.facts, this.state, {
        type: 'deadline_passed',
        ...rest,
        armed,
        mark: { at: `${this.#seq + 1}.0`, time },
      }).state;
    must(fire(dueMs - 1, timer.armed) === this.state, `M4: ${timerKey(timer)} fired early`);
    must(fire(dueMs, '999999.0') === this.state, `M4: ${timerKey(timer)} of another arming`);
    const due = deepFreeze(fire(Math.max(dueMs, this.mark.time), timer.armed));
    const left = this.machine.timers(this.facts, due).map(timerKey);
    must(!left.includes(timerKey(timer)), `M4: ${timerKey(timer)} fired and is still armed`);
  }

  /** Every item newly open was attended, and every `attend` is open afterwards. */
  #judgeItems(effects: readonly Effect[]): void {
    const items = this.ended ? [] : this.machine.view(this.facts, this.state).attention;
    const known = new Set(this.#items.map(itemKey));
    const fresh = items.filter((item) => !known.has(itemKey(item)));
    const attended = effects.filter((effect) => effect.type === 'attend').map(({ item }) => item);
    expect(attended, 'attend = items newly open').toStrictEqual(fresh);
    this.#items = items;
  }
}
