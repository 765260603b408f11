import { readFileSync } from 'node:fs';

/** The package's version; the same from sources and from `dist/`, which lie at different depths. */
export function packageVersion(): string {
  for (const up of ['../../', '../../../']) {
    try {
      const text = readFileSync(new URL(`${up}package.json`, import.meta.url), 'utf8');
      const { name, version } = JSON.parse(text) as Record<string, unknown>;
      if (name === 'phasor' && typeof version === 'string') return version;
    } catch {
      // Not there: one level further up.
    }
  }
  return 'unknown';
}
