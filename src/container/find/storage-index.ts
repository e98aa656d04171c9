import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Files, list, record } from './files.ts';

/** A file up to this size is parsed in one piece. A larger one is searched for the element with the name. */
const MAX_PARSED = 128 << 10;
/** Bytes to look at in one turn of the event loop: about a millisecond. */
const SLICE = 256 << 10;
/** Elements to parse in one turn. Most have a few hundred bytes. */
const PARSED_IN_TURN = 100;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SQUARE = 0x5b;
const SQUARE_END = 0x5d;
const CURLY = 0x7b;
const CURLY_END = 0x7d;

/** The id of the container that has this name, by containers.json of containers/storage. */
export async function idOfName(files: Files, path: string, name: string): Promise<string | undefined> {
  const bytes = await files.bytes(path);
  if (bytes === undefined) return undefined;
  if (bytes.length <= MAX_PARSED) return idIn(list(files.parse(bytes)), name);
  const needle = Buffer.from(JSON.stringify(name));
  // Usually the name does not occur, and nothing has to be parsed.
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

/** Finds the elements of a JSON array that contain `needle`, by brackets and strings alone. */
class Elements {
  readonly #bytes: Buffer;
  readonly #needle: Buffer;
  /** Where the needle occurs next; -1 if nowhere. */
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

  /** The next such element that ends before `limit`; undefined if there is none. */
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
