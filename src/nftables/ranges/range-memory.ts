import type { RangeSet } from './range-set.ts';

/** Ranges that are remembered from one commit to the next, at most. */
const MOST_RANGES = 200_000;
const MAX_GENERATION = 0xffffffff;

/**
 * The ranges of sets as the last commit of a handle left them, so that the next one need not read them again. They hold for one generation: as soon as
 * anybody else commits they are forgotten.
 */
export class RangeMemory {
  #generation = 0;
  /** Undefined is none: nearly all handles never have one. */
  #sets: Map<string, RangeSet> | undefined;

  /** The set is the caller's from now on, to change. */
  take(generation: number, key: string): RangeSet | undefined {
    if (generation !== this.#generation) this.#sets = undefined;
    const set = this.#sets?.get(key);
    this.#sets?.delete(key);
    return set;
  }

  /** After a commit that was bound to `generation`: what it changed made the next one. */
  keep(generation: number, sets: ReadonlyMap<string, RangeSet>): void {
    const kept = new Map<string, RangeSet>();
    let room = MOST_RANGES;
    let changed = false;
    for (const [key, set] of sets) {
      changed ||= set.changed;
      if (!set.lasts || set.size > room) continue;
      room -= set.size;
      kept.set(key, set);
    }
    this.#generation = changed ? (generation === MAX_GENERATION ? 1 : generation + 1) : generation;
    for (const set of kept.values()) set.changed = false;
    this.#sets = kept;
  }
}
