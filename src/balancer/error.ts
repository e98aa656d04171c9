import type { BalancerChange } from './change.ts';

/** A change that could not be made. */
export interface BalancerFailure {
  /** The change. */
  change: BalancerChange;
  /** Why it failed. */
  error: Error;
}

const BALANCER_ERROR = Symbol.for('netsteer.BalancerError');

/** A declaration that could not be applied as a whole. */
export class BalancerError extends AggregateError {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && BALANCER_ERROR in value;
  }
  /** The name of the class. */
  override readonly name = 'BalancerError';
  /** The code of the error, for programs. */
  readonly code = 'ERR_PARTIAL';
  /** The changes that were made. */
  readonly changes: readonly BalancerChange[];
  /** The changes that failed, and why. */
  readonly failures: readonly BalancerFailure[];
  /** Whether the changes that were made were taken back. */
  readonly rolledBack: boolean;

  /** @internal */
  constructor(changes: readonly BalancerChange[], failures: readonly BalancerFailure[], rolledBack: boolean) {
    const [first] = failures;
    const more = failures.length > 1 ? ` (and ${failures.length - 1} more)` : '';
    const rest = rolledBack ? 'the others were taken back' : `${changes.length} others were made`;
    super(
      failures.map(({ error }) => error),
      `ERR_PARTIAL: ${failures.length} changes failed, ${rest}. ${first?.change.role} ${first?.change.container}: ${first?.error.message}${more}`,
    );
    this.changes = changes;
    this.failures = failures;
    this.rolledBack = rolledBack;
    Object.defineProperty(this, BALANCER_ERROR, { value: true });
  }
}
