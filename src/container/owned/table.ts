import { checkInteger, checkObject } from '../../codec/index.ts';
import { BatchError, isExists, isNotFound, NetlinkError, StateError, typeError } from '../../errors.ts';
import type { Operation } from '../../netlink/index.ts';
import { EventLoopBudget } from '../../netlink/index.ts';
import { retry } from '../../netlink/retry.ts';
import { checkSignal } from '../../signal.ts';

/** The comment by which this library knows its own tables, also those of earlier processes. */
export const OWNED = 'managed by netsteer';
/** The family of its tables. */
export const FAMILY = 'inet';

/** An option of every call that may meet a table of somebody else. */
export interface ForceOptions {
  /**
   * Treat a table of our name without our comment as an empty one of ours, which is then replaced. The container's root may have made such
   * a table. Default false: the call throws ERR_FOREIGN_TABLE.
   */
  force?: boolean;
}

/** When the redirects of a container apply. */
export interface RedirectSettings {
  /**
   * The priority of the nat chains, -199 to 2147483647. Default -199, the lowest that the kernel allows for nat (-200 is connection
   * tracking), so that other nat chains, such as those of iptables (-100), come later. Set a higher one to come after others.
   */
  priority: number;
  /** Also redirect connections that the container itself makes: they go to the port on 127.0.0.1 or ::1. Default false. */
  output: boolean;
}

/** Nat chains must come after connection tracking, NF_IP_PRI_CONNTRACK (-200). */
export const FIRST_PRIORITY = -199;
const LAST_PRIORITY = 0x7fffffff;
export const DEFAULT_SETTINGS: RedirectSettings = { priority: FIRST_PRIORITY, output: false };

/** @throws TypeError, RangeError with the name of the option */
export function checkForce(options: unknown, known: readonly string[] = []): void {
  checkObject(options, [], ['force', 'signal', ...known]);
  const { force, signal } = options as { force?: unknown; signal?: unknown };
  checkSignal(signal, ['signal']);
  if (force !== undefined && typeof force !== 'boolean') throw typeError(['force'], 'true or false', force);
}

/** The settings that the caller has given. @throws TypeError, RangeError with the name of the setting */
export function settingsIn(options: Partial<RedirectSettings>): Partial<RedirectSettings> {
  const { priority, output } = options;
  if (priority !== undefined) checkInteger(priority, ['priority'], FIRST_PRIORITY, LAST_PRIORITY);
  if (output !== undefined && typeof output !== 'boolean') throw typeError(['output'], 'true or false', output);
  return { ...(priority !== undefined && { priority }), ...(output !== undefined && { output }) };
}

/** The table's comment, which holds the settings that are not the defaults. */
export function commentOf({ priority, output }: RedirectSettings): string {
  const parts: string[] = [];
  if (priority !== FIRST_PRIORITY) parts.push(`priority ${priority}`);
  if (output) parts.push('output');
  return parts.length === 0 ? OWNED : `${OWNED}: ${parts.join(', ')}`;
}

/** The settings that a table was made with, by its comment; undefined if it is not ours. */
export function settingsOf(comment: string | undefined): RedirectSettings | undefined {
  if (comment === OWNED) return DEFAULT_SETTINGS;
  const [, text] = /^managed by netsteer: (.+)$/.exec(comment ?? '') ?? [];
  const [, priority, output] = /^(?:priority (-?\d{1,10}))?(?:(?:^|, )(output))?$/.exec(text ?? '') ?? [];
  const settings = { priority: Number(priority ?? FIRST_PRIORITY), output: output !== undefined };
  // We would have written it in exactly this way.
  if (text === undefined || commentOf(settings) !== comment) return undefined;
  return settings.priority >= FIRST_PRIORITY && settings.priority <= LAST_PRIORITY ? settings : undefined;
}

/** The error about a table of our name that is not ours. `remedy` names the call that takes it all the same. */
export function foreignTable(name: string, remedy: string): StateError {
  return new StateError(
    'ERR_FOREIGN_TABLE',
    `the table ${FAMILY} ${name} does not have the comment '${OWNED}', so somebody else has made it (${remedy})`,
  );
}

/**
 * Repeats an operation while others change the ruleset between its reading and its commit.
 * @throws StateError ERR_DUMP_INTERRUPTED after 100 attempts
 */
export function retryWhileMoved<T>(work: () => Operation<T>): Operation<T> {
  return retry('the ruleset', work, { rest: new EventLoopBudget() });
}

/** The generation after a commit that changes something. The kernel skips 0. */
export const nextGeneration = (generation: number): number => (generation === 0xffffffff ? 1 : generation + 1);

/** Whether a commit failed only because objects are there already, or are not there. */
export function isClash(error: unknown): boolean {
  if (error instanceof BatchError) return error.failures.every(isClash);
  return error instanceof NetlinkError && (isExists(error) || isNotFound(error));
}
