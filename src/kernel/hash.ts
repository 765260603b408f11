const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** FNV-1a, 32 bit, over the UTF-8 bytes of `text` (RFC draft-eastlake-fnv). */
export function fnv1a32(text: string): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return fnv1a32Bytes(new TextEncoder().encode(text));
    hash = Math.imul(hash ^ unit, FNV_PRIME);
  }
  return hash >>> 0;
}

function fnv1a32Bytes(bytes: Uint8Array): number {
  let hash = FNV_OFFSET;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, FNV_PRIME);
  return hash >>> 0;
}

export const shardOf = (tx: string, shards: number): number => fnv1a32(tx) % shards;

/** A 64-bit digest in two lanes, so that no hot path allocates a BigInt. */
export interface Digest {
  readonly hi: number;
  readonly lo: number;
}
export const EMPTY_DIGEST: Digest = { hi: 0, lo: 0 };

/** MurmurHash3's 32-bit finaliser (Appleby): every input bit reaches every output bit. */
function scramble(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}

/**
 * Mixes one accepted input into a run's digest (Rule 4): its position, and the first 64 bits of the SHA-256 of
 * the raw message that carried it.
 */
export function mixDigest(digest: Digest, input: { seq: number; index: number; sha: Digest }): Digest {
  const seqLow = input.seq | 0;
  const seqHigh = (input.seq / 0x100000000) | 0;
  let lo = scramble(digest.lo ^ input.sha.lo ^ Math.imul(seqLow, 0x9e3779b1));
  let hi = scramble(digest.hi ^ input.sha.hi ^ Math.imul(input.index + 1, 0x85ebca77) ^ seqHigh);
  lo = (lo + Math.imul(hi, 5)) | 0;
  hi = (hi + Math.imul(lo, 3)) | 0;
  return { hi, lo };
}

/** 16 hexadecimal digits. */
export const digestHex = (digest: Digest): string => hex8(digest.hi) + hex8(digest.lo);

const HEX16 = Array.from({ length: 0x10000 }, (_, value) => value.toString(16).padStart(4, '0'));
const hex8 = (lane: number): string => (HEX16[lane >>> 16] ?? '') + (HEX16[lane & 0xffff] ?? '');
