/** Caps of envelope version 1. They are part of the fold (DESIGN §2): constants, never options. */
export const ENVELOPE_VERSION = 1;
export const MAX_BODY_BYTES = 262_144;
export const MAX_ENVELOPES = 256;
/** One envelope must fit a body beside the brackets. */
export const MAX_ENVELOPE_BYTES = MAX_BODY_BYTES - 2;
export const MAX_INPUT_BYTES = 65_536;
export const MAX_OUTPUT_BYTES = 16_384;
export const MAX_OUTPUTS_BYTES = 65_536;
export const MAX_PLAN_BYTES = 196_608;
export const MAX_META_ENTRIES = 16;
export const MAX_META_BYTES = 1_024;
export const MAX_LABELS = 16;
export const MAX_LABEL_BYTES = 256;
/** A child may have children, and those once more. */
export const MAX_CHILD_DEPTH = 3;
export const MAX_STEPS = 100;
export const MAX_SIGNALS = 16;
export const MAX_SENDERS = 16;
export const MAX_SHARDS = 1_024;
export const MAX_CODE_CHARS = 64;
export const MAX_MESSAGE_CHARS = 1_024;
export const MAX_NAME_CHARS = 128;
/** 30 days: no deadline, delay or back-off of a plan is longer. */
export const MAX_DURATION_MS = 2_592_000_000;
