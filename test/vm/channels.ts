import { StringDecoder } from 'node:string_decoder';

/**
 * Collects the command's output up to the end marker, which never reaches `onText`, not even in parts.
 * Text is handed on as it comes, cut between characters.
 */
export class OutputReader {
  readonly #marker: Buffer;
  readonly #onText: (chunk: string) => void;
  readonly #decoder = new StringDecoder('utf8');
  readonly #chunks: Buffer[] = [];
  #held: Buffer = Buffer.alloc(0);
  /** True once the marker has come: the output is complete. */
  ended = false;

  constructor(marker: string, onText: (chunk: string) => void) {
    this.#marker = Buffer.from(marker);
    this.#onText = onText;
  }

  push(data: Buffer): void {
    if (this.ended) return;
    const bytes = Buffer.concat([this.#held, data]);
    const marker = bytes.indexOf(this.#marker);
    this.ended = marker >= 0;
    const end = this.ended ? marker : bytes.length - this.#partialMarkerLength(bytes);
    this.#held = bytes.subarray(end);
    this.#chunks.push(bytes.subarray(0, end));
    const text = this.#decoder.write(bytes.subarray(0, end));
    if (text) this.#onText(text);
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }

  #partialMarkerLength(bytes: Buffer): number {
    for (let length = Math.min(this.#marker.length - 1, bytes.length); length > 0; length--) {
      if (bytes.subarray(-length).equals(this.#marker.subarray(0, length))) return length;
    }
    return 0;
  }
}

/** Reads the guest's reports (see buildInitramfs) off the control channel. */
export class ControlReader {
  /** Contents by the index of the asked-for path; a file that did not exist has none. */
  readonly files = new Map<number, Buffer>();
  ready = false;
  exitCode: number | undefined;
  ended = false;
  #pending: Buffer = Buffer.alloc(0);
  #chunks: Buffer[] = [];
  #file: { index: number; missing: number } | undefined;

  push(data: Buffer): void {
    let rest = data;
    while (rest.length > 0) rest = this.#file ? this.#readFile(rest, this.#file) : this.#readLine(rest);
  }

  #readLine(data: Buffer): Buffer {
    const newline = data.indexOf(10);
    if (newline < 0) {
      this.#pending = Buffer.concat([this.#pending, data]);
      return Buffer.alloc(0);
    }
    const [word, first, second] = Buffer.concat([this.#pending, data.subarray(0, newline)])
      .toString()
      .split(' ');
    this.#pending = Buffer.alloc(0);
    if (word === 'ready') this.ready = true;
    if (word === 'exit') this.exitCode = Number(first);
    if (word === 'end') this.ended = true;
    if (word === 'file') this.#startFile(Number(first), Number(second));
    return data.subarray(newline + 1);
  }

  #startFile(index: number, size: number): void {
    this.#chunks = [];
    if (size > 0) this.#file = { index, missing: size };
    else this.files.set(index, Buffer.alloc(0));
  }

  #readFile(data: Buffer, file: { index: number; missing: number }): Buffer {
    const part = data.subarray(0, file.missing);
    this.#chunks.push(part);
    file.missing -= part.length;
    if (file.missing === 0) {
      this.files.set(file.index, Buffer.concat(this.#chunks));
      this.#file = undefined;
    }
    return data.subarray(part.length);
  }
}
