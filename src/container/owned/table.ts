import { checkInteger, checkObject } from '../../codec/index.ts';
import { BatchError, isExists, isNotFound, NetlinkError, StateError, typeError } from '../../errors.ts';
import type { Operation } from '../../netlink/index.ts';
import { EventLoopBudget } from '../../netlink/index.ts';
import { checkSignal } from '../../signal.ts';

/** The remark by which a later process of this library knows a table as the library's. */
export const OWNED = 'managed by netsteer';
export const FAMILY = 'inet';

/** Of every call that may meet a table of somebody else's. */
export interface ForceOptions {
  /**
   * A table of our name that has not our remark counts as an empty one of ours that is to be replaced: a container's root may have made it anew.
   * Default false: ERR_FOREIGN_TABLE.
   */
  force?: boolean;
}

/** How the redirects of a container are asked for. */
export interface RedirectSettings {
  /**
   * Of the nat chains: -199 to 2147483647. Default -199, the lowest that the kernel has for nat (-200 is connection tracking): whatever nat
   * chain comes later, of iptables (-100) for instance, is asked after ours. Take a higher one to come after others.
   */
  priority: number;
  /** Also what the container itself connects to: such a connection goes to the port on 127.0.0.1 or ::1. Default false. */
  output: boolean;
}

/** NF_IP_PRI_CONNTRACK is -200: nat chains stand behind it. */
export const FIRST_PRIORITY = -199;
const LAST_PRIORITY = 0x7fffffff;
export const DEFAULT_SETTINGS: RedirectSettings = { priority: FIRST_PRIORITY, output: false };

/** The settings of a container's redirects, and how a change of them is made. */
export interface RedirectOptions extends Partial<RedirectSettings>, ForceOptions {
  /** Acts before the send, and between reads; once bytes are in the kernel the promise says what became of them. */
  signal?: AbortSignal;
}

/** @throws TypeError, RangeError with the name of the option */
export function checkForce(options: unknown, known: readonly string[] = []): void {
  checkObject(options, [], ['force', 'signal', ...known]);
  const { force, signal } = options as { force?: unknown; signal?: unknown };
  checkSignal(signal, ['signal']);
  if (force !== undefined && typeof force !== 'boolean') throw typeError(['force'], 'true or false', force);
}

/** What of the settings is given. @throws TypeError, RangeError with the name of the setting */
export function settingsIn(options: Partial<RedirectSettings>): Partial<RedirectSettings> {
  const { priority, output } = options;
  if (priority !== undefined) checkInteger(priority, ['priority'], FIRST_PRIORITY, LAST_PRIORITY);
  if (output !== undefined && typeof output !== 'boolean') throw typeError(['output'], 'true or false', output);
  return { ...(priority !== undefined && { priority }), ...(output !== undefined && { output }) };
}

/** The settings as the remark of the table: where they are the defaults, it has only our name. */
export function remarkOf({ priority, output }: RedirectSettings): string {
  const parts: string[] = [];
  if (priority !== FIRST_PRIORITY) parts.push(`priority ${priority}`);
  if (output) parts.push('output');
  return parts.length === 0 ? OWNED : `${OWNED}: ${parts.join(', ')}`;
}

/** The settings that a table was made with; undefined where it is not ours. */
export function settingsOf(remark: string | undefined): RedirectSettings | undefined {
  if (remark === OWNED) return DEFAULT_SETTINGS;
  const [, said] = /^managed by netsteer: (.+)$/.exec(remark ?? '') ?? [];
  const [, priority, output] = /^(?:priority (-?\d{1,10}))?(?:(?:^|, )(output))?$/.exec(said ?? '') ?? [];
  const settings = { priority: Number(priority ?? FIRST_PRIORITY), output: output !== undefined };
  // What we would not have written, somebody else has.
  if (said === undefined || remarkOf(settings) !== remark) return undefined;
  return settings.priority >= FIRST_PRIORITY && settings.priority <= LAST_PRIORITY ? settings : undefined;
}

/** Which call takes a foreign table all the same. */
export function foreignTable(name: string, remedy: string): StateError {
  return new StateError(
    'ERR_FOREIGN_TABLE',
    `the table ${FAMILY} ${name} has not the remark '${OWNED}': it is somebody else's, or was made anew in the container (${remedy})`,
  );
}

/** Others commit between our look and our commit; this many times in a row is too much. */
const ATTEMPTS = 100;

/** What was read is not of one generation, or is not the state any more. */
export class Stale extends Error {}

/** Repeats an operation while others change the ruleset between its reading and its commit. @throws StateError ERR_DUMP_INTERRUPTED after 100 attempts */
export function* retryWhileMoved<T>(work: () => Operation<T>): Operation<T> {
  const turn = new EventLoopBudget();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      return yield* work();
    } catch (error) {
      if (!(error instanceof Stale) && !isMoved(error)) throw error;
    }
    yield turn;
  }
  throw new StateError('ERR_DUMP_INTERRUPTED', `others changed the ruleset ${ATTEMPTS} times in a row meanwhile`);
}

/** Each commit that changes something makes the next generation; there is none of 0. */
export const nextGeneration = (generation: number): number => (generation === 0xffffffff ? 1 : generation + 1);

/** The ruleset is at another generation than the commit was bound to. */
export const isMoved = (error: unknown): boolean => error instanceof NetlinkError && error.code === 'ERESTART';

/** Something was there, or was not, otherwise than was thought: of a commit that was bound to no generation. */
export function isClash(error: unknown): boolean {
  if (error instanceof BatchError) return error.failures.every(isClash);
  return error instanceof NetlinkError && (isExists(error) || isNotFound(error));
}
