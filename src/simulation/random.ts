import { fnv1a32 } from '../kernel/hash.ts';
import type { Random } from '../ports/clock.ts';

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const TIME_CHARACTERS = 10;
const RANDOM_CHARACTERS = 16;
const TWO_32 = 0x1_0000_0000;
/** Doubles have 53 bits: 27 of one draw, 26 of the next. */
const TWO_26 = 0x400_0000;
const TWO_53 = 0x20_0000_0000_0000;

/**
 * xoshiro128** 1.1 (Blackman and Vigna, public domain, https://prng.di.unimi.it/xoshiro128starstar.c), seeded by
 * the 32-bit SplitMix variant (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", with
 * MurmurHash3's finaliser). Fast, 128 bits of state; not for secrets.
 */
export class SeededRandom implements Random {
  readonly #origin: string;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed any text or number; the same one draws the same numbers on every machine. */
  constructor(seed: number | string) {
    this.#origin = String(seed);
    // Two hashes of the text, so that 64 bits of the seed count.
    const low = splitMix(fnv1a32(this.#origin));
    const high = splitMix(fnv1a32(`${this.#origin}#`));
    this.#a = low();
    this.#b = high();
    this.#c = low();
    this.#d = high() | 1;
  }

  /** A stream of its own: it neither draws from this one nor depends on what this one has drawn. */
  fork(name: string): SeededRandom {
    return new SeededRandom(`${this.#origin}/${name}`);
  }

  /** 32 bits, unsigned. */
  bits(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotateLeft(this.#d, 11);
    return result;
  }

  next(): number {
    return ((this.bits() >>> 5) * TWO_26 + (this.bits() >>> 6)) / TWO_53;
  }

  /** An integer in [0, below). */
  below(below: number): number {
    return Math.floor((this.bits() / TWO_32) * below);
  }

  /** In [from, to). */
  between(from: number, to: number): number {
    return from + this.next() * (to - from);
  }

  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }

  ulid(timeMs: number): string {
    let time = '';
    for (
      let rest = Math.max(0, Math.floor(timeMs));
      time.length < TIME_CHARACTERS;
      rest = Math.floor(rest / 32)
    )
      time = CROCKFORD.charAt(rest % 32) + time;
    let tail = '';
    for (let index = 0; index < RANDOM_CHARACTERS; index += 1) tail += CROCKFORD.charAt(this.bits() >>> 27);
    return time + tail;
  }
}

const rotateLeft = (value: number, by: number): number => (value << by) | (value >>> (32 - by));

function splitMix(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) | 0;
  };
}
