import { type Source, sourceOf } from '../../../src/codec/index.ts';
import { isArgumentError } from '../../../src/errors.ts';
import type { Random } from './random.ts';

/** What reads inputs of one kind. */
export interface Target {
  readonly name: string;
  /** How often it comes beside the others. */
  readonly weight: number;
  /** Inputs to begin with. */
  readonly seeds: readonly Uint8Array[];
  make(random: Random, pool: readonly Uint8Array[]): Uint8Array;
  /** Reads one input; what it throws is judged by the caller. */
  read(input: Uint8Array, random: Random): void | Promise<void>;
}

/** Codes of this library, and the kernel's errnos. */
const CODE = /^(ERR_[A-Z_]+|E[A-Z0-9]+)$/;
const NODE_CODES = ['ERR_INVALID_ARG_VALUE', 'ERR_ENCODING_INVALID_ENCODED_DATA', 'ERR_ASSERTION'];

/** Is it an error that the library means to throw? Its own have a code, and stand in its own words. */
export function isTyped(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string' || !CODE.test(code) || NODE_CODES.includes(code)) return false;
  const builtIn = error instanceof TypeError || error instanceof RangeError;
  return (!builtIn || isArgumentError(error)) && error.message === printableOnly(error.message);
}

const printableOnly = (text: string): string => text.replace(CONTROL, '');

/** What moves a terminal's cursor, begins a line, turns a direction or is not seen at all. */
const INVISIBLE = '\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}';
const CONTROL = new RegExp(`[${INVISIBLE}]`, 'gu');
/** As above, but for the ends of lines and their indentation. */
const CONTROL_IN_LINES = new RegExp(`(?![\\t\\n])[${INVISIBLE}]`, 'u');

/** Text that is to be printed, of several lines. */
export function refuseControl(text: string): void {
  const found = CONTROL_IN_LINES.exec(text);
  if (found !== null)
    throw new Error(
      `control character ${JSON.stringify(found[0])} in ${JSON.stringify(text.slice(Math.max(0, found.index - 40), found.index + 40))}`,
    );
}

const PLAIN: readonly unknown[] = [Object.prototype, Array.prototype, null];

/** A value as text, the same for the same value. Plain objects only: a name that became a prototype is found here. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner === 'bigint') return `${inner}n`;
    if (typeof inner === 'object' && inner !== null && !PLAIN.includes(Object.getPrototypeOf(inner)))
      throw new Error('an object with a prototype that is not its own class');
    return inner;
  });
}

const KINDS = { Object, Array, Function, String, Number, Map, Set, Error };
const properties = (): string =>
  Object.entries(KINDS)
    .map(([name, { prototype }]) => `${name}:${Reflect.ownKeys(prototype).map(String).join()}`)
    .join(';');
const UNPOLLUTED = properties();

/** Throws where something was added to what all objects inherit. */
export function refusePollution(): void {
  if (properties() !== UNPOLLUTED) throw new Error(`prototypes have been changed: ${properties()}`);
}

const MARGIN = 64;

/** Reads an input between bytes of one kind, then of another: nothing that is read may depend on them. */
export function amidst(input: Uint8Array, read: (source: Source, start: number, end: number) => string): string {
  const [one, two] = [0x00, 0xff].map(filler => {
    const bytes = new Uint8Array(input.length + 2 * MARGIN).fill(filler);
    bytes.set(input, MARGIN);
    return settled(() => read(sourceOf(bytes), MARGIN, MARGIN + input.length));
  });
  if (one!.text !== two!.text) throw new Error(`it depends on what stands around it: ${one!.text} or ${two!.text}`);
  if (one!.error !== undefined) throw one!.error;
  return one!.text;
}

function settled(read: () => string): { text: string; error?: unknown } {
  try {
    return { text: read() };
  } catch (error) {
    return { text: String(error), error };
  }
}
