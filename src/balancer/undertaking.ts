import { throwIfAborted } from '../signal.ts';
import type { BalancerChange } from './change.ts';
import { tableRules } from './desired.ts';
import type { BalancerFailure } from './error.ts';
import type { Entry } from './record.ts';
import type { Phase, Site, SitePlan, Step } from './site.ts';

/** One `apply`: what it has done, what has failed, and what the sites' records said before. It can be taken back. */
export class Undertaking {
  readonly failures: BalancerFailure[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #done: { step: Step; made: BalancerChange[] }[] = [];
  readonly #records = new Map<Site, readonly Entry[]>();

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** The changes that were made, in their order. */
  get made(): BalancerChange[] {
    return this.#done.flatMap(({ made }) => made);
  }

  /** Records in the namespace what will be made there: a later process finds it, however this one ends. */
  async remember({ site, steps, rules, during, state }: SitePlan): Promise<void> {
    this.#records.set(site, await site.record.read());
    if (steps.length > 0 || rules !== undefined) await site.record.write(during, tableRules(state));
  }

  /** Makes the changes of one phase. The sites do not wait for each other. */
  async run(phase: Phase, plans: readonly SitePlan[]): Promise<void> {
    await Promise.all(
      plans.map(async ({ steps }) => {
        for (const step of steps) {
          if (step.phase !== phase) continue;
          throwIfAborted(this.#signal);
          const failed = await step.run();
          const made = step.changes.filter((_, i) => !failed.has(i));
          for (const [i, error] of failed) this.failures.push({ change: step.changes[i]!, error });
          if (made.length > 0) this.#done.push({ step, made });
        }
      }),
    );
  }

  /** Takes back what was done, the last change first. */
  async takeBack(): Promise<void> {
    const errors: Error[] = [];
    for (const { step } of this.#done.toReversed()) {
      try {
        await step.undo();
      } catch (error) {
        errors.push(error as Error);
      }
    }
    if (errors.length > 0)
      throw new AggregateError(errors, `the changes could not all be taken back: ${errors[0]!.message}`);
    for (const [site, entries] of this.#records) await site.record.write(entries);
  }
}
