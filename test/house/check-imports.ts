import { importsOf, type Import } from './imports.ts';
import { isProduct, type SourceFile, type Violation } from './source-tree.ts';

const CORE = ['kernel', 'errors', 'protocol', 'ports', 'reliability', 'runtime'];
const PORTS_DOWN = CORE.slice(0, 4);
const EVERY_LIBRARY_LAYER = [...CORE, 'index', 'nats', 'adapters', 'simulation', 'service', 'streams'];

/** What each layer may import besides itself (DESIGN §5: imports point one way). */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  errors: CORE.slice(0, 1),
  protocol: CORE.slice(0, 2),
  ports: CORE.slice(0, 3),
  reliability: [...CORE.slice(0, 4), 'streams'],
  runtime: [...CORE.slice(0, 5), 'streams'],
  nats: [...PORTS_DOWN, 'streams'],
  adapters: PORTS_DOWN,
  // A world of its own: it implements the ports, and drives the runtime inside them.
  simulation: [...CORE, 'streams'],
  // The package's public door hands out what the composition root has put together.
  index: [...CORE, 'streams', 'service'],
  dashboard: [...CORE, 'streams', 'index', 'service'],
  service: [...EVERY_LIBRARY_LAYER, 'dashboard'],
  cli: [...EVERY_LIBRARY_LAYER, 'dashboard'],
  streams: [],
  examples: [...EVERY_LIBRARY_LAYER, 'cli'],
};
const STREAMS_TYPES_FROM = ['kernel', 'ports'];

/** `src/nats/server/index.ts` is layer `nats`; `src/index.ts` is layer `index`; `streams/x.ts` is `streams`. */
export function layerOf(file: string): string {
  const [top = '', second = '', ...rest] = file.split('/');
  if (top !== 'src') return top;
  return rest.length === 0 ? second.replace(/\.ts$/, '') : second;
}

export function checkImportDirection(files: readonly SourceFile[]): Violation[] {
  return files.filter(isProduct).flatMap((file) => {
    const layer = layerOf(file.path);
    const allowed = ALLOWED[layer];
    if (allowed === undefined) {
      const message = `layer "${layer}" is not in DESIGN §5: move the file into one of ${Object.keys(ALLOWED).join(', ')}`;
      return [{ file: file.path, line: 1, message }];
    }
    return importsOf(file).flatMap((entry) => judge(entry, layer, allowed));
  });
}

function judge(entry: Import, layer: string, allowed: readonly string[]): Violation[] {
  if (entry.target === undefined) return [];
  const complain = (message: string): Violation[] => [{ file: entry.from, line: entry.line, message }];
  if (!/\.(?:ts|json)$/.test(entry.target)) {
    return complain(`"${entry.specifier}" names no .ts file: write the source file's name, tsc rewrites it`);
  }
  if (entry.target === 'package.json') return [];
  const to = layerOf(entry.target);
  if (to === layer || allowed.includes(to)) return [];
  if (layer === 'streams') {
    if (entry.typeOnly && STREAMS_TYPES_FROM.includes(to)) return [];
    return complain('streams/ is data: use "import type" from src/kernel or src/ports only');
  }
  return complain(
    `${layer} may not import ${to}: declare a port in src/ports and let src/service pass it in` +
      ` (${layer} may import ${allowed.join(', ') || 'nothing'})`,
  );
}

/** Every group of files that import each other in a circle, type imports included, once. */
export function checkImportCycles(files: readonly SourceFile[]): Violation[] {
  const known = new Set(files.map((file) => file.path));
  const edges = new Map(
    files.map((file) => [
      file.path,
      importsOf(file).flatMap(({ target }) => (target !== undefined && known.has(target) ? [target] : [])),
    ]),
  );
  const done = new Set<string>();
  const found: Violation[] = [];
  const explore = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file);
    if (start !== -1) {
      const circle = [...trail.slice(start), file].join(' -> ');
      found.push({
        file,
        line: 1,
        message: `import cycle ${circle}: move the shared part into a file of its own`,
      });
      return;
    }
    if (done.has(file)) return;
    for (const next of edges.get(file) ?? []) explore(next, [...trail, file]);
    done.add(file);
  };
  for (const file of [...edges.keys()].sort()) explore(file, []);
  return found;
}
