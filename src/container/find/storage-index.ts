import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Files, list, record } from './files.ts';

/** What is parsed in one piece; more is looked through for the element that it is about. */
const MAX_PARSED = 128 << 10;
/** Bytes that are looked at in one turn of the event loop: about a millisecond. */
const SLICE = 256 << 10;
/** Elements, of a few hundred bytes as a rule. */
const PARSED_IN_TURN = 100;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SQUARE = 0x5b;
const SQUARE_END = 0x5d;
const CURLY = 0x7b;
const CURLY_END = 0x7d;

/** In containers.json of containers/storage: the id of the container that has this name. */
export async function idOfName(files: Files, path: string, name: string): Promise<string | undefined> {
  const bytes = await files.bytes(path);
  if (bytes === undefined) return undefined;
  if (bytes.length <= MAX_PARSED) return idIn(list(files.parse(bytes)), name);
  const needle = Buffer.from(JSON.stringify(name));
  // Nothing of it has to be understood where the name does not occur.
  if (!files.includes(bytes, needle)) return undefined;
  const elements = new Elements(bytes, needle);
  for (let end = SLICE; ; end += SLICE) {
    const length = Math.min(SLICE, bytes.length - end + SLICE);
    let parsed = 0;
    let element = files.scan(length, () => elements.next(end));
    while (element !== undefined) {
      if (++parsed % PARSED_IN_TURN === 0) await nextTurn();
      const id = idIn([record(files.parse(element))], name);
      if (id !== undefined) return id;
      element = elements.next(end);
    }
    if (end >= bytes.length) return undefined;
    await nextTurn();
  }
}

function idIn(containers: Record<string, unknown>[], name: string): string | undefined {
  const found = containers.find(({ names }) => Array.isArray(names) && names.includes(name));
  return typeof found?.id === 'string' ? found.id : undefined;
}

/** The elements of an array in JSON that contain some bytes, found by the brackets and texts alone. */
class Elements {
  readonly #bytes: Buffer;
  readonly #needle: Buffer;
  /** Where that occurs next. */
  #hit: number;
  #at = 0;
  #depth = 0;
  #start = 0;
  #isText = false;

  constructor(bytes: Buffer, needle: Buffer) {
    this.#bytes = bytes;
    this.#needle = needle;
    this.#hit = bytes.indexOf(needle);
  }

  /** The next one that ends before `limit`; undefined where there is none. */
  next(limit: number): Buffer | undefined {
    const bytes = this.#bytes;
    const hit = this.#hit < 0 ? bytes.length : this.#hit;
    const stop = Math.min(limit, bytes.length);
    let at = this.#at;
    let depth = this.#depth;
    let isText = this.#isText;
    let found = false;
    while (at < stop && !found) {
      const byte = bytes[at++]!;
      if (isText) {
        if (byte === BACKSLASH) at++;
        else if (byte === QUOTE) isText = false;
      } else if (byte === QUOTE) {
        isText = true;
      } else if (byte === SQUARE || byte === CURLY) {
        if (depth === 1) this.#start = at - 1;
        depth++;
      } else if (byte === SQUARE_END || byte === CURLY_END) {
        depth--;
        found = depth === 1 && at > hit;
      }
    }
    this.#at = at;
    this.#depth = depth;
    this.#isText = isText;
    if (!found) return undefined;
    this.#hit = bytes.indexOf(this.#needle, at);
    return bytes.subarray(this.#start, at);
  }
}
