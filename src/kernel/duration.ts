const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `"1500ms"`, `"30s"`, `"5m"`, `"24h"`, `"7d"`; undefined when it is none of these, or inexact. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  const ms = Number(match[1]) * (UNIT_MS[match[2]] ?? 1);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** A short, rounded form for people: 90_000 is `"90s"`, 1.4 is `"1.4ms"`. */
export function formatDurationMs(ms: number): string {
  if (ms < 999.5) return `${Number(ms.toFixed(ms < 10 ? 1 : 0))}ms`;
  if (ms < 120_000) return `${Number((ms / 1_000).toFixed(ms < 10_000 ? 2 : 0))}s`;
  if (ms < 2 * 3_600_000) return `${Math.round(ms / 60_000)}m`;
  return ms < 2 * 86_400_000 ? `${Math.round(ms / 3_600_000)}h` : `${Math.round(ms / 86_400_000)}d`;
}
