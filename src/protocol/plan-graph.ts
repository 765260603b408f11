/** Dependencies between the steps of a plan, as arrays of indices. */

/** Direct dependencies of each step, ascending. */
export type Graph = readonly (readonly number[])[];

/** The steps of one cycle, first and last equal; undefined when there is none. */
export function findCycle(graph: Graph): readonly number[] | undefined {
  // Dependencies that all point backwards cannot form a cycle: the common case costs no search.
  if (graph.every((after, index) => after.every((dependency) => dependency < index))) return undefined;
  const done = new Set<number>();
  const path: number[] = [];
  const visit = (index: number): readonly number[] | undefined => {
    if (done.has(index)) return undefined;
    const seen = path.indexOf(index);
    if (seen >= 0) return [...path.slice(seen), index];
    path.push(index);
    for (const dependency of graph[index] ?? []) {
      const cycle = visit(dependency);
      if (cycle !== undefined) return cycle;
    }
    path.pop();
    done.add(index);
    return undefined;
  };
  for (const index of graph.keys()) {
    const cycle = visit(index);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

/** Transitive dependencies of every step. The graph must be free of cycles. */
export function ancestorsOf(graph: Graph): readonly ReadonlySet<number>[] {
  const known: (ReadonlySet<number> | undefined)[] = graph.map(() => undefined);
  const collect = (index: number): ReadonlySet<number> => {
    const found = known[index];
    if (found !== undefined) return found;
    const ancestors = new Set<number>();
    for (const dependency of graph[index] ?? []) {
      ancestors.add(dependency);
      for (const ancestor of collect(dependency)) ancestors.add(ancestor);
    }
    known[index] = ancestors;
    return ancestors;
  };
  return graph.map((_, index) => collect(index));
}

/** Direct dependents of each step, ascending. */
export function dependentsOf(graph: Graph): Graph {
  const dependents: number[][] = graph.map(() => []);
  graph.forEach((after, index) => after.forEach((dependency) => dependents[dependency]?.push(index)));
  return dependents;
}
